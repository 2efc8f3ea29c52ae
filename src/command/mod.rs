//! What an executor runs, as plain data: kernels, commands and the buffers that they name.
//!
//! Nothing here knows a graphics API or a network. A [`Program`] can be built, printed and
//! checked on a machine without any device; the [`gpu`](crate::gpu) and [`cpu`](crate::cpu)
//! executors run it.

mod call;
mod listing;

pub use call::{Arg, Call, CpuForm};

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};
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

/// Who provides a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The session allocates it, unless it is given one; what it holds before a run doesn't count.
    Workspace,
    /// The caller binds it.
    Caller,
}

/// A buffer that a program names.
#[derive(Clone, Debug)]
pub struct BufferSpec {
    /// Its name in listings and in [`Program::buffer`].
    pub name: String,
    /// Its shape in words, such as `[T+1, B, H] = [5, 2, 8]`.
    pub shape: String,
    /// Elements (f32) in a slot.
    pub len: usize,
    /// How many slots. Where there are several, run `n` of a session uses slot `n % slots`.
    pub slots: usize,
    /// Who provides it.
    pub owner: Owner,
}

/// Buffers and the commands over them, in order.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The buffers.
    pub buffers: Vec<BufferSpec>,
    /// The commands.
    pub commands: Vec<Command>,
    /// How many of the first commands only make something of what others give, such as copies of
    /// weights in the order in which they are read. An executor may leave them out as long as nobody has
    /// written the buffers that they read and write.
    pub prepare: usize,
    /// Names of parts of buffers, where several things lie in one.
    parts: Vec<(String, Range)>,
    /// What the program was when it was found to keep to its ranges.
    trusted: Option<u64>,
}

/// Which executor runs a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executor {
    /// [`gpu`](crate::gpu): many invocations, a launch costs microseconds.
    Gpu,
    /// [`cpu`](crate::cpu): few threads with wide vectors and caches.
    Cpu,
}

/// How a loop over time is cut into launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// A launch runs all timesteps of a layer, or as many as may run in one.
    Sequence,
    /// A launch, or two, for each timestep of a layer.
    Step,
    /// A launch runs a timestep of each layer of a stack, a layer one timestep behind the one below.
    Wavefront,
    /// A launch runs a whole training step.
    Fused,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tier::Sequence => "sequence",
            Tier::Step => "step",
            Tier::Wavefront => "wavefront",
            Tier::Fused => "fused",
        })
    }
}

impl FromStr for Tier {
    type Err = Error;

    fn from_str(name: &str) -> Result<Tier> {
        let all = [Tier::Sequence, Tier::Step, Tier::Wavefront, Tier::Fused];
        all.into_iter().find(|tier| tier.to_string() == name).ok_or_else(|| Error::Value {
            operation: "Tier::from_str",
            name: "tier".to_owned(),
            expected: "sequence, step, wavefront or fused".to_owned(),
            got: format!("{name:?}"),
        })
    }
}

/// What a plan has to keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Which executor runs it.
    pub executor: Executor,
    /// How loops over time have to be cut; without, as the planner estimates to be fastest.
    pub tier: Option<Tier>,
    /// Whether a GPU is a driver that computes on a CPU: a load then costs as much as many
    /// multiply-adds.
    pub software: bool,
    /// The fewest invocations of a subgroup, where there are subgroup operations.
    pub subgroup: Option<u32>,
    /// The most invocations of a workgroup.
    pub max_invocations: u32,
    /// Bytes of memory that a workgroup may have.
    pub workgroup_memory: u32,
    /// The most elements that one binding may hold.
    pub max_binding: usize,
    /// The most elements that one buffer may hold.
    pub max_buffer: usize,
    /// A binding starts at a multiple of so many elements.
    pub alignment: usize,
    /// The most workgroups in one dimension of a grid.
    pub max_workgroups: u32,
    /// The most loop iterations that one invocation may run, where the driver stops loops.
    pub loop_budget: Option<u32>,
}

impl Limits {
    /// Those of the CPU executor. Kernels count elements in u32, here as on a GPU.
    pub const CPU: Limits = Limits {
        executor: Executor::Cpu,
        tier: None,
        software: false,
        subgroup: None,
        max_invocations: u32::MAX,
        workgroup_memory: u32::MAX,
        max_binding: u32::MAX as usize,
        max_buffer: u32::MAX as usize,
        alignment: 1,
        max_workgroups: u32::MAX,
        loop_budget: None,
    };

    /// What every WebGPU device offers (128 MiB a binding, 256 MiB a buffer).
    pub const WEBGPU: Limits = Limits {
        executor: Executor::Gpu,
        tier: None,
        software: false,
        subgroup: None,
        max_invocations: 256,
        workgroup_memory: 16 << 10,
        max_binding: (128 << 20) / 4,
        max_buffer: (256 << 20) / 4,
        alignment: 64,
        max_workgroups: 65_535,
        loop_budget: None,
    };
}

impl BufferSpec {
    /// Bytes of all slots.
    pub fn bytes(&self) -> u64 {
        self.len as u64 * self.slots as u64 * 4
    }
}

impl Program {
    /// Adds a buffer.
    pub fn add(&mut self, spec: BufferSpec) -> BufferId {
        self.buffers.push(spec);
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// The buffer of that name.
    pub fn buffer(&self, name: &str) -> Option<BufferId> {
        self.buffers.iter().position(|b| b.name == name).map(|i| BufferId(i as u32))
    }

    /// Gives a part of a buffer a name of its own.
    pub(crate) fn name_part(&mut self, name: &str, part: Range) {
        self.parts.push((name.to_owned(), part));
    }

    /// What has that name: a whole buffer, or a part of one.
    pub fn part(&self, name: &str) -> Option<Range> {
        let part = self.parts.iter().find(|(own, _)| own == name).map(|(_, part)| *part);
        self.buffer(name).map(|buffer| self.whole(buffer)).or(part)
    }

    /// The description of a buffer.
    pub fn spec(&self, id: BufferId) -> &BufferSpec {
        &self.buffers[id.0 as usize]
    }

    /// All of a buffer, or of one of its slots.
    pub fn whole(&self, buffer: BufferId) -> Range {
        Range { buffer, start: 0, len: self.spec(buffer).len }
    }

    /// The launches of a program, in order.
    pub fn dispatches(&self) -> impl Iterator<Item = (&Command, &Dispatch)> {
        self.commands.iter().filter_map(|command| match &command.operation {
            Operation::Dispatch(dispatch) => Some((command, dispatch)),
            _ => None,
        })
    }

    /// Multiply-adds of all launches together, as far as their kernels say.
    pub fn work(&self, table: &KernelTable) -> u64 {
        let of = |d: &Dispatch| table[d.kernel].work.map_or(0, |work| work(d));
        self.dispatches().map(|(_, d)| of(d)).sum()
    }

    /// Bytes of the buffers that a session allocates.
    pub fn workspace_bytes(&self) -> u64 {
        let own = self.buffers.iter().filter(|b| b.owner == Owner::Workspace);
        own.map(BufferSpec::bytes).sum()
    }

    /// Bytes of all buffers, the caller's included.
    pub fn bytes(&self) -> u64 {
        self.buffers.iter().map(BufferSpec::bytes).sum()
    }

    /// The program as one whose launches keep to the ranges that they bind, as long as nobody changes it:
    /// this crate's kernels then run unchecked. Plans are such programs.
    ///
    /// # Safety
    /// With what its block of constants says, no launch of the table's kernels may touch an element
    /// outside its ranges, or loop for ever.
    #[allow(unsafe_code)]
    pub unsafe fn trusted(self, table: &KernelTable) -> Program {
        self.trust(table)
    }

    /// The first commands alone, trusted as this program is.
    pub fn first(&self, commands: usize, table: &KernelTable) -> Program {
        let kept = self.commands[..commands].to_vec();
        let prepare = self.prepare.min(commands);
        let first = Program { commands: kept, prepare, trusted: None, ..self.clone() };
        if self.is_trusted(table) { first.trust(table) } else { first }
    }

    /// The same for the planner, whose safety the suite shows.
    pub(crate) fn trust(self, table: &KernelTable) -> Program {
        Program { trusted: Some(self.fingerprint(table)), ..self }
    }

    /// Whether it is what it was when it was trusted.
    pub(crate) fn is_trusted(&self, table: &KernelTable) -> bool {
        self.trusted.is_some_and(|then| then == self.fingerprint(table))
    }

    /// What tells its launches, their modules and its buffers from others.
    fn fingerprint(&self, table: &KernelTable) -> u64 {
        let mut hasher = DefaultHasher::new();
        for spec in &self.buffers {
            (spec.len, spec.slots).hash(&mut hasher);
        }
        for (_, d) in self.dispatches() {
            (d.kernel, d.variant, &d.params, &d.bindings, d.grid).hash(&mut hasher);
            for (name, value) in &d.constants {
                (name, value.to_bits()).hash(&mut hasher);
            }
            // A module is known by where it is: copies of a table share it.
            let variants = table.0.get(d.kernel.0 as usize).map(|kernel| &kernel.variants);
            let module = variants.and_then(|variants| variants.get(d.variant));
            module.map(|variant| Arc::as_ptr(&variant.source).addr()).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Checks what both executors rely on: every range lies in its buffer and starts where a
    /// binding may, a buffer that a command writes is bound once in it, grids and bindings keep
    /// to the limits.
    ///
    /// # Errors
    /// [`Error::Limit`] where the device has too little of something, [`Error::Value`] where the
    /// program contradicts itself.
    pub fn check(&self, table: &KernelTable, limits: &Limits) -> Result<()> {
        for spec in &self.buffers {
            let needed = spec.len.saturating_mul(spec.slots);
            if needed > limits.max_buffer {
                return Err(limit(
                    &spec.name,
                    needed,
                    "largest buffer (f32 elements)",
                    limits.max_buffer,
                ));
            }
        }
        for command in &self.commands {
            self.check_command(command, table, limits)?;
        }
        Ok(())
    }

    fn check_command(&self, command: &Command, table: &KernelTable, limits: &Limits) -> Result<()> {
        let bad = |what: String| Error::Value {
            operation: "Program::check",
            name: format!("command {:?}", command.label),
            expected: "consistent".to_owned(),
            got: what,
        };
        let inside = |range: &Range| {
            let spec = self.buffers.get(range.buffer.0 as usize);
            match spec.and_then(|s| Some((s, range.start.checked_add(range.len)?))) {
                Some((spec, end)) if range.len > 0 && end <= spec.len => Ok(spec),
                _ => {
                    let Range { buffer, start, len } = range;
                    let place = format!("{len} elements of buffer {} from {start} on", buffer.0);
                    Err(bad(format!("{place}, which it lacks")))
                }
            }
        };
        match &command.operation {
            Operation::Zero(range) => inside(range).map(|_| ()),
            Operation::Copy { from, to } => {
                inside(from)?;
                inside(to)?;
                if from.len != to.len || from.buffer == to.buffer {
                    return Err(bad("a copy of two lengths or inside one buffer".to_owned()));
                }
                Ok(())
            }
            Operation::Dispatch(d) => {
                let Some(kernel) = table.0.get(d.kernel.0 as usize) else {
                    return Err(bad(format!("kernel {}, which the table lacks", d.kernel.0)));
                };
                if d.bindings.len() != kernel.bindings.len()
                    || d.params.len() != kernel.params_size
                    || d.variant >= kernel.variants.len()
                {
                    return Err(bad(format!("not what `{}` takes", kernel.name)));
                }
                let variant = &kernel.variants[d.variant];
                let what = || format!("`{}` ({}) of {}", kernel.name, variant.name, command.label);
                let have = limits.subgroup.unwrap_or(0);
                let needed = variant.subgroup.filter(|&needed| needed > have);
                if let Some(needed) = needed.filter(|_| limits.executor == Executor::Gpu) {
                    let have = have as usize;
                    return Err(limit(&what(), needed as usize, "smallest subgroup", have));
                }
                let invocations = variant.workgroup.iter().product::<u32>();
                if invocations > limits.max_invocations {
                    let have = limits.max_invocations as usize;
                    let most = "invocations of a workgroup";
                    return Err(limit(&what(), invocations as usize, most, have));
                }
                for (range, binding) in d.bindings.iter().zip(kernel.bindings) {
                    if inside(range)?.slots != 1 {
                        return Err(bad(format!("`{}` bound to a ring", binding.name)));
                    }
                    if range.start % limits.alignment != 0 {
                        return Err(bad(format!("`{}` bound at an odd offset", binding.name)));
                    }
                    if range.len > limits.max_binding {
                        let what = format!("`{}` of {}", binding.name, command.label);
                        return Err(limit(
                            &what,
                            range.len,
                            "largest binding (f32 elements)",
                            limits.max_binding,
                        ));
                    }
                    let times = d.bindings.iter().filter(|r| r.buffer == range.buffer).count();
                    if binding.access == Access::ReadWrite && times > 1 {
                        return Err(bad(format!("`{}` bound a second time", binding.name)));
                    }
                }
                if let Some(&groups) = d.grid.iter().find(|&&n| n == 0 || n > limits.max_workgroups)
                {
                    let what = format!("the grid of {}", command.label);
                    return Err(limit(
                        &what,
                        groups as usize,
                        "workgroups a dimension",
                        limits.max_workgroups as usize,
                    ));
                }
                Ok(())
            }
        }
    }

    /// One buffer for each of [`Program::buffers`]: the caller's, or created for the workspace where
    /// the caller gives none.
    pub(crate) fn resolve<B: Clone>(
        &self,
        caller: &[(BufferId, B)],
        create: impl Fn(&str, usize) -> Result<B>,
        len: impl Fn(&B) -> usize,
        same: impl Fn(&B, &B) -> bool,
    ) -> Result<Vec<B>> {
        let mut buffers: Vec<B> = Vec::new();
        for (index, spec) in self.buffers.iter().enumerate() {
            let refused = |expected: String, got: String| Error::Value {
                operation: "session",
                name: format!("buffer `{}`", spec.name),
                expected,
                got,
            };
            let needed = spec.len * spec.slots;
            let given = caller.iter().find(|(id, _)| id.0 as usize == index).map(|(_, b)| b);
            let buffer = match (spec.owner, given) {
                (Owner::Workspace, None) => create(&spec.name, needed)?,
                (_, Some(buffer)) if len(buffer) >= needed => buffer.clone(),
                (_, given) => {
                    let got = given.map_or("none".to_owned(), |b| format!("{} elements", len(b)));
                    return Err(refused(format!("given, with at least {needed} elements"), got));
                }
            };
            if buffers.iter().any(|other| same(other, &buffer)) {
                let got = "one that the program already uses".to_owned();
                return Err(refused("of its own".to_owned(), got));
            }
            buffers.push(buffer);
        }
        Ok(buffers)
    }

    /// The elements of a range in the slot that a run has in the range's buffer.
    pub(crate) fn elements(&self, range: &Range, run: usize) -> std::ops::Range<usize> {
        let spec = self.spec(range.buffer);
        let start = range.start + run % spec.slots * spec.len;
        start..start + range.len
    }
}

fn limit(what: &str, needed: usize, limit: &'static str, available: usize) -> Error {
    Error::Limit {
        operation: "Program::check",
        what: what.to_owned(),
        needed: needed as u64,
        limit,
        available: available as u64,
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
