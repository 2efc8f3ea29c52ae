//! Daily prices from a CSV file: the shipped one, or a user's own.

use std::path::Path;

use gatefold::data::{Date, Table};
use gatefold::{Error, Result};

/// One ticker's days, oldest first.
#[derive(Clone, Debug)]
pub struct Series {
    pub ticker: String,
    pub dates: Vec<Date>,
    /// Adjusted for splits and dividends where the file has such a column.
    pub price: Vec<f64>,
    /// The price that was paid, where the file has both; else the same.
    pub close: Vec<f64>,
    /// The logarithm of the day's highest over its lowest price.
    pub range: Option<Vec<f64>>,
    pub volume: Option<Vec<f64>>,
}

/// Columns that belong to a price and aren't one by themselves.
const BESIDES: [&str; 5] = ["Open", "High", "Low", "Volume", "Turnover"];

/// Prices and volumes beyond this are taken for mistakes; their ratios and sums stay finite.
const LARGEST: f64 = 1e100;

const PRICE_COLUMNS: [&str; 5] = ["Adj Close", "Adjusted Close", "AdjClose", "Close", "Price"];

/// Reads a long table (a ticker column), a table of one company, or a table whose columns beside
/// the date are prices of a company each.
pub fn read(path: &Path) -> Result<Vec<Series>> {
    let table = Table::read(path)?;
    let header = table.header().to_vec();
    let exact = header.iter().find(|name| name.eq_ignore_ascii_case("date"));
    let date = match exact.or(header.iter().find(|name| name.to_lowercase().contains("date"))) {
        Some(name) => name.clone(),
        None => {
            return Err(Error::Data {
                path: path.to_owned(),
                row: None,
                column: Some("Date".to_owned()),
                problem: format!("is missing; there are {}", header.join(", ")),
            });
        }
    };
    let dates = table.dates(&date)?;
    let price = PRICE_COLUMNS.into_iter().find(|name| table.find(name).is_some());
    let ticker = ["Ticker", "Symbol"].into_iter().find(|name| table.find(name).is_some());
    let name = path.file_stem().map_or("prices".into(), |stem| stem.to_string_lossy().into_owned());
    let all: Vec<usize> = (0..table.len()).collect();
    match (ticker, price) {
        (Some(ticker), _) => {
            let tickers = table.text(ticker)?;
            let mut names: Vec<&str> = Vec::new();
            for &name in &tickers {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            let rows = |name: &str| {
                all.iter().copied().filter(|&i| tickers[i] == name).collect::<Vec<_>>()
            };
            let column = price.unwrap_or("Close"); // missing: the error says so
            names
                .iter()
                .map(|name| series(&table, name, column, &date, &dates, &rows(name)))
                .collect()
        }
        (None, Some(price)) => Ok(vec![series(&table, &name, price, &date, &dates, &all)?]),
        (None, None) => {
            let besides =
                header.iter().any(|name| BESIDES.iter().any(|b| b.eq_ignore_ascii_case(name)));
            if besides {
                table.text(PRICE_COLUMNS[3])?; // missing: the error says so
            }
            let prices = header.iter().filter(|name| **name != date);
            let found: Result<Vec<Series>> =
                prices.map(|name| series(&table, name, name, &date, &dates, &all)).collect();
            found.and_then(|found| match found.is_empty() {
                false => Ok(found),
                true => Err(table.error(0, "Close", "is missing: there is no column of prices")),
            })
        }
    }
}

/// The rows of one company.
fn series(
    table: &Table,
    ticker: &str,
    price: &str,
    date: &str,
    dates: &[Date],
    rows: &[usize],
) -> Result<Series> {
    for pair in rows.windows(2) {
        if dates[pair[1]] <= dates[pair[0]] {
            let problem =
                format!("{} does not follow {} of {ticker}", dates[pair[1]], dates[pair[0]]);
            return Err(table.error(pair[1], date, problem));
        }
    }
    let pick = |column: Vec<f64>| rows.iter().map(|&i| column[i]).collect::<Vec<f64>>();
    let bounded = |column: &str, values: Vec<f64>| -> Result<Vec<f64>> {
        let beyond = |v: &f64| *v > LARGEST || (*v > 0.0 && *v < 1.0 / LARGEST);
        match values.iter().position(beyond) {
            Some(row) => {
                Err(table.error(row, column, format!("is {:e}, which can't be", values[row])))
            }
            None => Ok(values),
        }
    };
    let range = match (table.find("High"), table.find("Low")) {
        (Some(_), Some(_)) => {
            let high = bounded("High", table.positive("High")?)?;
            let low = bounded("Low", table.positive("Low")?)?;
            if let Some(row) = (0..high.len()).find(|&row| high[row] < low[row]) {
                return Err(table.error(row, "High", "is below Low"));
            }
            Some(pick(high.iter().zip(&low).map(|(h, l)| (h / l).ln()).collect()))
        }
        _ => None,
    };
    let volume = match table.find("Volume") {
        Some(_) => {
            let volume = bounded("Volume", table.numbers("Volume")?)?;
            if let Some(row) = volume.iter().position(|v| *v < 0.0) {
                return Err(table.error(row, "Volume", "is negative"));
            }
            Some(pick(volume))
        }
        None => None,
    };
    let prices = pick(bounded(price, table.positive(price)?)?);
    let close = match table.find("Close") {
        Some(_) => pick(bounded("Close", table.positive("Close")?)?),
        None => prices.clone(),
    };
    Ok(Series {
        ticker: ticker.to_owned(),
        dates: rows.iter().map(|&i| dates[i]).collect(),
        price: prices,
        close,
        range,
        volume,
    })
}
