//! The host loop as data: which kernel runs when, over which buffers, and why.
//!
//! Planning touches no device. From a [`StackShape`], a number of timesteps, a batch and the
//! [`Limits`] of a device it makes a [`Program`] that either executor runs, and that prints:
//!
//! ```
//! use gatefold::command::Limits;
//! use gatefold::plan::{Plan, StackShape};
//!
//! let shape = StackShape::lstm(3, 8);
//! let plan = Plan::forward(&shape, 2, 5, &Limits::WEBGPU)?;
//! let listing = plan.to_string();
//! assert!(listing.contains("layer 0, t = 1"));
//! assert_eq!(listing.matches("lstm_step_forward").count(), 2);
//! # Ok::<(), gatefold::Error>(())
//! ```

mod backward;
mod forward;
mod parameters;
mod update;
mod workspace;

pub use parameters::{Layout, Parameter, ParameterTable, Role};

use std::fmt;
use std::sync::Arc;

use crate::command::{Limits, Program};
use crate::error::{Error, Result, elements};
use crate::kernels;
use crate::reference::AdamConstants;
use workspace::Planner;

/// How many bias vectors a layer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Bias {
    /// None, as `torch.nn.LSTM(bias=False)`.
    None,
    /// One a gate, as in models written by hand.
    Single,
    /// `bias_ih` and `bias_hh`, as `torch.nn.LSTM`. They are added, so one would give the same
    /// outputs; under Adam two take two steps.
    #[default]
    Double,
}

/// What stands on the top layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Head {
    /// Nothing: the outputs of all timesteps are the result.
    #[default]
    Sequence,
    /// Nothing: the last hidden state is the prediction.
    LastHidden,
    /// A linear layer with so many outputs on the last hidden state.
    Linear(usize),
}

/// All that a plan has to know of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackShape {
    /// Input features `I`.
    pub input: usize,
    /// Units `H` of every layer.
    pub hidden: usize,
    /// LSTM layers `L`; without any, the head stands on the input of a single timestep.
    pub layers: usize,
    /// Biases of the LSTM layers.
    pub bias: Bias,
    /// What stands on them.
    pub head: Head,
}

impl StackShape {
    /// One layer with PyTorch's two biases and no head.
    pub fn lstm(input: usize, hidden: usize) -> StackShape {
        StackShape { input, hidden, layers: 1, bias: Bias::Double, head: Head::Sequence }
    }

    /// Features that reach the head.
    pub fn features(&self) -> usize {
        if self.layers == 0 { self.input } else { self.hidden }
    }

    /// Features that reach layer `l`.
    pub fn layer_input(&self, l: usize) -> usize {
        if l == 0 { self.input } else { self.hidden }
    }

    /// Numbers in a prediction of one row; zero where the result is a sequence.
    pub fn outputs(&self) -> usize {
        match self.head {
            Head::Sequence => 0,
            Head::LastHidden => self.features(),
            Head::Linear(outputs) => outputs,
        }
    }

    /// Elements of all parameters, a little more than there are for the padding between them;
    /// `None` where they can't be counted.
    fn parameters(&self) -> Option<usize> {
        let rows = self.hidden.checked_mul(4)?;
        let terms = |l: usize| self.layer_input(l).checked_add(self.hidden)?.checked_add(2);
        let layer = |l: usize| rows.checked_mul(terms(l)?)?.checked_add(4 * 64);
        let first = if self.layers > 0 { layer(0)? } else { 0 };
        let above = layer(1)?.checked_mul(self.layers.saturating_sub(1))?;
        let head =
            self.features().checked_add(1)?.checked_mul(self.outputs())?.checked_add(2 * 64)?;
        first.checked_add(above)?.checked_add(head)
    }

    /// Checks that a device can hold the largest buffers, before anything of their size is made.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn fits(
        &self,
        operation: &'static str,
        steps: usize,
        batch: usize,
        limits: &Limits,
    ) -> Result<()> {
        let rows = steps.saturating_mul(batch);
        const LARGEST: &str = "largest buffer (f32 elements)";
        let parameters = self.parameters().unwrap_or(usize::MAX);
        let gates = rows.saturating_mul(4).saturating_mul(self.hidden);
        let needs = [
            ("the parameters", parameters, LARGEST, limits.max_buffer),
            ("the input", rows.saturating_mul(self.input), LARGEST, limits.max_buffer),
            ("the gates of all timesteps", gates, LARGEST, limits.max_buffer),
            ("timesteps x layers", steps.saturating_mul(self.layers), "longest plan", MAX_STEPS),
        ];
        match needs.into_iter().find(|(_, needed, _, available)| needed > available) {
            None => Ok(()),
            Some((what, needed, limit, available)) => Err(Error::Limit {
                operation,
                what: what.to_owned(),
                needed: needed as u64,
                limit,
                available: available as u64,
            }),
        }
    }

    /// Checks the sizes, alone and with `steps` and `batch`.
    ///
    /// # Errors
    /// [`Error::Value`] for a zero, [`Error::Overflow`] for a product that no machine can hold.
    pub fn check(&self, operation: &'static str, steps: usize, batch: usize) -> Result<()> {
        let features = self.features();
        elements(operation, "[timesteps, batch, input]", &[steps, batch, self.input])?;
        elements(operation, "[input, 4 x hidden]", &[self.input, 4, self.hidden])?;
        elements(operation, "[hidden, 4 x hidden]", &[self.hidden, 4, self.hidden])?;
        // One more slot than timesteps.
        elements(
            operation,
            "[timesteps + 1, batch, 4 x hidden]",
            &[steps.saturating_add(1), batch, 4, self.hidden],
        )?;
        if let Head::Linear(outputs) = self.head {
            elements(operation, "[outputs, hidden]", &[outputs, features])?;
            elements(operation, "[batch, outputs]", &[batch, outputs])?;
        }
        if self.parameters().is_none() {
            let what = "the number of parameters".to_owned();
            return Err(Error::Overflow { operation, what });
        }
        if self.layers == 0 && !(matches!(self.head, Head::Linear(_)) && steps == 1) {
            return Err(Error::Value {
                operation,
                name: "layers".to_owned(),
                expected: "at least 1 for a sequence".to_owned(),
                got: "0".to_owned(),
            });
        }
        Ok(())
    }
}

/// What a training plan does besides the parameters' gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrainingOptions {
    /// The optimizer step that ends the run, if any.
    pub adam: Option<AdamConstants>,
    /// Also the gradient of the input and of the initial states.
    pub input_gradient: bool,
}

/// Timesteps of all layers in one plan, at most: a command each takes memory on the host.
const MAX_STEPS: usize = 1 << 22;

/// Runs whose losses stay on the device before the host has to read them.
pub const LOSS_SLOTS: usize = 1024;

/// A program for a shape, with what led to it.
///
/// # Buffers
/// `T` timesteps, `B` rows, `I` inputs, `H` units, `O` outputs; all f32.
///
/// | name | shape | what |
/// |---|---|---|
/// | `params` | `[N]` | the parameters, where [`ParameterTable`] says; the caller's |
/// | `x` | `[T, B, I]` | the input |
/// | `gates_l{l}` | `[T, B, H, 4]` | the input's share, then the activated gates, then their gradients |
/// | `h_l{l}`, `c_l{l}` | `[T+1, B, H]` | the states; slot 0 is the initial one |
/// | `y` | `[B, O]` | the prediction, where there is a head |
///
/// A training plan has also
///
/// | name | shape | what |
/// |---|---|---|
/// | `feed` | `x`, `target`, two scalars of the optimizer | what the host writes for a run; a ring |
/// | `grads`, `adam_m`, `adam_v` | `[N]` | gradients and moments; the caller's |
/// | `loss` | `[1]` | the mean of the loss |
/// | `losses` | `[1]` | the losses of the last [`LOSS_SLOTS`] runs; a ring, the caller's |
/// | `dx_0`, `dh_0`, `dc_0` | `[T, B, I]`, `[L, B, H]` | with [`TrainingOptions::input_gradient`] |
#[derive(Clone, Debug)]
pub struct Plan {
    /// What an executor runs.
    pub program: Arc<Program>,
    /// The model.
    pub shape: StackShape,
    /// Timesteps `T`.
    pub steps: usize,
    /// Rows `B`.
    pub batch: usize,
    /// How the time loop is run.
    pub tier: &'static str,
    /// Why that way.
    pub reason: String,
}

impl Plan {
    /// Inference over `steps` timesteps of `batch` rows.
    ///
    /// # Errors
    /// As [`StackShape::check`]; [`Error::Limit`] where the device can't hold a piece.
    pub fn forward(
        shape: &StackShape,
        steps: usize,
        batch: usize,
        limits: &Limits,
    ) -> Result<Plan> {
        shape.check("Plan::forward", steps, batch)?;
        shape.fits("Plan::forward", steps, batch, limits)?;
        let mut planner = Planner::new(shape, steps, batch, limits);
        planner.forward();
        planner.finish()
    }

    /// A training step: forward, mean squared error, backward, and the optimizer if asked for.
    ///
    /// # Errors
    /// As [`Plan::forward`]; [`Error::Value`] where the model makes no prediction.
    pub fn training(
        shape: &StackShape,
        steps: usize,
        batch: usize,
        options: &TrainingOptions,
        limits: &Limits,
    ) -> Result<Plan> {
        shape.check("Plan::training", steps, batch)?;
        shape.fits("Plan::training", steps, batch, limits)?;
        if shape.outputs() == 0 {
            return Err(Error::Value {
                operation: "Plan::training",
                name: "head".to_owned(),
                expected: "LastHidden or Linear, to compare with a target".to_owned(),
                got: "Sequence".to_owned(),
            });
        }
        let mut planner = Planner::new(shape, steps, batch, limits);
        planner.feed();
        planner.forward();
        planner.loss();
        planner.backward(options.input_gradient);
        if let Some(constants) = &options.adam {
            planner.adam(constants);
        }
        planner.log_loss();
        planner.finish()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.shape;
        writeln!(
            f,
            "T = {}, B = {}, I = {}, H = {}, L = {}, bias {:?}, head {:?}",
            self.steps, self.batch, s.input, s.hidden, s.layers, s.bias, s.head
        )?;
        writeln!(f, "tier: {} ({})", self.tier, self.reason)?;
        write!(f, "{}", self.program.listing(&kernels::table()))
    }
}
