//! How a kernel's CPU forms are called.

use std::mem::take;

use super::{Access, Dispatch, Kernel};

/// An argument of a kernel's CPU form.
#[derive(Debug)]
pub enum Arg<'a, R> {
    /// Of a binding with [`Access::Read`].
    Read(&'a [R]),
    /// Of a binding with [`Access::ReadWrite`].
    Write(&'a mut [R]),
}

impl<R> Default for Arg<'_, R> {
    fn default() -> Self {
        Arg::Read(&[])
    }
}

/// What a kernel's CPU form is called with: the same constants and ranges as the shader.
pub struct Call<'c, 'a, R> {
    /// The command that is run.
    pub dispatch: &'c Dispatch,
    /// One argument a binding, in the order of [`Kernel::bindings`].
    pub args: &'c mut [Arg<'a, R>],
}

impl<R> Call<'_, '_, R> {
    /// The block of constants.
    pub fn params<P: bytemuck::AnyBitPattern>(&self) -> P {
        bytemuck::pod_read_unaligned(&self.dispatch.params)
    }
}

/// A CPU form of a kernel.
pub type CpuForm<R, T = ()> = fn(Call<'_, '_, R>) -> T;

/// The most bindings of a kernel; WebGPU offers 8 storage buffers.
const MOST: usize = 8;

impl Dispatch {
    /// Calls a CPU form of the launch's kernel; `views` holds every buffer of the program.
    pub(crate) fn call<R, T>(
        &self,
        kernel: &Kernel,
        form: CpuForm<R, T>,
        views: &mut [Arg<'_, R>],
    ) -> T {
        // Written views are taken out, so that each can be borrowed beside the others; the program's
        // check has made sure that none of them is bound twice.
        let mut taken: [Arg<'_, R>; MOST] = Default::default();
        for (i, (range, binding)) in self.bindings.iter().zip(kernel.bindings).enumerate() {
            if binding.access == Access::ReadWrite {
                taken[i] = take(&mut views[range.buffer.0 as usize]);
            }
        }
        let result = {
            let mut args: [Arg<'_, R>; MOST] = Default::default();
            for (i, (range, taken)) in self.bindings.iter().zip(&mut taken).enumerate() {
                let elements = range.start..range.start + range.len;
                args[i] = match (kernel.bindings[i].access, taken) {
                    (Access::ReadWrite, Arg::Write(slice)) => Arg::Write(&mut slice[elements]),
                    _ => match &views[range.buffer.0 as usize] {
                        Arg::Read(slice) => Arg::Read(&slice[elements]),
                        Arg::Write(slice) => Arg::Read(&slice[elements]),
                    },
                };
            }
            form(Call { dispatch: self, args: &mut args[..kernel.bindings.len()] })
        };
        for (i, (range, binding)) in self.bindings.iter().zip(kernel.bindings).enumerate() {
            if binding.access == Access::ReadWrite {
                views[range.buffer.0 as usize] = take(&mut taken[i]);
            }
        }
        result
    }
}
