//! Tables in comma-separated files, with errors that name row and column.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Chain, Cursor, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

pub use time::Date;

/// Bytes of a row's text, at most.
const MAX_ROW: usize = 1 << 20;

/// Columns, at most.
const MAX_COLUMNS: usize = 1 << 16;

/// A table as text, with a header.
///
/// It takes little more memory than its file, five times as much while it is read, and 4 MiB, whoever has
/// written it: a row longer than a mebibyte or with more than 65,536 cells is an error.
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
    /// The line of the header.
    first: u64,
    rows: usize,
    /// The cells' text, one after the other.
    text: String,
    /// For each row the lines from the one before to it, then the bytes of each cell; as [`put`] has
    /// them, since rows may be as short as two bytes.
    counts: Vec<u8>,
}

impl Table {
    /// Reads a file whose first line names the columns.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] where a row has too many or too few cells, isn't text, is too long, or
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
    pub fn parse(path: impl Into<PathBuf>, reader: impl Read) -> Result<Table> {
        let path = path.into();
        let refused = |row: Option<u64>, column: Option<String>, problem: String| {
            Err(Error::Data { path: path.clone(), row, column, problem })
        };
        let mut rows =
            Rows::new(reader).map_err(|source| Error::Io { path: path.clone(), source })?;
        let next = |rows: &mut Rows<_>, columns: usize| match rows.next(columns) {
            Ok(there) => Ok(there),
            Err(Unreadable::Io(source)) => Err(Error::Io { path: path.clone(), source }),
            Err(Unreadable::Row(problem)) => {
                Err(Error::Data { path: path.clone(), row: Some(rows.line), column: None, problem })
            }
        };
        let mut header = Vec::new();
        if next(&mut rows, MAX_COLUMNS)? {
            header.extend(rows.cells().map(str::to_owned));
        }
        let first = rows.line;
        let mut names = HashSet::new();
        for (i, name) in header.iter().enumerate() {
            if name.is_empty() {
                return refused(Some(first), Some((i + 1).to_string()), "has no name".to_owned());
            }
            if !names.insert(name.to_ascii_lowercase()) {
                return refused(Some(first), Some(name.clone()), "stands twice".to_owned());
            }
        }
        let (mut text, mut counts, mut count, mut line) = (String::new(), Vec::new(), 0, first);
        while next(&mut rows, header.len())? {
            put(&mut counts, rows.line - line);
            line = rows.line;
            for cell in rows.cells() {
                text.push_str(cell);
                put(&mut counts, cell.len() as u64);
            }
            count += 1;
        }
        if count == 0 {
            return refused(None, None, "holds no rows".to_owned());
        }
        Ok(Table { header, first, rows: count, text, counts, path })
    }

    /// The names of the columns.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Rows below the header.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none; never, for a table that was read.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// An error about a cell.
    pub fn error(&self, row: usize, column: &str, problem: impl Into<String>) -> Error {
        Error::Data {
            path: self.path.clone(),
            row: self.column(0).nth(row).map(|(line, _)| line),
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
        let mut cells = Vec::with_capacity(self.rows);
        for (row, (_, cell)) in self.column(index).enumerate() {
            if cell.is_empty() {
                return Err(self.error(row, column, "is empty"));
            }
            cells.push(cell);
        }
        Ok(cells)
    }

    /// The line and the cell in some column of each row.
    fn column(&self, index: usize) -> impl Iterator<Item = (u64, &str)> {
        let (mut text, mut counts, mut line) =
            (self.text.as_str(), self.counts.as_slice(), self.first);
        (0..self.rows).map(move |_| {
            line += take(&mut counts);
            let mut found = "";
            for i in 0..self.header.len() {
                let (cell, rest) = text.split_at(take(&mut counts) as usize);
                text = rest;
                if i == index {
                    found = cell;
                }
            }
            (line, found)
        })
    }

    fn parsed<T>(
        &self,
        column: &str,
        what: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>> {
        let mut values = Vec::with_capacity(self.rows);
        for (row, cell) in self.text(column)?.into_iter().enumerate() {
            let problem = || format!("is {:?}, not {what}", shortened(cell));
            values.push(parse(cell).ok_or_else(|| self.error(row, column, problem()))?);
        }
        Ok(values)
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

/// A cell as errors quote it.
fn shortened(cell: &str) -> String {
    const MOST: usize = 60;
    match cell.char_indices().nth(MOST) {
        None => cell.to_owned(),
        Some((end, _)) => format!("{}...", &cell[..end]),
    }
}

/// Puts a number behind the others: seven bits a byte, the lowest first; all but the last have the high
/// bit.
fn put(counts: &mut Vec<u8>, mut count: u64) {
    while count >= 0x80 {
        counts.push(count as u8 | 0x80);
        count >>= 7;
    }
    counts.push(count as u8);
}

/// Takes the first number off.
fn take(counts: &mut &[u8]) -> u64 {
    let mut count = 0;
    let last = counts.iter().position(|byte| byte & 0x80 == 0).unwrap_or(counts.len() - 1);
    let (number, rest) = counts.split_at(last + 1);
    for byte in number.iter().rev() {
        count = count << 7 | u64::from(byte & 0x7f);
    }
    *counts = rest;
    count
}

/// Reads row by row, into memory for one row.
struct Rows<R> {
    reader: BufReader<Chain<Cursor<Vec<u8>>, R>>,
    parser: csv_core::Reader,
    /// Whether the parser has seen anything.
    begun: bool,
    text: Vec<u8>,
    /// Where cells end in the text.
    ends: Vec<usize>,
    columns: usize,
    /// The line in which the last row starts, from 1.
    line: u64,
    /// That in which the next one would.
    next: u64,
}

/// Why there is no row.
enum Unreadable {
    Io(std::io::Error),
    Row(String),
}

impl<R: Read> Rows<R> {
    fn new(mut reader: R) -> std::io::Result<Rows<R>> {
        let mut start = Vec::new();
        reader.by_ref().take(3).read_to_end(&mut start)?;
        // The mark that some programs put before UTF-8.
        if start == b"\xef\xbb\xbf" {
            start.clear();
        }
        Ok(Rows {
            reader: BufReader::with_capacity(1 << 16, Cursor::new(start).chain(reader)),
            parser: csv_core::Reader::new(),
            begun: false,
            text: vec![0; 1 << 10],
            ends: vec![0; 1 << 5],
            columns: 0,
            line: 1,
            next: 1,
        })
    }

    /// Reads a row of so many cells; of the first one, of at most so many. Says whether there is one.
    fn next(&mut self, columns: usize) -> std::result::Result<bool, Unreadable> {
        use csv_core::ReadRecordResult::{End, InputEmpty, OutputEndsFull, OutputFull, Record};

        let is_header = self.columns == 0;
        self.skip_empty_lines().map_err(Unreadable::Io)?;
        self.line = self.next;
        let (mut len, mut cells) = (0, 0);
        loop {
            let input = self.reader.fill_buf().map_err(Unreadable::Io)?;
            // It would leave out another mark, where it came in one piece.
            let input = if self.begun { input } else { &input[..input.len().min(1)] };
            self.begun |= !input.is_empty();
            let (text, ends) = (&mut self.text[len..], &mut self.ends[cells..]);
            let (result, read, written, ended) = self.parser.read_record(input, text, ends);
            self.next += newlines(&input[..read]);
            self.reader.consume(read);
            (len, cells) = (len + written, cells + ended);
            match result {
                InputEmpty => {}
                OutputFull if len < MAX_ROW => {
                    self.text.resize((2 * self.text.len()).min(MAX_ROW), 0);
                }
                OutputFull => {
                    return Err(Unreadable::Row(format!("has more than {MAX_ROW} bytes")));
                }
                OutputEndsFull if cells <= columns => {
                    self.ends.resize((2 * self.ends.len()).min(columns + 1), 0);
                }
                OutputEndsFull => {
                    return Err(Unreadable::Row(format!("has more than {columns} cells")));
                }
                Record => break,
                End => return Ok(false),
            }
        }
        if cells > columns || cells < columns && !is_header {
            return Err(Unreadable::Row(format!("has {cells} cells, not {columns}")));
        }
        self.columns = cells;
        // Each on its own: two that aren't text may be some side by side.
        let mut start = 0;
        for (i, &end) in self.ends[..cells].iter().enumerate() {
            if let Err(error) = std::str::from_utf8(&self.text[start..end]) {
                return Err(Unreadable::Row(format!("isn't UTF-8 in cell {}: {error}", i + 1)));
            }
            start = end;
        }
        Ok(true)
    }

    /// The cells of the last row, without the spaces around them.
    fn cells(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends[..self.columns].iter().map(move |&end| {
            let cell = std::str::from_utf8(&self.text[start..end]).unwrap_or_default();
            start = end;
            cell.trim()
        })
    }

    fn skip_empty_lines(&mut self) -> std::io::Result<()> {
        loop {
            let input = self.reader.fill_buf()?;
            let len = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let more = len > 0 && len == input.len();
            self.next += newlines(&input[..len]);
            self.reader.consume(len);
            if !more {
                return Ok(());
            }
        }
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}
