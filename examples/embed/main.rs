//! A program that has a wgpu device already: its own compute pass makes a signal, an LSTM runs over
//! it, its own pass takes the result further. One encoder, one submission; the library neither
//! submits nor polls.

#[path = "../common/mod.rs"]
mod common;

use gatefold::gpu::{Adapter, Gpu};
use gatefold::wgpu::{self, BufferUsages};
use gatefold::{Device, Lstm, LstmBindings, LstmConfig, Tensor};

const HELP: &str = "\
An LSTM inside a program that has a wgpu device of its own: the first adapter that there is. There are
no options.
";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Timesteps, voices, units.
const STEPS: usize = 64;
const VOICES: usize = 4;
const UNITS: usize = 16;

/// The program's own shaders: a sine for each voice, and the loudness of what the LSTM says.
const SHADERS: &str = "
    @group(0) @binding(0) var<storage, read_write> data: array<f32>;

    @compute @workgroup_size(64) fn signal(@builtin(global_invocation_id) id: vec3<u32>) {
        let i = id.x; // [T, B]
        if i < arrayLength(&data) { data[i] = sin(f32(i / 4u) * 0.1 * f32(i % 4u + 1u)); }
    }

    @compute @workgroup_size(64) fn loudness(@builtin(global_invocation_id) id: vec3<u32>) {
        let i = id.x;
        if i < arrayLength(&data) { data[i] = data[i] * data[i]; }
    }";

/// One of the program's own passes, over a whole buffer; made once, recorded every frame.
struct Pass {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    groups: u32,
}

impl Pass {
    fn new(device: &wgpu::Device, entry: &str, on: &wgpu::Buffer) -> Pass {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(SHADERS.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some(entry),
            compilation_options: Default::default(),
            cache: None,
        });
        let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: on.as_entire_binding() }],
        });
        Pass { pipeline, bindings, groups: (on.size() as u32 / 4).div_ceil(64) }
    }

    fn record(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(self.groups, 1, 1);
    }
}

fn read(device: &wgpu::Device, queue: &wgpu::Queue, buffer: &wgpu::Buffer) -> Result<Vec<f32>> {
    let staging = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: buffer.size(),
        usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, Some(buffer.size()));
    queue.submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |_| ());
    device.poll(wgpu::PollType::wait_indefinitely())?;
    Ok(bytemuck::cast_slice(&staging.get_mapped_range(..)?).to_vec())
}

/// Returns the largest difference from what the library computes by itself.
pub fn run(adapter: &wgpu::Adapter) -> Result<f32> {
    // The program's device; the library asks for nothing but the adapter's limits.
    let (device, queue) = pollster::block_on(adapter.request_device(&Gpu::wanted(adapter)))?;
    let ours = Device::from_gpu(Gpu::from_wgpu(device.clone(), queue.clone())?);
    println!("running on {ours}");
    let lstm = Lstm::new(&ours, LstmConfig::new(1, UNITS).seed(7))?;

    let buffer = |len: usize| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 4 * len as u64,
            usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    };
    let (x, y) = (buffer(STEPS * VOICES), buffer(STEPS * VOICES * UNITS));
    let bindings = LstmBindings {
        x: x.slice(..),
        lengths: None,
        state: None,
        y: Some(y.slice(..)),
        last_state: None,
    };

    let (signal, loudness) = (Pass::new(&device, "signal", &x), Pass::new(&device, "loudness", &y));

    // A frame.
    let mut encoder = device.create_command_encoder(&Default::default());
    signal.record(&mut encoder);
    lstm.record(&mut encoder, (STEPS, VOICES), &bindings)?;
    loudness.record(&mut encoder);
    queue.submit([encoder.finish()]);

    let loudness = read(&device, &queue, &y)?;
    for t in [0, STEPS / 2, STEPS - 1] {
        println!("t = {t:>2}: {:.4?}", &loudness[t * VOICES * UNITS..][..4]);
    }
    // The same by hand.
    let signal = Tensor::from_slice(&ours, &read(&device, &queue, &x)?, &[STEPS, VOICES, 1])?;
    let (want, _) = lstm.forward(&signal, None)?;
    let want: Vec<f32> = want.to_vec()?.iter().map(|v| v * v).collect();
    assert_eq!(loudness.len(), want.len());
    let apart = loudness.iter().zip(&want).map(|(a, b)| (a - b).abs());
    // A NaN is as far away as can be.
    Ok(apart.fold(0.0, |worst, d| if d.is_nan() { f32::INFINITY } else { worst.max(d) }))
}

#[allow(dead_code, reason = "the suite calls `run`")]
fn main() -> std::process::ExitCode {
    common::main(HELP, common::no_options(), |()| -> Result<()> {
        // Any adapter will do here, a software driver as well.
        match Adapter::all().first() {
            Some(adapter) => println!("largest difference: {:.1e}", run(adapter.as_wgpu())?),
            None => println!("No GPU adapter on this machine."),
        }
        Ok(())
    })
}
