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
    /// The logarithm of the day's highest over its lowest price.
    pub range: Option<Vec<f64>>,
    pub volume: Option<Vec<f64>>,
}

const PRICE_COLUMNS: [&str; 5] = ["Adj Close", "Adjusted Close", "AdjClose", "Close", "Price"];

/// Reads a long table (a ticker column), a table of one company, or a table whose columns beside
/// the date are prices of a company each.
pub fn read(path: &Path) -> Result<Vec<Series>> {
    let table = Table::read(path)?;
    let header = table.header().to_vec();
    let date = match header.iter().find(|name| name.to_lowercase().contains("date")) {
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
    let range = match (table.find("High"), table.find("Low")) {
        (Some(_), Some(_)) => {
            let (high, low) = (table.positive("High")?, table.positive("Low")?);
            if let Some(row) = (0..high.len()).find(|&row| high[row] < low[row]) {
                return Err(table.error(row, "High", "is below Low"));
            }
            Some(pick(high.iter().zip(&low).map(|(h, l)| (h / l).ln()).collect()))
        }
        _ => None,
    };
    let volume = match table.find("Volume") {
        Some(_) => {
            let volume = table.numbers("Volume")?;
            if let Some(row) = volume.iter().position(|v| *v < 0.0) {
                return Err(table.error(row, "Volume", "is negative"));
            }
            Some(pick(volume))
        }
        None => None,
    };
    Ok(Series {
        ticker: ticker.to_owned(),
        dates: rows.iter().map(|&i| dates[i]).collect(),
        price: pick(table.positive(price)?),
        range,
        volume,
    })
}
