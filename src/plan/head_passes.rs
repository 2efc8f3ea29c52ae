//! The head's modules, forward and back.

use super::workspace::{Place, Planner};
use super::{Answer, HeadModule, ParameterTable, Role};
use crate::command::{BufferId, Operation, Range};
use crate::kernels::matmul::Sums;
use crate::kernels::{View, nonlinearity, nonlinearity_backward};
use crate::reference::{Dropout, Nonlinearity, Product, Strides};

/// A module that does something in a pass.
#[derive(Clone, Copy, Debug)]
struct Module {
    /// Which of the head's it is.
    number: usize,
    kind: Kind,
    /// Features that reach it.
    features: usize,
    /// Features that leave it.
    width: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Which of the linear layers it is.
    Linear(usize),
    Nonlinearity(Nonlinearity),
    Dropout(Dropout),
}

impl Planner<'_> {
    /// Whether the pass drops anything.
    pub(super) fn drops(&self) -> bool {
        self.dropout.is_some() || self.keep && self.shape.head.drops()
    }

    fn modules(&self) -> Vec<Module> {
        let (mut features, mut linears, mut found) = (self.shape.features(), 0, Vec::new());
        for (number, module) in self.shape.head.modules().iter().enumerate() {
            let width = module.width(features);
            let kind = match *module {
                HeadModule::Linear { .. } => {
                    linears += 1;
                    Some(Kind::Linear(linears - 1))
                }
                HeadModule::Nonlinearity(function) => Some(Kind::Nonlinearity(function)),
                HeadModule::Dropout(_) => module.drops().filter(|_| self.keep).map(Kind::Dropout),
            };
            found.extend(kind.map(|kind| Module { number, kind, features, width }));
            features = width;
        }
        found
    }

    /// Rows that go through the head.
    fn head_rows(&self) -> usize {
        self.shape.predictions(self.steps) * self.batch
    }

    /// Where a module finds its input: `place` among those of the pass.
    fn module_input(&self, modules: &[Module], place: usize) -> Place {
        match place.checked_sub(1) {
            None => self.head_input(),
            Some(below) => {
                let name = format!("head_{}", modules[below].number);
                Place { buffer: self.named(&name), start: 0 }
            }
        }
    }

    fn label(&self, module: &Module) -> String {
        match self.shape.head.modules().len() {
            0 | 1 => "head".to_owned(),
            _ => format!("head {}", module.number),
        }
    }

    /// What is read of the top layer, then every module: the predictions, in `y`.
    pub(super) fn head_forward(&mut self) {
        let (steps, batch, outputs) = (self.steps, self.batch, self.shape.outputs());
        self.read();
        let y = match self.shape.every_step() {
            true => self.workspace("y", "[T, B, O]", &[steps, batch, outputs]),
            false => self.workspace("y", "[B, O]", &[batch, outputs]),
        };
        self.output = Some(self.whole(y));
        let (rows, modules) = (self.head_rows(), self.modules());
        if modules.is_empty() {
            let from = self.head_input();
            let from = Range { buffer: from.buffer, start: from.start, len: rows * outputs };
            self.push("prediction", Operation::Copy { from, to: self.whole(y) });
        }
        for (place, module) in modules.iter().enumerate() {
            let from = self.module_input(&modules, place);
            let to = match place + 1 == modules.len() {
                true => y,
                false => {
                    let name = format!("head_{}", module.number);
                    self.workspace(&name, "[B or T B, features]", &[rows, module.width])
                }
            };
            self.module_forward(module, from, to);
        }
    }

    fn module_forward(&mut self, module: &Module, from: Place, to: BufferId) {
        let (rows, label) = (self.head_rows(), self.label(module));
        let len = rows * module.width;
        match module.kind {
            Kind::Linear(number) => {
                let weight = self.required(self.params, self.head_weight(number));
                let bias = self.parameter(self.params, Role::HeadBias(number));
                let shape = Product::dense(rows, module.width, module.features, false, true);
                let biases: Vec<Place> = bias.into_iter().collect();
                let to = Place { buffer: to, start: 0 };
                self.product(&label, shape, from, weight, &biases, to);
            }
            Kind::Nonlinearity(function) => {
                let to = Place { buffer: to, start: 0 };
                self.elements(&label, len, from, to, |count, x, out| {
                    nonlinearity::dispatch(count, Some(function), x, out)
                });
            }
            Kind::Dropout(drop) => {
                let from = Range { buffer: from.buffer, start: from.start, len };
                let copied = Range { buffer: to, start: 0, len };
                self.push(label.clone(), Operation::Copy { from, to: copied });
                self.drop_of_head(&label, drop, module, to);
            }
        }
    }

    fn head_weight(&self, number: usize) -> Role {
        ParameterTable::head_weight(&self.shape, number)
    }

    /// Drops elements of what a module of the head takes, or of its gradient. In the generator's counter
    /// modules come behind the layers.
    fn drop_of_head(&mut self, label: &str, drop: Dropout, module: &Module, x: BufferId) {
        let steps = self.shape.predictions(self.steps);
        let place = self.shape.layers + module.number;
        self.drop_elements(label, drop, place, (steps, module.width), x);
    }

    /// A launch over `len` elements of two buffers, or several where a binding doesn't show them all.
    fn elements(
        &mut self,
        label: &str,
        len: usize,
        from: Place,
        to: Place,
        dispatch: impl Fn(usize, View, View) -> crate::command::Dispatch,
    ) {
        let most = self.rows_in_binding(1).min(len);
        let whole = [from, to].map(|at| self.program.spec(at.buffer).len);
        let some = if whole.iter().all(|&len| len <= self.limits.max_binding) { len } else { most };
        for first in (0..len).step_by(some) {
            let count = some.min(len - first);
            let shown = |at: Place| self.window(Place { start: at.start + first, ..at }, count);
            let launch = dispatch(count, shown(from), shown(to));
            self.launch(label, launch);
        }
    }

    /// What inference makes of the predictions, where the model has an output activation; and their layout,
    /// where the caller's isn't the device's.
    pub(super) fn predictions_for_caller(&mut self) {
        let (steps, batch, outputs) = (self.steps, self.batch, self.shape.outputs());
        if outputs == 0 {
            return;
        }
        if let Some(activation) = self.shape.output {
            self.answer(Answer::Probabilities(activation));
        }
        if self.shape.every_step() && self.sequences.batch_first {
            let Some(made) = self.output else { unreachable!("the head has run") };
            let moved = self.workspace("y_batch_first", "[B, T, O]", &[batch, steps, outputs]);
            self.output = Some(self.whole(moved));
            let y = Place { buffer: made.buffer, start: made.start };
            let from = (Strides::time_major(batch, outputs), y);
            let to = (self.callers_strides(outputs), Place { buffer: moved, start: 0 });
            self.copy_sequence("predictions", (steps, outputs), from, to, None, false);
        }
    }

    /// The gradients of the head's parameters; returns where that of its input is.
    pub(super) fn head_backward(&mut self, grads: BufferId, sums: BufferId) -> BufferId {
        let (rows, modules) = (self.head_rows(), self.modules());
        let mut d = self.named("dy");
        let first = modules.iter().position(|module| matches!(module.kind, Kind::Linear(_)));
        for (place, module) in modules.iter().enumerate().rev() {
            let label = self.label(module);
            match module.kind {
                Kind::Linear(number) => {
                    let input = self.module_input(&modules, place);
                    let at = Place { buffer: d, start: 0 };
                    self.linear_gradients(&label, number, module, (at, input), (grads, sums));
                    let size = [rows, module.features];
                    d = match first == Some(place) {
                        true if self.reads_outputs() => self.named("dh"),
                        true => self.workspace("d_read", "[B or T B, D P]", &size),
                        false => {
                            let name = format!("d_head_{}", module.number);
                            self.workspace(&name, "[B or T B, features]", &size)
                        }
                    };
                    let weight = self.required(self.params, self.head_weight(number));
                    let shape = Product::dense(rows, module.features, module.width, false, false);
                    let label = format!("{label}, input gradient");
                    self.product(&label, shape, at, weight, &[], Place { buffer: d, start: 0 });
                }
                Kind::Nonlinearity(function) => {
                    let (from, to) =
                        (self.module_input(&modules, place), Place { buffer: d, start: 0 });
                    let label = format!("{label}, gradient");
                    self.elements(&label, rows * module.width, from, to, |count, x, d| {
                        nonlinearity_backward::dispatch(count, function, x, d)
                    });
                }
                Kind::Dropout(drop) => {
                    self.drop_of_head(&format!("{label}, gradient"), drop, module, d);
                }
            }
        }
        d
    }

    /// The gradients of a linear layer's weight and bias.
    fn linear_gradients(
        &mut self,
        label: &str,
        number: usize,
        module: &Module,
        (d, input): (Place, Place),
        (grads, sums): (BufferId, BufferId),
    ) {
        let to = self.required(grads, self.head_weight(number));
        let biases: Vec<Place> =
            self.parameter(grads, Role::HeadBias(number)).into_iter().collect();
        let shape = Product::dense(module.width, module.features, self.head_rows(), true, false);
        let shape = self.summed(shape);
        let label = format!("{label}, weight gradient");
        self.weight_gradient(&label, shape, (d, input, to), (Sums::Rows, &biases), sums);
    }
}
