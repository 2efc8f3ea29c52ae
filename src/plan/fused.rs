//! Training steps of small models in one launch.

use std::result::Result as Found;
use std::sync::Arc;
use std::time::Duration;

use super::loss::feed_slots;
use super::tiers::LONGEST_LAUNCH;
use super::{
    Encoding, Head, LOSS_SLOTS, Objective, ParameterTable, Plan, Readout, Role, Rule, Sequences,
    StackShape, TrainingOptions, norm_chunk,
};
use crate::command::{
    BufferId, BufferSpec, Command, Executor, Limits, Operation, Owner, Program, Range, Tier,
};
use crate::error::Result;
use crate::kernels::{self, training_step};
use crate::reference::{SETTINGS, Strides, scalars, status};

/// Multiply-adds of a step up to which one workgroup is faster than the launches that it saves, on a
/// driver that computes on a CPU. On llvmpipe `Trainer::fit` took for (T, B, I, H), in microseconds a
/// step, fused and as walks: 49 and 318 for (4, 1, 1, 1); 536 and 1518 for (10, 16, 5, 8), of 200,000;
/// 730 and 794 for (100, 1, 1, 12), of 187,000; 871 and 1086 for (20, 1, 1, 31), of 238,000; 1271 and
/// 1288 for (2, 64, 4, 16), of 492,000.
const MOST_WORK: u64 = 1 << 18;

/// Elements of the flat buffers, at most: one workgroup updates all of them.
const MOST_PARAMETERS: usize = 16_384;

/// A step in one launch, and how it is cut.
struct Fused {
    step: training_step::Shape,
    variant: usize,
    reason: String,
}

/// The plan of a training step in one launch, where it is asked for, or where it runs and is estimated to be
/// the fastest.
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) where it is asked for and doesn't run; as [`Plan::training`].
pub(super) fn training(
    operation: &'static str,
    shape: &StackShape,
    sequences: &Sequences,
    options: &TrainingOptions,
    limits: &Limits,
) -> Result<Option<Plan>> {
    if limits.tier.is_some_and(|tier| tier != Tier::Fused) {
        return Ok(None);
    }
    shape.check(operation, sequences.steps, sequences.batch)?;
    shape.fits(operation, sequences.steps, sequences.batch, limits)?;
    match (limits.tier, fused(shape, sequences, options, limits)) {
        (None, Err(_)) => Ok(None),
        (Some(tier), Err(why)) => Err(super::tiers::refused(operation, tier, &why)),
        (None, Ok(fused)) if !is_small(&fused.step, limits) => Ok(None),
        (_, Ok(fused)) => plan(shape, sequences, limits, fused).map(Some),
    }
}

/// Whether one workgroup is known to be faster than many launches. On a GPU, where a launch costs less
/// and one workgroup is a small part of the device, nothing of it was measured: it has to be asked for.
fn is_small(step: &training_step::Shape, limits: &Limits) -> bool {
    limits.software && step.work() <= MOST_WORK
}

/// The step in one launch, or why it can't be.
fn fused(
    shape: &StackShape,
    sequences: &Sequences,
    options: &TrainingOptions,
    limits: &Limits,
) -> Found<Fused, String> {
    let Sequences { steps, batch, lengths, batch_first, state, resets, weights, .. } = *sequences;
    let pooled = matches!(shape.readout, Readout::MeanOverTime | Readout::MaxOverTime);
    let (Objective::Pointwise(loss), Some(update)) = (options.objective, options.update) else {
        return Err("it is for losses of single numbers, with an optimizer step".to_owned());
    };
    let refusals = [
        (limits.executor == Executor::Cpu, "launches cost nothing on the CPU"),
        (shape.layers != 1 || !shape.is_causal(), "it is for one layer in one direction, forward"),
        (!matches!(shape.head, Head::Identity | Head::Linear(_)), "its head is a linear layer"),
        (shape.encoding != Encoding::Values, "it takes values, not tokens"),
        (shape.projection.is_some(), "it has no projection"),
        (!shape.cell.is_plain(), "its cell is PyTorch's"),
        (shape.learned_state || state || resets, "its states begin with zero"),
        (lengths, "its rows are as long as each other"),
        (weights, "its targets count as much as each other"),
        (pooled, "its head reads a timestep, not all together"),
        (batch_first && shape.every_step(), "its predictions are time-major"),
        (options.input_gradient, "it makes no gradient of the input"),
        (options.part != Default::default(), "a batch is one part"),
        (options.dropout.is_some(), "it drops nothing"),
        (update.rule != Rule::Adam || update.groups != 1, "its optimizer is Adam with one group"),
    ];
    if let Some((_, why)) = refusals.into_iter().find(|(refused, _)| *refused) {
        return Err(why.to_owned());
    }
    let table = ParameterTable::new(shape);
    let most = MOST_PARAMETERS.min(norm_chunk(limits));
    if table.len > most {
        return Err(format!("more than {most} parameters, with their padding"));
    }
    let place = |role: Role| table.get(role).map(|entry| entry.start);
    let required = |role: Role| {
        place(role).unwrap_or_else(|| unreachable!("a model of one layer has {role:?}"))
    };
    let biases = [Role::BiasIh(0, 0), Role::BiasHh(0, 0)];
    let step = training_step::Shape {
        steps,
        batch,
        input: shape.input,
        hidden: shape.hidden,
        outputs: shape.outputs(),
        every: shape.every_step(),
        len: table.len,
        x: match batch_first {
            true => Strides::batch_first(steps, shape.input),
            false => Strides::time_major(batch, shape.input),
        },
        w: required(Role::WeightIh(0, 0)),
        u: required(Role::WeightHh(0, 0)),
        biases: biases.into_iter().filter_map(place).collect(),
        head: place(Role::HeadWeight(0)).zip(place(Role::HeadBias(0))),
        loss,
        norm: update.norm,
    };
    if step.fed_len().max(step.scratch_len()) > limits.max_binding {
        return Err("what it keeps is more than a launch may bind".to_owned());
    }
    let variant = variant(&step, limits)?;
    if workgroup_time(&step) > LONGEST_LAUNCH {
        return Err("one workgroup would take longer than a launch may".to_owned());
    }
    let reason = match limits.tier {
        Some(_) => "as asked for",
        None => "the launches that it saves take longer than one workgroup",
    };
    Ok(Fused { step, variant, reason: reason.to_owned() })
}

/// About what a step takes one workgroup of a slow device: 8 multiply-adds a nanosecond, and 4 us for the
/// barriers of a timestep, either way.
fn workgroup_time(step: &training_step::Shape) -> Duration {
    Duration::from_nanos(step.work() / 8 + 8000 * step.steps as u64)
}

/// The variant with as many invocations as there is to do in a timestep; on a driver that computes on a
/// CPU the fewest, since they take turns. More where a driver stops loops.
fn variant(step: &training_step::Shape, limits: &Limits) -> Found<usize, String> {
    let wanted = if limits.software { 1 } else { (step.batch * step.hidden).max(64) };
    let counted = |lanes: usize| {
        let budget = limits.loop_budget.map_or(usize::MAX, |budget| budget as usize);
        lanes <= limits.max_invocations as usize && training_step::iterations(step, lanes) <= budget
    };
    let lanes = training_step::LANES;
    let most = lanes.iter().rposition(|&lanes| counted(lanes));
    let enough = (0..lanes.len()).find(|&i| counted(lanes[i]) && lanes[i] >= wanted);
    enough.or(most).ok_or_else(|| "a step is more than a launch may loop".to_owned())
}

fn plan(shape: &StackShape, sequences: &Sequences, limits: &Limits, fused: Fused) -> Result<Plan> {
    let Fused { step, variant, reason } = fused;
    let mut program = Program::default();
    let mut add = |name: &str, dims: &str, len: usize, slots: usize, owner: Owner| -> BufferId {
        let shape = format!("{dims} = [{len}]");
        program.add(BufferSpec { name: name.to_owned(), shape, len, slots, owner })
    };
    let params = add("params", "[N]", step.len, 1, Owner::Caller);
    let slots = feed_slots(shape, sequences, step.fed_len(), limits);
    let feed = add("feed", "[all that is fed]", step.fed_len(), slots, Owner::Workspace);
    let fed = add("fed", "[all that is fed]", step.fed_len(), 1, Owner::Workspace);
    let scratch = add("step", "[gates, states, y, dy]", step.scratch_len(), 1, Owner::Workspace);
    let mut caller = |name: &str, dims: &str, len: usize| add(name, dims, len, 1, Owner::Caller);
    let loss = caller("loss", "[1]", 1);
    let grads = caller("grads", "[N]", step.len);
    let said = caller("status", "[16]", status::LEN);
    let moments = ["moment_0", "moment_1"].map(|name| caller(name, "[N]", step.len));
    let losses = add("losses", "[1]", 1, LOSS_SLOTS, Owner::Caller);

    let [target, scale, said_at, settings] = step.fed();
    let parts = [
        ("x", 0, target),
        ("target", target, step.predictions()),
        ("loss_scale", scale, 1),
        ("scalars", said_at, scalars::LEN),
        ("settings", settings, SETTINGS),
    ];
    for (name, start, len) in parts {
        program.name_part(name, Range { buffer: fed, start, len });
    }
    let [_, y, _, _] = step.scratch();
    let output = Range { buffer: scratch, start: y, len: step.predictions() };
    program.name_part("y", output);

    let whole = |buffer: BufferId| program.whole(buffer);
    let operands = training_step::Operands {
        fed: whole(fed),
        params: whole(params),
        grads: whole(grads),
        m: whole(moments[0]),
        v: whole(moments[1]),
        status: whole(said),
        loss: whole(loss),
        scratch: whole(scratch),
    };
    let launch = training_step::dispatch(&step, variant, &operands);
    let commands = [
        ("feed", Operation::Copy { from: whole(feed), to: whole(fed) }),
        ("training step", Operation::Dispatch(launch)),
        ("log the loss", Operation::Copy { from: whole(loss), to: whole(losses) }),
    ];
    let command =
        |(label, operation): (&str, Operation)| Command { label: label.to_owned(), operation };
    program.commands = commands.into_iter().map(command).collect();
    let table = kernels::table();
    program.check(&table, limits)?;
    Ok(Plan {
        program: Arc::new(program.trust(&table)),
        shape: shape.clone(),
        sequences: *sequences,
        output,
        forward_from: 1,
        backward_from: 1,
        tier: Tier::Fused,
        reason: format!("{} ({reason})", Tier::Fused),
    })
}
