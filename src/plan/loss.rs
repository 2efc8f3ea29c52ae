//! What a training step is fed with, and the loss.

use super::workspace::{Place, Planner};
use super::{
    Activation, Answer, Encoding, LOSS_SLOTS, Objective, Sequences, StackShape, TrainingOptions,
};
use crate::command::{BufferId, Executor, Limits, Operation, Owner, Range};
use crate::kernels::{
    Padding, View, accuracy, argmax, binary_accuracy, cross_entropy_loss, nonlinearity,
    pointwise_loss, reduce_sum, softmax,
};
use crate::reference::{CrossEntropy, Nonlinearity, Pointwise, SETTINGS};

/// Runs that the host may prepare before it submits, at most.
const FEED_SLOTS: usize = 16;

/// Elements (16 MiB) that a feed's ring may take where it has more than one slot.
const FEED_ELEMENTS: usize = 4 << 20;

/// Floating-point operations of one submission, about: a slow GPU takes a quarter of a second,
/// well below what a driver's watchdog allows.
const SUBMIT_FLOP: usize = 50_000_000_000;

/// How many runs the host may prepare, of `len` elements each.
pub(super) fn feed_slots(
    shape: &StackShape,
    sequences: &Sequences,
    len: usize,
    limits: &Limits,
) -> usize {
    // A training step: forward, and twice that backward.
    let terms = shape.widest_output().saturating_add(shape.projection.unwrap_or(shape.hidden));
    let units = 4 * shape.layers * shape.directions() * shape.hidden;
    let linears = shape.head.linears(shape.features());
    let products = linears.iter().map(|linear| linear.features.saturating_mul(linear.outputs));
    let head = products.fold(0, usize::saturating_add);
    let weights = units.saturating_mul(terms.saturating_add(shape.input));
    let rows = sequences.steps * sequences.batch;
    let flop = (6 * rows).saturating_mul(weights.saturating_add(head).max(1));
    match limits.executor {
        Executor::Gpu => (FEED_ELEMENTS / len).min(SUBMIT_FLOP / flop).clamp(1, FEED_SLOTS),
        // A run has ended before the host goes on.
        Executor::Cpu => 1,
    }
}

impl Planner<'_> {
    /// What the host writes for a run, and its way to where kernels read it.
    pub(super) fn feed(&mut self, options: &TrainingOptions) {
        self.target(&options.objective);
        if let Encoding::Embedding(tokens) = self.shape.encoding {
            self.workspace("token_order", "[T B]", &[self.steps * self.batch]);
            self.workspace("token_offsets", "[V + 1]", &[tokens + 1]);
        }
        if let Some(update) = &options.update {
            self.workspace("scalars", "[4]", &[4]);
            self.workspace("settings", "[G, 16]", &[update.groups, SETTINGS]);
        }
        if self.drops() || self.shape.cell.is_random() {
            self.workspace("key", "[4]", &[4]);
        }
        let names = [
            "x",
            "lengths",
            "keep",
            "fresh",
            "target",
            "weights",
            "loss_scale",
            "token_order",
            "token_offsets",
            "scalars",
            "settings",
            "key",
        ];
        let there = names.into_iter().filter_map(|name| self.program.buffer(name));
        let parts: Vec<Range> = there.map(|buffer| self.whole(buffer)).collect();
        let len: usize = parts.iter().map(|part| part.len).sum();
        let slots = feed_slots(&self.shape, &self.sequences, len, self.limits);
        let feed = self.ring("feed", "[all that is fed]", &[len], slots, Owner::Workspace);
        let mut start = 0;
        for to in parts {
            let from = Range { buffer: feed, start, len: to.len };
            self.push("feed", Operation::Copy { from, to });
            start += to.len;
        }
    }

    /// Predictions, each of [`StackShape::outputs`](super::StackShape::outputs) numbers.
    fn predictions(&self) -> usize {
        self.shape.predictions(self.steps) * self.batch
    }

    /// What predictions are compared with, and how much each counts.
    pub(super) fn target(&mut self, objective: &Objective) {
        let (steps, batch, outputs) = (self.steps, self.batch, self.shape.outputs());
        match (objective, self.shape.every_step()) {
            (Objective::Pointwise(_), true) => {
                self.workspace("target", "[T, B, O]", &[steps, batch, outputs])
            }
            (Objective::Pointwise(_), false) => {
                self.workspace("target", "[B, O]", &[batch, outputs])
            }
            (Objective::CrossEntropy { .. }, true) => {
                self.workspace("target", "[T, B]", &[steps, batch])
            }
            (Objective::CrossEntropy { .. }, false) => self.workspace("target", "[B]", &[batch]),
        };
        if self.sequences.weights {
            match self.shape.every_step() {
                true => self.workspace("weights", "[T, B]", &[steps, batch]),
                false => self.workspace("weights", "[B]", &[batch]),
            };
        }
        self.workspace("loss_scale", "[1]", &[1]);
    }

    /// The loss and the predictions' gradient.
    pub(super) fn loss(&mut self, objective: &Objective) {
        let outputs = self.shape.outputs();
        let dy = match self.shape.every_step() {
            true => self.workspace("dy", "[T, B, O]", &[self.steps, self.batch, outputs]),
            false => self.workspace("dy", "[B, O]", &[self.batch, outputs]),
        };
        let loss_buffer = self.add("loss", "[1]", &[1], 1, self.given_results);
        let (partials, count) = match objective {
            Objective::Pointwise(loss) => {
                let count = (self.predictions() * outputs).div_ceil(pointwise_loss::CHUNK);
                if count == 1 && !self.accumulate {
                    // One workgroup's sum is the loss.
                    return self.pointwise_loss(*loss, dy, loss_buffer);
                }
                let partials = self.workspace("loss_partials", "[ceil(N / 1024)]", &[count]);
                self.pointwise_loss(*loss, dy, partials);
                (partials, count)
            }
            Objective::CrossEntropy { settings, weighted } => {
                let count = self.predictions();
                let losses = self.workspace("row_losses", "[T B]", &[count]);
                let weights = weighted
                    .then(|| self.add("class_weights", "[O]", &[outputs], 1, self.given_results));
                self.cross_entropy_loss(*settings, dy, losses, weights);
                (losses, count)
            }
        };
        self.sum("sum of the loss", (partials, count), loss_buffer, self.accumulate);
    }

    /// Which predictions stand behind a row's end, where there is one at every timestep.
    fn padding_of_predictions(&self) -> Padding {
        if self.shape.every_step() { self.padding() } else { Padding(None) }
    }

    /// The weights of `rows` predictions from `first` on, where predictions have any.
    fn weights(&self, first: usize, rows: usize) -> Option<View> {
        let weights = self.program.buffer("weights")?;
        Some(self.window(Place { buffer: weights, start: first }, rows))
    }

    /// The same of the predictions that so many elements, from one on, belong to.
    fn weights_of(&self, first: usize, len: usize) -> Option<View> {
        let outputs = self.shape.outputs();
        let row = first / outputs;
        self.weights(row, (first + len).div_ceil(outputs) - row)
    }

    fn pointwise_loss(&mut self, loss: Pointwise, dy: BufferId, partials: BufferId) {
        let (y, target, outputs) = (self.named("y"), self.named("target"), self.shape.outputs());
        let len = self.predictions() * outputs;
        let some = match self.program.spec(y).len <= self.limits.max_binding {
            true => len,
            false => self.rows_in_binding(pointwise_loss::CHUNK) * pointwise_loss::CHUNK,
        };
        for first in (0..len).step_by(some) {
            let count = some.min(len - first);
            let view = |buffer| self.window(Place { buffer, start: first }, count);
            let chunk = pointwise_loss::CHUNK;
            let sums = Place { buffer: partials, start: first / chunk };
            let operands = pointwise_loss::Operands {
                y: view(y),
                target: view(target),
                padding: self.padding_of_predictions(),
                weights: self.weights_of(first, count),
                scale: View::of(self.whole(self.named("loss_scale"))),
                dy: view(dy),
                partials: self.window(sums, count.div_ceil(chunk)),
            };
            let size = (self.batch, outputs);
            let dispatch = pointwise_loss::dispatch(loss, (first, count), size, &operands);
            self.launch("loss", dispatch);
        }
    }

    /// The most predictions that a launch over rows of logits may have.
    fn rows_of_logits(&self) -> usize {
        match self.program.spec(self.named("y")).len <= self.limits.max_binding {
            true => self.predictions(),
            false => self.rows_in_binding(self.shape.outputs()),
        }
    }

    fn cross_entropy_loss(
        &mut self,
        loss: CrossEntropy,
        dy: BufferId,
        losses: BufferId,
        weights: Option<BufferId>,
    ) {
        let (y, target, classes) = (self.named("y"), self.named("target"), self.shape.outputs());
        let (rows, some) = (self.predictions(), self.rows_of_logits());
        for first in (0..rows).step_by(some) {
            let count = some.min(rows - first);
            let logits =
                |buffer| self.window(Place { buffer, start: first * classes }, count * classes);
            let row = |buffer| self.window(Place { buffer, start: first }, count);
            let operands = cross_entropy_loss::Operands {
                logits: logits(y),
                target: row(target),
                padding: self.padding_of_predictions(),
                weights: weights.map(|weights| View::of(self.whole(weights))),
                row_weights: self.weights(first, count),
                scale: View::of(self.whole(self.named("loss_scale"))),
                dy: logits(dy),
                losses: row(losses),
            };
            let size = (self.batch, classes);
            let dispatch = cross_entropy_loss::dispatch(loss, (first, count), size, &operands);
            self.launch("loss", dispatch);
        }
    }

    /// The probabilities or the classes of the predictions.
    pub(super) fn answer(&mut self, answer: Answer) {
        let (y, classes) = (self.named("y"), self.shape.outputs());
        let (rows, some, width) =
            (self.predictions(), self.rows_of_logits(), answer.width(classes));
        let out = match answer {
            Answer::Outputs => return,
            Answer::Probabilities(_) => self.workspace("probabilities", "[T B, O]", &[rows, width]),
            Answer::Classes(_) => self.workspace("classes", "[T B, 1 or O]", &[rows, width]),
        };
        self.output = Some(self.whole(out));
        for first in (0..rows).step_by(some) {
            let count = some.min(rows - first);
            let logits = Place { buffer: y, start: first * classes };
            let logits = self.window(logits, count * classes);
            let out = self.window(Place { buffer: out, start: first * width }, count * width);
            let dispatch = match answer {
                Answer::Classes(Activation::Softmax) => {
                    argmax::dispatch((count, classes), logits, out)
                }
                Answer::Classes(Activation::Sigmoid) => {
                    nonlinearity::dispatch(count * classes, None, logits, out)
                }
                Answer::Probabilities(Activation::Sigmoid) => nonlinearity::dispatch(
                    count * classes,
                    Some(Nonlinearity::Sigmoid),
                    logits,
                    out,
                ),
                _ => softmax::dispatch((count, classes), logits, out),
            };
            self.launch("answer", dispatch);
        }
    }

    /// How many targets are predicted right, where they are classes or yes and no.
    pub(super) fn correct(&mut self, objective: &Objective) {
        let (right, len) = match objective {
            Objective::CrossEntropy { settings, .. } => self.right_classes(settings.ignore_index),
            Objective::Pointwise(Pointwise::BinaryLogits) => self.right_sides(),
            Objective::Pointwise(_) => return,
        };
        let correct = self.workspace("correct", "[1]", &[1]);
        self.sum("right predictions", (right, len), correct, false);
    }

    /// Which answers by yes or no are right, and how many there are.
    fn right_sides(&mut self) -> (BufferId, usize) {
        let (y, target, outputs) = (self.named("y"), self.named("target"), self.shape.outputs());
        let (rows, some) = (self.predictions(), self.rows_of_logits());
        let right = self.workspace("right", "[T B, O]", &[rows, outputs]);
        for first in (0..rows).step_by(some) {
            let count = some.min(rows - first);
            let elements =
                |buffer| self.window(Place { buffer, start: first * outputs }, count * outputs);
            let operands = binary_accuracy::Operands {
                logits: elements(y),
                targets: elements(target),
                padding: self.padding_of_predictions(),
                weights: self.weights(first, count),
                correct: elements(right),
            };
            let (part, size) = ((first * outputs, count * outputs), (self.batch, outputs));
            let dispatch = binary_accuracy::dispatch(part, size, &operands);
            self.launch("right predictions", dispatch);
        }
        (right, rows * outputs)
    }

    /// Which classes are predicted right, and how many there are.
    fn right_classes(&mut self, ignored: f32) -> (BufferId, usize) {
        let (y, target, classes) = (self.named("y"), self.named("target"), self.shape.outputs());
        let (rows, some) = (self.predictions(), self.rows_of_logits());
        let right = self.workspace("right", "[T B]", &[rows]);
        for first in (0..rows).step_by(some) {
            let count = some.min(rows - first);
            let logits = Place { buffer: y, start: first * classes };
            let row = |buffer| self.window(Place { buffer, start: first }, count);
            let operands = accuracy::Operands {
                logits: self.window(logits, count * classes),
                targets: row(target),
                padding: self.padding_of_predictions(),
                weights: self.weights(first, count),
                correct: row(right),
            };
            let size = (self.batch, classes);
            let dispatch = accuracy::dispatch((first, count), size, ignored, &operands);
            self.launch("right predictions", dispatch);
        }
        (right, rows)
    }

    /// The sum of the elements of a buffer: sums of sums, until one is left.
    fn sum(
        &mut self,
        label: &str,
        (buffer, len): (BufferId, usize),
        to: BufferId,
        accumulate: bool,
    ) {
        let (mut from, mut left, mut stage) = (buffer, len, 0);
        let name = self.program.spec(to).name.clone();
        loop {
            let sums = left.div_ceil(reduce_sum::CHUNK);
            let last = sums == 1;
            let out = match last {
                true => to,
                false => self.workspace(&format!("{name}_sums_{stage}"), "[sums]", &[sums]),
            };
            let views = (View::of(self.whole(from)), View::of(self.whole(out)));
            let add = last && accumulate;
            self.launch(label, reduce_sum::dispatch(left, reduce_sum::CHUNK, 1.0, views, add));
            if last {
                return;
            }
            (from, left, stage) = (out, sums, stage + 1);
        }
    }

    /// Keeps the loss for the host.
    pub(super) fn log_loss(&mut self) {
        let losses = self.ring("losses", "[1]", &[1], LOSS_SLOTS, Owner::Caller);
        let (from, to) = (self.whole(self.named("loss")), self.whole(losses));
        self.push("log the loss", Operation::Copy { from, to });
    }
}
