//! Tables, scalers and windows.

use gatefold::data::{Scaler, Table, Windows, split_by_time};
use gatefold::{Error, Result};

fn table(text: &str) -> Result<Table> {
    Table::parse("prices.csv", text.as_bytes())
}

fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn columns_are_read_by_name() {
    let table = table("Date,Close\n2013-02-28, 1.5\n2013-03-01,2e1\n").unwrap();
    assert_eq!(table.positive("close").unwrap(), [1.5, 20.0]);
    let dates = table.dates("Date").unwrap();
    assert_eq!(dates[1].to_string(), "2013-03-01");
    assert!(dates[0] < dates[1]);
}

#[test]
fn what_is_wrong_names_row_and_column() {
    let close = |cell: &str| {
        let text = format!("Date,Close\n2013-02-28,1.5\n2013-03-01,{cell}\n");
        message(table(&text).and_then(|t| t.positive("Close")))
    };
    for (cell, problem) in [
        ("", "is empty"),
        ("abc", "\"abc\""),
        ("NaN", "\"NaN\""),
        ("inf", "\"inf\""),
        ("0", "above 0"),
        ("-1", "above 0"),
    ] {
        let text = close(cell);
        for part in ["prices.csv", "row 3", "column Close", problem] {
            assert!(text.contains(part), "{cell:?}: {text}");
        }
    }
    let text = message(table("Date,Open\n2013-03-01,1\n").and_then(|t| t.numbers("Close")));
    assert!(text.contains("column Close") && text.contains("Date, Open"), "{text}");
    let text = message(table("Date\n01.03.2013\n").and_then(|t| t.dates("Date")));
    assert!(text.contains("row 2") && text.contains("2013-03-01"), "{text}");
    assert!(message(table("Date,Close\n2013-03-01,1,2\n")).contains("row 2"));
    assert!(message(table("Date,Close\n")).contains("no rows"));
    assert!(message(table("")).contains("no rows"));
    assert!(matches!(Table::read("no/such/file.csv"), Err(Error::Io { .. })));
}

#[test]
fn a_scaler_goes_both_ways() {
    let rows = [[1.0, -5.0, 7.0], [2.0, 5.0, 7.0], [6.0, 0.0, 7.0]];
    let scaler = Scaler::fit(rows).unwrap();
    let mut scaled = rows;
    scaled.iter_mut().for_each(|row| scaler.transform(row));
    for column in 0..2 {
        let mean: f64 = scaled.iter().map(|row| row[column]).sum::<f64>() / 3.0;
        let square: f64 = scaled.iter().map(|row| row[column].powi(2)).sum::<f64>() / 3.0;
        approx::assert_abs_diff_eq!(mean, 0.0, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(square, 1.0, epsilon = 1e-12);
    }
    scaled.iter_mut().for_each(|row| scaler.inverse(row));
    for (back, row) in scaled.iter().zip(rows) {
        for (a, b) in back.iter().zip(row) {
            approx::assert_abs_diff_eq!(*a, b, epsilon = 1e-12);
        }
    }
    assert!(Scaler::fit(Vec::<[f64; 2]>::new()).is_err());
    assert!(Scaler::fit([vec![1.0], vec![1.0, 2.0]]).is_err());
    assert!(Scaler::from_parts(vec![0.0], vec![0.0]).is_err());
}

#[test]
fn windows_lie_inside_their_period() {
    for (length, horizon) in [(1, 1), (3, 2), (30, 5)] {
        let windows = Windows { length, horizon };
        for (start, end) in [(0, 40), (7, 60), (10, 45), (5, 6), (0, 0)] {
            let ends = windows.ends(start..end);
            assert_eq!(ends.len(), (end - start + 1usize).saturating_sub(length + horizon));
            for t in ends {
                assert!(windows.past(t).start >= start && windows.future(t).end <= end);
                assert_eq!((windows.past(t).len(), windows.future(t).len()), (length, horizon));
                assert_eq!(windows.past(t).end, windows.future(t).start);
            }
        }
    }
}

#[test]
fn a_split_covers_all_steps_in_order() {
    assert_eq!(split_by_time(100, [0.7, 0.15, 0.15]).unwrap(), [0..70, 70..85, 85..100]);
    let [a, b] = split_by_time(3, [0.5, 0.5]).unwrap();
    assert_eq!((a.start, a.end, b.end), (0, b.start, 3));
    assert!(split_by_time(10, [0.5, 0.6]).is_err());
    assert!(split_by_time(10, [1.5, -0.5]).is_err());
    assert!(split_by_time(10, [f64::NAN, 0.5]).is_err());
}

/// Sizes that a caller may have from anywhere: ranges end where counting ends.
#[test]
fn windows_of_any_size() {
    let most = usize::MAX;
    for (length, horizon, t) in [
        (1, most, 5),
        (most, 1, 5),
        (most, most, most),
        (0, 0, 0),
        (0, most, most),
        (3, 2, most),
        (3, 2, most - 1),
    ] {
        let windows = Windows { length, horizon };
        let (past, future) = (windows.past(t), windows.future(t));
        assert_eq!(past.end, t.saturating_add(1));
        assert_eq!(past.start, past.end.saturating_sub(length.max(1)));
        assert_eq!((future.start, future.end), (past.end, past.end.saturating_add(horizon)));
        for period in [0..10, 5..most, most..most, most - 1..most] {
            for t in windows.ends(period.clone()).take(3) {
                let (past, future) = (windows.past(t), windows.future(t));
                assert!(
                    past.start >= period.start && future.end <= period.end,
                    "{length}, {horizon}, {t}"
                );
            }
        }
    }
    assert_eq!(Windows { length: 2, horizon: most }.future(5), 6..most);
}

/// What isn't finite is found where it stands, and no scaler is made of it.
#[test]
fn scalers_are_of_finite_numbers() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let rows = [[1.0, 2.0, 3.0], [1.0, 2.0, 4.0], [1.0, bad, 5.0]];
        let error = Scaler::fit(rows).unwrap_err().to_string();
        let expected = format!("Scaler::fit: row 2, column 1 must be finite, got {bad}");
        assert_eq!(error, expected);
    }
    // Finite numbers whose variance isn't: a deviation of infinity would make everything 0 or NaN.
    for rows in [[[1.0, 1e200], [1.0, -1e200]], [[1.0, f64::MAX], [1.0, f64::MIN]]] {
        let error = Scaler::fit(rows).unwrap_err().to_string();
        assert!(error.contains("column 1 must be of numbers whose variance is finite"), "{error}");
    }
    assert_eq!(Scaler::fit([[1e150], [-1e150]]).unwrap().std(), [1e150]);
    let parts = |mean: &[f64], std: &[f64]| Scaler::from_parts(mean.to_vec(), std.to_vec());
    for (mean, std, words) in [
        (&[0.0, 1.0][..], &[1.0][..], "got 2 and 1"),
        (&[0.0, f64::NAN], &[1.0, 1.0], "mean 1 must be finite, got NaN"),
        (&[0.0, 1.0], &[1.0, 0.0], "std 1 must be finite and above 0, got 0"),
        (&[0.0], &[f64::INFINITY], "std 0 must be finite"),
    ] {
        let error = parts(mean, std).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(parts(&[], &[]).is_ok());
    // What a fitted one does to them is what arithmetic does.
    let mut row = [f64::NAN, f64::INFINITY];
    Scaler::fit([[0.0, 0.0], [2.0, 2.0]]).unwrap().transform(&mut row);
    assert!(row[0].is_nan() && row[1] == f64::INFINITY);
}
