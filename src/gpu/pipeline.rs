//! Pipelines, compiled once for each module and set of constants.

use std::collections::HashMap;
use std::sync::Arc;

use super::Gpu;
use crate::command::{Access, Dispatch, Kernel, Variant};
use crate::error::Result;

/// A compiled kernel and the layout of its bindings.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

/// The module's text and its pipeline constants. The text, and not the kernel's position in a
/// table, so that two tables on one device don't meet.
type Key = (String, Vec<(&'static str, u64)>, Checks);

/// Whether wgpu's checks are compiled into a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Checks {
    /// An access out of bounds does no harm, and every loop ends.
    All,
    /// There are none.
    None,
}

/// The pipelines of a device.
#[derive(Debug, Default)]
pub(super) struct Pipelines(HashMap<Key, Arc<Pipeline>>);

impl Gpu {
    pub(super) fn pipeline(
        &self,
        kernel: &Kernel,
        dispatch: &Dispatch,
        trusted: bool,
    ) -> Result<Arc<Pipeline>> {
        let variant = &kernel.variants[dispatch.variant];
        let constants = dispatch.constants.iter().map(|(n, v)| (*n, v.to_bits())).collect();
        let checks = match trusted && variant.is_trusted() && !self.checked {
            true => Checks::None,
            false => Checks::All,
        };
        let key = (variant.source().to_owned(), constants, checks);
        let mut pipelines = self.pipelines.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(pipeline) = pipelines.0.get(&key) {
            return Ok(pipeline.clone());
        }
        self.counters.pipelines.add(1);
        let operation = format!("compiling kernel `{}` ({})", kernel.name, variant.name);
        let pipeline =
            Arc::new(self.guarded(&operation, || self.compile(kernel, dispatch, checks))?);
        pipelines.0.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    fn compile(&self, kernel: &Kernel, dispatch: &Dispatch, checks: Checks) -> Pipeline {
        let device = &self.device;
        let entry = |binding: u32, ty, has_dynamic_offset| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
            count: None,
        };
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true)];
        entries.extend(kernel.bindings.iter().zip(1..).map(|(b, n)| {
            let read_only = b.access == Access::Read;
            entry(n, wgpu::BufferBindingType::Storage { read_only }, false)
        }));
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(kernel.name),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let variant = &kernel.variants[dispatch.variant];
        let module = self.module(kernel.name, variant, checks);
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &dispatch.constants,
                // What a kernel reads of its workgroup memory before it writes it, it doesn't use.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }

    /// A kernel's module. wgpu puts a check into every access and a counter into every loop; ours go
    /// without in programs that keep to their ranges, unless the device is to be
    /// [checked](Gpu::checked).
    #[allow(unsafe_code)]
    fn module(&self, name: &str, variant: &Variant, checks: Checks) -> wgpu::ShaderModule {
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(name),
            source: wgpu::ShaderSource::Wgsl(variant.source().into()),
        };
        if checks == Checks::All {
            return self.device.create_shader_module(descriptor);
        }
        // SAFETY: the module is one of this crate's own (`Variant::own` is private to it, and another
        // source takes the trust away). Its indices are bounded by its block of constants and by the
        // numbers of invocations; those that come from data (tokens, lengths, sorted positions, groups) are
        // bounded in the shader. Its loops end, since their bounds come from the block of constants.
        // The program is a plan that nobody has changed (`Program::is_trusted`), whose blocks fit the
        // bound ranges, which `Program::check` holds against the buffers, or its maker has vouched for
        // it. The suite runs every module with the checks and without.
        let checks = wgpu::ShaderRuntimeChecks::unchecked();
        unsafe { self.device.create_shader_module_trusted(descriptor, checks) }
    }
}
