//! Tables in comma-separated files, with errors that name row and column.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

pub use time::Date;

/// A table as text, with a header.
///
/// ```no_run
/// use gatefold::data::Table;
/// let table = Table::read("prices.csv")?;
/// let dates = table.dates("Date")?;
/// let prices = table.positive("Close")?;
/// # Ok::<(), gatefold::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<csv::StringRecord>,
}

impl Table {
    /// Reads a file whose first line names the columns.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] where a row has too many or too few cells, isn't text, or
    /// there is none, and where a column has no name or another one's.
    pub fn read(path: impl AsRef<Path>) -> Result<Table> {
        let path = path.as_ref().to_owned();
        let file = std::fs::File::open(&path)
            .map_err(|source| Error::Io { path: path.clone(), source })?;
        Table::parse(path, file)
    }

    /// Reads from anything; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn parse(path: impl Into<PathBuf>, reader: impl std::io::Read) -> Result<Table> {
        let path = path.into();
        let refused = |error: csv::Error| {
            let row = error.position().map(csv::Position::line);
            let problem = error.to_string();
            match error.into_kind() {
                csv::ErrorKind::Io(source) => Error::Io { path: path.clone(), source },
                _ => Error::Data { path: path.clone(), row, column: None, problem },
            }
        };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(reader);
        let header: Vec<String> =
            reader.headers().map_err(refused)?.iter().map(str::to_owned).collect();
        for (i, name) in header.iter().enumerate() {
            let same = |other: &String| other.eq_ignore_ascii_case(name);
            if name.is_empty() || header[..i].iter().any(same) {
                let problem = if name.is_empty() { "has no name" } else { "stands twice" };
                let column =
                    Some(if name.is_empty() { format!("{}", i + 1) } else { name.clone() });
                return Err(Error::Data {
                    path,
                    row: Some(1),
                    column,
                    problem: problem.to_owned(),
                });
            }
        }
        let rows: Vec<csv::StringRecord> =
            reader.records().collect::<std::result::Result<_, _>>().map_err(refused)?;
        if rows.is_empty() {
            let problem = "holds no rows".to_owned();
            return Err(Error::Data { path, row: None, column: None, problem });
        }
        Ok(Table { path, header, rows })
    }

    /// The names of the columns.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Rows below the header.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none; never, for a table that was read.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// An error about a cell.
    pub fn error(&self, row: usize, column: &str, problem: impl Into<String>) -> Error {
        Error::Data {
            path: self.path.clone(),
            row: self.rows.get(row).and_then(|r| r.position()).map(csv::Position::line),
            column: Some(column.to_owned()),
            problem: problem.into(),
        }
    }

    /// The position of a column, whatever the case of its name.
    pub fn find(&self, column: &str) -> Option<usize> {
        self.header.iter().position(|name| name.eq_ignore_ascii_case(column))
    }

    /// The cells of a column.
    ///
    /// # Errors
    /// [`Error::Data`] where there is no such column, or a cell is empty.
    pub fn text(&self, column: &str) -> Result<Vec<&str>> {
        let index = self.find(column).ok_or_else(|| Error::Data {
            path: self.path.clone(),
            row: None,
            column: Some(column.to_owned()),
            problem: format!("is missing; there are {}", self.header.join(", ")),
        })?;
        let cells = self.rows.iter().enumerate();
        cells
            .map(|(row, record)| match record.get(index) {
                Some(cell) if !cell.is_empty() => Ok(cell),
                _ => Err(self.error(row, column, "is empty")),
            })
            .collect()
    }

    fn parsed<T>(
        &self,
        column: &str,
        what: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>> {
        let cells = self.text(column)?.into_iter().enumerate();
        cells
            .map(|(row, cell)| {
                parse(cell)
                    .ok_or_else(|| self.error(row, column, format!("is {cell:?}, not {what}")))
            })
            .collect()
    }

    /// A column of finite numbers.
    ///
    /// # Errors
    /// As [`Table::text`]; [`Error::Data`] for text, NaN or infinity.
    pub fn numbers(&self, column: &str) -> Result<Vec<f64>> {
        self.parsed(column, "a number", |cell| cell.parse().ok().filter(|v: &f64| v.is_finite()))
    }

    /// A column of numbers above zero, such as prices.
    ///
    /// # Errors
    /// As [`Table::numbers`]; [`Error::Data`] for zero and below.
    pub fn positive(&self, column: &str) -> Result<Vec<f64>> {
        let valid = |v: &f64| v.is_finite() && *v > 0.0;
        self.parsed(column, "a number above 0", |cell| cell.parse().ok().filter(valid))
    }

    /// A column of dates, `2013-03-01`.
    ///
    /// # Errors
    /// As [`Table::text`]; [`Error::Data`] for anything else.
    pub fn dates(&self, column: &str) -> Result<Vec<Date>> {
        let format = time::macros::format_description!("[year]-[month]-[day]");
        self.parsed(column, "a date such as 2013-03-01", |cell| Date::parse(cell, format).ok())
    }
}
