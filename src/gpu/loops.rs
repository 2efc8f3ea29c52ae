//! How many iterations a driver lets its loops have.
//!
//! Drivers that compute on a CPU may stop loops: llvmpipe of Mesa 22.3 runs at most 65,535 iterations in
//! one invocation and then falls through every loop without a word (Mesa's `lp_bld_ir_common.c`,
//! `LP_MAX_TGSI_LOOP_ITERATIONS`); that of Mesa 25.0 has no such limit. No API says so: they are asked with a
//! loop.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use super::Gpu;
use crate::error::Result;

/// The iterations that a driver is asked for.
const ASKED: u32 = 1 << 20;

/// The budget of a driver that stops loops, or couldn't be asked: 65,535 with some room.
const BUDGET: u32 = 65_000;

/// Each iteration depends on the one before in a way that no compiler sees through.
const SOURCE: &str = "
@group(0) @binding(0) var<storage, read_write> numbers: array<u32, 2>;

@compute @workgroup_size(1)
fn main() {
    let asked = numbers[0];
    var state = asked;
    var count = 0u;
    while count < asked {
        state = state * 1664525u + 1013904223u;
        count++;
    }
    numbers[0] = count;
    numbers[1] = state;
}
";

/// Fewer iterations than any driver stops at: the shader hasn't run.
const PLAUSIBLE: u32 = 1024;

/// What drivers of this process have answered, by their names.
static ANSWERS: OnceLock<Mutex<HashMap<String, Option<u32>>>> = OnceLock::new();

impl Gpu {
    /// The most loop iterations that plans let one invocation run; `None` where the driver has no limit. A
    /// driver is asked once in a process; one that doesn't answer, since it is lost or has no memory left, is
    /// taken for one that stops loops.
    pub(super) fn ask_for_loops(&self) -> Option<u32> {
        // In a browser nothing can be waited for.
        let asked = self.info.device_type == wgpu::DeviceType::Cpu
            && self.info.backend != wgpu::Backend::BrowserWebGpu;
        if !asked {
            return None;
        }
        let mut answers =
            ANSWERS.get_or_init(Mutex::default).lock().unwrap_or_else(|e| e.into_inner());
        if let Some(answer) = answers.get(&self.name()) {
            return *answer;
        }
        let Some(count) = self.count_iterations().ok().filter(|&count| count >= PLAUSIBLE) else {
            return Some(BUDGET);
        };
        let answer = (count < ASKED).then(|| BUDGET.min(count - count / 128));
        answers.insert(self.name(), answer);
        answer
    }

    /// Runs the loop, and waits for it.
    fn count_iterations(&self) -> Result<u32> {
        let operation = "asking the driver how long its loops may be";
        let (device, size) = (&self.device, 8);
        let staging = self.guarded(operation, || {
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some("loops"),
                source: wgpu::ShaderSource::Wgsl(SOURCE.into()),
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some("loops"),
                layout: None,
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            });
            let buffer = |usage| {
                let label = Some("loops");
                device.create_buffer(&wgpu::BufferDescriptor {
                    label,
                    size,
                    usage,
                    mapped_at_creation: false,
                })
            };
            use wgpu::BufferUsages as Usages;
            let numbers = buffer(Usages::STORAGE | Usages::COPY_SRC | Usages::COPY_DST);
            let staging = buffer(Usages::MAP_READ | Usages::COPY_DST);
            let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("loops"),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &[wgpu::BindGroupEntry {
                    binding: 0,
                    resource: numbers.as_entire_binding(),
                }],
            });
            self.queue.write_buffer(&numbers, 0, bytemuck::bytes_of(&[ASKED, 0]));
            let mut encoder = device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &bindings, &[]);
                pass.dispatch_workgroups(1, 1, 1);
            }
            encoder.copy_buffer_to_buffer(&numbers, 0, &staging, 0, Some(size));
            self.queue.submit([encoder.finish()]);
            staging.map_async(wgpu::MapMode::Read, .., |_| ());
            staging
        })?;
        self.poll(wgpu::PollType::wait_indefinitely())?;
        let numbers = staging.get_mapped_range(..).map_err(|e| self.error(operation, &e))?;
        Ok(bytemuck::pod_read_unaligned::<[u32; 2]>(&numbers)[0])
    }
}
