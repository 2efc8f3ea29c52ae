//! The host loop as data: which kernel runs when, over which buffers, and why.
//!
//! Planning touches no device. From a [`StackShape`], a number of timesteps, a batch and the
//! [`Limits`] of a device it makes a [`Program`] that either executor runs, and that prints:
//!
//! ```
//! use gatefold::command::Limits;
//! use gatefold::plan::{Plan, Sequences, StackShape};
//!
//! // Few units: one launch for all timesteps. Many: one for each.
//! for (hidden, kernel, launches) in [(8, "lstm_sequence_forward", 1), (80, "lstm_step_forward", 2)] {
//!     let shape = StackShape::lstm(3, hidden);
//!     let plan = Plan::forward(&shape, &Sequences::new(2, 5), &Limits::WEBGPU)?;
//!     let listing = plan.to_string();
//!     assert!(listing.contains("layer 0, t = 0"));
//!     assert_eq!(listing.matches(kernel).count(), launches);
//! }
//! # Ok::<(), gatefold::Error>(())
//! ```

mod backward;
mod cut;
mod forward;
mod fused;
mod head;
mod head_passes;
mod loss;
mod masks;
mod options;
mod packed;
mod parameters;
mod peepholes;
mod products;
mod readout;
mod shape;
mod steps;
mod tiers;
mod update;
mod walks;
mod wavefront;
mod workspace;

pub use crate::reference::{Cell, CellActivation, Nonlinearity, Readout};
pub(crate) use head::MODULES;
pub use head::{Head, HeadLinear, HeadModule, Probability};
pub use options::{Activation, Answer, Objective, Part, TrainingOptions};
pub use parameters::{ALIGNMENT, Layout, Parameter, ParameterTable, Role};
pub use shape::{Bias, Encoding, Sequences, StackShape};
pub use tiers::{product_tile, tile, walkers};
pub use update::{Rule, Update, norm_chunk};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use crate::command::Tier;
use crate::command::{Limits, Owner, Program, Range};
use crate::error::{Error, Result};
use crate::kernels;
use crate::reference::Dropout;
use workspace::Planner;

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
/// | `h_0`, `c_0` | `[L D, B, P]`, `[L D, B, H]` | the initial states, where they are given; of layers of several sizes one after the other |
/// | `keep`, `fresh` | `[B]` | 1 and 0 for rows that go on, 0 and 1 for those that begin anew, with [`Sequences::resets`] |
/// | `gates_l{l}` | `[D, T, B, H, 4]` | the input's share, then the activated gates, then their gradients; without a backward pass `gates`, of a chunk of timesteps at a time |
/// | `packed_{weight}`, `packed` | `[panels, K, 64]` | on the CPU, weights as [`pack_panels`](crate::reference::pack_panels) leaves them; `packed` is that of each layer in turn |
/// | `h_l{l}` | `[T+D, B, D, P]` | hidden states; slot `t+1` after timestep `t`, the slots at both ends the initial ones |
/// | `c_l{l}` | `[D, T+1, B, H]` | cell states; forward slot `t+1` after timestep `t`, reverse slot `t` |
/// | `gates`, `h`, `c` | `[L, ..]` | in a wavefront, those of all layers; without a backward pass `gates` are the first layer's |
/// | `z_l{l}` | `[D, T, B, H]` | what is projected |
/// | `y_l{l}` | `[T, B, D P]` | what the next layer gets, where it isn't `h` itself |
/// | `h_n`, `c_n` | as `h_0`, `c_0` | the final states, without a head |
/// | `head_{m}` | `[B, features]`, or `[T, B, features]` | what leaves module `m` of a head of several, but for the last |
/// | `read` | `[B, D P]`, or `[2, B, D P]` | what the head reads, where that isn't in `h` itself; of the largest outputs their timesteps as well |
/// | `y` | `[B, O]`, or `[T, B, O]`, or `[B, T, O]` | the predictions, where there is a head |
///
/// Without a head, [`Plan::output`] says where the outputs are. A training plan has also
///
/// | name | shape | what |
/// |---|---|---|
/// | `feed` | those below, in this order, as far as a plan has them | what the host writes for a run; a ring |
/// | `target` | as `y`, without the last dimension where it is classes | what `y` should be |
/// | `weights` | `[T, B]`, or `[B]` | how much each prediction counts, with [`Sequences::weights`] |
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
/// | `correct` | `[1]` | with [`Plan::evaluation`] of classes and of yes or no, how many are right |
/// | `dx_0`, `dh_0`, `dc_0` | as `x`, `h_0`, `c_0` | with [`TrainingOptions::input_gradient`] |
///
/// where a launch runs a whole training step ([`Tier::Fused`]) only those that are the caller's, but for
/// `groups`, the `feed`, and parts of two buffers ([`Program::part`])
///
/// | name | shape | what |
/// |---|---|---|
/// | `fed` | as a slot of `feed` | `x`, `target`, `loss_scale`, `scalars`, `settings`, one after the other |
/// | `step` | gates, states, `y` and its gradient | what the launch keeps |
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
    /// How the loop over the timesteps of a layer is cut into launches, forward.
    pub tier: Tier,
    /// The same in words, with the reason, and of the backward pass where that is cut in another way.
    pub reason: String,
}

impl Plan {
    /// Inference.
    ///
    /// # Errors
    /// As [`StackShape::check`]; [`Error::Limit`] where the device can't hold a piece;
    /// [`Error::Value`] for lengths in a linear layer alone.
    pub fn forward(shape: &StackShape, sequences: &Sequences, limits: &Limits) -> Result<Plan> {
        Plan::inference("Plan::forward", shape, sequences, limits, false)
    }

    /// Inference of a timestep of streams: [`forward`](Self::forward), which leaves `h_n` and `c_n` in a
    /// model that predicts as well.
    ///
    /// # Errors
    /// As [`Plan::forward`].
    pub fn streams(shape: &StackShape, sequences: &Sequences, limits: &Limits) -> Result<Plan> {
        Plan::inference("Plan::streams", shape, sequences, limits, shape.outputs() > 0)
    }

    /// Inference, and the final states of a model that wouldn't leave them.
    fn inference(
        operation: &'static str,
        shape: &StackShape,
        sequences: &Sequences,
        limits: &Limits,
        final_states: bool,
    ) -> Result<Plan> {
        if shape.output == Some(Activation::Softmax) {
            expect_classes(operation, shape, kernels::softmax::PASSES, limits)?;
        }
        let mut planner = Planner::new(operation, shape, sequences, None, false, limits)?;
        planner.prepare();
        planner.forward();
        planner.predictions_for_caller();
        if final_states {
            planner.final_states();
        }
        planner.finish()
    }

    /// Checks that inference of a shape can be planned for a device, without planning it.
    ///
    /// # Errors
    /// As [`Plan::forward`].
    pub fn fits(shape: &StackShape, sequences: &Sequences, limits: &Limits) -> Result<()> {
        Planner::new("Plan::fits", shape, sequences, None, false, limits).map(drop)
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
        let passes = match answer {
            Answer::Probabilities(Activation::Softmax) | Answer::Classes(Activation::Softmax) => {
                kernels::softmax::PASSES
            }
            _ => 0,
        };
        expect_classes(operation, shape, passes, limits)?;
        let mut planner = Planner::new(operation, shape, sequences, None, false, limits)?;
        planner.prepare();
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
                expected: "none, since the outputs' gradients are given".to_owned(),
                got: shape.head.to_string(),
            });
        }
        let mut planner = Planner::new(operation, shape, sequences, dropout, true, limits)?;
        if dropout.is_some() || shape.cell.is_random() {
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
        expect_classes(operation, shape, passes(&options.objective), limits)?;
        if let Some(plan) = fused::training(operation, shape, sequences, options, limits)? {
            return Ok(plan);
        }
        let mut planner = Planner::new(operation, shape, sequences, options.dropout, true, limits)?;
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

    /// A forward pass and its loss, and for classes, or yes and no, how many are right; also `h_n` and `c_n`
    /// where `final_states` are wanted. It has `target`, `weights`, `loss_scale` and `class_weights` of a
    /// training plan,
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
        expect_classes(operation, shape, passes(objective), limits)?;
        let mut planner = Planner::new(operation, shape, sequences, None, false, limits)?;
        planner.prepare();
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

    /// The listing that [`Display`](fmt::Display) prints, with what each command took
    /// ([`Session::run_timed`](crate::Session::run_timed)) in microseconds, its share of the sum, and
    /// the sum at the end.
    ///
    /// ```text
    ///      1        19.0 us   23.6 %  layer 0, t = 0                 lstm_step_forward 1x1x1 (...)
    /// ```
    pub fn timed<'a>(&'a self, times: &'a [Duration]) -> impl fmt::Display + 'a {
        Timed { plan: self, times }
    }

    /// What stands before the listing of the program.
    fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, call) = (&self.shape, &self.sequences);
        writeln!(
            f,
            "T = {}, B = {}, I = {}, H = {}, L = {}, D = {}, {}, {}",
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
            (!s.sizes.is_empty(), format!("layers of {:?} units", s.sizes)),
            (s.reverse, "the reverse direction alone".to_owned()),
            (s.projection.is_some(), format!("projection to {}", s.projection.unwrap_or(0))),
            (!s.cell.is_plain(), format!("a cell of {}", s.cell)),
            (s.learned_state, "learned initial states".to_owned()),
            (s.readout != Readout::default(), format!("readout {}", s.readout.name())),
            (s.encoding != Encoding::Values, s.encoding.to_string()),
            (s.tied, "the embedding's weight in the head".to_owned()),
            (s.output.is_some(), "an output activation".to_owned()),
            (call.right_aligned, "right-aligned rows".to_owned()),
            (call.lengths, "lengths".to_owned()),
            (call.batch_first, "batch first".to_owned()),
            (call.state, "given initial states".to_owned()),
            (call.resets, "rows that begin anew".to_owned()),
            (call.weights, "weights of predictions".to_owned()),
        ];
        let said: Vec<String> =
            said.into_iter().filter_map(|(is, what)| is.then_some(what)).collect();
        if !said.is_empty() {
            writeln!(f, "with {}", said.join(", "))?;
        }
        writeln!(f, "tier: {}", self.reason)
    }
}

/// A plan beside the times of its commands.
struct Timed<'a> {
    plan: &'a Plan,
    times: &'a [Duration],
}

impl fmt::Display for Timed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.headline(f)?;
        write!(f, "{}", self.plan.program.timed_listing(&kernels::table(), self.times))
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

/// How often a loss passes a row of predictions.
fn passes(objective: &Objective) -> usize {
    match objective {
        Objective::Pointwise(_) => 0,
        Objective::CrossEntropy { .. } => kernels::cross_entropy_loss::PASSES,
    }
}

/// Checks that a driver that stops long loops lets a row of classes be passed so often.
fn expect_classes(
    operation: &'static str,
    shape: &StackShape,
    passes: usize,
    limits: &Limits,
) -> Result<()> {
    let Some(budget) = limits.loop_budget.filter(|_| passes > 0) else { return Ok(()) };
    let most = kernels::classes_within(budget as usize, passes);
    if shape.outputs() <= most {
        return Ok(());
    }
    Err(Error::Limit {
        operation,
        what: "a pass over the classes".to_owned(),
        needed: shape.outputs() as u64,
        limit: "longest loop, in classes",
        available: most as u64,
    })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.headline(f)?;
        write!(f, "{}", self.program.listing(&kernels::table()))
    }
}
