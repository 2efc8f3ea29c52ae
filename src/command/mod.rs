//! What an executor runs, as plain data: kernels, commands and the buffers that they name.
//!
//! Nothing here knows a graphics API or a network. A [`Program`] can be built, printed and
//! checked on a machine without any device; the [`gpu`](crate::gpu) and [`cpu`](crate::cpu)
//! executors run it.

mod call;
mod limits;
mod listing;
mod program;

pub use call::{Arg, Call, CpuForm};
pub use limits::{Executor, Limits, Tier};
pub use program::{BufferSpec, Owner, Program};

use std::borrow::Cow;
use std::hash::Hash;
use std::sync::Arc;

use crate::reference::Tolerance;

/// The position of a kernel in the [`KernelTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelId(pub u16);

/// The position of a buffer in [`Program::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// Some elements (f32) of a buffer; in a ring, of the run's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// The buffer.
    pub buffer: BufferId,
    /// The first element.
    pub start: usize,
    /// How many elements.
    pub len: usize,
}

/// How a kernel uses a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
}

/// One storage binding of a kernel. Binding 0 is always the uniform block of constants, so
/// binding `n` of this list is `@binding(n + 1)`.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The variable's name in the shader.
    pub name: &'static str,
    /// Its shape in the project's notation.
    pub shape: &'static str,
    /// How it is used.
    pub access: Access,
}

/// A field of a kernel's block of constants, for the test that compares both layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field's name, the same in Rust and WGSL.
    pub name: &'static str,
    /// Its offset in bytes.
    pub offset: usize,
    /// Its size in bytes.
    pub size: usize,
    /// Its type, which has the same name in Rust and WGSL.
    pub ty: &'static str,
}

/// One WGSL implementation of a kernel.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The variant's name, the stem of its file where a kernel has several.
    pub name: Cow<'static, str>,
    /// Invocations in a workgroup.
    pub workgroup: [u32; 3],
    /// The fewest invocations of a subgroup that it is right for, where it needs subgroups.
    pub subgroup: Option<u32>,
    /// The whole module.
    source: Arc<str>,
    /// Whether it may be compiled without checks of its own bounds.
    #[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "nothing is compiled"))]
    trusted: bool,
}

impl Variant {
    /// A module of a caller's, which is compiled with all checks.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        source: impl Into<Arc<str>>,
        workgroup: [u32; 3],
    ) -> Variant {
        Variant {
            name: name.into(),
            workgroup,
            subgroup: None,
            source: source.into(),
            trusted: false,
        }
    }

    /// A module of this crate, which the suite has run with all checks and without.
    pub(crate) fn own(
        name: impl Into<Cow<'static, str>>,
        source: impl Into<Arc<str>>,
        workgroup: [u32; 3],
    ) -> Variant {
        Variant { trusted: true, ..Variant::new(name, source, workgroup) }
    }

    /// The whole module.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The same with another module, which is compiled with all checks.
    pub fn with_source(self, source: impl Into<Arc<str>>) -> Variant {
        Variant { source: source.into(), trusted: false, ..self }
    }

    /// Whether it may be compiled without checks of its own bounds.
    #[cfg(feature = "gpu")]
    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted
    }
}

/// A row of the table: everything that there is to know of one kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The name that its three files share.
    pub name: &'static str,
    /// The storage bindings.
    pub bindings: &'static [Binding],
    /// The fields of the block of constants.
    pub fields: &'static [Field],
    /// The size of the block of constants in bytes.
    pub params_size: usize,
    /// The WGSL implementations.
    pub variants: Vec<Variant>,
    /// The twin in the precision of the device.
    pub twin: CpuForm<f32>,
    /// The twin in double precision, which results are compared with.
    pub twin_f64: CpuForm<f64>,
    /// A faster CPU implementation than the twin, where there is one.
    pub fast: Option<CpuForm<f32>>,
    /// How many multiply-adds a launch takes, of kernels that mostly consist of them.
    pub work: Option<fn(&Dispatch) -> u64>,
    /// How far a result may be from the f64 twin's, given the command.
    pub tolerance: fn(&Dispatch) -> Tolerance,
    /// What the tolerance's absolute part is multiplied by, where the results scale with the
    /// inputs; the arguments are those before the launch.
    pub scale: Option<CpuForm<f64, f64>>,
}

/// The kernels that an executor can run.
#[derive(Clone, Debug)]
pub struct KernelTable(pub Vec<Kernel>);

impl std::ops::Index<KernelId> for KernelTable {
    type Output = Kernel;

    fn index(&self, id: KernelId) -> &Kernel {
        &self.0[id.0 as usize]
    }
}

/// One launch of a kernel.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The kernel.
    pub kernel: KernelId,
    /// Which of its [`Kernel::variants`].
    pub variant: usize,
    /// Pipeline constants (WGSL `override`), by name.
    pub constants: Vec<(&'static str, f64)>,
    /// The block of constants, as bytes.
    pub params: Vec<u8>,
    /// One range a binding.
    pub bindings: Vec<Range>,
    /// Workgroups.
    pub grid: [u32; 3],
}

impl Dispatch {
    /// The value of a pipeline constant, zero where it is not given.
    pub fn constant(&self, name: &str) -> f64 {
        self.constants.iter().find(|(n, _)| *n == name).map_or(0.0, |(_, value)| *value)
    }
}

/// What is done.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A kernel is launched.
    Dispatch(Dispatch),
    /// Elements are copied between two buffers.
    Copy {
        /// What is read.
        from: Range,
        /// What is written, of the same length.
        to: Range,
    },
    /// Elements become +0.0.
    Zero(Range),
}

/// One line of a program.
#[derive(Clone, Debug)]
pub struct Command {
    /// What it is for, such as `layer 0, t = 3`.
    pub label: String,
    /// What is done.
    pub operation: Operation,
}

impl Command {
    /// Calls `each` with every range that the command touches, and how.
    #[cfg(feature = "cpu")]
    pub(crate) fn each_range(&self, table: &KernelTable, mut each: impl FnMut(&Range, Access)) {
        match &self.operation {
            Operation::Zero(to) => each(to, Access::ReadWrite),
            Operation::Copy { from, to } => {
                each(from, Access::Read);
                each(to, Access::ReadWrite);
            }
            Operation::Dispatch(d) => {
                for (range, binding) in d.bindings.iter().zip(table[d.kernel].bindings) {
                    each(range, binding.access);
                }
            }
        }
    }
}

/// Declares a kernel's block of constants once for Rust, with the field table that the layout
/// test compares with the shader's `struct Params`.
macro_rules! params {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$doc:meta])* pub $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name { $($(#[$doc])* pub $field: $ty,)* }

        impl $name {
            /// The fields with their offsets, in the order of the shader's `struct Params`.
            pub const FIELDS: &'static [$crate::command::Field] = &[$($crate::command::Field {
                name: stringify!($field),
                offset: std::mem::offset_of!($name, $field),
                size: std::mem::size_of::<$ty>(),
                ty: stringify!($ty),
            },)*];
        }
    };
}
pub(crate) use params;
