//! Nothing is timed that isn't right: results against the f64 reference from the equations.
//!
//! The reference is slow. So the program that is timed is compared in as many rows of the batch as
//! the reference does in about a second, over all timesteps; gradients, which all rows add to, in a
//! program of fewer timesteps and all rows.

use std::cell::OnceCell;

use gatefold::plan::{Head, ParameterTable, Role};
use gatefold::reference::sequence::{self, Batch, Gradients};
use gatefold::reference::{Groups, OptimizerStep, Tolerance, adam, compare, status};

use super::data::Data;
use super::shape::{Kind, Shape};
use super::work::{Work, optimizer};

/// Floating-point operations that the reference does in about a second, and what it does in a test.
const SECOND: f64 = 1e9;
const TEST: f64 = 1e8;

/// How often the reference's backward pass takes the time of its forward pass, with it.
const BOTH_PASSES: f64 = 4.0;

/// Timesteps for which the tolerance of outputs and gradients was made.
const LONGEST: usize = 100;

/// What the reference says of a shape.
pub struct Reference<'a> {
    shape: Shape,
    /// Floating-point operations that it may do.
    flop: f64,
    data: &'a Data,
    rows: OnceCell<Vec<f64>>,
    gradients: OnceCell<(f64, Gradients<f64>)>,
}

/// The result of a comparison, with what is wrong.
type Verdict = Result<(), String>;

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

fn close(what: &str, got: &[f32], want: &[f64], tolerance: Tolerance) -> Verdict {
    let compared = compare(got, want, None, tolerance);
    compared.map(|_| ()).map_err(|mismatch| format!("{what}: {mismatch}"))
}

fn text(error: gatefold::Error) -> String {
    error.to_string()
}

impl<'a> Reference<'a> {
    pub fn new(shape: Shape, data: &'a Data) -> Reference<'a> {
        Reference { shape, flop: SECOND, data, rows: OnceCell::new(), gradients: OnceCell::new() }
    }

    /// The same for fewer timesteps, with less to do.
    pub fn quick(self) -> Reference<'a> {
        let quick = Reference { flop: TEST, ..self };
        Reference { shape: quick.small(), ..quick }
    }

    /// What it is the reference of.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The shape with so few timesteps that gradients take the reference about a second; two at
    /// least, so that something recurs.
    pub fn small(&self) -> Shape {
        let step = BOTH_PASSES * self.shape.batch as f64 * self.shape.row_step_flop();
        let steps = ((self.flop / step) as usize).clamp(2, LONGEST).min(self.shape.steps);
        Shape { steps, ..self.shape }
    }

    /// The rows that outputs are compared in, the first and the last among them where there are
    /// several.
    pub fn compared(&self) -> Vec<usize> {
        let row = self.shape.steps as f64 * self.shape.row_step_flop();
        let last = self.shape.batch - 1;
        let count = ((self.flop / row) as usize).clamp(1, self.shape.batch);
        (0..count).map(|i| i * last / (count - 1).max(1)).collect()
    }

    /// The outputs of those rows, `[T, rows, H]`.
    fn rows(&self) -> &[f64] {
        self.rows.get_or_init(|| {
            let Shape { steps, batch, input, hidden } = self.shape;
            let rows = self.compared();
            let x = self.data.x.chunks_exact(batch * input).take(steps);
            let x = x.flat_map(|x_t| rows.iter().map(|&b| &x_t[b * input..][..input]));
            let x: Vec<f64> = x.flatten().map(|&v| v.into()).collect();
            let zeros = vec![0.0; rows.len() * hidden];
            let stack = [vec![self.data.weights.clone()]];
            sequence::forward(&stack, &Batch::of(rows.len()), &x, &zeros, &zeros).y
        })
    }

    /// The loss and the gradients of the small shape.
    fn gradients(&self) -> &(f64, Gradients<f64>) {
        self.gradients.get_or_init(|| {
            let Shape { steps, batch, input, hidden } = self.small();
            let stack = [vec![self.data.weights.clone()]];
            let (rows, x) = (Batch::of(batch), wide(&self.data.x[..steps * batch * input]));
            let zeros = vec![0.0; batch * hidden];
            let trace = sequence::forward(&stack, &rows, &x, &zeros, &zeros);
            let (loss, d) = mean_squared_error(&trace.h_n, &self.data.target);
            let no_dy = vec![0.0; steps * batch * hidden];
            (loss, sequence::backward(&stack, &rows, &trace, &no_dy, &d, &zeros))
        })
    }

    /// The program that is timed, which has run once: its outputs, and its loss where it has one.
    pub fn check(&self, work: &Work) -> Verdict {
        let Shape { batch, hidden, .. } = self.shape;
        let output = work.output().map_err(text)?;
        let rows = self.compared();
        let chosen = output.chunks_exact(batch * hidden);
        let chosen = chosen.flat_map(|y_t| rows.iter().map(|&b| &y_t[b * hidden..][..hidden]));
        let got: Vec<f32> = chosen.flatten().copied().collect();
        // A trained one has the last timestep alone.
        let want = self.rows();
        close("outputs", &got, &want[want.len() - got.len()..], Tolerance::OUTPUT)?;
        if work.kind == Kind::Step {
            let (loss, _) = mean_squared_error(&wide(&output), &self.data.target);
            let got = work.session.read("loss").map_err(text)?;
            close("loss", &got, &[loss], Tolerance::LOSS)?;
        }
        Ok(())
    }

    /// A training step of the small shape, which has run once: loss, gradients and parameters.
    pub fn check_step(&self, work: &Work) -> Verdict {
        let read = |name: &str| work.session.read(name).map_err(text);
        let (loss, want) = self.gradients();
        close("loss", &read("loss")?, &[*loss], Tolerance::LOSS)?;
        let layer = &want.layers[0][0];
        let got = read("grads")?;
        let table = ParameterTable::new(&self.shape.model(Head::Sequence));
        for entry in &table.entries {
            let want = match entry.role {
                Role::WeightIh(..) => &layer.weight_ih,
                Role::WeightHh(..) => &layer.weight_hh,
                _ => &layer.bias,
            };
            let got = entry.to_pytorch(&got[entry.start..][..entry.len]);
            let what = format!("gradient of {:?}", entry.role);
            close(&what, &got, want, Tolerance::gradient(want))?;
        }
        // Adam's step from the gradients that the device has.
        let mut p = wide(&self.data.params);
        let (mut m, mut v) = (vec![0.0; p.len()], vec![0.0; p.len()]);
        let settings = wide(&optimizer().row(1, &optimizer().whole()));
        let groups = vec![0.0; p.len()];
        let mut applied = [0.0; status::LEN];
        (applied[status::SCALE], applied[status::APPLY]) = (1.0, 1.0);
        let groups = Groups { settings: &settings, groups: &groups };
        let step = OptimizerStep { groups, status: &applied };
        adam(&step, &wide(&got), &mut p, &mut m, &mut v);
        close("parameters", &read("params")?, &p, Tolerance::OPTIMIZER)
    }
}

/// The loss, and its gradient.
fn mean_squared_error(y: &[f64], target: &[f32]) -> (f64, Vec<f64>) {
    let n = y.len() as f64;
    let difference: Vec<f64> = y.iter().zip(target).map(|(y, &t)| y - f64::from(t)).collect();
    let loss = difference.iter().map(|d| d * d).sum::<f64>() / n;
    (loss, difference.iter().map(|d| 2.0 * d / n).collect())
}
