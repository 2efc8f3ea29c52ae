//! The host loop as data: which kernel runs when, over which buffers, and why.
//!
//! Planning touches no device. From a [`StackShape`], a number of timesteps, a batch and the
//! [`Limits`] of a device it makes a [`Program`] that either executor runs, and that prints:
//!
//! ```
//! use gatefold::command::Limits;
//! use gatefold::plan::{Plan, Sequences, StackShape};
//!
//! let shape = StackShape::lstm(3, 8);
//! let plan = Plan::forward(&shape, &Sequences::new(2, 5), &Limits::WEBGPU)?;
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

use crate::command::{Limits, Program, Range};
use crate::error::{Error, Result, elements};
use crate::kernels;
use crate::reference::{AdamConstants, Dropout};
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
    /// Whether every layer also runs from the end to the beginning.
    pub bidirectional: bool,
    /// Features `P` that hidden states are projected to, where they are.
    pub projection: Option<usize>,
    /// Whether the initial states are parameters.
    pub learned_state: bool,
}

impl StackShape {
    /// One layer with PyTorch's two biases and no head.
    pub fn lstm(input: usize, hidden: usize) -> StackShape {
        StackShape {
            input,
            hidden,
            layers: 1,
            bias: Bias::Double,
            head: Head::Sequence,
            bidirectional: false,
            projection: None,
            learned_state: false,
        }
    }

    /// Directions `D` of a layer.
    pub fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    /// Features of a direction's hidden state: `P` with a projection, else `H`.
    pub fn state(&self) -> usize {
        self.projection.unwrap_or(self.hidden)
    }

    /// Features that reach the head.
    pub fn features(&self) -> usize {
        if self.layers == 0 { self.input } else { self.directions().saturating_mul(self.state()) }
    }

    /// Features that reach layer `l`.
    pub fn layer_input(&self, l: usize) -> usize {
        if l == 0 { self.input } else { self.features() }
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
        let terms = |l: usize| self.layer_input(l).checked_add(self.state())?.checked_add(2);
        let projection = self.projection.unwrap_or(0).checked_add(4)?.checked_mul(self.hidden)?;
        // With what a learned state has for it.
        let others = projection.checked_add(self.state())?.checked_add(self.hidden)?;
        let layer = |l: usize| {
            let direction = rows.checked_mul(terms(l)?)?.checked_add(others)?;
            direction.checked_add(7 * 64)?.checked_mul(self.directions())
        };
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
        let units = if self.layers == 0 { 0 } else { self.directions() * 4 };
        let gates = rows.saturating_mul(units).saturating_mul(self.hidden);
        // Launches that a plan may have for a timestep of a layer, both passes together.
        let launches = 2 * self.directions() * (1 + usize::from(self.projection.is_some()));
        let launches = steps.saturating_mul(self.layers).saturating_mul(launches);
        let needs = [
            ("the parameters", parameters, LARGEST, limits.max_buffer),
            ("the input", rows.saturating_mul(self.input), LARGEST, limits.max_buffer),
            ("the gates of all timesteps", gates, LARGEST, limits.max_buffer),
            ("its launches", launches, "longest plan", MAX_LAUNCHES),
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
        // Two more slots than timesteps, in both directions.
        elements(
            operation,
            "[timesteps + 2, batch, 8 x hidden]",
            &[steps.saturating_add(2), batch, 8, self.hidden],
        )?;
        if let Some(projection) = self.projection.filter(|&p| p == 0 || p >= self.hidden) {
            return Err(Error::Value {
                operation,
                name: "proj_size".to_owned(),
                expected: format!("at least 1 and below the hidden size {}", self.hidden),
                got: projection.to_string(),
            });
        }
        if let Head::Linear(outputs) = self.head {
            elements(operation, "[outputs, hidden]", &[outputs, features])?;
            elements(operation, "[batch, outputs]", &[batch, outputs])?;
        }
        if self.parameters().is_none() {
            let what = "the number of parameters".to_owned();
            return Err(Error::Overflow { operation, what });
        }
        let of_layers = self.bidirectional || self.projection.is_some() || self.learned_state;
        let linear = matches!(self.head, Head::Linear(_)) && steps == 1 && !of_layers;
        if self.layers == 0 && !linear {
            return Err(Error::Value {
                operation,
                name: "layers".to_owned(),
                expected: "at least 1, but for a linear layer alone".to_owned(),
                got: "0".to_owned(),
            });
        }
        Ok(())
    }
}

/// The sizes of one call, and what comes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequences {
    /// Timesteps `T`.
    pub steps: usize,
    /// Rows `B`.
    pub batch: usize,
    /// Whether rows have lengths of their own.
    pub lengths: bool,
    /// Whether `x` and `y` are `[B, T, ..]` instead of `[T, B, ..]`.
    pub batch_first: bool,
    /// Whether initial states are given; else they are learned ones or zero.
    pub state: bool,
    /// Whether single rows may begin anew in spite of the given states.
    pub resets: bool,
}

impl Sequences {
    /// `steps` timesteps of `batch` rows, time-major, from the model's own initial states.
    pub fn new(steps: usize, batch: usize) -> Sequences {
        Sequences { steps, batch, lengths: false, batch_first: false, state: false, resets: false }
    }

    /// With a length for every row.
    pub fn with_lengths(self) -> Self {
        Sequences { lengths: true, ..self }
    }

    /// With `x` and `y` as `[B, T, ..]`.
    pub fn batch_first(self) -> Self {
        Sequences { batch_first: true, ..self }
    }

    /// With given initial states.
    pub fn with_state(self) -> Self {
        Sequences { state: true, ..self }
    }
}

/// What a training plan does besides the parameters' gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrainingOptions {
    /// The optimizer step that ends the run, if any.
    pub adam: Option<AdamConstants>,
    /// Also the gradient of the input and of the initial states.
    pub input_gradient: bool,
    /// What is dropped of the outputs of each layer but the last.
    pub dropout: Option<Dropout>,
}

/// Launches of all timesteps of all layers in one plan, at most: a command each takes memory on the
/// host. Timesteps are therefore counted exactly in f32.
const MAX_LAUNCHES: usize = 1 << 23;

/// Runs whose losses stay on the device before the host has to read them.
pub const LOSS_SLOTS: usize = 1024;

/// A program for a shape, with what led to it.
///
/// # Buffers
/// `T` timesteps, `B` rows, `I` inputs, `H` units, `P` features of a hidden state (`H` without a
/// projection), `D` directions, `L` layers, `O` outputs; all f32.
///
/// | name | shape | what |
/// |---|---|---|
/// | `params` | `[N]` | the parameters, where [`ParameterTable`] says; the caller's |
/// | `x` | `[T, B, I]`, or `[B, T, I]` | the input |
/// | `lengths` | `[B]` | timesteps of each row, where rows have lengths |
/// | `h_0`, `c_0` | `[L D, B, P]`, `[L D, B, H]` | the initial states, where they are given |
/// | `keep`, `fresh` | `[B]` | 1 and 0 for rows that go on, 0 and 1 for those that begin anew, with [`Sequences::resets`] |
/// | `gates_l{l}` | `[D, T, B, H, 4]` | the input's share, then the activated gates, then their gradients |
/// | `h_l{l}` | `[T+D, B, D, P]` | hidden states; slot `t+1` after timestep `t`, the slots at both ends the initial ones |
/// | `c_l{l}` | `[D, T+1, B, H]` | cell states; forward slot `t+1` after timestep `t`, reverse slot `t` |
/// | `z_l{l}` | `[D, T, B, H]` | what is projected |
/// | `y_l{l}` | `[T, B, D P]` | what the next layer gets, where it isn't `h` itself |
/// | `h_n`, `c_n` | as `h_0`, `c_0` | the final states, without a head |
/// | `y` | `[B, O]` | the prediction, where there is a head |
///
/// Without a head, [`Plan::output`] says where the outputs are. A training plan has also
///
/// | name | shape | what |
/// |---|---|---|
/// | `feed` | `x`, `target`, two scalars of the optimizer, the key of dropout | what the host writes for a run; a ring |
/// | `grads`, `adam_m`, `adam_v` | `[N]` | gradients and moments; the caller's |
/// | `loss` | `[1]` | the mean of the loss |
/// | `losses` | `[1]` | the losses of the last [`LOSS_SLOTS`] runs; a ring, the caller's |
/// | `dx_0`, `dh_0`, `dc_0` | as `x`, `h_0`, `c_0` | with [`TrainingOptions::input_gradient`] |
///
/// and a plan of [`Plan::gradient`] has instead of `feed`, `loss` and `losses`
///
/// | name | shape | what |
/// |---|---|---|
/// | `key` | `[4]` | the key of dropout, see [`Dropout::halves`] |
/// | `dy`, `dh_n`, `dc_n` | as the outputs, `h_n`, `c_n` | what comes back |
#[derive(Clone, Debug)]
pub struct Plan {
    /// What an executor runs.
    pub program: Arc<Program>,
    /// The model.
    pub shape: StackShape,
    /// The call.
    pub sequences: Sequences,
    /// Where the outputs, or the prediction, are after a run.
    pub output: Range,
    /// The first command of the forward pass; those before it take what the host has written apart.
    pub forward_from: usize,
    /// The first command of the backward pass, where there is one.
    pub backward_from: usize,
    /// How the time loop is run.
    pub tier: &'static str,
    /// Why that way.
    pub reason: String,
}

impl Plan {
    /// Inference.
    ///
    /// # Errors
    /// As [`StackShape::check`]; [`Error::Limit`] where the device can't hold a piece;
    /// [`Error::Value`] for lengths in a model with a head.
    pub fn forward(shape: &StackShape, sequences: &Sequences, limits: &Limits) -> Result<Plan> {
        let mut planner = Planner::new("Plan::forward", shape, sequences, None, limits)?;
        planner.forward();
        planner.finish()
    }

    /// A forward pass that keeps what a backward pass needs, and the backward pass from the
    /// gradients of the outputs and of the final states to those of parameters, input and initial
    /// states. Two runs: the commands before [`Plan::backward_from`], then the others.
    ///
    /// # Errors
    /// As [`Plan::forward`]; [`Error::Value`] for a model with a head.
    pub fn gradient(
        shape: &StackShape,
        sequences: &Sequences,
        dropout: Option<Dropout>,
        limits: &Limits,
    ) -> Result<Plan> {
        let operation = "Plan::gradient";
        if shape.outputs() > 0 {
            return Err(Error::Value {
                operation,
                name: "head".to_owned(),
                expected: "Sequence, since the outputs' gradients are given".to_owned(),
                got: format!("{:?}", shape.head),
            });
        }
        let mut planner = Planner::new(operation, shape, sequences, dropout, limits)?;
        if dropout.is_some() {
            planner.workspace("key", "[4]", &[4]);
        }
        planner.forward();
        planner.backward_from = planner.program.commands.len();
        planner.incoming();
        planner.backward(true);
        planner.finish()
    }

    /// A training step: forward, mean squared error, backward, and the optimizer if asked for.
    ///
    /// # Errors
    /// As [`Plan::forward`]; [`Error::Value`] where the model makes no prediction.
    pub fn training(
        shape: &StackShape,
        sequences: &Sequences,
        options: &TrainingOptions,
        limits: &Limits,
    ) -> Result<Plan> {
        let operation = "Plan::training";
        if shape.outputs() == 0 {
            return Err(Error::Value {
                operation,
                name: "head".to_owned(),
                expected: "LastHidden or Linear, to compare with a target".to_owned(),
                got: "Sequence".to_owned(),
            });
        }
        let mut planner = Planner::new(operation, shape, sequences, options.dropout, limits)?;
        planner.feed();
        planner.forward_from = planner.program.commands.len();
        planner.forward();
        planner.backward_from = planner.program.commands.len();
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
        let (s, call) = (&self.shape, &self.sequences);
        writeln!(
            f,
            "T = {}, B = {}, I = {}, H = {}, L = {}, D = {}, bias {:?}, head {:?}",
            call.steps,
            call.batch,
            s.input,
            s.hidden,
            s.layers,
            s.directions(),
            s.bias,
            s.head
        )?;
        let said = [
            (s.projection.is_some(), format!("projection to {}", s.state())),
            (s.learned_state, "learned initial states".to_owned()),
            (call.lengths, "lengths".to_owned()),
            (call.batch_first, "batch first".to_owned()),
            (call.state, "given initial states".to_owned()),
            (call.resets, "rows that begin anew".to_owned()),
        ];
        let said: Vec<String> =
            said.into_iter().filter_map(|(is, what)| is.then_some(what)).collect();
        if !said.is_empty() {
            writeln!(f, "with {}", said.join(", "))?;
        }
        writeln!(f, "tier: {} ({})", self.tier, self.reason)?;
        write!(f, "{}", self.program.listing(&kernels::table()))
    }
}
