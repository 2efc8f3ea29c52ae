//! What a device must have for any kernel to run.

use super::Gpu;
use crate::error::{Error, Result};

/// A limit: its name, the least that will do, and what a device has.
type Need = (&'static str, u64, fn(&wgpu::Limits) -> u64);

/// Kernels bind their constants and up to eight storage buffers, in workgroups of 256 invocations with up to
/// 16 KiB of memory; those that want more have variants that don't. Sizes are those of a block of constants,
/// and of a block of 64 parameters: plans are cut to what a binding holds, and say so where it is too little
/// for a model.
const NEEDS: [Need; 14] = [
    ("max_bind_groups", 1, |l| l.max_bind_groups.into()),
    ("max_bindings_per_bind_group", 9, |l| l.max_bindings_per_bind_group.into()),
    ("max_uniform_buffers_per_shader_stage", 1, |l| l.max_uniform_buffers_per_shader_stage.into()),
    ("max_dynamic_uniform_buffers_per_pipeline_layout", 1, |l| {
        l.max_dynamic_uniform_buffers_per_pipeline_layout.into()
    }),
    ("max_storage_buffers_per_shader_stage", 8, |l| l.max_storage_buffers_per_shader_stage.into()),
    ("max_uniform_buffer_binding_size", 256, |l| l.max_uniform_buffer_binding_size),
    ("max_storage_buffer_binding_size", 256, |l| l.max_storage_buffer_binding_size),
    ("max_buffer_size", 256, |l| l.max_buffer_size),
    ("max_compute_workgroup_storage_size", 16 << 10, |l| {
        l.max_compute_workgroup_storage_size.into()
    }),
    ("max_compute_invocations_per_workgroup", 256, |l| {
        l.max_compute_invocations_per_workgroup.into()
    }),
    ("max_compute_workgroup_size_x", 256, |l| l.max_compute_workgroup_size_x.into()),
    ("max_compute_workgroup_size_y", 32, |l| l.max_compute_workgroup_size_y.into()),
    ("max_compute_workgroup_size_z", 1, |l| l.max_compute_workgroup_size_z.into()),
    ("max_compute_workgroups_per_dimension", 8, |l| l.max_compute_workgroups_per_dimension.into()),
];

impl Gpu {
    /// Whether a device with such limits can run the kernels. Every WebGPU device can; those of OpenGL's
    /// kind, as `wgpu::Limits::downlevel_webgl2_defaults` describes them, can't.
    ///
    /// ```
    /// use gatefold::{gpu::Gpu, wgpu};
    ///
    /// Gpu::check_limits(&wgpu::Limits::default())?;
    /// let without_compute = wgpu::Limits::downlevel_webgl2_defaults();
    /// let refused = Gpu::check_limits(&without_compute).unwrap_err().to_string();
    /// assert!(refused.contains("max_storage_buffers_per_shader_stage is 0"), "{refused}");
    /// # Ok::<(), gatefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Limit`] for the first that is too small.
    pub fn check_limits(limits: &wgpu::Limits) -> Result<()> {
        for (limit, needed, of) in NEEDS {
            let available = of(limits);
            if available < needed {
                return Err(Error::Limit {
                    operation: "Gpu::from_wgpu",
                    what: "running kernels (ask the adapter for what `Gpu::wanted` says)"
                        .to_owned(),
                    needed,
                    limit,
                    available,
                });
            }
        }
        Ok(())
    }
}
