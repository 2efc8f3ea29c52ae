//! A buffer of either executor.

#[cfg(feature = "cpu")]
use crate::cpu;
#[cfg(feature = "gpu")]
use crate::gpu;

/// A buffer of either executor.
#[derive(Clone, Debug)]
pub(crate) enum Buffer {
    #[cfg(feature = "gpu")]
    Gpu(gpu::Buffer),
    #[cfg(feature = "cpu")]
    Cpu(cpu::Buffer),
}

impl Buffer {
    /// The buffer as wgpu knows it, where it is on a GPU.
    #[cfg(feature = "gpu")]
    pub(crate) fn as_wgpu(&self) -> Option<&wgpu::Buffer> {
        match self {
            Buffer::Gpu(buffer) => Some(buffer.as_wgpu()),
            #[cfg(feature = "cpu")]
            Buffer::Cpu(_) => None,
        }
    }

    /// Whether both are the same buffer.
    pub(crate) fn is(&self, other: &Buffer) -> bool {
        match (self, other) {
            #[cfg(feature = "gpu")]
            (Buffer::Gpu(a), Buffer::Gpu(b)) => a.as_wgpu() == b.as_wgpu(),
            #[cfg(feature = "cpu")]
            (Buffer::Cpu(a), Buffer::Cpu(b)) => a.is(b),
            #[cfg(all(feature = "cpu", feature = "gpu"))]
            _ => false,
        }
    }

    /// Whether nobody else has it; on a GPU nobody can say.
    pub(crate) fn is_unshared(&mut self) -> bool {
        match self {
            #[cfg(feature = "gpu")]
            Buffer::Gpu(_) => false,
            #[cfg(feature = "cpu")]
            Buffer::Cpu(buffer) => buffer.is_unshared(),
        }
    }

    /// Elements.
    pub(crate) fn len(&self) -> usize {
        match self {
            #[cfg(feature = "gpu")]
            Buffer::Gpu(buffer) => buffer.len(),
            #[cfg(feature = "cpu")]
            Buffer::Cpu(buffer) => buffer.len(),
        }
    }

    #[cfg(feature = "gpu")]
    pub(super) fn into_gpu(self) -> Option<gpu::Buffer> {
        match self {
            Buffer::Gpu(buffer) => Some(buffer),
            #[cfg(feature = "cpu")]
            Buffer::Cpu(_) => None,
        }
    }

    #[cfg(feature = "cpu")]
    pub(super) fn into_cpu(self) -> Option<cpu::Buffer> {
        match self {
            Buffer::Cpu(buffer) => Some(buffer),
            #[cfg(feature = "gpu")]
            Buffer::Gpu(_) => None,
        }
    }
}
