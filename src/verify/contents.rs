//! What a plan's buffers hold before it runs.

use std::collections::HashMap;

use super::cases::Case;
use crate::command::{Operation, Program};
use crate::model::Init;
use crate::plan::{Encoding, Objective, ParameterTable, Plan, Rule, StackShape};
use crate::reference::{
    AdamSettings, CommonSettings, Dropout, Pointwise, RmsPropSettings, SETTINGS, SgdSettings,
    policy, scalars, sort_tokens, status,
};

use super::cases::Run;

/// The seed of all random contents.
pub(super) const SEED: u64 = 2026;

/// Values for the buffers of a plan that a host or a caller fills, by name.
pub(super) fn contents(
    case: &Case,
    plan: &Plan,
    params: Option<&[f32]>,
) -> HashMap<String, Vec<f32>> {
    let program = &plan.program;
    let len = |name: &str| program.part(name).map(|part| part.len);
    let mut given: HashMap<String, Vec<f32>> = HashMap::new();
    let mut put = |name: &str, make: &mut dyn FnMut(usize) -> Vec<f32>| {
        if let Some(len) = len(name) {
            given.insert(name.to_owned(), make(len));
        }
    };
    let (shape, batch, steps) = (&case.shape, case.sequences.batch, case.sequences.steps);

    put("params", &mut |_| params.map_or_else(|| parameters(shape, 2.0), <[f32]>::to_vec));
    let tokens = shape.encoding.tokens(shape.input);
    put("x", &mut |len| match tokens {
        Some(tokens) => whole_numbers(len, tokens),
        None => normal(len, 1.0, "x"),
    });
    // The first row has all timesteps and the second none.
    let length = |b: usize| if b == 0 { steps } else { (b - 1) * 3 % (steps + 1) };
    put("lengths", &mut |len| (0..len).map(|b| length(b) as f32).collect());
    put("keep", &mut |len| (0..len).map(|b| (b % 2) as f32).collect());
    put("fresh", &mut |len| (0..len).map(|b| 1.0 - (b % 2) as f32).collect());
    for (name, std) in [("h_0", 0.5), ("c_0", 1.0), ("dh_n", 1.0), ("dc_n", 1.0)] {
        put(name, &mut |len| normal(len, std, name));
    }
    put("dy", &mut |len| normal(len, 1.0, "dy"));
    put("key", &mut |_| Dropout::halves(Dropout::key(SEED, 1)).to_vec());

    put("target", &mut |len| match case.objective() {
        // Some count nothing.
        Some(Objective::CrossEntropy { settings, .. }) => {
            let mut classes = whole_numbers(len, shape.outputs());
            classes.iter_mut().skip(4).step_by(5).for_each(|class| *class = settings.ignore_index);
            classes
        }
        Some(Objective::Pointwise(Pointwise::BinaryLogits)) => {
            normal(len, 0.3, "target").iter().map(|v| (v + 0.5).clamp(0.0, 1.0)).collect()
        }
        _ => normal(len, 1.0, "target"),
    });
    // Some targets are gaps, and what stands there is nobody's.
    put("weights", &mut |len| (0..len).map(|n| [1.0, 0.0, 0.5][n % 3]).collect());
    if let (Some(weights), Some(target)) = (given.get("weights").cloned(), given.get_mut("target"))
    {
        let width = target.len() / weights.len();
        for (target, weight) in target.chunks_exact_mut(width).zip(weights) {
            if weight == 0.0 {
                target.fill(1e30);
            }
        }
    }
    let mut put = |name: &str, make: &mut dyn FnMut(usize) -> Vec<f32>| {
        if let Some(len) = len(name) {
            given.insert(name.to_owned(), make(len));
        }
    };
    put("loss_scale", &mut |_| vec![1.0 / (shape.predictions(steps) * batch) as f32]);
    put("class_weights", &mut |len| (0..len).map(|c| 0.5 + (c % 3) as f32).collect());
    if let (Encoding::Embedding(vocabulary), Some(len)) = (shape.encoding, len("x")) {
        let positions = whole_numbers(len, vocabulary).into_iter().map(|v| Some(v as usize));
        let (order, offsets) = sort_tokens(positions, vocabulary);
        put("token_order", &mut |_| order.clone());
        put("token_offsets", &mut |_| offsets.clone());
    }

    // What parts of a batch before have left, and steps.
    put("grads", &mut |_| scattered(shape, 0.01, "grads"));
    for (name, std) in [("moment_0", 0.01), ("moment_1", 1.0), ("moment_2", 0.1)] {
        put(name, &mut |_| scattered(shape, std, name));
    }
    put("settings", &mut |len| settings(case).repeat(len / SETTINGS));
    put("scalars", &mut |len| {
        let mut said = vec![0.0; len];
        (said[scalars::MAX_NORM], said[scalars::POLICY]) = (0.5, policy::ERROR);
        said
    });
    put("status", &mut |len| {
        let mut said = vec![0.0; len];
        (said[status::SCALE], said[status::APPLY]) = (1.0, 1.0);
        said
    });
    // Second moments are squares.
    let squares: &[&str] = match case.run {
        Run::Training(options) => match options.update.map(|update| update.rule) {
            Some(Rule::Adam) => &["moment_1"],
            // The mean of squares isn't below the square of the mean.
            Some(Rule::RmsProp { .. }) => &["moment_0"],
            _ => &[],
        },
        _ => &[],
    };
    for name in squares {
        if let Some(values) = given.get_mut(*name) {
            values.iter_mut().filter(|v| **v != 0.0).for_each(|v| *v = v.abs() + 0.2);
        }
    }
    if let Some(feed) = feed(program, &given) {
        given.insert("feed".to_owned(), feed);
    }
    // Parts of buffers were fed.
    given.retain(|name, _| program.buffer(name).is_some());
    given
}

/// What the host writes for a run: the parts that the first commands copy to where they belong.
fn feed(program: &Program, given: &HashMap<String, Vec<f32>>) -> Option<Vec<f32>> {
    let id = program.buffer("feed")?;
    let mut feed = vec![0.0; program.spec(id).len];
    let mut filled = 0;
    for command in &program.commands {
        let Operation::Copy { from, to } = &command.operation else { continue };
        if from.buffer != id {
            continue;
        }
        for (name, values) in given {
            let Some(part) = program.part(name).filter(|part| part.buffer == to.buffer) else {
                continue;
            };
            feed[from.start + part.start - to.start..][..part.len].copy_from_slice(values);
            filled += part.len;
        }
    }
    assert_eq!(filled, feed.len(), "everything that is fed has contents");
    Some(feed)
}

/// A row of settings in which everything does something.
fn settings(case: &Case) -> Vec<f32> {
    let Run::Training(options) = case.run else { return vec![0.0; SETTINGS] };
    let common = CommonSettings { weight_decay: 0.01, keep: 0.99, ..CommonSettings::new(0.01) };
    let common = CommonSettings { clip_value: 0.05, ..common };
    match options.update.map(|update| update.rule) {
        Some(Rule::Adam) | None => AdamSettings {
            common,
            one_minus_beta1: 0.1,
            beta2: 0.99,
            one_minus_beta2: 0.01,
            eps: 1e-8,
            root_correction: 0.3,
        }
        .row()
        .to_vec(),
        Some(Rule::Sgd { momentum }) => {
            let momentum = if momentum { 0.9 } else { 0.0 };
            let nesterov = momentum > 0.0;
            SgdSettings { common, momentum, gradient_share: 1.0, nesterov }.row().to_vec()
        }
        Some(Rule::RmsProp { momentum, .. }) => RmsPropSettings {
            common,
            alpha: 0.99,
            one_minus_alpha: 0.01,
            eps: 1e-8,
            momentum: if momentum { 0.9 } else { 0.0 },
        }
        .row()
        .to_vec(),
    }
}

/// Weights with which pre-activations have a standard deviation of about `spread`: at 2, gates saturate now
/// and then.
pub(super) fn parameters(shape: &StackShape, spread: f32) -> Vec<f32> {
    let table = ParameterTable::new(shape);
    let mut flat = vec![0.0; table.len];
    for (stream, entry) in (0..).zip(&table.entries) {
        let std = spread / (entry.shape.last().copied().unwrap_or(1) as f32).sqrt();
        let values = Init::Normal { mean: 0.0, std }.draw(&entry.shape, SEED, stream);
        flat[entry.start..][..entry.len].copy_from_slice(&entry.from_pytorch(&values));
    }
    flat
}

/// A flat buffer, whose padding is zero.
fn scattered(shape: &StackShape, std: f32, name: &str) -> Vec<f32> {
    let table = ParameterTable::new(shape);
    let mut flat = vec![0.0; table.len];
    for entry in &table.entries {
        let values = normal(entry.numel(), std, name);
        flat[entry.start..][..entry.len].copy_from_slice(&entry.from_pytorch(&values));
    }
    flat
}

fn whole_numbers(len: usize, below: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 37 % 101 % below) as f32).collect()
}

/// Normal values, others for every name.
fn normal(len: usize, std: f32, name: &str) -> Vec<f32> {
    let stream = name.bytes().fold(1u64 << 32, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
    Init::Normal { mean: 0.0, std }.draw(&[len], SEED, stream)
}
