//! The schedule, without any device.

use std::time::Duration;

use gatefold::command::{Access, Limits, Operation, Range};
use gatefold::kernels::{self, Tile};
use gatefold::plan::{Head, Plan, Readout, Sequences, StackShape, Tier, TrainingOptions, Update};
use gatefold::train::{Adam, Optimizer};

use crate::common::models::count;

/// A launch a timestep, also where a workgroup could keep the weights.
const STEPS: Limits = Limits { tier: Some(Tier::Step), ..Limits::WEBGPU };

fn stack(layers: usize) -> StackShape {
    StackShape { layers, head: Head::Linear(2), ..StackShape::lstm(3, 8) }
}

fn training(shape: &StackShape, steps: usize, batch: usize, limits: &Limits) -> Plan {
    let update = Some(Optimizer::from(Adam::new(0.01)).update());
    let options = TrainingOptions { update, input_gradient: true, ..Default::default() };
    Plan::training(shape, &Sequences::new(steps, batch), &options, limits).unwrap()
}

#[test]
fn one_dispatch_a_step_forward_and_backward() {
    let plan = training(&stack(1), 13, 4, &STEPS);
    assert_eq!(count(&plan, "lstm_step_forward"), 13);
    assert_eq!(count(&plan, "lstm_step_backward"), 13);
    let listing = plan.to_string();
    for t in 0..13 {
        let lines = |label: &str| listing.lines().filter(|line| line.contains(label)).count();
        assert_eq!(lines(&format!("layer 0, t = {t} ")), 1, "{listing}");
        assert_eq!(lines(&format!("layer 0, backward, t = {t} ")), 1, "{listing}");
    }
    assert!(listing.contains("tier: step (as asked for)"));
    assert_eq!(listing.lines().filter(|l| l.contains(" adam ")).count(), 1, "{listing}");
}

/// A small training step is one launch, unless something else is asked for; the plan says why.
#[test]
fn a_small_training_step_is_one_launch() {
    use gatefold::command::Tier;
    use gatefold::plan::{Bias, Part};

    let update = Some(Optimizer::from(Adam::new(0.01)).update());
    let options = TrainingOptions { update, ..Default::default() };
    let call = Sequences::new(4, 1);
    let llvmpipe = Limits { software: true, loop_budget: Some(65_000), ..Limits::WEBGPU };
    let toy = StackShape { bias: Bias::Single, head: Head::Identity, ..StackShape::lstm(1, 1) };
    let forced = Limits { tier: Some(Tier::Fused), ..llvmpipe };
    let asked = "fused (as asked for)";
    let cases = [
        (llvmpipe, "fused (the launches that it saves take longer than one workgroup)"),
        (forced, asked),
        (Limits { tier: Some(Tier::Fused), ..Limits::WEBGPU }, asked),
    ];
    for (limits, said) in cases {
        let plan = Plan::training(&toy, &call, &options, &limits).unwrap();
        fits(&plan, &limits);
        reads_what_is_written(&plan, &["params", "moment_0", "moment_1", "status", "feed"]);
        assert_eq!((plan.tier, plan.program.dispatches().count()), (Tier::Fused, 1), "{plan}");
        assert_eq!(count(&plan, "training_step"), 1);
        assert!(plan.to_string().contains(&format!("tier: {said}")), "{plan}");
        // What the host writes lies as in the usual plan.
        let fed = |name: &str| plan.program.part(name).map(|part| (part.start, part.len));
        assert_eq!(fed("x"), Some((0, 4)));
        assert_eq!(fed("target"), Some((4, 1)));
        assert_eq!(fed("loss_scale"), Some((5, 1)));
        assert_eq!(fed("scalars"), Some((6, 4)));
        assert_eq!(fed("settings"), Some((10, 16)));
        let asked = Limits { tier: Some(Tier::Step), ..limits };
        let usual = Plan::training(&toy, &call, &options, &asked).unwrap();
        assert_eq!((usual.tier, count(&usual, "training_step")), (Tier::Step, 0));
        let len = |plan: &Plan| plan.program.spec(plan.program.buffer("feed").unwrap()).len;
        assert_eq!(len(&plan), len(&usual));
    }

    // On a GPU it has to be asked for.
    let plan = Plan::training(&toy, &call, &options, &Limits::WEBGPU).unwrap();
    assert_eq!(count(&plan, "training_step"), 0);

    let refused = |shape: StackShape, call: Sequences, options: TrainingOptions, why: &str| {
        let free = Plan::training(&shape, &call, &options, &llvmpipe).unwrap();
        assert_eq!(count(&free, "training_step"), 0, "{free}");
        let error = Plan::training(&shape, &call, &options, &forced).unwrap_err().to_string();
        assert!(error.contains("fused") && error.contains(why), "{error}");
    };
    refused(StackShape { layers: 2, ..toy.clone() }, call, options, "one layer");
    refused(StackShape { bidirectional: true, ..toy.clone() }, call, options, "one direction");
    refused(toy.clone(), call.with_lengths(), options, "as long as each other");
    refused(toy.clone(), call.with_state(), options, "begin with zero");
    refused(
        toy.clone(),
        call,
        TrainingOptions { input_gradient: true, ..options },
        "gradient of the input",
    );
    refused(toy.clone(), call, TrainingOptions { part: Part::First, ..options }, "one part");
    refused(toy.clone(), call, TrainingOptions { update: None, ..options }, "optimizer step");
    refused(StackShape { hidden: 70, ..toy.clone() }, call, options, "16384 parameters");
    refused(toy.clone(), Sequences::new(20_000, 1), options, "loop");
    let gpu = Limits { tier: Some(Tier::Fused), ..Limits::WEBGPU };
    let wide = StackShape { hidden: 30, ..toy.clone() };
    let long = Plan::training(&wide, &Sequences::new(100, 512), &options, &gpu);
    assert!(long.unwrap_err().to_string().contains("longer than a launch may"));
    // What isn't a training step is cut as without a wish.
    assert_eq!(Plan::forward(&toy, &call, &forced).unwrap().tier, Tier::Sequence);
    let cpu = Limits { tier: Some(Tier::Fused), ..Limits::CPU };
    assert!(Plan::training(&toy, &call, &options, &cpu).is_err());

    // Larger steps are many launches, unless one is asked for.
    let larger = StackShape { hidden: 40, ..toy.clone() };
    let call = Sequences::new(30, 16);
    let plan = |limits| Plan::training(&larger, &call, &options, limits).unwrap();
    assert_eq!(count(&plan(&llvmpipe), "training_step"), 0);
    assert_eq!(count(&plan(&forced), "training_step"), 1);
}

/// The listing with times is the plain one with two more columns, and the sum.
#[test]
fn times_stand_beside_their_commands() {
    let shape = StackShape::lstm(3, 8);
    let plan = Plan::forward(&shape, &Sequences::new(2, 5), &Limits::WEBGPU).unwrap();
    let count = plan.program.commands.len() as u64;
    // 1, 2, 3 ... microseconds; the last command has none.
    let times: Vec<Duration> = (1..count).map(Duration::from_micros).collect();
    let (plain, timed) = (plan.to_string(), plan.timed(&times).to_string());
    let all = 0.5 * (count * (count - 1)) as f64;
    let mut lines = timed.lines();
    let mut commands = 0;
    for plain in plain.lines() {
        let line = lines.next().unwrap();
        // A command has its number, its label and what it does.
        let number = plain.split_whitespace().next().and_then(|n| n.parse::<usize>().ok());
        let Some(number) = number else {
            assert_eq!(line, plain);
            continue;
        };
        let columns = match times.get(number) {
            Some(time) => {
                let us = 1e6 * time.as_secs_f64();
                format!("{us:>10.1} us  {:>5.1} %  ", 100.0 * us / all)
            }
            None => format!("{:>13}  {:>7}  ", "-", "-"),
        };
        assert_eq!(line, format!("{}{columns}{}", &plain[..8], &plain[8..]));
        commands += 1;
    }
    assert_eq!(commands, count);
    let last = lines.next().unwrap();
    assert_eq!(last.trim(), format!("{all:.1} us  100.0 %  all commands"));
    assert_eq!(lines.next(), None);
}

#[test]
fn steps_run_forward_then_backward() {
    let plan = training(&stack(2), 5, 4, &STEPS);
    let labels: Vec<&str> = plan.program.commands.iter().map(|c| c.label.as_str()).collect();
    let at =
        |label: &str| labels.iter().position(|l| *l == label).unwrap_or_else(|| panic!("{label}"));
    let order = [
        "layer 0, input projection",
        "layer 0, t = 0",
        "layer 0, t = 4",
        "layer 1, input projection",
        "layer 1, t = 0",
        "layer 1, t = 4",
        "head",
        "loss",
        "head, input gradient",
        "layer 1, backward, t = 4",
        "layer 1, backward, t = 0",
        "layer 1, weight_hh gradient",
        "layer 1, input gradient",
        "layer 0, backward, t = 4",
        "layer 0, backward, t = 0",
        "layer 0, weight_ih gradient",
        "adam",
        "log the loss",
    ];
    for pair in order.windows(2) {
        assert!(at(pair[0]) < at(pair[1]), "{} stands before {}", pair[0], pair[1]);
    }
}

/// No command reads a workspace buffer that nothing has written.
#[test]
fn nothing_is_read_before_it_is_written() {
    let given = ["params", "moment_0", "moment_1", "groups", "status", "feed"];
    reads_what_is_written(&training(&stack(2), 4, 3, &Limits::WEBGPU), &given);
    for flags in 0..32 {
        let [bidirectional, projected, lengths, state, dropped] =
            [1, 2, 4, 8, 16].map(|f| flags & f > 0);
        let shape = StackShape {
            bidirectional,
            projection: projected.then_some(5),
            learned_state: flags % 3 == 0,
            head: Head::Sequence,
            ..stack(2)
        };
        let call =
            Sequences { lengths, state, batch_first: flags % 2 == 0, ..Sequences::new(4, 3) };
        let drop = dropped.then(|| gatefold::reference::Dropout::new(0.5));
        let plan = Plan::gradient(&shape, &call, drop, &Limits::WEBGPU).unwrap();
        let given = ["params", "x", "lengths", "h_0", "c_0", "key", "dy", "dh_n", "dc_n", "unused"];
        reads_what_is_written(&plan, &given);
    }
}

/// Every kind of training step and evaluation: nothing is read too early, everything keeps to the
/// limits, small ones too, and a listing names the buffers.
#[test]
fn training_plans_of_every_kind() {
    use gatefold::plan::{Encoding, Objective, Part, Rule};
    use gatefold::reference::{CrossEntropy, Pointwise};

    let settings = CrossEntropy { ignore_index: -100.0, label_smoothing: 0.1 };
    let heads = [Head::Identity, Head::Linear(5)];
    let encodings = [Encoding::Values, Encoding::OneHot, Encoding::Embedding(11)];
    let parts = [Part::Whole, Part::First, Part::Middle, Part::Last];
    let rules = [
        Rule::Adam,
        Rule::Sgd { momentum: true },
        Rule::Sgd { momentum: false },
        Rule::RmsProp { momentum: false, centered: true },
        Rule::RmsProp { momentum: true, centered: false },
    ];
    let small = Limits { max_binding: 700, loop_budget: Some(400), ..Limits::WEBGPU };
    for i in 0..720 {
        let [bidirectional, lengths, learned_state, projected, classes, norm] =
            [1, 2, 4, 8, 16, 32].map(|f| i & f > 0);
        let carry = !bidirectional && i % 3 == 0;
        let shape = StackShape {
            bidirectional,
            learned_state,
            projection: projected.then_some(5),
            head: heads[i % 3 / 2].clone(),
            readout: Readout::ALL[i / 5 % 5],
            encoding: encodings[i / 3 % 3],
            ..stack(2)
        };
        let (weights, binary) = (i % 7 < 3, !classes && i % 11 < 5);
        let call = Sequences { lengths, weights, ..Sequences::new(6, 7) };
        let call = Sequences { state: carry, resets: carry, ..call };
        let objective = match classes {
            true => Objective::CrossEntropy { settings, weighted: i % 5 == 0 },
            false if binary => Objective::Pointwise(Pointwise::BinaryLogits),
            false => Objective::Pointwise(Pointwise::Huber { delta: 1.0 }),
        };
        let (rule, part) = (rules[i % 5], parts[i % 4]);
        let options = TrainingOptions {
            objective,
            update: Some(Update { rule, groups: 3, norm }),
            part,
            carry,
            ..Default::default()
        };
        let given = [
            "params",
            "feed",
            "groups",
            "status",
            "moment_0",
            "moment_1",
            "moment_2",
            "h_0",
            "c_0",
            "class_weights",
            "unused",
            "no_moment_0",
            "no_moment_1",
            "no_moment_2",
        ];
        // What the part before has left.
        let given = match part {
            Part::Middle | Part::Last => [&given[..], &["grads", "loss"]].concat(),
            _ => given.to_vec(),
        };
        for limits in [Limits::WEBGPU, small] {
            let plan = Plan::training(&shape, &call, &options, &limits).unwrap();
            reads_what_is_written(&plan, &given);
            fits(&plan, &limits);
            let updates: usize =
                ["adam", "sgd", "rmsprop"].iter().map(|kernel| count(&plan, kernel)).sum();
            assert_eq!(updates > 0, matches!(part, Part::Whole | Part::Last), "{plan}");
            assert_eq!(count(&plan, "clip_scale"), usize::from(norm && updates > 0), "{plan}");

            let given = [
                "params",
                "x",
                "lengths",
                "keep",
                "fresh",
                "target",
                "weights",
                "loss_scale",
                "class_weights",
                "h_0",
                "c_0",
                "unused",
            ];
            let plan = Plan::evaluation(&shape, &call, &objective, carry, &limits).unwrap();
            reads_what_is_written(&plan, &given);
            fits(&plan, &limits);
            assert_eq!(count(&plan, "accuracy") > 0, classes);
            assert_eq!(count(&plan, "binary_accuracy") > 0, binary);
        }
    }
}

/// One launch answers, and one counts what is right; weights add none, only something to feed.
#[test]
fn an_answer_is_a_launch() {
    use gatefold::Activation;
    use gatefold::plan::{Answer, Objective};
    use gatefold::reference::Pointwise;

    let answers = ["softmax", "argmax", "nonlinearity"];
    for (answer, kernel) in [
        (Answer::Outputs, None),
        (Answer::Probabilities(Activation::Softmax), Some("softmax")),
        (Answer::Classes(Activation::Softmax), Some("argmax")),
        (Answer::Probabilities(Activation::Sigmoid), Some("nonlinearity")),
        (Answer::Classes(Activation::Sigmoid), Some("nonlinearity")),
    ] {
        let call = Sequences::new(4, 3);
        let plan = Plan::prediction(&stack(1), &call, answer, &Limits::WEBGPU).unwrap();
        for name in answers {
            assert_eq!(count(&plan, name), usize::from(kernel == Some(name)), "{plan}");
        }
    }
    let objective = Objective::Pointwise(Pointwise::BinaryLogits);
    let evaluated = |call: Sequences| {
        Plan::evaluation(&stack(1), &call, &objective, false, &Limits::WEBGPU).unwrap()
    };
    let plain = evaluated(Sequences::new(4, 3));
    let weighted = evaluated(Sequences::new(4, 3).with_weights());
    for plan in [&plain, &weighted] {
        assert_eq!(count(plan, "binary_accuracy"), 1);
        assert_eq!(count(plan, "pointwise_loss"), 1);
    }
    assert_eq!(plain.program.commands.len(), weighted.program.commands.len());
    assert!(plain.program.buffer("weights").is_none() && weighted.to_string().contains("weights"));
    // A launch of a whole step takes no weights: other ways do, and it says so where it is asked for.
    let update = Some(Optimizer::from(Adam::new(0.01)).update());
    let options = TrainingOptions { update, ..Default::default() };
    let software = Limits { software: true, ..Limits::WEBGPU };
    let step =
        |call: Sequences, limits: &Limits| Plan::training(&stack(1), &call, &options, limits);
    assert_eq!(step(Sequences::new(4, 3), &software).unwrap().tier, Tier::Fused);
    let weighted = Sequences::new(4, 3).with_weights();
    assert_ne!(step(weighted, &software).unwrap().tier, Tier::Fused);
    let asked = Limits { tier: Some(Tier::Fused), ..software };
    let said = step(weighted, &asked).unwrap_err().to_string();
    assert!(said.contains("count as much as each other"), "{said}");
}

#[test]
fn more_classes_than_a_loop_passes_are_refused() {
    use gatefold::plan::Objective;
    use gatefold::reference::CrossEntropy;

    let limits = Limits { loop_budget: Some(65_000), ..Limits::WEBGPU };
    let settings = CrossEntropy { ignore_index: -100.0, label_smoothing: 0.0 };
    let objective = Objective::CrossEntropy { settings, weighted: false };
    let options = TrainingOptions { objective, ..Default::default() };
    let plan = |classes| {
        let shape = StackShape { head: Head::Linear(classes), ..StackShape::lstm(1, 1) };
        Plan::training(&shape, &Sequences::new(1, 1), &options, &limits)
    };
    plan(1_000_000).unwrap();
    assert!(matches!(plan(1_100_000), Err(gatefold::Error::Limit { .. })));
}

fn reads_what_is_written(plan: &Plan, given: &[&str]) {
    let (program, table) = (&plan.program, kernels::table());
    let mut written = given.to_vec();
    let name = |range: &Range| program.spec(range.buffer).name.as_str();
    for command in &program.commands {
        let (reads, writes): (Vec<&str>, Vec<&str>) = match &command.operation {
            Operation::Zero(range) => (vec![], vec![name(range)]),
            Operation::Copy { from, to } => (vec![name(from)], vec![name(to)]),
            Operation::Dispatch(d) => {
                let of = |access| {
                    let bindings = table[d.kernel].bindings;
                    let all =
                        d.bindings.iter().zip(bindings).filter(move |(_, b)| b.access == access);
                    all.map(|(range, _)| name(range)).collect()
                };
                (of(Access::Read), of(Access::ReadWrite))
            }
        };
        for read in reads {
            assert!(written.contains(&read), "{} reads {read} too early", command.label);
        }
        written.extend(writes);
    }
}

/// Both directions share a launch a timestep; a projection adds one, theirs together as well.
#[test]
fn launches_of_a_timestep() {
    for flags in 0..4 {
        let [bidirectional, projected] = [1, 2].map(|f| flags & f > 0);
        let shape = StackShape {
            bidirectional,
            projection: projected.then_some(3),
            head: Head::Sequence,
            ..stack(1)
        };
        let plan = Plan::gradient(&shape, &Sequences::new(7, 4), None, &STEPS).unwrap();
        let of = |pass: &str, steps: usize| {
            let label = format!("layer 0{pass}, t = ");
            let launches = plan.program.dispatches().filter(|(c, _)| c.label.starts_with(&label));
            assert_eq!(launches.count(), if projected { steps + 7 } else { 7 }, "{plan}");
        };
        of("", 7);
        of(", backward", 6); // nothing comes after the last step back
    }
}

/// What is compiled hardly depends on sizes, also where a device's limits cut the work: each kernel of a
/// model has a few variants.
#[test]
fn sizes_share_their_pipelines() {
    let limits = Limits { max_binding: 5000, loop_budget: Some(200), ..Limits::WEBGPU };
    let software = Limits { software: true, subgroup: Some(8), ..limits };
    for limits in [limits, software] {
        for (bidirectional, projection) in [(false, None), (true, None), (true, Some(5))] {
            let shape = StackShape { bidirectional, projection, head: Head::Sequence, ..stack(2) };
            let mut all = std::collections::BTreeSet::new();
            let mut largest = 0;
            for (steps, batch) in [(2, 1), (90, 17), (3, 40), (7, 2), (11, 23), (64, 9), (5, 30)] {
                let call = Sequences::new(steps, batch).with_lengths().with_state();
                let plan = Plan::gradient(&shape, &call, None, &limits).unwrap();
                let key = |(_, d): (_, &gatefold::command::Dispatch)| {
                    format!("{:?} {} {:?}", d.kernel, d.variant, d.constants)
                };
                let own: Vec<String> = plan.program.dispatches().map(key).collect();
                let own = std::collections::BTreeSet::from_iter(own);
                largest = largest.max(own.len());
                all.extend(own);
            }
            assert!(all.len() <= 2 * largest, "{} of all, {largest} of one", all.len());
        }
    }
}

#[test]
fn pieces_cover_everything_beyond_a_binding() {
    // Gates of 300 x 64 x 4 x 512 elements: 157 MB, where a binding shows 134 MB.
    let shape = StackShape { head: Head::Linear(1), ..StackShape::lstm(64, 512) };
    let plan = training(&shape, 300, 64, &Limits::WEBGPU);
    let projections: Vec<_> = plan
        .program
        .commands
        .iter()
        .filter(|c| c.label.starts_with("layer 0, input projection"))
        .collect();
    assert!(projections.len() > 1);
    let mut rows = 0;
    for command in projections {
        if let Operation::Dispatch(d) = &command.operation {
            let p: kernels::matmul::Params = bytemuck::pod_read_unaligned(&d.params);
            rows += p.m;
        }
    }
    assert_eq!(rows, 300 * 64);
    assert_eq!(count(&plan, "lstm_step_forward"), 300);
}

#[test]
fn a_model_larger_than_a_grid_is_updated_in_chunks() {
    // 18.9 million parameters; a grid of 65,535 workgroups updates 16.8 million.
    let shape = StackShape { head: Head::Linear(1), ..StackShape::lstm(1024, 1536) };
    let plan = training(&shape, 2, 1, &Limits::WEBGPU);
    assert_eq!(count(&plan, "adam"), 1);
    let shape = StackShape { layers: 2, hidden: 1300, ..shape.clone() };
    let plan = training(&shape, 2, 1, &Limits::WEBGPU);
    assert_eq!(count(&plan, "adam"), 2);
}

/// Whatever the way to cut, no invocation runs more loop iterations than a driver allows.
#[test]
fn the_loop_budget_cuts_long_sums() {
    let budget = 65_000;
    let limits = Limits { loop_budget: Some(budget), ..Limits::WEBGPU };
    let software = Limits { software: true, subgroup: Some(8), ..limits };
    let shape = StackShape { hidden: 1, head: Head::Identity, ..stack(1) };
    let (rows, features) = ((131_072, 2), (2, 131_072));
    let planned = |(rows, input): (usize, usize), limits: &Limits| {
        training(&StackShape { input, ..shape.clone() }, 1, rows, limits)
    };
    let free = Limits { loop_budget: None, ..limits };
    assert!(
        count(&planned(features, &limits), "matmul") > count(&planned(features, &free), "matmul")
    );
    let table = kernels::table();
    let both = [&limits, &software];
    for plan in [rows, features].iter().flat_map(|s| both.map(|l| planned(*s, l))) {
        for (command, dispatch) in plan.program.dispatches() {
            let what = format!("{} of {plan}", command.label);
            if table[dispatch.kernel].name == "column_sum" {
                let p: kernels::column_sum::Params = bytemuck::pod_read_unaligned(&dispatch.params);
                assert!(p.chunk.min(p.rows) < 1000, "{} rows: {what}", p.chunk);
            }
            if dispatch.kernel == kernels::MATMUL {
                let p: kernels::matmul::Params = bytemuck::pod_read_unaligned(&dispatch.params);
                let terms = if p.slice > 0 { p.slice } else { p.k };
                let tile = match dispatch.variant {
                    1 | 2 => Tile::Broadcast,
                    3 | 4 => Tile::Quads128,
                    _ => Tile::Workgroup,
                };
                let most = kernels::matmul::terms_within(budget as usize, tile);
                assert!(terms as usize <= most, "{terms} terms: {what}");
            }
        }
    }
    // Walks of many timesteps.
    let shape = StackShape { head: Head::Identity, ..StackShape::lstm(2, 50) };
    for limits in [limits, software] {
        let plan = training(&shape, 20_000, 2, &limits);
        let (mut forward, mut backward) = (0, 0);
        for (_, d) in plan.program.dispatches() {
            use kernels::{lstm_sequence_backward as back, lstm_sequence_forward as front};
            let (walker, steps) = match d.kernel {
                kernels::LSTM_SEQUENCE_FORWARD => {
                    let p: front::Params = bytemuck::pod_read_unaligned(&d.params);
                    forward += p.steps;
                    (front::WALKERS[d.variant], p.steps)
                }
                kernels::LSTM_SEQUENCE_BACKWARD => {
                    let p: back::Params = bytemuck::pod_read_unaligned(&d.params);
                    backward += p.steps;
                    (back::WALKERS[d.variant], p.steps)
                }
                _ => continue,
            };
            let iterations = walker.setup() + steps as usize * walker.iterations(50, false);
            assert!(iterations <= budget as usize, "{iterations} of {walker:?}: {plan}");
        }
        assert_eq!((forward, backward), (20_000, 20_000));
    }
}

/// A workgroup that keeps the weights runs all timesteps; how many launches that makes of a model.
#[test]
fn few_units_take_few_launches() {
    let shape = StackShape { head: Head::Linear(1), ..StackShape::lstm(1, 50) };
    let call = Sequences::new(100, 1);
    let memory = 32 << 10;
    let software =
        Limits { software: true, subgroup: Some(8), workgroup_memory: memory, ..Limits::WEBGPU };
    for limits in [Limits::WEBGPU, software] {
        let plan = Plan::forward(&shape, &call, &limits).unwrap();
        assert_eq!(plan.tier, Tier::Sequence);
        assert_eq!(plan.program.dispatches().count(), 3, "{plan}");
        let update = Some(Optimizer::from(Adam::new(0.01)).update());
        let update = update.map(|update| Update { norm: true, ..update });
        let options = TrainingOptions { update, ..Default::default() };
        let plan = Plan::training(&shape, &call, &options, &limits).unwrap();
        assert_eq!(plan.program.dispatches().count(), 12, "{plan}");
        assert_eq!(count(&plan, "lstm_sequence_forward"), 1);
        assert_eq!(count(&plan, "lstm_sequence_backward"), 1);
    }
}

/// The way to cut loops over time: chosen by shape and device, said, and refused where it doesn't run.
#[test]
fn tiers_are_chosen_said_and_refused() {
    let memory = 32 << 10;
    let software =
        Limits { software: true, subgroup: Some(8), workgroup_memory: memory, ..Limits::WEBGPU };
    let subgroups_of_four = Limits { subgroup: Some(4), ..software };
    let tier = |hidden: usize, limits: &Limits| {
        let shape = StackShape::lstm(3, hidden);
        let plan = Plan::gradient(&shape, &Sequences::new(9, 4), None, limits).unwrap();
        let tier = plan.tier;
        assert!(plan.to_string().contains(&format!("tier: {tier} (")), "{plan}");
        (tier, plan.reason)
    };
    assert_eq!(tier(64, &Limits::WEBGPU).0, Tier::Sequence);
    let (wide, reason) = tier(65, &Limits::WEBGPU);
    assert_eq!(wide, Tier::Step);
    assert!(reason.contains("more than 64 units"), "{reason}");
    assert_eq!(tier(65, &software).0, Tier::Sequence);
    assert!(tier(65, &software).1.contains("backward step (more than 64 units"));
    assert_eq!(tier(129, &software).0, Tier::Step);
    // Subgroups, but no more memory than every WebGPU device has: 18 KiB of a walk back are too much.
    let default_memory = Limits { workgroup_memory: 16 << 10, ..software };
    let (forward, reason) = tier(64, &default_memory);
    assert!(forward == Tier::Sequence && reason.contains("backward step"), "{reason}");
    // Without subgroups of eight, the variants that run everywhere.
    assert_eq!(tier(64, &subgroups_of_four).0, Tier::Sequence);
    assert_eq!(tier(65, &subgroups_of_four).0, Tier::Step);

    let forced = |shape: StackShape, tier: Tier, limits: &Limits| {
        let limits = Limits { tier: Some(tier), ..*limits };
        Plan::forward(&shape, &Sequences::new(9, 4), &limits).map(|plan| plan.tier)
    };
    let (narrow, wide) = (StackShape::lstm(3, 8), StackShape::lstm(3, 200));
    assert_eq!(forced(narrow.clone(), Tier::Step, &Limits::WEBGPU).unwrap(), Tier::Step);
    assert_eq!(forced(narrow.clone(), Tier::Step, &Limits::CPU).unwrap(), Tier::Step);
    assert_eq!(forced(narrow.clone(), Tier::Sequence, &Limits::WEBGPU).unwrap(), Tier::Sequence);
    // Only the pass that there is has to have a walk.
    let hundred = StackShape::lstm(3, 100);
    assert_eq!(forced(hundred.clone(), Tier::Sequence, &software).unwrap(), Tier::Sequence);
    let both = Limits { tier: Some(Tier::Sequence), ..software };
    assert!(Plan::gradient(&hundred, &Sequences::new(9, 4), None, &both).is_err());
    let projected = StackShape { projection: Some(3), ..narrow.clone() };
    for (shape, limits, why) in [
        (wide.clone(), Limits::WEBGPU, "more than 64 units"),
        (wide, software, "more than 128 units"),
        (projected, Limits::CPU, "projection"),
    ] {
        let refused = forced(shape, Tier::Sequence, &limits).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    // A launch that the device lacks something for is refused before it is tried.
    let plan = Plan::forward(&narrow, &Sequences::new(9, 4), &software).unwrap();
    let without = Limits { subgroup: None, ..software };
    let refused = plan.program.check(&kernels::table(), &without).unwrap_err().to_string();
    assert!(refused.contains("subgroup"), "{refused}");
}

#[test]
fn a_sequence_has_nothing_to_train_on() {
    let shape = StackShape { head: Head::Sequence, ..stack(1) };
    let sequences = Sequences::new(2, 2);
    assert!(Plan::training(&shape, &sequences, &TrainingOptions::default(), &Limits::CPU).is_err());
}

/// Everything within a device's limits.
fn fits(plan: &Plan, limits: &Limits) {
    plan.program.check(&kernels::table(), limits).unwrap();
    for spec in &plan.program.buffers {
        assert!(spec.len * spec.slots <= limits.max_buffer, "{}", spec.name);
    }
}

/// Multiply-adds of the products whose label starts so. Their pieces must not overlap.
fn multiply_adds(plan: &Plan, label: &str) -> usize {
    let mut products: Vec<(String, Vec<[std::ops::Range<usize>; 3]>)> = Vec::new();
    for (command, d) in plan.program.dispatches() {
        if d.kernel != kernels::MATMUL || !command.label.starts_with(label) {
            continue;
        }
        let p: kernels::matmul::Params = bytemuck::pod_read_unaligned(&d.params);
        let (name, at) =
            command.label.split_once(", from (").unwrap_or((&command.label, "0, 0, 0)"));
        let at: Vec<usize> =
            at.trim_end_matches(')').split(", ").map(|n| n.parse().unwrap()).collect();
        let sizes = [p.m, p.n, p.k].map(|size| size as usize);
        let piece = [0, 1, 2].map(|i| at[i]..at[i] + sizes[i]);
        match products.iter_mut().find(|(known, _)| known == name) {
            Some((_, pieces)) => pieces.push(piece),
            None => products.push((name.to_owned(), vec![piece])),
        }
    }
    let mut sum = 0;
    for (name, pieces) in products {
        for (i, piece) in pieces.iter().enumerate() {
            let apart = |other: &[std::ops::Range<usize>; 3]| {
                piece.iter().zip(other).any(|(a, b)| a.end <= b.start || b.end <= a.start)
            };
            assert!(pieces[..i].iter().all(apart), "{name}: two pieces overlap at {piece:?}");
            sum += piece.iter().map(|range| range.len()).product::<usize>();
        }
    }
    sum
}

#[test]
fn a_wide_layer_is_planned_within_a_binding() {
    // I = H = 2048: each weight takes 64 MiB, both directions' exactly a binding.
    // All of the two directions' take more than WebGPU's largest buffer, of 256 MiB.
    let larger = Limits { max_buffer: 512 << 20, ..Limits::WEBGPU };
    for (bidirectional, limits) in [(false, Limits::WEBGPU), (true, larger)] {
        let shape = StackShape { bidirectional, ..StackShape::lstm(2048, 2048) };
        let call = Sequences::new(3, 4).with_lengths().with_state();
        let plan = Plan::gradient(&shape, &call, None, &limits).unwrap();
        fits(&plan, &limits);
        let elements = 4 * 2048 * 2048;
        let label = "layer 0, weight_ih gradient";
        assert_eq!(multiply_adds(&plan, label), elements * 12);
        assert_eq!(multiply_adds(&plan, "layer 0, weight_hh gradient"), elements * 12);
        assert_eq!(multiply_adds(&plan, "layer 0, input projection"), elements * 12);
        assert_eq!(count(&plan, "lstm_step_forward"), 3, "both directions share a launch");
        assert_eq!(count(&plan, "lstm_step_backward"), 3);
    }
    // Two directions' recurrent weights beyond a binding: a launch each.
    let shape = StackShape { bidirectional: true, ..StackShape::lstm(8, 2080) };
    let plan = Plan::forward(&shape, &Sequences::new(3, 4), &larger).unwrap();
    fits(&plan, &larger);
    assert_eq!(count(&plan, "lstm_step_forward"), 6);
}

#[test]
fn forty_million_parameters_are_planned() {
    let shape = StackShape { layers: 2, head: Head::Linear(1), ..StackShape::lstm(1600, 1600) };
    let table = gatefold::plan::ParameterTable::new(&shape);
    assert!(table.len > 40_000_000, "{}", table.len);
    let plan = training(&shape, 16, 8, &Limits::WEBGPU);
    fits(&plan, &Limits::WEBGPU);
    // The flat buffers are larger than a binding, so the optimizer runs over pieces of them.
    assert!(table.len > Limits::WEBGPU.max_binding);
    let updated: usize = plan
        .program
        .dispatches()
        .filter(|(command, _)| command.label.starts_with("adam"))
        .map(|(_, d)| bytemuck::pod_read_unaligned::<kernels::adam::Params>(&d.params).len as usize)
        .sum();
    assert_eq!(updated, table.len);
}

#[test]
fn sequences_beyond_a_binding_are_planned() {
    // T x B x H of 40 M elements, 160 MB, and four times that for the gates; both directions.
    let (steps, batch, hidden) = (1024, 160, 250);
    assert!(steps * batch * hidden > Limits::WEBGPU.max_binding);
    let limits = Limits { max_buffer: usize::MAX >> 2, ..Limits::WEBGPU };
    for flags in 0..8 {
        let [bidirectional, projected, padded] = [1, 2, 4].map(|f| flags & f > 0);
        let shape = StackShape {
            bidirectional,
            layers: 2,
            projection: projected.then_some(230),
            ..StackShape::lstm(64, hidden)
        };
        let call = Sequences { lengths: padded, state: true, ..Sequences::new(steps, batch) };
        let call = Sequences { batch_first: flags == 5, ..call };
        let drop = gatefold::reference::Dropout::new(0.1);
        let plan = Plan::gradient(&shape, &call, Some(drop), &limits).unwrap();
        fits(&plan, &limits);
        let (rows, directions) = (steps * batch, shape.directions());
        let units = 4 * hidden;
        for (label, input) in [("layer 0", 64), ("layer 1", directions * shape.state(0))] {
            let of = |what: &str| multiply_adds(&plan, &format!("{label}, {what}"));
            assert_eq!(of("input projection"), rows * units * input, "{label}");
            assert_eq!(of("weight_ih gradient"), rows * units * input, "{label}");
            assert_eq!(of("weight_hh gradient"), rows * units * shape.state(0), "{label}");
            assert_eq!(of("input gradient"), rows * units * input, "{label}");
        }
        let steps_of = |kernel: &str| count(&plan, kernel);
        // Near the middle both directions are within a binding of each other and share a launch.
        let most = 2 * steps * directions;
        for kernel in ["lstm_step_forward", "lstm_step_backward"] {
            assert!(steps_of(kernel) <= most && steps_of(kernel) >= 2 * steps, "{kernel}");
        }
        assert!(steps_of("lstm_step_forward") == most || bidirectional);
    }
}

/// A wavefront of L layers over T timesteps has T + L - 1 launches each way, and reads nothing too early.
#[test]
fn wavefronts_have_a_launch_a_diagonal() {
    let limits = Limits { tier: Some(Tier::Wavefront), ..Limits::WEBGPU };
    let plan = training(&stack(3), 7, 4, &limits);
    assert_eq!(plan.tier, Tier::Wavefront);
    assert_eq!(count(&plan, "lstm_step_forward"), 7 + 3 - 1);
    assert_eq!(count(&plan, "lstm_step_backward"), 7 + 3 - 1);
    let listing = plan.to_string();
    assert!(listing.contains("tier: wavefront (9 launches"), "{listing}");
    let labels: Vec<&str> = plan.program.commands.iter().map(|c| c.label.as_str()).collect();
    let at =
        |label: &str| labels.iter().position(|l| *l == label).unwrap_or_else(|| panic!("{label}"));
    let order = [
        "layer 0, input projection",
        "layer 0, t = 0",
        "layers 0 to 1, t = 1 to 0",
        "layers 0 to 2, t = 6 to 4",
        "layers 1 to 2, t = 6 to 5",
        "layer 2, t = 6",
        "loss",
        "layer 2, backward, t = 6",
        "layers 0 to 2, backward, t = 2 to 0",
        "layer 0, backward, t = 0",
        "layer 2, weight_hh gradient",
        "layer 0, weight_ih gradient",
        "layer 0, input gradient",
    ];
    for pair in order.windows(2) {
        assert!(at(pair[0]) < at(pair[1]), "{} stands before {}", pair[0], pair[1]);
    }
    assert!(!labels.contains(&"layer 1, input projection"));
    assert!(!labels.contains(&"layer 1, input gradient"));

    for flags in 0..8 {
        let [lengths, state, learned_state] = [1, 2, 4].map(|f| flags & f > 0);
        let call = Sequences { lengths, state, ..Sequences::new(4, 3) };
        let shape = StackShape { learned_state, ..stack(3) };
        let options = TrainingOptions { input_gradient: state, ..Default::default() };
        let plan = Plan::training(&shape, &call, &options, &limits).unwrap();
        reads_what_is_written(&plan, &["params", "feed", "h_0", "c_0", "unused"]);
        fits(&plan, &limits);
        // Gradients that come from outside go back by steps.
        let shape = StackShape { head: Head::Sequence, ..shape.clone() };
        let plan = Plan::gradient(&shape, &call, None, &limits).unwrap();
        let given = ["params", "x", "lengths", "h_0", "c_0", "dy", "dh_n", "dc_n", "unused"];
        reads_what_is_written(&plan, &given);
        fits(&plan, &limits);
        assert_eq!(count(&plan, "lstm_step_forward"), 4 + 3 - 1);
        assert_eq!(count(&plan, "lstm_step_backward"), 4 * 3);
        assert!(plan.reason.contains("backward step"), "{}", plan.reason);
    }
}

#[test]
fn wavefronts_are_refused_with_the_reason() {
    let limits = Limits { tier: Some(Tier::Wavefront), ..Limits::WEBGPU };
    let call = Sequences::new(5, 4);
    let refused = |shape: &StackShape, call: &Sequences, limits: &Limits, why: &str| {
        let error = Plan::forward(shape, call, limits).unwrap_err();
        assert!(matches!(error, gatefold::Error::Value { .. }), "{error}");
        assert!(error.to_string().contains(why), "{error} doesn't say {why}");
    };
    Plan::forward(&stack(2), &call, &limits).unwrap();
    refused(&stack(1), &call, &limits, "a layer alone");
    refused(&StackShape { bidirectional: true, ..stack(2) }, &call, &limits, "a reverse direction");
    let projected = StackShape { projection: Some(5), ..stack(2) };
    refused(&projected, &call, &limits, "a projection");
    let cpu = Limits { tier: Some(Tier::Wavefront), ..Limits::CPU };
    refused(&stack(2), &call, &cpu, "on the CPU");
    let small = Limits { max_binding: 1300, ..limits };
    refused(&stack(2), &Sequences::new(50, 40), &small, "bound whole");
    let short = Limits { loop_budget: Some(200), ..limits };
    refused(&stack(2), &call, &short, "loop");
    let narrow = Limits { max_workgroups: 2, ..limits };
    refused(&stack(3), &call, &narrow, "a grid");
    let long = Sequences::new(40_000, 4);
    refused(&stack(2), &long, &limits, "inference");
    training(&stack(2), 4_000, 4, &limits);
    let drop = gatefold::reference::Dropout::new(0.5);
    let shape = StackShape { head: Head::Sequence, ..stack(2) };
    let error = Plan::gradient(&shape, &call, Some(drop), &limits).unwrap_err();
    assert!(error.to_string().contains("dropout"), "{error}");
}

/// Without being asked for, a wavefront runs what leaves most of a GPU idle, and what no walk takes.
#[test]
fn wavefronts_are_chosen_where_they_are_faster() {
    let tier = |layers: usize, hidden: usize, batch: usize, limits: &Limits| {
        let shape = StackShape { layers, hidden, ..stack(2) };
        let plan = training(&shape, 100, batch, limits);
        let headline = format!("tier: {} (", plan.tier);
        assert!(plan.to_string().contains(&headline), "{}", plan.reason);
        (plan.tier, plan.reason)
    };
    let (deep, reason) = tier(4, 128, 4, &Limits::WEBGPU);
    assert_eq!(deep, Tier::Wavefront, "{reason}");
    assert!(reason.contains("103 launches") && reason.contains("instead of"), "{reason}");
    // Wide: a timestep of a layer alone fills a GPU. A wavefront would be possible.
    let most = usize::MAX >> 2;
    let large = Limits { max_binding: most, max_buffer: most, ..Limits::WEBGPU };
    assert_eq!(tier(2, 1024, 512, &large).0, Tier::Step);
    let asked = Limits { tier: Some(Tier::Wavefront), ..large };
    assert_eq!(tier(2, 1024, 512, &asked).0, Tier::Wavefront);
    // A walk needs no more than a launch a layer.
    assert_eq!(tier(4, 32, 4, &Limits::WEBGPU).0, Tier::Sequence);
    assert_eq!(tier(1, 128, 4, &Limits::WEBGPU).0, Tier::Step);
    assert_eq!(tier(4, 128, 4, &Limits::CPU).0, Tier::Sequence);
}

/// On a device that has as little as one may have, plans are made, or refused by the name of a limit.
#[test]
fn plans_for_small_devices_are_made_or_refused() {
    use gatefold::Error;
    use gatefold::plan::Encoding;

    let update = Some(Optimizer::from(Adam::new(0.01)).update());
    let options = TrainingOptions { update, input_gradient: true, ..Default::default() };
    let (mut made, mut refused) = (0, 0);
    for max_binding in [64, 65, 100, 128, 200, 256, 400, 700, 1024, 5000] {
        for (max_workgroups, software) in [(8, false), (8, true), (9, false), (65_535, false)] {
            for tier in [None, Some(Tier::Sequence), Some(Tier::Step), Some(Tier::Wavefront)] {
                let limits =
                    Limits { max_binding, max_workgroups, software, tier, ..Limits::WEBGPU };
                for (hidden, layers, projection, head, readout) in [
                    (1, 1, None, Head::Identity, Readout::LastOutput),
                    (7, 2, Some(3), Head::Linear(5), Readout::FinalStates),
                    (40, 2, None, Head::Linear(70), Readout::EveryStep),
                    (300, 1, None, Head::Linear(1), Readout::MaxOverTime),
                ] {
                    let encoding = if layers == 2 { Encoding::OneHot } else { Encoding::Values };
                    let bidirectional = layers == 2;
                    let shape = StackShape { layers, projection, head, encoding, ..stack(1) };
                    let shape = StackShape { hidden, bidirectional, readout, ..shape.clone() };
                    let (head, encoding) = (Head::Sequence, Encoding::Values);
                    let readout = Readout::default();
                    let layers_alone = StackShape { head, encoding, readout, ..shape.clone() };
                    for sequences in [Sequences::new(1, 1), Sequences::new(5, 33).with_lengths()] {
                        for planned in [
                            Plan::training(&shape, &sequences, &options, &limits),
                            Plan::gradient(&layers_alone, &sequences, None, &limits),
                            Plan::forward(&shape, &sequences, &limits),
                        ] {
                            match planned {
                                Ok(plan) => {
                                    fits(&plan, &limits);
                                    made += 1;
                                }
                                Err(Error::Limit { .. }) => refused += 1,
                                Err(Error::Value { name, .. }) if name == "tier" => (),
                                Err(other) => panic!("{limits:?}, {shape:?}: {other}"),
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(made > 100 && refused > 100, "{made} made, {refused} refused");
}
