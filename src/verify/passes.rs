//! Whole LSTMs, forward and back through time, beside the `f64` reference: what no kernel alone shows.

use std::collections::{HashMap, HashSet};

use super::Row;
use super::cases::{Case, Run, cells};
use super::contents;
use crate::command::{Limits, Tier};
use crate::device::Device;
use crate::error::Result;
use crate::plan::{Parameter, ParameterTable, Plan, Role, Sequences, StackShape};
use crate::reference::sequence::{self, Batch, LayerGradients, LayerMasks, LayerWeights};
use crate::reference::{Dropout, Tolerance, compare};

/// A pass in one of its tiers.
pub(super) struct Pass {
    case: Case,
    plan: Plan,
}

/// All of them that a device can run.
///
/// # Errors
/// As [`Plan::gradient`].
pub(super) fn passes(limits: &Limits) -> Result<Vec<Pass>> {
    let tiers = [None, Some(Tier::Sequence), Some(Tier::Step), Some(Tier::Wavefront)];
    let mut passes = Vec::new();
    for case in cases() {
        let mut seen = HashSet::new();
        // Of other cells, one tier.
        let some = if case.shape.cell.is_plain() { tiers.len() } else { 1 };
        for tier in tiers.into_iter().take(some) {
            let plan = case.plan_if_any(&Limits { tier, ..*limits })?;
            if let Some(plan) = plan.filter(|plan| seen.insert(plan.tier)) {
                passes.push(Pass { case: case.clone(), plan });
            }
        }
    }
    Ok(passes)
}

/// Of sizes for which [`super::cases`] has compiled what they take.
fn cases() -> Vec<Case> {
    let case = |[steps, batch, input, hidden]: [usize; 4], layers| {
        let shape = StackShape { layers, ..StackShape::lstm(input, hidden) };
        let sequences = Sequences::new(steps, batch).with_state().with_lengths();
        Case { shape, sequences, run: Run::Gradient(None) }
    };
    let plain = case([25, 3, 20, 32], 1);
    let deep = case([9, 3, 20, 24], 3);
    let mut both = case([12, 6, 20, 24], 2);
    both.shape = StackShape { bidirectional: true, projection: Some(20), ..both.shape };
    let wide = case([6, 6, 20, 132], 1);
    let mut cases = vec![plain, deep, both, wide];
    cases.extend(cells());
    cases
}

/// A tensor of a pass.
struct Reading<R> {
    name: String,
    values: Vec<R>,
    /// Whether it is a gradient; else it is an output or a state.
    gradient: bool,
}

impl<R> Reading<R> {
    fn of(name: &str, values: Vec<R>, gradient: bool) -> Reading<R> {
        Reading { name: name.to_owned(), values, gradient }
    }
}

impl Pass {
    /// Runs it on the device and as the reference, and adds to the row of the tier.
    pub(super) fn run(&self, device: &Device, rows: &mut Vec<Row>) -> Result<()> {
        let name = if self.case.shape.cell.is_plain() { "pass" } else { "cell" };
        let variant = self.plan.tier.to_string();
        let at = rows.iter().position(|row| row.name == name && row.variant == variant);
        let at = at.unwrap_or_else(|| {
            rows.push(Row::new(name, variant));
            rows.len() - 1
        });
        let contents = self.contents();
        let (got, want) = (self.device(device, &contents)?, self.reference(&contents));
        let shape = self.case.to_string();
        for (got, want) in got.iter().zip(&want) {
            let tolerance = match want.gradient {
                true => Tolerance::gradient(&want.values),
                false => Tolerance::OUTPUT,
            };
            let outcome = compare(&got.values, &want.values, None, tolerance);
            rows[at].add(&shape, outcome.map_err(|mismatch| format!("{}: {mismatch}", got.name)));
        }
        assert!(
            got.iter().map(|r| &r.name).eq(want.iter().map(|r| &r.name)),
            "both read the same tensors"
        );
        rows[at].launches += self.plan.program.dispatches().count();
        Ok(())
    }

    /// What it runs with: weights half as large as elsewhere, so that outputs are within what a sequence of a
    /// hundred timesteps may be wrong by.
    fn contents(&self) -> HashMap<String, Vec<f32>> {
        let params = contents::parameters(&self.case.shape, 1.0);
        contents::contents(&self.case, &self.plan, Some(&params))
    }

    /// What comes out of it on a device.
    fn device(
        &self,
        device: &Device,
        contents: &HashMap<String, Vec<f32>>,
    ) -> Result<Vec<Reading<f32>>> {
        let session = device.session(&self.plan.program)?;
        for (name, values) in contents {
            session.write(name, values)?;
        }
        session.run()?;
        let output = self.plan.output;
        let y = session.read(&self.plan.program.spec(output.buffer).name)?;
        let mut readings = vec![Reading::of("y", y[output.start..][..output.len].to_vec(), false)];
        for (name, gradient) in
            [("h_n", false), ("c_n", false), ("dx_0", true), ("dh_0", true), ("dc_0", true)]
        {
            readings.push(Reading::of(name, session.read(name)?, gradient));
        }
        let flat = session.read("grads")?;
        for entry in &ParameterTable::new(&self.case.shape).entries {
            let values = entry.to_pytorch(&flat[entry.start..][..entry.len]);
            readings.push(Reading::of(&format!("gradient of {}", entry.role), values, true));
        }
        Ok(readings)
    }

    /// The same, in the same order, by the reference.
    fn reference(&self, contents: &HashMap<String, Vec<f32>>) -> Vec<Reading<f64>> {
        let given = |name: &str| -> Vec<f64> {
            contents.get(name).into_iter().flatten().map(|&v| v.into()).collect()
        };
        let table = ParameterTable::new(&self.case.shape);
        let stack = stack(&self.case.shape, &table, &given("params"));
        let lengths: Vec<usize> =
            contents.get("lengths").into_iter().flatten().map(|&v| v as usize).collect();
        let (steps, rows) = (self.case.sequences.steps, self.case.sequences.batch);
        let key = Dropout::key(contents::SEED, 1);
        let of_layer = |(l, directions): (usize, &Vec<LayerWeights<f64>>)| {
            let masks = |(d, w)| LayerMasks::drawn(w, key, (l, d), (steps, rows));
            directions.iter().enumerate().map(masks).collect()
        };
        let drawn: Vec<Vec<LayerMasks<f64>>> = stack.iter().enumerate().map(of_layer).collect();
        let batch = Batch { rows, lengths: Some(&lengths), masks: &[], drawn: &drawn };
        let trace = sequence::forward(&stack, &batch, &given("x"), &given("h_0"), &given("c_0"));
        let (dy, dh_n, dc_n) = (given("dy"), given("dh_n"), given("dc_n"));
        let gradients = sequence::backward(&stack, &batch, &trace, &dy, &dh_n, &dc_n);
        let mut readings: Vec<Reading<f64>> =
            [("y", trace.y), ("h_n", trace.h_n), ("c_n", trace.c_n)]
                .map(|(name, values)| Reading::of(name, values, false))
                .into();
        for (name, values) in
            [("dx_0", gradients.x), ("dh_0", gradients.h_0), ("dc_0", gradients.c_0)]
        {
            readings.push(Reading::of(name, values, true));
        }
        let of_parameters = table.entries.iter().map(|entry| {
            let values = gradient(entry.role, &gradients.layers).to_vec();
            Reading::of(&format!("gradient of {}", entry.role), values, true)
        });
        readings.extend(of_parameters);
        readings
    }
}

/// The reference's weights from a flat buffer.
fn stack(shape: &StackShape, table: &ParameterTable, flat: &[f64]) -> Vec<Vec<LayerWeights<f64>>> {
    let values = |entry: &Parameter| entry.to_pytorch(&flat[entry.start..][..entry.len]);
    let of = |role: Role| table.get(role).map(values);
    let direction = |l: usize, d: usize| {
        let mut bias = vec![0.0; 4 * shape.units(l)];
        for other in [Role::BiasIh(l, d), Role::BiasHh(l, d)].into_iter().filter_map(of) {
            bias.iter_mut().zip(other).for_each(|(sum, v)| *sum += v);
        }
        LayerWeights {
            input: shape.layer_input(l),
            hidden: shape.units(l),
            weight_ih: of(Role::WeightIh(l, d)).unwrap_or_default(),
            weight_hh: of(Role::WeightHh(l, d)).unwrap_or_default(),
            bias,
            weight_hr: of(Role::WeightHr(l, d)).unwrap_or_default(),
            weight_peephole: of(Role::WeightPeephole(l, d)).unwrap_or_default(),
            cell: shape.cell,
        }
    };
    let layer = |l: usize| (0..shape.directions()).map(|d| direction(l, d)).collect();
    (0..shape.layers).map(layer).collect()
}

/// The reference's gradient of a parameter; the models here have those of layers alone.
fn gradient(role: Role, layers: &[Vec<LayerGradients<f64>>]) -> &[f64] {
    match role {
        Role::WeightIh(l, d) => &layers[l][d].weight_ih,
        Role::WeightHh(l, d) => &layers[l][d].weight_hh,
        Role::BiasIh(l, d) | Role::BiasHh(l, d) => &layers[l][d].bias,
        Role::WeightHr(l, d) => &layers[l][d].weight_hr,
        Role::WeightPeephole(l, d) => &layers[l][d].weight_peephole,
        Role::Embedding
        | Role::InitialH
        | Role::InitialC
        | Role::HeadWeight(_)
        | Role::HeadBias(_) => &[],
    }
}
