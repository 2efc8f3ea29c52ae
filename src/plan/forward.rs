//! The forward pass.

use super::workspace::{Place, Planner};
use super::{Head, Role};
use crate::command::{Operation, Range};
use crate::kernels::lstm_step_forward;
use crate::reference::Product;

impl Planner<'_> {
    /// Every layer over every timestep, then the head.
    pub(super) fn forward(&mut self) {
        for l in 0..self.shape.layers {
            self.layer_forward(l);
        }
        self.head_forward();
    }

    /// The input of layer `l`: `x`, or the outputs of the layer below.
    pub(super) fn layer_input(&self, l: usize) -> Place {
        match l.checked_sub(1) {
            None => Place { buffer: self.x, start: 0 },
            Some(below) => {
                let buffer = self.layer("h", below);
                Place { buffer, start: self.batch * self.shape.hidden }
            }
        }
    }

    /// What the head stands on: the last hidden state of the top layer, or the input.
    pub(super) fn head_input(&self) -> Place {
        match self.shape.layers.checked_sub(1) {
            None => Place { buffer: self.x, start: 0 },
            Some(top) => {
                let buffer = self.layer("h", top);
                Place { buffer, start: self.steps * self.batch * self.shape.hidden }
            }
        }
    }

    fn layer_forward(&mut self, l: usize) {
        let (steps, batch, hidden) = (self.steps, self.batch, self.shape.hidden);
        let slot = batch * hidden;
        let name = |kind: &str| format!("{kind}_l{l}");
        let gates = self.workspace(&name("gates"), "[T, B, H, 4]", &[steps, batch, hidden, 4]);
        let h = self.workspace(&name("h"), "[T+1, B, H]", &[steps + 1, batch, hidden]);
        let c = self.workspace(&name("c"), "[T+1, B, H]", &[steps + 1, batch, hidden]);

        let roles = [Role::BiasIh(l), Role::BiasHh(l)];
        let biases: Vec<Place> =
            roles.into_iter().filter_map(|role| self.parameter(self.params, role)).collect();
        let shape =
            Product::dense(steps * batch, 4 * hidden, self.shape.layer_input(l), false, false);
        let weight = self.required(self.params, Role::WeightIh(l));
        let label = format!("layer {l}, input projection");
        let out = Place { buffer: gates, start: 0 };
        self.product(&label, shape, self.layer_input(l), weight, &biases, out);
        let weight = self.required(self.params, Role::WeightHh(l));
        for t in 0..steps {
            let at = |buffer, start| Place { buffer, start };
            let dispatch = lstm_step_forward::dispatch(
                batch,
                hidden,
                self.window(weight, 4 * hidden * hidden),
                self.window(at(gates, 4 * t * slot), 4 * slot),
                self.window(at(h, t * slot), 2 * slot),
                self.window(at(c, t * slot), 2 * slot),
            );
            self.launch(format!("layer {l}, t = {t}"), dispatch);
        }
    }

    fn head_forward(&mut self) {
        let (batch, features, outputs) = (self.batch, self.shape.features(), self.shape.outputs());
        if outputs == 0 {
            return;
        }
        let y = self.workspace("y", "[B, O]", &[batch, outputs]);
        let input = self.head_input();
        match self.shape.head {
            Head::Sequence => {}
            Head::LastHidden => {
                let from = Range { buffer: input.buffer, start: input.start, len: batch * outputs };
                self.push("prediction", Operation::Copy { from, to: self.whole(y) });
            }
            Head::Linear(_) => {
                let weight = self.required(self.params, Role::HeadWeight);
                let bias = self.required(self.params, Role::HeadBias);
                let shape = Product::dense(batch, outputs, features, false, true);
                self.product("head", shape, input, weight, &[bias], Place { buffer: y, start: 0 });
            }
        }
    }
}
