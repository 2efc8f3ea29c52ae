//! Daily prices from a CSV file: the shipped one, or a user's own.

use std::collections::HashMap;
use std::path::Path;

use gatefold::Result;
use gatefold::data::{Date, Table};

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
    let header = table.header();
    let has =
        |names: &[&'static str]| names.iter().copied().find(|name| table.find(name).is_some());
    let exact = header.iter().find(|name| name.eq_ignore_ascii_case("date"));
    let date = exact.or(header.iter().find(|name| name.to_lowercase().contains("date")));
    let date = date.map_or("Date", String::as_str); // missing: the error says so
    let dates = table.dates(date)?;

    let rows: Vec<usize> = (0..table.len()).collect();
    let companies: Vec<(String, Columns, Vec<usize>)> =
        match (has(&["Ticker", "Symbol"]), has(&PRICE_COLUMNS)) {
            (Some(ticker), price) => {
                let columns = Columns::read(&table, price.unwrap_or("Close"))?;
                let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
                let mut known: HashMap<&str, usize> = HashMap::new();
                for (row, name) in table.text(ticker)?.into_iter().enumerate() {
                    let group = *known.entry(name).or_insert_with(|| {
                        groups.push((name, Vec::new()));
                        groups.len() - 1
                    });
                    groups[group].1.push(row);
                }
                groups
                    .into_iter()
                    .map(|(name, rows)| (name.to_owned(), columns.pick(&rows), rows))
                    .collect()
            }
            (None, Some(price)) => {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                vec![(name, Columns::read(&table, price)?, rows)]
            }
            (None, None) => {
                if header.len() == 1 || has(&BESIDES).is_some() {
                    table.text("Close")?; // missing: the error says so
                }
                let prices = header.iter().filter(|name| *name != date);
                let read =
                    |name: &String| Ok((name.clone(), Columns::read(&table, name)?, rows.clone()));
                prices.map(read).collect::<Result<Vec<_>>>()?
            }
        };
    let series = |(ticker, columns, rows): (String, Columns, Vec<usize>)| {
        for pair in rows.windows(2) {
            let (before, after) = (dates[pair[0]], dates[pair[1]]);
            if after <= before {
                let problem = format!("{after} does not follow {before} of {ticker}");
                return Err(table.error(pair[1], date, problem));
            }
        }
        let Columns { price, close, range, volume } = columns;
        let dates = rows.iter().map(|&row| dates[row]).collect();
        Ok(Series { ticker, dates, price, close, range, volume })
    };
    companies.into_iter().map(series).collect()
}

/// What a table says of each row.
struct Columns {
    price: Vec<f64>,
    close: Vec<f64>,
    range: Option<Vec<f64>>,
    volume: Option<Vec<f64>>,
}

impl Columns {
    fn read(table: &Table, price: &str) -> Result<Columns> {
        let bounded = |column: &str, values: Vec<f64>| {
            let beyond = |v: &f64| *v > LARGEST || (*v > 0.0 && *v < 1.0 / LARGEST);
            match values.iter().position(beyond) {
                Some(row) => {
                    Err(table.error(row, column, format!("is {:e}, which can't be", values[row])))
                }
                None => Ok(values),
            }
        };
        let positive = |column: &str| bounded(column, table.positive(column)?);
        let has = |column: &str| table.find(column).is_some();
        let mut range = None;
        if has("High") && has("Low") {
            let (high, low) = (positive("High")?, positive("Low")?);
            if let Some(row) = (0..high.len()).find(|&row| high[row] < low[row]) {
                return Err(table.error(row, "High", "is below Low"));
            }
            range = Some(high.iter().zip(&low).map(|(h, l)| (h / l).ln()).collect());
        }
        let mut volume = None;
        if has("Volume") {
            let values = bounded("Volume", table.numbers("Volume")?)?;
            if let Some(row) = values.iter().position(|v| *v < 0.0) {
                return Err(table.error(row, "Volume", "is negative"));
            }
            volume = Some(values);
        }
        let price = positive(price)?;
        let close = if has("Close") { positive("Close")? } else { price.clone() };
        Ok(Columns { price, close, range, volume })
    }

    /// Some of the rows.
    fn pick(&self, rows: &[usize]) -> Columns {
        let pick = |column: &Vec<f64>| rows.iter().map(|&row| column[row]).collect();
        Columns {
            price: pick(&self.price),
            close: pick(&self.close),
            range: self.range.as_ref().map(pick),
            volume: self.volume.as_ref().map(pick),
        }
    }
}
