//! Cells that aren't PyTorch's: the kernels of each, whole models beside the reference, and what ONNX Runtime,
//! TensorFlow and Keras made of the same weights (tests/golden/cells.py).

use gatefold::checkpoint::{from_keras, from_onnx};
use gatefold::command::{Dispatch, Executor, Limits};
use gatefold::plan::{Plan, Sequences, StackShape, Tier};
use gatefold::reference::Tolerance;
use gatefold::{
    Array, Bias, Cell, CellActivation, Device, Error, Forecaster, LoadOptions, Lstm, LstmConfig,
    LstmState, Readout, Tensor,
};

use super::assert_close;
use super::golden::Golden;
use super::kernels;
use super::lstm::{Case, equal_in_pieces, equals_the_reference, run_planned};
use super::random::Random;

/// Every function, with numbers that aren't defaults; of each only such as can be trained.
const FUNCTIONS: [CellActivation; 12] = [
    CellActivation::Sigmoid,
    CellActivation::Tanh,
    CellActivation::Relu,
    CellActivation::Affine { alpha: 0.5, beta: 0.2 },
    CellActivation::LeakyRelu { alpha: 0.1 },
    CellActivation::ThresholdedRelu { alpha: 0.3 },
    CellActivation::ScaledTanh { alpha: 1.3, beta: 0.7 },
    CellActivation::HARD_SIGMOID,
    CellActivation::HARD_SIGMOID_KERAS_3,
    CellActivation::Elu { alpha: 0.8 },
    CellActivation::Softsign,
    CellActivation::Softplus,
];

/// Every option by itself.
pub fn alone() -> Vec<Cell> {
    let plain = Cell::new();
    let mut cells = vec![
        plain.peepholes(true),
        plain.coupled(true),
        plain.clip(0.9),
        plain.cell_clip(0.6),
        plain.projection_clip(0.2),
        plain.gate_activation(CellActivation::HARD_SIGMOID),
    ];
    cells.extend(random());
    // Both are Relu.
    cells.push(plain.candidate_activation(CellActivation::Elu { alpha: 0.0 }));
    cells.push(plain.candidate_activation(CellActivation::LeakyRelu { alpha: 0.0 }));
    cells.push(plain.coupled(true).gate_activation(CellActivation::Softplus));
    for function in FUNCTIONS {
        cells.push(plain.gate_activation(function));
        cells.push(plain.candidate_activation(function));
        cells.push(plain.output_activation(function));
    }
    cells
}

/// Everything that training draws.
pub fn random() -> [Cell; 6] {
    let plain = Cell::new();
    [
        plain.zoneout(0.3, 0.0),
        plain.zoneout(0.0, 0.4),
        plain.zoneout(0.2, 0.5),
        plain.recurrent_dropout(0.4),
        plain.candidate_dropout(0.3),
        plain.input_dropout(0.3),
    ]
}

/// Some options together, for a model with a projection or without.
pub fn together(r: &mut Random, projected: bool) -> Cell {
    let mut cell = Cell::new().peepholes(r.coin()).coupled(r.coin());
    if r.coin() {
        cell = cell.clip(1.1);
    }
    if r.coin() {
        cell = cell.cell_clip(0.7);
    }
    // Gates that may be larger than 1 make a sequence explode.
    let gates = [0, 1, 3, 7, 8, 10].map(|i| FUNCTIONS[i]);
    if r.coin() {
        cell = cell.gate_activation(gates[r.below(6)]);
    }
    // A function with a jump makes another number of the same argument, rounded otherwise.
    let steady = |i: usize| FUNCTIONS[if i < 5 { i } else { i + 1 }];
    if r.coin() {
        cell = cell.candidate_activation(steady(r.below(11)));
    }
    if r.coin() {
        cell = cell.output_activation(steady(r.below(11)));
    }
    if r.below(3) == 0 {
        let peepholes = kernels::has_peepholes(cell);
        cell = cell.zoneout(if projected { 0.0 } else { 0.3 }, if peepholes { 0.0 } else { 0.2 });
    }
    if r.below(3) == 0 && !projected {
        cell = cell.recurrent_dropout(0.25);
    }
    if r.below(3) == 0 {
        cell = cell.candidate_dropout(0.2);
    }
    if r.below(3) == 0 {
        cell = cell.input_dropout(0.2);
    }
    if projected && r.coin() {
        cell = cell.projection_clip(0.2);
    }
    cell
}

/// The standard deviation of sums: gates of sigmoids saturate at 2; of those that have no bound, or a candidate
/// without one, a sequence would explode.
pub fn spread(cell: Cell) -> f32 {
    let of_sigmoids = [CellActivation::Sigmoid, CellActivation::HARD_SIGMOID];
    let bounded = of_sigmoids.iter().any(|&f| cell == cell.gate_activation(f));
    if bounded { 2.0 } else { 0.5 }
}

/// Those that a device's kernels are checked with. A software driver takes seconds to compile each.
fn checked(device: &Device) -> Vec<Cell> {
    let plain = Cell::new();
    let some = vec![
        plain.peepholes(true).clip(0.9).coupled(true),
        plain
            .cell_clip(0.6)
            .gate_activation(CellActivation::HARD_SIGMOID)
            .zoneout(0.3, 0.2)
            .recurrent_dropout(0.4)
            .candidate_dropout(0.3),
    ];
    match device.limits().software {
        true => some,
        // A clipped projection is a kernel of its own.
        false => alone().into_iter().chain(some).collect(),
    }
}

/// The kernels with a timestep, of every cell.
pub fn kernels(device: &Device) {
    for (i, cell) in checked(device).into_iter().enumerate() {
        for flags in [i % 8, (i + 5) % 8] {
            kernels::step_forward(device, (5, 19), flags, cell);
            kernels::step_backward(device, (5, 19), flags + 8 * (i % 4), cell);
        }
        let flags = (1 + i % 2, i % 3 == 0, false, true);
        kernels::walk_forward(device, (9, 14, 3), flags, (None, None), cell);
        kernels::walk_backward(device, i, (9, 14, 3), flags, None, cell);
        let projection = (!kernels::draws(cell)).then_some(5);
        kernels::walk_forward(device, (2, 14, 3), flags, (None, projection), cell);
        kernels::walk_backward(device, i, (2, 14, 3), flags, projection, cell);
        // In panels, with their share of the input.
        let flags = (1 + i % 2, i % 3 == 1, true, i % 2 == 0);
        kernels::walk_forward(device, (9, 21, 3), flags, (Some(8), None), cell);
        kernels::walk_backward(device, i, (9, 21, 3), flags, None, cell);
    }
}

/// Gradients of peepholes, in chunks.
pub fn peephole_gradient(device: &Device) {
    use super::kernels::{Launch, sizes};
    use super::random::{POISON, normal};
    use gatefold::kernels::peephole_gradient::{Operands, dispatch};

    for i in 0..12 {
        let (rows, hidden, chunk) = sizes(i);
        for accumulate in [false, true] {
            let mut launch = Launch::new();
            let mut gates = normal(4 * rows * hidden, 1.0, 1);
            let mut states = normal(3 + 2 * rows * hidden, 1.0, 2);
            // A row that has ended, over a state that isn't finite.
            gates[..4 * hidden].fill(0.0);
            states[3..3 + hidden].fill(f32::NAN);
            let d_gates = launch.buffer([vec![POISON; 8], gates].concat(), 8);
            let c = launch.buffer(states, 0);
            let len = 4 + rows.div_ceil(chunk) * 4 * hidden;
            let out = match accumulate {
                true => launch.buffer(normal(len, 1.0, 3), 4),
                false => launch.buffer(vec![POISON; len], 4),
            };
            let (c_prev_start, c_start) = (3, 3 + rows * hidden);
            let operands = Operands { d_gates, c: c.range, c_prev_start, c_start, out };
            let dispatch = dispatch((rows, hidden), chunk, &operands, accumulate);
            let what = format!("{rows} rows of {hidden} by {chunk}, {accumulate}");
            // Where there is one row, nothing is added.
            launch.check_unless(device, dispatch, what, accumulate && rows == 1);
        }
    }
}

/// Bounds of projections, there and back.
pub fn projection_clip(device: &Device) {
    use super::kernels::{Launch, lengths, sizes};
    use super::random::normal;
    use gatefold::kernels::projection_clip::dispatch;

    for i in 0..12 {
        let (batch, width, extra) = sizes(i);
        let row = width + extra % 3;
        for back in [false, true] {
            let mut launch = Launch::new();
            let h = launch.buffer(normal(2 + batch * (row + 1), 1.0, 1), 2);
            let x = launch.buffer(normal(5 + batch * row, 1.0, 2), 5);
            let states = back.then_some((h, row + 1));
            let padding = lengths(&mut launch, batch, i % 2 == 0 && batch > 1);
            let launched = dispatch(0.4, (batch, width), states, (x, row), (padding, 3), h);
            // A single number may be within the bound.
            launch.check_unless(device, launched, format!("{batch} x {width}"), batch * width < 9);
        }
    }
}

/// One mask for all timesteps, in place and elsewhere, with rows apart.
pub fn sequence_dropout(device: &Device) {
    use super::kernels::{Launch, sizes};
    use super::random::normal;
    use gatefold::kernels::sequence_dropout::{Operands, dispatch};
    use gatefold::reference::{Dropout, Strides};

    for i in 0..12 {
        let (steps, batch, width) = sizes(i);
        let (steps, batch, row) = (steps.min(9), batch.min(20), width + i % 3);
        let strides = Strides { step: batch * row + i % 2, row };
        for apart in [false, true] {
            let mut launch = Launch::new();
            let key =
                launch.buffer([vec![9.0], Dropout::halves([77, i as u32]).to_vec()].concat(), 1);
            let len = steps * strides.step + 3;
            let x = launch.buffer(normal(if apart { 2 } else { 1 } * len, 1.0, 1), 0).range;
            let to = if apart { len + 2 } else { 3 };
            let operands = Operands { key, x, from: 3, to, strides };
            let launched = dispatch(0.3, (5 + i, i % 3), (steps, batch, width), &operands);
            launch.check(device, launched, format!("{steps} x {batch} x {width}, {apart}"));
        }
    }
}

/// Outputs, states and all gradients of random models with random cells, beside the reference.
pub fn equal_the_reference(device: &Device) {
    let gpu = device.limits().executor == Executor::Gpu;
    // On a software driver every cell has to be compiled.
    let count = if gpu && device.limits().software { 8 } else { 60 };
    for i in 0..count {
        // A sum within a rounding of a clip may be on either side of it, as in about one series of 200.
        let case = Case::random(6000 + i);
        let cell = together(&mut Random::new(5000 + i), case.proj_size > 0);
        let case = Case { cell, ..case };
        // Of few sizes, for the same reason.
        let case = Case { hidden: if case.proj_size > 0 { 8 } else { 17 }, ..case };
        equals_the_reference(device, Case { proj_size: case.proj_size.min(5), ..case });
    }
    if !gpu || !device.limits().software {
        for (i, cell) in (0..).zip(alone()) {
            let case = Case::random(800 + i);
            let clipped = cell.to_string().contains("projection");
            let proj_size =
                if kernels::draws(cell) { 0 } else { case.proj_size.max(clipped.into()) };
            equals_the_reference(device, Case { cell, proj_size, ..case });
        }
    }
}

/// Plans of cells cut by limits so small that masks are drawn in pieces and directions have launches of their own.
pub fn small_limits_change_nothing(device: &Device) {
    let plain = Cell::new();
    let cells = [
        (plain.input_dropout(0.3).candidate_dropout(0.2).peepholes(true), 0, (1300, 8)),
        // What is masked stands behind the hidden states, and is bound with them.
        (plain.recurrent_dropout(0.3).zoneout(0.1, 0.2), 0, (40_000, 100)),
        (plain.projection_clip(0.2).coupled(true).input_dropout(0.3), 6, (1300, 8)),
    ];
    for (flags, (cell, proj_size, (max_binding, max_workgroups))) in (0..).zip(cells) {
        let case = Case {
            layers: 2,
            input: 5,
            hidden: 12,
            proj_size,
            cell,
            bias: Bias::Double,
            bidirectional: flags != 1,
            batch_first: flags == 1,
            learned_state: false,
            dropout: 0.0,
            steps: 37,
            batch: 11,
            lengths: Some(vec![37, 1, 20, 0, 36, 37, 2, 19, 30, 5, 8]),
            state: true,
            seed: 5,
        };
        let small =
            Limits { max_binding, max_workgroups, loop_budget: Some(200), ..device.limits() };
        let small = Limits { alignment: small.alignment.max(64), ..small };
        let (cut, got) = run_planned(device, &case, &small);
        let (whole, want) =
            run_planned(device, &case, &Limits { tier: Some(cut.tier), ..device.limits() });
        let [cut, whole] = [cut, whole].map(|plan| {
            let table = gatefold::kernels::table();
            let named = |d: &Dispatch| table[d.kernel].name == "sequence_dropout";
            let masks = plan.program.dispatches().filter(|(_, d)| named(d)).count();
            (masks, plan.program.commands.len())
        });
        assert!(cut.1 > whole.1, "{case:?}: {} commands and {}", cut.1, whole.1);
        let inputs = cell.to_string().contains("input_dropout");
        assert!(!inputs || cut.0 > whole.0, "{case:?}: {} masks and {}", cut.0, whole.0);
        equal_in_pieces(&case, &got, &want);
    }
    // What can't be bound whole is said.
    let shape = StackShape { cell: plain.recurrent_dropout(0.3), ..StackShape::lstm(5, 12) };
    let small = Limits { max_binding: 1300, ..device.limits() };
    let error =
        Plan::gradient(&shape, &Sequences::new(37, 11), None, &small).map(drop).unwrap_err();
    assert!(error.to_string().contains("masked"), "{error}");
}

/// Every tier runs every option, but for the step in one launch, which says why.
pub fn in_every_tier(device: &Device) {
    let limits = device.limits();
    let cell = Cell::new().peepholes(true).coupled(true).clip(2.0);
    let shape = StackShape { layers: 2, cell, ..StackShape::lstm(5, 12) };
    let sequences = Sequences::new(4, 6);
    for tier in [None, Some(Tier::Sequence), Some(Tier::Step), Some(Tier::Wavefront)] {
        let plan = Plan::gradient(&shape, &sequences, None, &Limits { tier, ..limits });
        if limits.executor == Executor::Cpu && tier == Some(Tier::Wavefront) {
            plan.unwrap_err();
            continue;
        }
        let listing = plan.unwrap().to_string();
        assert!(listing.contains("with a cell of peepholes, coupled, clip 2\n"), "{listing}");
        assert!(listing.contains("weight_peephole gradient"), "{listing}");
    }
}

/// What a setting may not be, and what can't be trained.
pub fn bad_cells_are_named(device: &Device) {
    let plain = Cell::new();
    let model = |cell: Cell| Lstm::new(device, LstmConfig::new(3, 4).cell(cell));
    for (cell, what) in [
        (plain.clip(0.0), "clip must be finite, above 0, got 0"),
        (plain.clip(f32::NAN), "clip must be finite, above 0, got NaN"),
        (plain.cell_clip(-1.0), "cell_clip must be finite, above 0, got -1"),
        (
            plain.gate_activation(CellActivation::LeakyRelu { alpha: f32::INFINITY }),
            "gate_activation must be of finite numbers, got LeakyRelu inf",
        ),
    ] {
        let error = model(cell).map(drop).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    // Forward it runs.
    let cell = plain.candidate_activation(CellActivation::LeakyRelu { alpha: -0.5 });
    let lstm = model(cell).unwrap();
    let x = Tensor::from_slice(device, &[0.5; 6], &[2, 1, 3]).unwrap();
    lstm.forward(&x, None).unwrap();
    let error = lstm.forward_training(&x, None, None, 1).map(drop).unwrap_err();
    assert!(matches!(error, Error::Value { .. }));
    let error = error.to_string();
    assert!(error.contains("alpha of at least 0, in training"), "{error}");
}

/// A cell is part of a model's file.
pub fn saved_and_loaded(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cell.safetensors");
    for i in 0..20 {
        let cell = together(&mut Random::new(i), false);
        let config = LstmConfig::new(3, 4).layers(2).bidirectional(i % 2 == 0).cell(cell).seed(i);
        let lstm = Lstm::new(device, config).unwrap();
        lstm.save(&path).unwrap();
        let loaded = Lstm::load(device, &path).unwrap();
        let said = gatefold::checkpoint::read(&path).unwrap().metadata;
        assert_eq!(said["gatefold.cell"], cell.to_string());
        let again = folder.path().join("again.safetensors");
        loaded.save(&again).unwrap();
        assert_eq!(gatefold::checkpoint::read(&again).unwrap().metadata, said);
        assert_eq!(loaded.state_dict().unwrap(), lstm.state_dict().unwrap());
        let x = Tensor::from_slice(device, &[0.5; 24], &[4, 2, 3]).unwrap();
        let run = |lstm: &Lstm| lstm.forward(&x, None).unwrap().0.to_vec().unwrap();
        assert_eq!(run(&loaded), run(&lstm));
    }
    // A file that doesn't say its cell is told it.
    let cell = Cell::new().peepholes(true).gate_activation(CellActivation::HARD_SIGMOID);
    let model = Forecaster::new(device, LstmConfig::new(3, 4).cell(cell), 2).unwrap();
    model.save(&path).unwrap();
    let file = gatefold::checkpoint::read(&path).unwrap();
    gatefold::checkpoint::write(&path, &file.tensors, &Default::default()).unwrap();
    let x = Array::new(vec![0.5; 24], &[2, 4, 3]).unwrap();
    let options = LoadOptions::new().readout(Readout::FinalStates);
    let predict = |options: &LoadOptions| {
        Forecaster::load_as(device, &path, options).unwrap().predict(&x).unwrap()
    };
    assert_eq!(predict(&options.clone().cell(cell)), model.predict(&x).unwrap());
    assert_ne!(predict(&options), model.predict(&x).unwrap());
}

/// ONNX's functions by the codes of the goldens; of numbers that weren't given, what ONNX Runtime takes.
fn function(code: f32, alpha: f32, beta: f32) -> CellActivation {
    let or = |given: f32, usual: f32| if given.is_nan() { usual } else { given };
    match code as u8 {
        0 => CellActivation::Sigmoid,
        1 => CellActivation::Tanh,
        2 => CellActivation::Relu,
        3 => CellActivation::Affine { alpha: or(alpha, 0.0), beta: or(beta, 0.0) },
        4 => CellActivation::LeakyRelu { alpha: or(alpha, 0.01) },
        5 => CellActivation::ThresholdedRelu { alpha: or(alpha, 0.0) },
        6 => CellActivation::ScaledTanh { alpha: or(alpha, 0.0), beta: or(beta, 0.0) },
        7 => CellActivation::HardSigmoid { alpha: or(alpha, 0.2), beta: or(beta, 0.5) },
        8 => CellActivation::Elu { alpha: or(alpha, 1.0) },
        9 => CellActivation::Softsign,
        _ => CellActivation::Softplus,
    }
}

/// The operator LSTM as ONNX Runtime computes it.
pub fn of_onnx_runtime(device: &Device) {
    let golden = Golden::read("cells_onnx");
    let mut cases: Vec<&str> = golden.names().filter_map(|name| name.strip_suffix(".w")).collect();
    cases.sort_unstable();
    assert_eq!(cases.len(), 62);
    let software = device.limits().executor == Executor::Gpu && device.limits().software;
    // On a software driver every cell has to be compiled.
    let general = ["coupled_peepholes_clip_both_lengths", "mixed_1"];
    for name in cases.into_iter().filter(|name| !software || general.contains(name)) {
        let case = golden.part(&format!("{name}."));
        let numbers = |name: &str| case.get(name).data().to_vec();
        let (codes, alpha, beta) = (numbers("functions"), numbers("alpha"), numbers("beta"));
        let [f, g, h] = [0, 1, 2].map(|i| function(codes[i], alpha[i], beta[i]));
        let mut cell = Cell::new()
            .peepholes(case.has("p"))
            .coupled(numbers("coupled")[0] == 1.0)
            .gate_activation(f)
            .candidate_activation(g)
            .output_activation(h);
        if numbers("clip")[0] > 0.0 {
            cell = cell.clip(numbers("clip")[0]);
        }
        let direction = numbers("direction")[0];
        let (w, r, b) = (case.get("w"), case.get("r"), case.get("b"));
        let mut layer = from_onnx(w, r, Some(b), "l0").unwrap();
        if case.has("p") {
            layer.extend(gatefold::checkpoint::peepholes_from_onnx(case.get("p"), "l0").unwrap());
        }
        let &[_, rows, input] = w.shape() else { panic!("W [D, 4H, I]") };
        let config = LstmConfig::new(input, rows / 4)
            .cell(cell)
            .bidirectional(direction == 2.0)
            .reverse(direction == 1.0);
        let mut lstm = Lstm::new(device, config).unwrap();
        lstm.load_state_dict(&layer).unwrap();
        let state = case
            .has("h_0")
            .then(|| LstmState { h: case.tensor(device, "h_0"), c: case.tensor(device, "c_0") });
        let lengths: Option<Vec<usize>> =
            case.has("lengths").then(|| numbers("lengths").iter().map(|&l| l as usize).collect());
        let x = case.tensor(device, "x");
        let (y, last) = lstm.forward_padded(&x, lengths.as_deref(), state.as_ref()).unwrap();
        // ONNX has [T, D, B, H].
        let &[steps, directions, batch, hidden] = case.get("y").shape() else { panic!("Y") };
        let want = case.wide("y");
        let at = |t: usize, b: usize, d: usize| ((t * directions + d) * batch + b) * hidden;
        let mut turned = Vec::new();
        for t in 0..steps {
            for b in 0..batch {
                (0..directions).for_each(|d| turned.extend(&want[at(t, b, d)..][..hidden]));
            }
        }
        for (what, got, want) in [
            ("y", &y, turned),
            ("h_n", &last.h, case.wide("h_n")),
            ("c_n", &last.c, case.wide("c_n")),
        ] {
            let got = got.to_vec().unwrap();
            assert_close(&format!("{name}: {what}"), &got, &want, Tolerance::OUTPUT);
        }
    }
}

/// TensorFlow's `LSTMCell`: peepholes over a bounded cell state, and bounded projections. Its gates are i, g, f, o,
/// and 1 is added to f when it runs.
pub fn of_tensorflow(device: &Device) {
    let golden = Golden::read("cells_tf");
    for name in ["peepholes", "peepholes_cell_clip", "projection_clip", "all"] {
        let case = golden.part(&format!("{name}."));
        let (kernel, x) = (case.get("kernel"), case.get("x"));
        let &[terms, columns] = kernel.shape() else { panic!("kernel [I + P, 4H]") };
        let hidden = columns / 4;
        let state = if case.has("projection") { case.get("projection").shape()[1] } else { hidden };
        let input = terms - state;
        let order = [0, 2, 1, 3];
        // [K, 4H] in i, g, f, o as [4H, K] in i, f, g, o.
        let turned = |rows: std::ops::Range<usize>| -> Vec<f32> {
            let column = |c: usize| rows.clone().map(move |k| kernel.data()[k * columns + c]);
            order
                .iter()
                .flat_map(|q| (0..hidden).flat_map(move |u| column(q * hidden + u)))
                .collect()
        };
        let mut bias: Vec<f32> = order
            .iter()
            .flat_map(|q| case.get("bias").data()[q * hidden..][..hidden].to_vec())
            .collect();
        bias[hidden..2 * hidden].iter_mut().for_each(|b| *b += 1.0);
        let array = |values: Vec<f32>, shape: &[usize]| Array::new(values, shape).unwrap();
        let mut layer = vec![
            ("weight_ih_l0".to_owned(), array(turned(0..input), &[columns, input])),
            ("weight_hh_l0".to_owned(), array(turned(input..terms), &[columns, state])),
            ("bias_ih_l0".to_owned(), array(bias, &[columns])),
        ];
        let mut cell = Cell::new();
        if case.has("w_i_diag") {
            let diagonals = ["w_i_diag", "w_f_diag", "w_o_diag"].map(|n| case.get(n).data());
            cell = cell.peepholes(true);
            let all = array(diagonals.concat(), &[3 * hidden]);
            layer.push(("weight_peephole_l0".to_owned(), all));
        }
        let mut config = LstmConfig::new(input, hidden).bias(Bias::Single);
        if case.has("projection") {
            let projection = case.get("projection").data();
            let row = |p: usize| (0..hidden).map(move |k| projection[k * state + p]);
            let turned = array((0..state).flat_map(row).collect(), &[state, hidden]);
            layer.push(("weight_hr_l0".to_owned(), turned));
            config = config.proj_size(state);
        }
        let &[of_cell, of_projection] = case.get("clip").data() else { panic!("two bounds") };
        if of_cell > 0.0 {
            cell = cell.cell_clip(of_cell);
        }
        if of_projection > 0.0 {
            cell = cell.projection_clip(of_projection);
        }
        let config = config.cell(cell);
        let mut lstm = Lstm::new(device, config).unwrap();
        lstm.load_state_dict(&layer).unwrap();
        let x = Tensor::from_slice(device, x.data(), x.shape()).unwrap();
        let (y, last) = lstm.forward(&x, None).unwrap();
        for (what, got) in [("y", &y), ("h_n", &last.h), ("c_n", &last.c)] {
            let (got, want) = (got.to_vec().unwrap(), case.wide(what));
            assert_close(&format!("{name}: {what}"), &got, &want, Tolerance::OUTPUT);
        }
    }
}

/// Keras' two hard sigmoids are two: 3.15's is that of PyTorch. With gradients.
pub fn of_keras(device: &Device) {
    let golden = Golden::read("cells_keras");
    let plain = Cell::new().gate_activation(CellActivation::HARD_SIGMOID_KERAS_3);
    let relu = CellActivation::Relu;
    let both = plain.candidate_activation(relu).output_activation(relu);
    for (name, cell) in [("hard_sigmoid", plain), ("hard_sigmoid_relu", both)] {
        let case = golden.part(&format!("{name}."));
        let of = |name: &str| case.get(name);
        let convert = |[kernel, recurrent, bias]: [&str; 3]| {
            from_keras(of(kernel), of(recurrent), Some(of(bias)), "l0").unwrap()
        };
        let layer = convert(["kernel", "recurrent_kernel", "bias"]);
        let &[input, columns] = of("kernel").shape() else { panic!("kernel [I, 4H]") };
        let config = LstmConfig::new(input, columns / 4).bias(Bias::Single).batch_first(true);
        let mut lstm = Lstm::new(device, config.cell(cell)).unwrap();
        lstm.load_state_dict(&layer).unwrap();
        let pass = lstm.forward_training(&case.tensor(device, "x"), None, None, 1).unwrap();
        let y = pass.output().to_vec().unwrap();
        assert_close(&format!("{name}: y"), &y, &case.wide("y"), Tolerance::OUTPUT);
        let gradients = pass.backward(Some(&case.tensor(device, "dy")), None).unwrap();
        let (dx, want) = (gradients.x.to_vec().unwrap(), case.wide("dx"));
        assert_close(&format!("{name}: dx"), &dx, &want, Tolerance::gradient(&want));
        let want = convert(["d_kernel", "d_recurrent_kernel", "d_bias"]);
        for ((own, got), (other, want)) in gradients.parameters().unwrap().iter().zip(&want) {
            assert_eq!(own, other);
            let want = super::wide(want.data());
            assert_close(&format!("{name}: {own}"), got.data(), &want, Tolerance::gradient(&want));
        }
    }
}

/// What is drawn comes as often as it should, and holds for a sequence where it should: seen in what a model gives.
pub fn shares_are_those_that_are_asked_for(device: &Device) {
    let (steps, batch, hidden) = (6, 50, 64);
    let run = |cell: Cell| {
        let lstm = Lstm::new(device, LstmConfig::new(3, hidden).cell(cell).seed(11)).unwrap();
        let values = |len: usize, seed: u64| super::random::normal(len, 1.0, seed);
        let tensor =
            |values: &[f32], shape: &[usize]| Tensor::from_slice(device, values, shape).unwrap();
        let x = values(steps * batch * 3, 1);
        let [h, c] = [2, 3].map(|seed| values(batch * hidden, seed));
        let state =
            LstmState { h: tensor(&h, &[1, batch, hidden]), c: tensor(&c, &[1, batch, hidden]) };
        let given = cell != cell.candidate_dropout(0.25);
        let pass = lstm
            .forward_training(&tensor(&x, &[steps, batch, 3]), None, given.then_some(&state), 5)
            .unwrap();
        let c_n = pass.state().c.to_vec().unwrap();
        ((h, c), pass.output().to_vec().unwrap(), c_n)
    };
    let near = |what: &str, count: usize, of: usize, p: f64| {
        let (share, deviation) = (count as f64 / of as f64, (p * (1.0 - p) / of as f64).sqrt());
        assert!((share - p).abs() < 4.0 * deviation, "{what}: {share} instead of {p}");
    };
    let slot = batch * hidden;
    // Hidden states that are those of before.
    let ((h_0, _), y, _) = run(Cell::new().zoneout(0.3, 0.0));
    let mut kept = 0;
    for t in 0..steps {
        let before = if t == 0 { &h_0 } else { &y[(t - 1) * slot..t * slot] };
        kept += y[t * slot..].iter().zip(before).filter(|(a, b)| a == b).count();
    }
    near("zoneout of h", kept, steps * slot, 0.3);
    // A cell state that nothing has changed in six timesteps.
    let ((_, c_0), _, c_n) = run(Cell::new().zoneout(0.0, 0.8));
    let same = c_n.iter().zip(&c_0).filter(|(a, b)| a == b).count();
    near("zoneout of c", same, slot, 0.8f64.powi(steps as i32));
    // A candidate that is dropped leaves a state of zero at zero, at every timestep.
    let (_, y, _) = run(Cell::new().candidate_dropout(0.25));
    let zeros = |t: usize| y[t * slot..][..slot].iter().map(|&v| v == 0.0).collect::<Vec<_>>();
    near("candidate dropout", zeros(0).iter().filter(|&&is| is).count(), slot, 0.25);
    (1..steps).for_each(|t| assert_eq!(zeros(t), zeros(0), "another mask at timestep {t}"));
}
