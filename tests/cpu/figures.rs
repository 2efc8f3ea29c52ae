//! Every figure in the sentences of a page has something that holds it: the list says what.
//!
//! Blocks and tables of figures are held elsewhere: by `printed` where a program prints them, by `docs` where a
//! record or the twins have them. docs/lstm.md is held by `docs` alone.

use std::fs;

use crate::{read, root};

/// What a page says, a file, and what stands there: a line that makes the figure what it is, or a test that
/// would fail. Where the file is empty, the figure is nobody's result, and the text says what it is.
type Held = (&'static str, &'static str, &'static str);

const PAGES: &[(&str, &[Held])] = &[
    (
        "README.md",
        &[("Rust 1.89 or newer", "tests/cpu/docs.rs", "fn the_front_page_is_short_and_whole")],
    ),
    (
        "examples/README.md",
        &[
            ("for 50,000 epochs", "examples/train_by_hand/main.rs", "epochs: 50_000"),
            (
                "take 15 to 60 timesteps",
                "examples/sequences_of_different_lengths/gestures.rs",
                "between(15.0, 61.0) as usize",
            ),
        ],
    ),
    (
        "benches/README.md",
        &[
            (
                "may exceed 100 %",
                "benches/record/amd-epyc-cpu-2-threads-avx-512/2026-11-21.md",
                "| 103.47 |",
            ),
            ("on twelve shapes", "benches/common/shape.rs", "NAMED: [Shape; 12]"),
            ("at least three iterations", "benches/common/work.rs", "const FEWEST: usize = 3;"),
            (
                "for half a second",
                "benches/common/work.rs",
                "const MEASURED: Duration = Duration::from_millis(500);",
            ),
            (
                "more than three seconds",
                "benches/sequence.rs",
                "const LONGEST: Duration = Duration::from_secs(3);",
            ),
            ("a pool of 4,096 places", "benches/streams.rs", "const CAPACITY: usize = 4096;"),
            ("more than three times as long", "benches/streams.rs", "const MOST: u32 = 3;"),
            ("printed twenty times", "benches/soak.rs", "const ROWS: u32 = 20;"),
            (
                "batches of 1 to 24 sequences of 1 to 24 timesteps",
                "benches/soak.rs",
                "const STEPS: usize = 24;\nconst ROWS_OF_A_BATCH: usize = 24;",
            ),
            ("more than 16 MiB on the host", "benches/soak.rs", "const HOST: u64 = 16 << 20;"),
            ("1 MiB on the device", "benches/soak.rs", "const DEVICE: u64 = 1 << 20;"),
            ("64 of wgpu's buffers", "benches/soak.rs", "before.wgpu.1, 64)"),
            (
                "Less than a minute isn't judged",
                "benches/soak.rs",
                "const JUDGED: Duration = Duration::from_secs(60);",
            ),
            ("[record/2026-11-21-soak.md]", "", "a record's name"),
        ],
    ),
    (
        "docs/devices.md",
        &[("64 submissions", "src/gpu/executor.rs", "const IN_FLIGHT_OF_ALL: usize = 64;")],
    ),
    (
        "docs/embedding.md",
        &[
            ("before version 25", "tests/gpu/device.rs", "300_000"),
            ("a multiple of 4 bytes", "tests/gpu/embed.rs", "fn unfit_buffers_are_refused"),
            ("once in 2,048 steps", "src/train/trainer/state.rs", "COMING_STEPS: u64 = 4096;"),
            (
                "and of 2.5 the half",
                "shaders/common/lengths.wgsl",
                "return trunc(length) <= f32(t);",
            ),
            ("64 submissions", "src/gpu/executor.rs", "const IN_FLIGHT_OF_ALL: usize = 64;"),
        ],
    ),
    (
        "docs/import.md",
        &[
            (
                "seen with PyTorch 2.15, onnx 1.23, ONNX Runtime 1.32,",
                "tests/golden/import/onnx_models.py",
                "install torch==2.15.0 onnx==1.23.2 onnxruntime==1.32.0",
            ),
            (
                "seen with Keras 3.15 and tf_keras 2.21",
                "tests/golden/import/tf_keras_models.py",
                "tf_keras==2.21.0",
            ),
            (
                "from Keras 3 on",
                "src/import/keras/config.rs",
                "!version.starts_with(['0', '1', '2'])",
            ),
            ("in files of Keras 2 the order", "tests/cpu/import.rs", "tf_keras/hard.keras"),
            ("The forget gate's 1 is in", "", ""),
            ("seen with PyTorch 2.15", "tests/golden/import/pytorch.py", "install torch==2.15.0"),
            ("tf2onnx 1.17", "tests/golden/import/tf2onnx_models.py", "tf2onnx==1.17.0"),
            ("hard sigmoid of Keras 3", "", ""),
            ("Flax 0.12 linen, nnx", "tests/golden/import/jax_libraries.py", "flax==0.12.8"),
            ("Haiku 0.0.17", "tests/golden/import/jax_libraries.py", "dm-haiku==0.0.17"),
            ("Equinox 0.13", "tests/golden/import/jax_libraries.py", "equinox==0.13.8"),
            ("MLX 0.32", "tests/golden/import/mlx_models.py", "mlx[cpu]==0.32.4"),
            ("Paddle 3.3", "tests/golden/import/paddle_models.py", "paddlepaddle==3.3.1"),
            ("tinygrad 0.14", "tests/golden/import/tinygrad_models.py", "tinygrad==0.14.0"),
            (
                "1 is added to the forget gate",
                "tests/cpu/named_arrays.rs",
                "near(bias(\"rnn/lstm_cell\", None), 1.0);",
            ),
            ("TensorFlow 1", "", ""),
            ("Operators of version 17", "src/export.rs", "const OPSET: i64 = 17;"),
            ("equal within 1e-6", "tests/onnx_runtime.sh", "if apart > 1e-6:"),
            ("version 7 and later", "src/import/onnx/layer.rs", "if opset < 7 {"),
            ("of version 6 and before", "src/import/onnx/layer.rs", "if opset < 7 {"),
            (
                "0 for ThresholdedRelu, ScaledTanh and Affine",
                "src/import/onnx/layer.rs",
                "ThresholdedRelu { alpha: alpha(0.0) }",
            ),
            (
                "as f32 again. The file rounds inputs and states to 8 bits",
                "tests/cpu/import.rs",
                "8 bits",
            ),
            // When PyTorch 1.6 came out.
            ("files of the time before 2020, whole", "", ""),
            ("whole modules in files of the time before 2020", "", ""),
        ],
    ),
    (
        "docs/limits.md",
        &[
            ("up to 64 units", "tests/cpu/docs.rs", "fn small_layers_are_one_launch"),
            ("less than 2^32 elements", "src/command/limits.rs", "max_buffer: u32::MAX as usize,"),
            (
                "16 million timesteps at most",
                "src/plan/shape.rs",
                "const MAX_WHOLE: usize = 1 << 24;",
            ),
        ],
    ),
    ("docs/pytorch.md", &[]),
    (
        "docs/speed.md",
        &[
            ("77 to 93 %", "tests/cpu/docs.rs", "fn speed_is_the_records"),
            (
                "Burn 0.22's wgpu backend",
                "benches/record/llvmpipe-llvm-15-0-6-256-bits/2026-11-21-peers.md",
                "Burn 0.22.",
            ),
            (
                "two threads each, on an AMD EPYC",
                "benches/record/amd-epyc-cpu-2-threads-avx-512/2026-11-21-peers.md",
                "CPU (2 threads, AVX-512)",
            ),
        ],
    ),
    (
        "docs/training.md",
        &[
            ("once in a thousand steps", "src/plan/mod.rs", "pub const LOSS_SLOTS: usize = 1024;"),
            ("right, 10,000 too", "tests/golden/training.py", "1e4"),
            ("is yes above 1/2", "shaders/binary_accuracy.wgsl", "0.5"),
            (
                "3 epochs and then 5 are a run of 5",
                "tests/common/reports.rs",
                "pub fn runs_go_on_or_begin",
            ),
        ],
    ),
    (
        "docs/cells.md",
        &[
            (
                "in ONNX, Keras 2 and TensorFlow.js",
                "src/reference/cell_activation.rs",
                "alpha: 0.2, beta: 0.5",
            ),
            (
                "Gers, Schraudolph and Schmidhuber, 2002",
                "src/reference/cell_options.rs",
                "Schmidhuber, 2002",
            ),
            (
                "Greff et al., 2017",
                "src/reference/cell_options.rs",
                "et al., 2017, *LSTM: a search space odyssey*",
            ),
            ("Krueger et al., 2017", "src/reference/cell_options.rs", "Krueger et al., 2017"),
            (
                "Gal and Ghahramani, 2016",
                "src/reference/cell_options.rs",
                "2016, *A theoretically grounded",
            ),
            ("Semeniuta, Severyn and Barth, 2016", "src/reference/cell_options.rs", "Barth, 2016"),
            ("in Keras 3 and PyTorch", "src/reference/cell_activation.rs", "alpha: 1.0 / 6.0"),
            ("ONNX Runtime takes 0 for", "tests/common/cells.rs", "or(alpha, 0.0)"),
            ("Keras 3.15 draws one for each gate", "tests/golden/cells.py", "keras==3.15"),
        ],
    ),
    (
        "docs/verification.md",
        &[
            ("PyTorch 2.15", "tests/golden/generate.py", "torch==2.15."),
            ("Mesa 26", ".ci/run", "tests/drivers.sh 26"),
            (
                "awkward sizes from 1 to 129",
                "tests/common/random.rs",
                "[1, 2, 3, 5, 7, 31, 33, 50, 63, 65, 127, 129]",
            ),
            ("activations out to 1e4", "tests/common/kernels.rs", "1e4, -1e4]"),
            ("all 64 combinations", "tests/common/golden.rs", "assert_eq!(cases.len(), 64);"),
            ("logits of 10,000", "tests/golden/training.py", "1e4"),
            ("a thousand calls of random sizes", "tests/common/lstm.rs", "(0..1000)"),
            ("while it saves, 200 times", "tests/cpu/saves.rs", "const KILLS: usize = 200;"),
        ],
    ),
    (
        "examples/char_rnn/README.md",
        &[
            ("half a minute to two minutes", "examples/printed/check.sh", "example 120 char_rnn\n"),
            (
                "is cut into 32 parts",
                "examples/char_rnn/main.rs",
                "--batch N        Parts of the text that are read side by side [default: 32]",
            ),
            ("the next 32 characters", "examples/char_rnn/main.rs", "const PIECE: usize = 32;"),
            (
                "a rate of 0.1 costs a little after 10 epochs and gains after 30",
                "tests/cpu/printed.rs",
                "fn zoneout_and_dropout_pay_late",
            ),
            (
                "| every character alike | 4.2047 | 67 |",
                "tests/programs/char_rnn.rs",
                "fn baselines_of_the_page",
            ),
            (
                "| bigram, add-one | 2.4773 | 11.91 |",
                "tests/programs/char_rnn.rs",
                "fn baselines_of_the_page",
            ),
            (
                "| trigram, add-one | 2.0305 | 7.62 |",
                "tests/programs/char_rnn.rs",
                "fn baselines_of_the_page",
            ),
            (
                "| LSTM, 128 units, 10 epochs | 1.5334 | 4.63 |",
                "examples/printed/char_rnn.txt",
                "Held-out loss 1.5334 nats a character, perplexity 4.63",
            ),
            ("132,138 characters", "tests/programs/char_rnn.rs", "fn baselines_of_the_page"),
            (
                "of 1,139 characters or more",
                "tests/programs/char_rnn.rs",
                "8 characters, 1139 are needed",
            ),
            ("(1865)", "", "the year of a book"),
            ("146,821 of whose", "examples/printed/char_rnn.txt", "alice.txt: 146821 characters"),
            ("152,089 bytes", "", "the size of another file"),
        ],
    ),
    (
        "examples/sine/README.md",
        &[
            ("An LSTM of 50 units", "examples/sine/wave.rs", "pub const HIDDEN: usize = 50;"),
            ("Adam at 0.001 trains it", "examples/sine/wave.rs", "Adam::new(0.001)"),
            ("for 200 epochs", "examples/sine/main.rs", "epochs: 200"),
            ("less than a minute", "examples/printed/check.sh", "numpy_cell) example 60"),
            ("Both draw 100 points", "", "the programs that are retold"),
            ("sequence of 100 timesteps", "", "the programs that are retold"),
            ("numbers 0 to 10", "", "the programs that are retold"),
            (
                "against the 100 targets",
                "examples/printed/sine.txt",
                "one prediction for 100 targets",
            ),
            ("A sequence is 20 values", "examples/sine/wave.rs", "pub const WINDOW: usize = 20;"),
            ("16 windows a batch", "examples/sine/wave.rs", "batch_size(16)"),
            ("**300 points**", "examples/sine/main.rs", "points: 300"),
            ("instead of 100", "", "the programs that are retold"),
            (
                "The 80 windows of the test",
                "examples/printed/sine.txt",
                "80 later ones that share no value",
            ),
            ("so 0.1 is the best", "examples/printed/sine.txt", "the noise alone: 0.1"),
            ("below 0.15", "tests/programs/seeds_classes.rs", "error <= 0.15"),
            ("too large for 50 units", "examples/sine/wave.rs", "pub const HIDDEN: usize = 50;"),
            ("1/sqrt(50) = 0.14", "tests/cpu/figures.rs", "fn arithmetic_is_right"),
        ],
    ),
    (
        "examples/stocks/README.md",
        &[
            ("less than a minute", "examples/printed/check.sh", "stocks) example 60 stocks"),
            ("2000-03-01 to 2013-03-01", "examples/stocks/prices.csv", "AAPL,2000-03-01"),
            ("GOOG from 2004-08-19", "examples/stocks/prices.csv", "GOOG,2004-08-19"),
            ("bokeh-sampledata 2026.1", "", "where the data are from"),
            (
                "70 : 15 : 15",
                "examples/stocks/forecast.rs",
                "const SHARES: [f64; 3] = [0.7, 0.15, 0.15];",
            ),
            (
                "the last 5 and of the last 22 days",
                "tests/programs/stocks.rs",
                "fn baselines_are_their_definitions",
            ),
            ("lambda 0.94", "examples/stocks/features.rs", "pub const LAMBDA: f64 = 0.94;"),
            (
                "over 1, 5 and 22 days",
                "examples/stocks/features.rs",
                "log(of(1)), log(of(5)), log(of(LOOKBACK))",
            ),
            (
                "32 units, two layers, seed 0",
                "examples/stocks/main.rs",
                "hidden: 32, layers: 2, seed: 0",
            ),
            ("45 days were taken", "examples/stocks/main.rs", "window: 45"),
            (
                "six of the nine lose to it for AAPL, by 3.1 % at most",
                "tests/cpu/printed.rs",
                "fn sentences_about_many_runs_are_right",
            ),
            ("Adam at 0.01", "examples/stocks/toy.rs", "Adam::new(0.01)"),
            ("for 500 epochs", "examples/stocks/toy.rs", ".epochs(500)"),
            (
                "Of the seeds 0 to 11, ten end within 0.1 of both targets. Seed 6",
                "tests/cpu/printed.rs",
                "fn sentences_about_many_runs_are_right",
            ),
            (
                "seed 4 stalls in the middle",
                "examples/printed/stocks_toy.txt",
                "Seed 4, company A: predicted 0.4999",
            ),
            ("prints (0.98 for both companies)", "", "the program that is retold"),
        ],
    ),
];

/// What is no figure: names of types and of things, none and one.
const NAMES: [&str; 16] = [
    "tf2onnx",
    "0",
    "1",
    "f16",
    "bf16",
    "f32",
    "f64",
    "DX12",
    "AVX2",
    "AVX-512",
    "Apache-2.0",
    "UTF-8",
    "N(0",
    "twin's",
    "0:",
    "1:",
];

/// The sentences of a page, without blocks, code, addresses and tables that are held elsewhere.
fn sentences(page: &str) -> String {
    let (mut in_block, mut held) = (false, false);
    let mut text = String::new();
    for line in page.lines() {
        let fence = line.starts_with("```");
        in_block ^= fence;
        held = line.starts_with("<!-- ") || held && (line.is_empty() || line.starts_with('|'));
        let name = line.strip_prefix('[').and_then(|line| line.split_once("]: "));
        let address = name.is_some_and(|(name, _)| !name.contains(']'));
        if !(in_block || fence || held || address || line.starts_with("    ")) {
            // What stands in backquotes is code, what stands in brackets behind a text an address.
            let plain = line.split('`').step_by(2).collect::<Vec<_>>().join(" ` ");
            let mut parts = plain.split("](");
            text += parts.next().unwrap();
            for part in parts {
                text += "]";
                text += part.split_once(')').map_or("", |(_, rest)| rest);
            }
            text += "\n";
        }
    }
    let named: Vec<&str> = text.split("][").collect();
    let rest = named[1..].iter().map(|part| part.split_once(']').map_or("", |(_, rest)| rest));
    let plain = std::iter::once(named[0]).chain(rest).collect::<Vec<_>>().join("]");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn whole(page: &str) -> String {
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn all_are_held() {
    let mut loose = Vec::new();
    for (page, held) in PAGES {
        let (text, mut rest) = (whole(&read(page)), sentences(&read(page)));
        for (said, file, stands) in *held {
            assert!(text.contains(said), "{page} says no more {said:?}: take it off the list");
            assert!(
                file.is_empty() || read(file).contains(stands),
                "{page} says {said:?}, but {file} has no {stands:?}"
            );
            rest = rest.replace(said, " ");
        }
        let figures = rest.split_whitespace().filter(|word| {
            let word = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '%');
            word.contains(|c: char| c.is_ascii_digit()) && !NAMES.contains(&word)
        });
        loose.extend(figures.map(|figure| format!("{page}: {figure}")));
    }
    assert!(loose.is_empty(), "nothing on the list holds {loose:#?}");
}

/// Every page is on the list.
#[test]
fn no_page_is_forgotten() {
    let listed = |page: &str| PAGES.iter().any(|(listed, _)| *listed == page);
    for folder in ["docs", "examples"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let page = format!("{folder}/{name}");
            let inner = format!("{page}/README.md");
            let there = root().join(&inner).exists();
            let known = page == "docs/lstm.md" || !page.ends_with(".md") || listed(&page);
            // Lists for rustdoc, written by a program.
            let there = there && page != "docs/rustdoc";
            assert!(known && (!there || listed(&inner)), "{page}");
        }
    }
}

#[test]
fn arithmetic_is_right() {
    assert_eq!(format!("{:.2}", 1.0 / 50f64.sqrt()), "0.14");
}

#[test]
fn figures_are_found() {
    let page = "A `1` b 2, c [3](4) and [5][x6].\n\n```text\n7\n```\n<!-- printed: a -->\n\n| 8 |\n|---|\n\n9\n[x6]: 10\n";
    assert_eq!(sentences(page), "A ` b 2, c [3] and [5]. 9");
}
