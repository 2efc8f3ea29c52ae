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
mod loss;
mod parameters;
mod update;
mod workspace;

pub use parameters::{ALIGNMENT, Layout, Parameter, ParameterTable, Role};
pub use update::{Rule, Update, norm_chunk};

use std::fmt;
use std::sync::Arc;

use crate::command::{Limits, Owner, Program, Range};
use crate::error::{Error, Result, elements};
use crate::kernels;
use crate::reference::{CrossEntropy, Dropout, Pointwise};
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
    /// A linear layer with so many outputs on the hidden state of every timestep.
    EveryStep(usize),
}

/// What the input is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Features, `[.., I]`.
    #[default]
    Values,
    /// Tokens in `0..I`, each of which becomes a one among zeros.
    OneHot,
    /// Tokens below so many, each of which becomes a row of a learned `[V, I]`.
    Embedding(usize),
}

impl Encoding {
    /// How many tokens there are, where the input is made of tokens; `input` features reach the
    /// first layer.
    pub fn tokens(&self, input: usize) -> Option<usize> {
        match *self {
            Encoding::Values => None,
            Encoding::OneHot => Some(input),
            Encoding::Embedding(vocabulary) => Some(vocabulary),
        }
    }
}

/// All that a plan has to know of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackShape {
    /// Features `I` that reach the first layer.
    pub input: usize,
    /// What they are made of.
    pub encoding: Encoding,
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
            encoding: Encoding::Values,
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

    /// Numbers in a prediction of one row, or of one of its timesteps; zero where the result is a
    /// sequence of hidden states.
    pub fn outputs(&self) -> usize {
        match self.head {
            Head::Sequence => 0,
            Head::LastHidden => self.features(),
            Head::Linear(outputs) | Head::EveryStep(outputs) => outputs,
        }
    }

    /// Predictions that so many timesteps of a row lead to.
    pub fn predictions(&self, steps: usize) -> usize {
        if matches!(self.head, Head::EveryStep(_)) { steps } else { 1 }
    }

    /// Numbers that the caller gives for a timestep of a row.
    pub fn given(&self) -> usize {
        if self.encoding == Encoding::Values { self.input } else { 1 }
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
        let embedding = match self.encoding {
            Encoding::Embedding(vocabulary) => vocabulary.checked_mul(self.input)?,
            _ => 0,
        };
        first.checked_add(above)?.checked_add(head)?.checked_add(embedding)?.checked_add(64)
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
            (
                "the predictions",
                self.predictions(steps).saturating_mul(batch * self.outputs()),
                LARGEST,
                limits.max_buffer,
            ),
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
        if let Head::Linear(outputs) | Head::EveryStep(outputs) = self.head {
            elements(operation, "[outputs, hidden]", &[outputs, features])?;
            let rows = self.predictions(steps);
            elements(operation, "[timesteps, batch, outputs]", &[rows, batch, outputs])?;
        }
        if let Some(tokens) = self.encoding.tokens(self.input) {
            if self.outputs() == 0 {
                return Err(Error::Value {
                    operation,
                    name: "input".to_owned(),
                    expected: "values, in a model without predictions".to_owned(),
                    got: format!("{:?}", self.encoding),
                });
            }
            elements(operation, "[tokens, input]", &[tokens, self.input])?;
            // Tokens and their positions are whole numbers in f32.
            if tokens.max(steps.saturating_mul(batch)) > MAX_WHOLE {
                return Err(Error::Value {
                    operation,
                    name: "tokens".to_owned(),
                    expected: format!("at most {MAX_WHOLE}, of a kind and in a batch"),
                    got: format!("{tokens}, and {steps} x {batch}"),
                });
            }
        }
        if self.parameters().is_none() {
            let what = "the number of parameters".to_owned();
            return Err(Error::Overflow { operation, what });
        }
        let of_layers = self.bidirectional || self.projection.is_some() || self.learned_state;
        let plain = self.encoding == Encoding::Values && !of_layers;
        let linear = matches!(self.head, Head::Linear(_)) && steps == 1 && plain;
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

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// A loss of each number of a prediction and a target of its shape.
    Pointwise(Pointwise),
    /// A loss of each prediction, as logits, and a target that is a class.
    CrossEntropy {
        /// The settings.
        settings: CrossEntropy,
        /// Whether classes have weights.
        weighted: bool,
    },
}

impl Default for Objective {
    fn default() -> Self {
        Objective::Pointwise(Pointwise::Squared)
    }
}

/// What is made of a prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Nothing.
    #[default]
    Outputs,
    /// The softmax of the outputs.
    Probabilities,
    /// The output with the largest value.
    Classes,
}

/// Which part of a batch a run is, where gradients are accumulated over several runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// The first part, whose gradients replace those of the batch before.
    First,
    /// One that adds its gradients.
    Middle,
    /// One that adds its gradients, with the optimizer step after it.
    Last,
}

impl Part {
    /// Whether gradients and loss are added to what is there.
    pub fn adds(self) -> bool {
        matches!(self, Part::Middle | Part::Last)
    }

    /// Whether the batch is whole after it.
    pub fn ends(self) -> bool {
        matches!(self, Part::Whole | Part::Last)
    }
}

/// What a training plan does besides the parameters' gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrainingOptions {
    /// What is minimised.
    pub objective: Objective,
    /// The optimizer step that ends a batch, if any.
    pub update: Option<Update>,
    /// Which part of a batch a run is.
    pub part: Part,
    /// Whether the final states become the initial ones of the next run, where states are given.
    pub carry: bool,
    /// Also the gradient of the input and of the initial states.
    pub input_gradient: bool,
    /// What is dropped of the outputs of each layer but the last.
    pub dropout: Option<Dropout>,
}

/// Launches of all timesteps of all layers in one plan, at most: a command each takes memory on the
/// host. Timesteps are therefore counted exactly in f32.
const MAX_LAUNCHES: usize = 1 << 23;

/// Whole numbers up to this one are exact in f32.
const MAX_WHOLE: usize = 1 << 24;

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
/// | `x` | `[T, B, I]`, or `[B, T, I]` | the input; without the last dimension where it is tokens |
/// | `lengths` | `[B]` | timesteps of each row, where rows have lengths |
/// | `h_0`, `c_0` | `[L D, B, P]`, `[L D, B, H]` | the initial states, where they are given |
/// | `keep`, `fresh` | `[B]` | 1 and 0 for rows that go on, 0 and 1 for those that begin anew, with [`Sequences::resets`] |
/// | `gates_l{l}` | `[D, T, B, H, 4]` | the input's share, then the activated gates, then their gradients |
/// | `h_l{l}` | `[T+D, B, D, P]` | hidden states; slot `t+1` after timestep `t`, the slots at both ends the initial ones |
/// | `c_l{l}` | `[D, T+1, B, H]` | cell states; forward slot `t+1` after timestep `t`, reverse slot `t` |
/// | `z_l{l}` | `[D, T, B, H]` | what is projected |
/// | `y_l{l}` | `[T, B, D P]` | what the next layer gets, where it isn't `h` itself |
/// | `h_n`, `c_n` | as `h_0`, `c_0` | the final states, without a head |
/// | `y` | `[B, O]`, or `[T, B, O]`, or `[B, T, O]` | the predictions, where there is a head |
///
/// Without a head, [`Plan::output`] says where the outputs are. A training plan has also
///
/// | name | shape | what |
/// |---|---|---|
/// | `feed` | those below, in this order, as far as a plan has them | what the host writes for a run; a ring |
/// | `target` | as `y`, without the last dimension where it is classes | what `y` should be |
/// | `loss_scale` | `[1]` | what the sum of the loss is multiplied by, such as 1 / N for a mean |
/// | `token_order`, `token_offsets` | `[T B]`, `[V + 1]` | positions sorted by token, see [`sort_tokens`](crate::reference::sort_tokens) |
/// | `scalars`, `settings` | `[4]`, `[G, 16]` | what clipping and the optimizer take, see [`Update`] |
/// | `key` | `[4]` | the key of dropout, see [`Dropout::halves`] |
/// | `class_weights` | `[O]` | weights of the classes; the caller's |
/// | `grads`, `moment_0` to `moment_2` | `[N]` | gradients and the optimizer's states; the caller's |
/// | `groups` | `[N / 64]` | the group of each 64 parameters; the caller's |
/// | `status` | `[16]` | what became of the steps so far, see [`clip_scale`](crate::reference::clip_scale); the caller's |
/// | `loss` | `[1]` | the loss; the caller's |
/// | `losses` | `[1]` | the losses of the last [`LOSS_SLOTS`] runs; a ring, the caller's |
/// | `correct` | `[1]` | with [`Plan::evaluation`] of classes, how many are right |
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
    /// [`Error::Value`] for lengths in a linear layer alone.
    pub fn forward(shape: &StackShape, sequences: &Sequences, limits: &Limits) -> Result<Plan> {
        let mut planner = Planner::new("Plan::forward", shape, sequences, None, limits)?;
        planner.forward();
        planner.finish()
    }

    /// Inference with an answer in some form, `[B]` or `[B, O]`, time-major where there is a prediction
    /// at every timestep.
    ///
    /// # Errors
    /// As [`Plan::forward`]; [`Error::Value`] where the model makes no prediction.
    pub fn prediction(
        shape: &StackShape,
        sequences: &Sequences,
        answer: Answer,
        limits: &Limits,
    ) -> Result<Plan> {
        let operation = "Plan::prediction";
        expect_prediction(operation, shape)?;
        let mut planner = Planner::new(operation, shape, sequences, None, limits)?;
        planner.forward();
        planner.answer(answer);
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

    /// A training step: forward, loss, backward, and the optimizer if asked for.
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
        expect_prediction(operation, shape)?;
        expect_classes(operation, shape, &options.objective, limits)?;
        let mut planner = Planner::new(operation, shape, sequences, options.dropout, limits)?;
        planner.accumulate = options.part.adds();
        planner.feed(options);
        planner.forward_from = planner.program.commands.len();
        planner.forward();
        planner.backward_from = planner.program.commands.len();
        planner.loss(&options.objective);
        planner.backward(options.input_gradient);
        if let Some(update) = options.update.filter(|_| options.part.ends()) {
            planner.update(&update);
        }
        if options.carry && sequences.state {
            planner.carry_states();
        }
        planner.log_loss();
        planner.finish()
    }

    /// A forward pass and its loss, and for classes how many are right; also `h_n` and `c_n` where
    /// `final_states` are wanted. It has `target`, `loss_scale` and `class_weights` of a training plan,
    /// and no feed; nothing is the caller's but the parameters.
    ///
    /// # Errors
    /// As [`Plan::training`].
    pub fn evaluation(
        shape: &StackShape,
        sequences: &Sequences,
        objective: &Objective,
        final_states: bool,
        limits: &Limits,
    ) -> Result<Plan> {
        let operation = "Plan::evaluation";
        expect_prediction(operation, shape)?;
        expect_classes(operation, shape, objective, limits)?;
        let mut planner = Planner::new(operation, shape, sequences, None, limits)?;
        planner.given_results = Owner::Workspace;
        planner.target(objective);
        planner.forward();
        planner.loss(objective);
        planner.correct(objective);
        if final_states {
            planner.final_states();
        }
        planner.finish()
    }
}

fn expect_prediction(operation: &'static str, shape: &StackShape) -> Result<()> {
    match shape.outputs() {
        0 => Err(Error::Value {
            operation,
            name: "head".to_owned(),
            expected: "one that predicts, to compare with a target".to_owned(),
            got: "Sequence".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Checks that a driver that stops long loops lets a row of so many classes pass.
fn expect_classes(
    operation: &'static str,
    shape: &StackShape,
    objective: &Objective,
    limits: &Limits,
) -> Result<()> {
    let (Objective::CrossEntropy { .. }, Some(budget)) = (objective, limits.loop_budget) else {
        return Ok(());
    };
    let passes = kernels::cross_entropy_loss::PASSES;
    let most = kernels::classes_within(budget as usize, passes);
    if shape.outputs() <= most {
        return Ok(());
    }
    Err(Error::Limit {
        operation,
        what: "a cross-entropy over the classes".to_owned(),
        needed: shape.outputs() as u64,
        limit: "longest loop, in classes",
        available: most as u64,
    })
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
            (s.encoding != Encoding::Values, format!("{:?} input", s.encoding)),
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
