//! The example `stocks`: nothing looks ahead, bad prices are named, a saved model is the same.

#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/stocks/features.rs"]
mod features;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/stocks/forecast.rs"]
mod forecast;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/stocks/prices.rs"]
mod prices;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/stocks/report.rs"]
mod report;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use features::{Days, HORIZON};
use forecast::{Forecast, Market, observed, windows};
use gatefold::data::Date;

use crate::random::normal;

/// A long table of so many days of two companies, a random walk each.
fn csv(days: usize) -> String {
    let mut text = "Ticker,Date,High,Low,Volume,Adj Close\n".to_owned();
    for (ticker, seed) in [("AAA", 1), ("BBB", 2)] {
        let mut price = 50.0f64;
        for (i, step) in normal(days, 0.02, seed).into_iter().enumerate() {
            price *= f64::from(step).exp();
            let date = Date::from_julian_day(2_455_000 + i as i32).unwrap();
            let (high, low) = (price * 1.01, price * 0.98);
            let volume = 1000 + 37 * i % 101;
            writeln!(text, "{ticker},{date},{high},{low},{volume},{price}").unwrap();
        }
    }
    text
}

fn file(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("prices.csv");
    fs::write(&path, text).unwrap();
    path
}

/// Every price after day `d` is changed: no input and no scaler up to `d` is.
#[test]
fn nothing_looks_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let series = prices::read(&file(folder.path(), &csv(300))).unwrap();
    let market = Market::new(series.clone(), None).unwrap();
    let samples = market.samples(folder.path(), 30, 0).unwrap();
    let scalers = market.scalers(&samples).unwrap();
    let validation = market.period(0, 1).start;
    for d in [60, validation - 1, 250] {
        let mut changed = series.clone();
        for series in &mut changed {
            for t in d + 1..series.price.len() {
                series.price[t] *= 1.0 + (t % 7) as f64;
                series.range.as_mut().unwrap()[t] += 3.0;
                series.volume.as_mut().unwrap()[t] *= 5.0;
            }
        }
        let other = Market::new(changed, None).unwrap();
        for ticker in 0..2 {
            let (a, b) = (&market.days[ticker], &other.days[ticker]);
            assert_eq!(a.inputs[..=d], b.inputs[..=d]);
            assert_eq!(a.ewma[..=d], b.ewma[..=d]);
            assert_ne!(
                a.inputs[d + 1],
                b.inputs[d + 1],
                "the change is seen the day that it happens"
            );
            // A target ends HORIZON days later.
            for t in 22..=d - HORIZON {
                assert_eq!(a.target(t), b.target(t));
            }
            assert_ne!(a.target(d), b.target(d));
        }
        // The scalers see the training years alone.
        let other_scalers = other.scalers(&samples).unwrap();
        assert_eq!(d >= validation - 1, scalers == other_scalers, "d = {d}");
        let early: Vec<_> = samples.iter().copied().filter(|s| s.t <= d).collect();
        assert!(!early.is_empty());
        let x = |m: &Market| windows(m, &early, 30, &scalers[0]).unwrap();
        assert_eq!(x(&market), x(&other));
    }
}

#[test]
fn windows_and_targets_stay_in_their_years() {
    let folder = tempfile::tempdir().unwrap();
    let series = prices::read(&file(folder.path(), &csv(400))).unwrap();
    let market = Market::new(series, None).unwrap();
    let dates = [0, 1, 2].map(|period| market.dates(period).unwrap());
    assert!(dates[0].1 < dates[1].0 && dates[1].1 < dates[2].0);
    for (period, (first, last)) in dates.into_iter().enumerate() {
        for sample in market.samples(folder.path(), 30, period).unwrap() {
            let days = &market.series[sample.ticker].dates;
            assert!(days[sample.t - 29] >= first && days[sample.t + HORIZON] <= last);
        }
    }
}

/// RiskMetrics' recursion and the mean square, by hand.
#[test]
fn baselines_are_their_definitions() {
    let folder = tempfile::tempdir().unwrap();
    let series = prices::read(&file(folder.path(), &csv(60))).unwrap();
    let days = Days::new(&series[0]);
    let r = &days.returns;
    let mut variance = r[1..=22].iter().map(|r| r * r).sum::<f64>() / 22.0;
    for (r, ewma) in r.iter().zip(&days.ewma).skip(23) {
        variance = 0.94 * variance + 0.06 * r * r;
        approx::assert_abs_diff_eq!(*ewma, variance.sqrt(), epsilon = 1e-14);
    }
    let five = (r[31..=35].iter().map(|r| r * r).sum::<f64>() / 5.0).sqrt();
    assert_eq!(days.target(30), [r[31], five.ln()]);
}

#[test]
fn tables_of_all_kinds_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str| prices::read(&file(folder.path(), text)).unwrap();
    let wide = read("date,AAA,BBB\n2013-01-01,1,2\n2013-01-02,3,4\n");
    assert_eq!((wide[0].ticker.as_str(), wide[1].price.as_slice()), ("AAA", &[2.0, 4.0][..]));
    let single = read("Date,Close\n2013-01-01,1\n2013-01-02,3\n");
    assert_eq!((single.len(), single[0].ticker.as_str()), (1, "prices"));
    assert!(single[0].range.is_none() && single[0].volume.is_none());
    let long = read("symbol,date,price\nA,2013-01-01,1\nB,2013-01-01,2\nA,2013-01-02,3\n");
    assert_eq!((long.len(), long[0].price.as_slice()), (2, &[1.0, 3.0][..]));
}

#[test]
fn bad_prices_name_row_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |text: &str| prices::read(&file(folder.path(), text)).unwrap_err().to_string();
    for (text, parts) in [
        ("Close\n1\n", ["column Date", "missing"]),
        ("Date\n2013-01-01\n", ["column Close", "missing"]),
        ("Date,Ticker\n2013-01-01,A\n", ["column Close", "missing"]),
        ("Date,Close\n2013-01-01,\n", ["row 2, column Close", "empty"]),
        ("Date,Close\n2013-01-01,x\n", ["row 2, column Close", "\"x\""]),
        ("Date,Close\n2013-01-01,NaN\n", ["row 2, column Close", "\"NaN\""]),
        ("Date,Close\n2013-01-01,0\n", ["row 2, column Close", "above 0"]),
        ("Date,A,B\n2013-01-01,1,0\n", ["row 2, column B", "above 0"]),
        ("Date,Close\n2013-01-02,1\n2013-01-02,1\n", ["row 3, column Date", "does not follow"]),
        ("Date,Close,High,Low\n2013-01-02,1,1,2\n", ["row 2, column High", "below Low"]),
        ("Date,Close,Volume\n2013-01-02,1,-1\n", ["row 2, column Volume", "negative"]),
        ("Date,High,Low\n2013-01-02,2,1\n", ["column Close", "missing"]),
        ("Date,A,a\n2013-01-02,2,1\n", ["row 1, column a", "twice"]),
        ("Date,A,\n2013-01-02,2,1\n", ["row 1, column 3", "no name"]),
        ("Date,Close\n2013-01-02,1e200\n", ["row 2, column Close", "1e200"]),
        ("Date,Close\n2013-01-02,1e-300\n", ["row 2, column Close", "1e-300"]),
    ] {
        let message = refused(text);
        for part in parts {
            assert!(message.contains(part), "{text:?}: {message}");
        }
    }
    let series = prices::read(&file(folder.path(), &csv(150))).unwrap();
    let market = Market::new(series, None).unwrap();
    let message = market.samples(Path::new("prices.csv"), 30, 1).unwrap_err().to_string();
    assert!(message.contains("too few rows: AAA") && message.contains("validation"), "{message}");
}

/// The example as a user runs it; cargo builds it with the tests.
fn stocks(arguments: &[&str]) -> Output {
    let target = std::env::current_exe().unwrap();
    let program = target.ancestors().nth(2).unwrap().join("examples").join("stocks");
    let program = program.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(program.exists(), "plain `cargo test` builds the examples first");
    Command::new(program).args(arguments).env("GATEFOLD_DEVICE", "cpu").output().unwrap()
}

/// What `report` needs of the example's main file.
fn temporary(_: &Path) -> gatefold::Result<tempfile::NamedTempFile> {
    unreachable!("no file is written here")
}

fn output_error(_: &Path, error: impl std::fmt::Display) -> gatefold::Error {
    unreachable!("no file is written here: {error}")
}

/// Scores of forecasts whose errors are known.
#[test]
fn scores_are_their_definitions() {
    let folder = tempfile::tempdir().unwrap();
    let series = prices::read(&file(folder.path(), &csv(1200))).unwrap();
    let market = Market::new(series, None).unwrap();
    let samples = market.samples(folder.path(), 10, 2).unwrap();
    let scores = |change: &dyn Fn(Forecast) -> Forecast| {
        let forecasts: Vec<Forecast> =
            samples.iter().map(|s| change(observed(&market, s))).collect();
        report::scores(&market, &samples, &forecasts)
    };
    // Perfect, and off by 0.3 % a day, and with every direction wrong.
    let perfect = scores(&|seen| seen);
    assert_eq!(perfect.len(), 3, "two tickers and all");
    for s in &perfect {
        assert!(s.price[0] < 1e-10 && s.volatility[0] < 1e-10 && s.price[1] > 0.0);
        assert_eq!(s.direction.0, s.direction.1);
        assert!(s.volatility_has_skill());
    }
    let off = scores(&|seen| Forecast { volatility: seen.volatility + 0.003, ..seen });
    approx::assert_abs_diff_eq!(off[0].volatility[0], 0.3, epsilon = 1e-9);
    let wrong = scores(&|seen| Forecast { log_return: -seen.log_return, volatility: 1.0 });
    assert_eq!(wrong[0].direction.0, 0);

    let text = report::verdict(&perfect);
    assert!(text.contains("both baselines for all, beyond chance for all"), "{text}");
    assert!(text.contains("\"as today\" for all, beyond chance for all"), "{text}");
    let text = report::verdict(&wrong);
    assert!(text.contains("both baselines for none, beyond chance for none"), "{text}");
    assert!(
        text.contains("\"as today\" for none") && text.contains("coin's beyond chance for none"),
        "{text}"
    );
    let mixed = [perfect[0].clone(), wrong[1].clone()];
    assert!(report::verdict(&mixed).contains("both baselines for AAA alone"));
}

/// Against values worked out by other means.
#[test]
fn statistics_are_theirs() {
    // The normal distribution's quantiles of 0.975 and 0.99375.
    approx::assert_abs_diff_eq!(report::beyond_chance(1), 1.95996, epsilon = 1e-4);
    approx::assert_abs_diff_eq!(report::beyond_chance(4), 2.49771, epsilon = 1e-4);
    // Wilson's interval of 55 in 100.
    let scores = report::Scores { direction: (55, 100), ..Default::default() };
    let (share, low, high) = scores.direction_share(1.96);
    assert_eq!(share, 0.55);
    approx::assert_abs_diff_eq!(low, 0.45245, epsilon = 1e-4);
    approx::assert_abs_diff_eq!(high, 0.64389, epsilon = 1e-4);
    // Independent gains: the usual t statistic. Each one five times: its mean is known as well, and
    // five lags see that they aren't independent.
    let gains: Vec<f64> = normal(4000, 1.0, 5).into_iter().map(|x| f64::from(x) + 0.05).collect();
    let n = gains.len() as f64;
    let mean = gains.iter().sum::<f64>() / n;
    let variance = gains.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let usual = mean / (variance / n).sqrt();
    approx::assert_abs_diff_eq!(report::standard_errors(&gains, 1), usual, epsilon = 0.01);
    let moving: Vec<f64> = gains.windows(5).map(|w| w.iter().sum::<f64>() / 5.0).collect();
    approx::assert_abs_diff_eq!(report::standard_errors(&moving, 5), usual, epsilon = 0.2 * usual);
    assert!(report::standard_errors(&moving, 1) > 1.8 * usual);
}

/// What the README says of the toy.
#[test]
fn the_toys_default_seed_converges() {
    let toy = |seed: &str| {
        let output = stocks(&["--toy", "--seed", seed]);
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let default = toy("0");
    for epoch in [1, 101, 201, 301, 401] {
        assert!(default.contains(&format!("Epoch [{epoch}/500], Loss: ")), "{default}");
    }
    for line in
        ["predicted 0.0003, observed 0.0000", "predicted 0.9593, observed 1.0000", "\nConverged"]
    {
        assert!(default.contains(line), "{default}");
    }
    let stalled = toy("4");
    assert!(stalled.contains("\nNot converged") && stalled.contains("predicted 0.50"), "{stalled}");
}

#[test]
fn a_second_process_forecasts_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let prices = file(folder.path(), &csv(420));
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (prices, first, second) =
        (prices.to_str().unwrap().to_owned(), path("first"), path("second"));
    let small = ["--epochs", "2", "--hidden", "8", "--window", "10", "--layers", "1"];
    let output = stocks(&[&small[..], &["--csv", &prices, "--out", &first]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let model = format!("{first}/model.safetensors");
    let loaded = stocks(&["--csv", &prices, "--out", &second, "--load", &model]);
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));

    let forecasts = |folder: &str| fs::read(Path::new(folder).join("forecasts.csv")).unwrap();
    assert_eq!(forecasts(&first), forecasts(&second));
    assert!(forecasts(&first).len() > 1000);
    let text = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text(&output).starts_with("Running on CPU"));
    let last = |output: &Output| text(output).lines().last().unwrap().to_owned();
    assert_eq!(last(&output), last(&loaded));
    assert!(last(&output).starts_with("Forecast for the trading day after"));
    let png = fs::read(Path::new(&first).join("forecast.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG") && png.len() > 10_000);
}

/// Prices of the test years have no part in the model: its tensors and metadata are the same.
#[test]
fn a_model_never_sees_the_test_years() {
    let folder = tempfile::tempdir().unwrap();
    let model = |name: &str, text: &str| {
        let prices = folder.path().join(format!("{name}.csv"));
        fs::write(&prices, text).unwrap();
        let out = folder.path().join(name);
        let (prices, out) = (prices.to_str().unwrap(), out.to_str().unwrap());
        let small = ["--epochs", "2", "--hidden", "4", "--window", "5", "--layers", "1"];
        let output = stocks(&[&small[..], &["--csv", prices, "--out", out]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let bytes = fs::read(Path::new(out).join("model.safetensors")).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors: Vec<(String, Vec<u8>)> =
            file.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect();
        tensors.sort();
        (tensors, header.metadata().clone().unwrap())
    };
    let text = csv(420);
    let from = |day: usize| Date::from_julian_day(2_455_000 + day as i32).unwrap().to_string();
    let changed = |start: String| -> String {
        let change = |line: &str| {
            let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
            if cells[1] >= start && cells[0] != "Ticker" {
                cells[5] = (2.0 + cells[1].len() as f64 * line.len() as f64).to_string();
            }
            cells.join(",") + "\n"
        };
        text.lines().map(change).collect()
    };
    let whole = model("whole", &text);
    // 70 and 15 of 100 days train and choose: the test years start at day 357.
    assert_eq!(whole.1["stocks.test_start"], from(357));
    assert_eq!(whole, model("test", &changed(from(357))));
    assert_ne!(whole, model("before", &changed(from(200))));
}

#[test]
fn the_example_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = file(folder.path(), "a file, not a folder");
    let blocked = blocked.to_str().unwrap();
    for (arguments, expected) in [
        (&["--csv", "no/such.csv", "--out", folder.path().to_str().unwrap()][..], "no/such.csv"),
        (&["--toy", "--seeds", "1"], "--seeds"),
        (&["--epochs", "many"], "many"),
        (&["--out", blocked], blocked),
        (
            &["--load", "no/such.safetensors", "--out", folder.path().to_str().unwrap()],
            "no/such.safetensors",
        ),
        (&["--load", blocked, "--out", folder.path().to_str().unwrap()], "not a checkpoint"),
    ] {
        let output = stocks(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(expected), "{arguments:?}: {message}");
        assert!(!message.contains("panicked"), "{message}");
    }
    // A model of more columns than the table has, and a window that no table fills.
    let long = file(folder.path(), &csv(420));
    let (long, out) = (long.to_str().unwrap(), folder.path().join("out"));
    let out = out.to_str().unwrap();
    let small = ["--epochs", "1", "--hidden", "4", "--window", "5", "--layers", "1"];
    assert!(stocks(&[&small[..], &["--csv", long, "--out", out]].concat()).status.success());
    let model = format!("{out}/model.safetensors");
    let text =
        fs::read_to_string(long).unwrap().replace("High", "Highest").replace("Volume", "Shares");
    let narrow = folder.path().join("narrow.csv");
    fs::write(&narrow, text).unwrap();
    let narrow = narrow.to_str().unwrap();
    for (arguments, expected) in [
        (&["--csv", narrow, "--out", out, "--load", &model][..], "inputs a day"),
        (&["--csv", long, "--out", out, "--window", "18446744073709551615"], "too few rows: AAA"),
        (&["--csv", long, "--out", out, "--window", "0"], "--window"),
        (&["--csv", long, "--out", out, "--hidden", "0"], "hidden"),
    ] {
        let output = stocks(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains(expected), "{arguments:?}: {message}");
    }
    let help = stocks(&["--help"]);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--load FILE"));
}
