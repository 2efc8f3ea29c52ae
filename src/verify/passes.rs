//! Whole LSTMs, forward and back through time, beside the `f64` reference: what no kernel alone shows.

use std::collections::HashSet;

use super::Row;
use super::cases::{Case, Run};
use super::contents;
use crate::command::{Limits, Tier};
use crate::device::{Device, Session};
use crate::error::Result;
use crate::plan::{Parameter, ParameterTable, Plan, Role, Sequences, StackShape};
use crate::reference::sequence::{self, Batch, LayerGradients, LayerWeights};
use crate::reference::{Tolerance, compare};

/// A pass in one of its tiers.
pub(super) struct Pass {
    case: Case,
    plan: Plan,
}

/// All of them that a device can run.
pub(super) fn passes(limits: &Limits) -> Vec<Pass> {
    let tiers = [None, Some(Tier::Sequence), Some(Tier::Step), Some(Tier::Wavefront)];
    let mut passes = Vec::new();
    for case in cases() {
        let mut seen = HashSet::new();
        for tier in tiers {
            // What is refused isn't for the model.
            let Ok(plan) = case.plan(&Limits { tier, ..*limits }) else { continue };
            if seen.insert(plan.tier) {
                passes.push(Pass { case: case.clone(), plan });
            }
        }
    }
    passes
}

fn cases() -> Vec<Case> {
    let case = |[steps, batch, input, hidden]: [usize; 4], layers| {
        let shape = StackShape { layers, ..StackShape::lstm(input, hidden) };
        let sequences = Sequences::new(steps, batch).with_state().with_lengths();
        Case { shape, sequences, run: Run::Gradient(None) }
    };
    let plain = case([25, 3, 4, 32], 1);
    let deep = case([9, 10, 3, 40], 3);
    let mut both = case([12, 6, 3, 24], 2);
    both.shape = StackShape { bidirectional: true, projection: Some(7), ..both.shape };
    let wide = case([6, 12, 5, 130], 1);
    vec![plain, deep, both, wide]
}

/// A reading of a session, as f32, and what it should be.
struct Reading {
    name: String,
    got: Vec<f32>,
    want: Vec<f64>,
    tolerance: Tolerance,
}

impl Pass {
    /// Runs both, and adds to the row of the tier.
    pub(super) fn run(&self, device: &Device, rows: &mut Vec<Row>) -> Result<()> {
        let (name, variant) = ("pass", self.plan.tier.to_string());
        let at = rows.iter().position(|row| row.name == name && row.variant == variant);
        let at = at.unwrap_or_else(|| {
            rows.push(Row::new(name, variant));
            rows.len() - 1
        });
        let shape = self.case.to_string();
        for Reading { name, got, want, tolerance } in self.readings(device)? {
            let outcome = compare(&got, &want, None, tolerance);
            rows[at].add(&shape, outcome.map_err(|mismatch| format!("{name}: {mismatch}")));
        }
        rows[at].launches += self.plan.program.dispatches().count();
        Ok(())
    }

    fn readings(&self, device: &Device) -> Result<Vec<Reading>> {
        let contents = contents::contents(&self.case, &self.plan, None);
        let session = device.session(&self.plan.program)?;
        for (name, values) in &contents {
            session.write(name, values)?;
        }
        session.run()?;
        let given = |name: &str| -> Vec<f64> {
            contents.get(name).into_iter().flatten().map(|&v| v.into()).collect()
        };

        let shape = &self.case.shape;
        let table = ParameterTable::new(shape);
        let stack = stack(shape, &table, &given("params"));
        let lengths: Vec<usize> = given("lengths").iter().map(|&v| v as usize).collect();
        let batch = Batch { rows: self.case.sequences.batch, lengths: Some(&lengths), masks: &[] };
        let (x, dy) = (given("x"), given("dy"));
        let trace = sequence::forward(&stack, &batch, &x, &given("h_0"), &given("c_0"));
        let gradients =
            sequence::backward(&stack, &batch, &trace, &dy, &given("dh_n"), &given("dc_n"));

        let mut readings = Vec::new();
        let mut read = |name: &str, got: Vec<f32>, want: Vec<f64>, tolerance: Tolerance| {
            readings.push(Reading { name: name.to_owned(), got, want, tolerance });
        };
        let output = self.output(&session)?;
        for (name, got, want) in [
            ("y", output, trace.y),
            ("h_n", session.read("h_n")?, trace.h_n),
            ("c_n", session.read("c_n")?, trace.c_n),
        ] {
            read(name, got, want, Tolerance::OUTPUT);
        }
        for (name, want) in
            [("dx_0", gradients.x), ("dh_0", gradients.h_0), ("dc_0", gradients.c_0)]
        {
            let tolerance = Tolerance::gradient(&want);
            read(name, session.read(name)?, want, tolerance);
        }
        let flat = session.read("grads")?;
        for entry in &table.entries {
            let Some(want) = gradient(entry.role, &gradients.layers) else { continue };
            let got = entry.to_pytorch(&flat[entry.start..][..entry.len]);
            let tolerance = Tolerance::gradient(want);
            read(&format!("gradient of {:?}", entry.role), got, want.to_vec(), tolerance);
        }
        Ok(readings)
    }

    /// The outputs.
    fn output(&self, session: &Session) -> Result<Vec<f32>> {
        let output = self.plan.output;
        let buffer = session.read(&self.plan.program.spec(output.buffer).name)?;
        Ok(buffer[output.start..][..output.len].to_vec())
    }
}

/// The reference's weights from a flat buffer.
fn stack(shape: &StackShape, table: &ParameterTable, flat: &[f64]) -> Vec<Vec<LayerWeights<f64>>> {
    let values = |entry: &Parameter| entry.to_pytorch(&flat[entry.start..][..entry.len]);
    let of = |role: Role| table.get(role).map(values);
    let direction = |l: usize, d: usize| {
        let mut bias = vec![0.0; 4 * shape.hidden];
        for other in [Role::BiasIh(l, d), Role::BiasHh(l, d)].into_iter().filter_map(of) {
            bias.iter_mut().zip(other).for_each(|(sum, v)| *sum += v);
        }
        LayerWeights {
            input: shape.layer_input(l),
            hidden: shape.hidden,
            weight_ih: of(Role::WeightIh(l, d)).unwrap_or_default(),
            weight_hh: of(Role::WeightHh(l, d)).unwrap_or_default(),
            bias,
            weight_hr: of(Role::WeightHr(l, d)).unwrap_or_default(),
        }
    };
    let layer = |l: usize| (0..shape.directions()).map(|d| direction(l, d)).collect();
    (0..shape.layers).map(layer).collect()
}

/// The reference's gradient of a parameter.
fn gradient(role: Role, layers: &[Vec<LayerGradients<f64>>]) -> Option<&[f64]> {
    let (at, tensor): ((usize, usize), fn(&LayerGradients<f64>) -> &[f64]) = match role {
        Role::WeightIh(l, d) => ((l, d), |g| &g.weight_ih),
        Role::WeightHh(l, d) => ((l, d), |g| &g.weight_hh),
        Role::BiasIh(l, d) | Role::BiasHh(l, d) => ((l, d), |g| &g.bias),
        Role::WeightHr(l, d) => ((l, d), |g| &g.weight_hr),
        Role::Embedding | Role::InitialH | Role::InitialC | Role::HeadWeight | Role::HeadBias => {
            return None;
        }
    };
    Some(tensor(&layers[at.0][at.1]))
}
