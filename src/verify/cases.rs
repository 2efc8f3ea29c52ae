//! What is run: models and calls in which every kernel of the table has something to do, planned in
//! every way that the planner knows.

use std::collections::HashSet;

use crate::command::{Executor, Limits};
use crate::error::{Error, Result};
use crate::kernels;
use crate::plan::{
    Activation, Answer, Bias, Cell, CellActivation, Encoding, Head, Objective, Part, Plan, Readout,
    Rule, Sequences, StackShape, Tier, TrainingOptions, Update,
};
use crate::reference::{CrossEntropy, Dropout, Pointwise};

/// A model and a call.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) shape: StackShape,
    pub(super) sequences: Sequences,
    pub(super) run: Run,
}

/// What is done with a model.
#[derive(Clone, Copy, Debug)]
pub(super) enum Run {
    Prediction(Answer),
    Evaluation(Objective),
    Gradient(Option<Dropout>),
    Training(TrainingOptions),
}

impl Case {
    fn new([steps, batch, input, hidden]: [usize; 4], run: Run) -> Case {
        let shape = StackShape::lstm(input, hidden);
        Case { shape, sequences: Sequences::new(steps, batch), run }
    }

    /// What is minimised, if anything.
    pub(super) fn objective(&self) -> Option<Objective> {
        match self.run {
            Run::Evaluation(objective) => Some(objective),
            Run::Training(options) => Some(options.objective),
            Run::Prediction(_) | Run::Gradient(_) => None,
        }
    }

    pub(super) fn plan(&self, limits: &Limits) -> Result<Plan> {
        let (shape, sequences) = (&self.shape, &self.sequences);
        match &self.run {
            Run::Prediction(answer) => Plan::prediction(shape, sequences, *answer, limits),
            Run::Evaluation(objective) => {
                Plan::evaluation(shape, sequences, objective, true, limits)
            }
            Run::Gradient(dropout) => Plan::gradient(shape, sequences, *dropout, limits),
            Run::Training(options) => Plan::training(shape, sequences, options, limits),
        }
    }

    /// The different plans of the case for a device: as it would be planned there, with every tier, for
    /// drivers that compute on a CPU and for those that don't, and as for the other executor.
    pub(super) fn plans(&self, limits: &Limits) -> Result<Vec<Plan>> {
        let mut seen = HashSet::new();
        let mut plans = Vec::new();
        // A device that computes on a CPU takes seconds to compile a cell in every way.
        let all = ways(limits);
        let some = if self.shape.cell.is_plain() { all.len() } else { 1 };
        for limits in &all[..some] {
            let Some(plan) = self.plan_if_any(limits)? else { continue };
            // Two ways may be one.
            let listing = plan.program.listing(&kernels::table()).to_string();
            if seen.insert(listing) {
                plans.push(plan);
            }
        }
        Ok(plans)
    }

    /// The plan, unless the limits ask for a tier that isn't for such a model.
    pub(super) fn plan_if_any(&self, limits: &Limits) -> Result<Option<Plan>> {
        match self.plan(limits) {
            Err(Error::Value { name, .. }) if name == "tier" && limits.tier.is_some() => Ok(None),
            other => other.map(Some),
        }
    }
}

/// The sizes as a table shows them.
impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (s, call) = (&self.shape, &self.sequences);
        write!(f, "{}x{}x{}x{}", call.steps, call.batch, s.input, s.hidden)?;
        if s.layers != 1 {
            write!(f, " L{}", s.layers)?;
        }
        if s.bidirectional {
            f.write_str(" D2")?;
        }
        if s.reverse {
            f.write_str(" reverse")?;
        }
        if let Some(projection) = s.projection {
            write!(f, " P{projection}")?;
        }
        if s.outputs() > 0 && s.head != Head::Identity {
            write!(f, " O{}", s.outputs())?;
        }
        if !s.cell.is_plain() {
            write!(f, " ({})", s.cell)?;
        }
        Ok(())
    }
}

/// The limits that plans for a device are made with.
pub(super) fn ways(limits: &Limits) -> Vec<Limits> {
    let tiers = [None, Some(Tier::Sequence), Some(Tier::Step), Some(Tier::Wavefront)];
    let tiers = || tiers.into_iter().chain([Some(Tier::Fused)]);
    // Kernels are the same on both executors, and each runs what is planned for the other.
    let (own, other) = match limits.executor {
        Executor::Gpu => (*limits, Limits { executor: Executor::Cpu, ..*limits }),
        Executor::Cpu => (*limits, Limits { executor: Executor::Gpu, alignment: 64, ..*limits }),
    };
    let gpu = if own.executor == Executor::Gpu { own } else { other };
    let mut ways = vec![own];
    for software in [gpu.software, !gpu.software] {
        ways.extend(tiers().map(|tier| Limits { software, tier, ..gpu }));
    }
    let cpu = if own.executor == Executor::Cpu { own } else { other };
    ways.extend([None, Some(Tier::Step)].map(|tier| Limits { tier, ..cpu }));
    ways
}

/// All of them. Products are small and of odd sizes, or have more than 16 rows and operands that come in
/// fours: a driver that computes on a CPU takes seconds to compile what isn't needed then.
pub(super) fn cases() -> Vec<Case> {
    let gradient = |dims| Case::new(dims, Run::Gradient(None));
    let mut cases = Vec::new();
    // Walks and timesteps: every size in which a workgroup may keep weights, few rows and many, and more
    // units than that. One with sizes that are odd. Three timesteps at least, and states that aren't zero:
    // with two, and zeros before them, what a timestep leaves over by mistake is nothing, or isn't met.
    for hidden in [8, 24, 60, 100] {
        cases.extend([gradient([20, 1, 20, hidden]), gradient([3, 131, 20, hidden])]);
    }
    cases.extend([gradient([8, 3, 20, 152]), gradient([3, 21, 20, 152]), gradient([3, 3, 3, 7])]);
    cases.iter_mut().for_each(|case| case.sequences.state = true);
    cases.extend(layers());
    cases.extend(training_steps());
    cases.extend(classes());
    cases.extend(readouts());
    cases.extend(heads());
    // Streams of which some begin anew.
    let mut streams = Case::new([1, 21, 20, 24], Run::Prediction(Answer::Outputs));
    streams.shape.head = Head::Identity;
    streams.sequences = Sequences { state: true, resets: true, ..streams.sequences };
    cases.push(streams);
    cases.extend(linear_layers());
    cases.extend(cells());
    cases
}

/// Cells that aren't PyTorch's, in which every option and every function is met.
pub(super) fn cells() -> Vec<Case> {
    let plain = Cell::new();
    let some = [
        plain
            .peepholes(true)
            .clip(1.5)
            .gate_activation(CellActivation::HARD_SIGMOID)
            .candidate_activation(CellActivation::ScaledTanh { alpha: 1.2, beta: 0.8 })
            .output_activation(CellActivation::Softsign),
        plain
            .peepholes(true)
            .coupled(true)
            .cell_clip(0.8)
            .candidate_activation(CellActivation::LeakyRelu { alpha: 0.1 })
            .output_activation(CellActivation::Elu { alpha: 0.9 }),
        plain
            .cell_clip(1.0)
            .gate_activation(CellActivation::Affine { alpha: 0.2, beta: 0.4 })
            .candidate_activation(CellActivation::Relu)
            .output_activation(CellActivation::ThresholdedRelu { alpha: 0.2 }),
        plain.clip(0.5).cell_clip(1.0).gate_activation(CellActivation::Softplus),
        plain.zoneout(0.3, 0.2).recurrent_dropout(0.3).candidate_dropout(0.2).input_dropout(0.2),
    ];
    let case = |cell: Cell| {
        let mut case = Case::new([7, 3, 20, 24], Run::Gradient(None));
        case.shape.cell = cell;
        case.sequences = Sequences { state: true, lengths: true, ..case.sequences };
        case
    };
    let mut cases: Vec<Case> = some.map(case).into();
    let mut projected = case(plain.projection_clip(0.2));
    projected.shape.projection = Some(20);
    cases.push(projected);
    cases
}

/// All that layers may have, and stacks of them.
fn layers() -> Vec<Case> {
    let mut cases = Vec::new();
    let run = Run::Gradient(Some(Dropout::new(0.3)));
    for (bias, projection, lengths) in [
        (Bias::None, None, true),
        (Bias::Single, None, false),
        (Bias::Single, Some(20), true),
        (Bias::Double, None, true),
        (Bias::Double, Some(20), true),
    ] {
        let mut case = Case::new([6, 6, 20, 24], run);
        let (bidirectional, learned_state) = (true, bias == Bias::None);
        case.shape =
            StackShape { layers: 2, bidirectional, projection, bias, learned_state, ..case.shape };
        let (batch_first, state) = (bias == Bias::Single, bias == Bias::Double);
        case.sequences = Sequences { lengths, batch_first, state, ..case.sequences };
        cases.push(case);
    }
    // In one direction, few rows and many.
    for (batch, lengths) in [(3, true), (21, false)] {
        let mut case = Case::new([14, batch, 20, 24], Run::Gradient(None));
        case.shape.layers = 3;
        case.sequences = Sequences { lengths, state: true, ..case.sequences };
        cases.push(case);
    }
    cases
}

/// What heads may read of both directions.
fn readouts() -> Vec<Case> {
    let options = training(Objective::default(), Rule::Adam, true);
    let of = |readout: Readout, lengths: bool| {
        let mut case = Case::new([7, 6, 20, 20], Run::Training(options));
        let (bidirectional, head) = (true, Head::Linear(8));
        case.shape = StackShape { bidirectional, head, readout, ..case.shape };
        case.sequences.lengths = lengths;
        case
    };
    let single = [Readout::FinalStates, Readout::LastOutput, Readout::MeanOverTime];
    let mut cases: Vec<Case> = single.map(|readout| of(readout, true)).into();
    cases.extend([false, true].map(|lengths| of(Readout::MaxOverTime, lengths)));
    cases
}

/// Heads of several modules, rows that start late, layers that run from the end alone.
fn heads() -> Vec<Case> {
    let options = training(Objective::default(), Rule::Adam, true);
    let mut modules = Case::new([3, 6, 20, 20], Run::Training(options));
    modules.shape.head = Head::new().linear(8).relu().dropout(0.3).linear(4);
    let mut late = Case::new([7, 6, 20, 20], Run::Gradient(None));
    (late.shape.reverse, late.sequences.lengths, late.sequences.right_aligned) = (true, true, true);
    vec![modules, late]
}

fn training(objective: Objective, rule: Rule, norm: bool) -> TrainingOptions {
    let update = Some(Update { rule, groups: 1, norm });
    TrainingOptions { objective, update, ..TrainingOptions::default() }
}

/// Training steps: of one launch where they are small, and those that end a batch of several parts.
fn training_steps() -> Vec<Case> {
    let adam = training(Objective::default(), Rule::Adam, true);
    let mut cases = Vec::new();
    for dims in [[4, 2, 4, 4], [3, 3, 4, 8], [3, 8, 4, 20]] {
        let mut case = Case::new(dims, Run::Training(adam));
        case.shape.head = Head::Linear(4);
        cases.push(case);
    }
    let whole = TrainingOptions { input_gradient: true, ..adam };
    for (part, lengths, batch) in [(Part::Whole, true, 6), (Part::Last, false, 21)] {
        let options = TrainingOptions { part, ..whole };
        let mut case = Case::new([8, batch, 20, 20], Run::Training(options));
        let (head, readout) = (Head::Linear(8), Readout::EveryStep);
        case.shape = StackShape { layers: 2, head, readout, ..case.shape };
        case.sequences = Sequences { state: true, lengths, ..case.sequences };
        cases.push(case);
    }
    cases
}

/// Classes, from tokens.
fn classes() -> Vec<Case> {
    let settings = CrossEntropy { ignore_index: -100.0, label_smoothing: 0.1 };
    let objective = Objective::CrossEntropy { settings, weighted: true };
    let options = training(objective, Rule::Sgd { momentum: true }, true);
    let options = TrainingOptions { dropout: Some(Dropout::new(0.3)), ..options };
    let of = |encoding: Encoding, layers: usize, outputs: usize, run: Run| {
        let mut case = Case::new([7, 6, 20, 20], run);
        let readout = if layers > 1 { Readout::EveryStep } else { Readout::FinalStates };
        let head = Head::Linear(outputs);
        case.shape = StackShape { layers, encoding, head, readout, ..case.shape };
        case.sequences.lengths = encoding != Encoding::OneHot;
        case.sequences.weights = case.sequences.lengths;
        case
    };
    let mut cases = Vec::new();
    for run in [
        Run::Evaluation(objective),
        Run::Prediction(Answer::Probabilities(Activation::Softmax)),
        Run::Prediction(Answer::Classes(Activation::Softmax)),
    ] {
        cases.push(of(Encoding::OneHot, 1, 70, run));
        cases.push(of(Encoding::Embedding(11), 2, 8, run));
    }
    cases.push(of(Encoding::Embedding(11), 2, 8, Run::Training(options)));
    // Yes or no, with gaps.
    let objective = Objective::Pointwise(Pointwise::BinaryLogits);
    for run in [
        Run::Evaluation(objective),
        Run::Prediction(Answer::Probabilities(Activation::Sigmoid)),
        Run::Prediction(Answer::Classes(Activation::Sigmoid)),
        Run::Training(TrainingOptions { objective, ..options }),
    ] {
        cases.push(of(Encoding::Embedding(11), 2, 8, run));
    }
    cases
}

/// Linear layers alone: products of large tiles, optimizers, losses.
fn linear_layers() -> Vec<Case> {
    let linear = |[batch, input, outputs]: [usize; 3], run| {
        let mut case = Case::new([1, batch, input, input], run);
        let (bias, head) = (Bias::None, Head::Linear(outputs));
        case.shape = StackShape { layers: 0, bias, head, ..case.shape };
        case
    };
    let mut cases = Vec::new();
    cases.push(linear([2052, 8, 1032], Run::Prediction(Answer::Outputs)));
    for rule in [
        Rule::Sgd { momentum: false },
        Rule::RmsProp { momentum: true, centered: true },
        Rule::RmsProp { momentum: false, centered: false },
    ] {
        let options = training(Objective::default(), rule, false);
        cases.push(linear([152, 68, 8], Run::Training(options)));
    }
    for loss in [
        Pointwise::Absolute,
        Pointwise::Huber { delta: 0.7 },
        Pointwise::SmoothAbsolute { beta: 0.3 },
        Pointwise::BinaryLogits,
    ] {
        cases.push(linear([700, 20, 4], Run::Evaluation(Objective::Pointwise(loss))));
    }
    cases
}
