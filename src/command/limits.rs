//! What a device has, and how plans for it are cut.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

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
