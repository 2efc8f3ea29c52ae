//! Tables in comma-separated files, with errors that name row and column.

use std::io::{BufRead, BufReader, Chain, Cursor, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, open};

pub use time::Date;

/// Bytes of a row's text, at most.
const MAX_ROW: usize = 1 << 20;

/// Columns, at most.
const MAX_COLUMNS: usize = 1 << 16;

/// Cells from one whose place is known to the next: what a column has to go through in each row, at most,
/// for a quarter of a byte a cell.
const MARKED: usize = 64;

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
    /// The columns in the order of their names without case.
    sorted: Vec<u32>,
    /// The line of the header.
    first: u64,
    rows: usize,
    /// The cells' text, one after the other.
    text: String,
    /// For each row the lines from the one before to it, as [`put`] has them, since rows may be as short as
    /// two bytes.
    lines: Vec<u8>,
    /// The bytes of each cell, as [`put`] has them.
    lens: Vec<u8>,
    /// For each [`MARKED`]th cell where it starts in the text, and its number in `lens`.
    marks: Vec<(usize, usize)>,
}

impl Table {
    /// Reads a file whose first line names the columns.
    ///
    /// # Errors
    /// [`Error::Io`], also for what isn't a regular file, such as a pipe, which [`Table::parse`] takes;
    /// [`Error::Data`] where a row has too many or too few cells, isn't text, is too long, or
    /// there is none, and where a column has no name or another one's.
    pub fn read(path: impl AsRef<Path>) -> Result<Table> {
        let path = path.as_ref();
        let (file, _) = open(path)?;
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
        if let Some(i) = header.iter().position(String::is_empty) {
            let problem = "has no name".to_owned();
            return refused(Some(first), Some((i + 1).to_string()), problem);
        }
        let mut sorted: Vec<u32> = (0..header.len() as u32).collect();
        let name = |i: &u32| lowercase(&header[*i as usize]);
        // Those of one name stay in their order.
        sorted.sort_by(|a, b| name(a).cmp(name(b)));
        let twice = sorted.windows(2).filter(|pair| name(&pair[0]).eq(name(&pair[1])));
        if let Some(i) = twice.map(|pair| pair[1]).min() {
            let name = header[i as usize].clone();
            return refused(Some(first), Some(name), "stands twice".to_owned());
        }
        let (mut text, mut lines, mut lens) = (String::new(), Vec::new(), Vec::new());
        let (mut marks, mut cells, mut count, mut line) = (Vec::new(), 0usize, 0, first);
        while next(&mut rows, header.len())? {
            put(&mut lines, rows.line - line);
            line = rows.line;
            for cell in rows.cells() {
                if cells.is_multiple_of(MARKED) {
                    marks.push((text.len(), lens.len()));
                }
                cells += 1;
                text.push_str(cell);
                put(&mut lens, cell.len() as u64);
            }
            count += 1;
        }
        if count == 0 {
            return refused(None, None, "holds no rows".to_owned());
        }
        Ok(Table { header, sorted, first, rows: count, text, lines, lens, marks, path })
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
            row: self.line(row),
            column: Some(column.to_owned()),
            problem: problem.into(),
        }
    }

    /// The position of a column, whatever the case of its name.
    pub fn find(&self, column: &str) -> Option<usize> {
        let name = |i: &u32| lowercase(&self.header[*i as usize]);
        let found = self.sorted.binary_search_by(|i| name(i).cmp(lowercase(column))).ok()?;
        Some(self.sorted[found] as usize)
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
        for (row, cell) in self.column(index).enumerate() {
            if cell.is_empty() {
                return Err(self.error(row, column, "is empty"));
            }
            cells.push(cell);
        }
        Ok(cells)
    }

    /// The line that a row starts in.
    fn line(&self, row: usize) -> Option<u64> {
        let mut lines = self.lines.as_slice();
        (row < self.rows).then(|| self.first + (0..=row).map(|_| take(&mut lines)).sum::<u64>())
    }

    /// The cell in some column of each row.
    fn column(&self, index: usize) -> impl Iterator<Item = &str> {
        let (mut at, mut text, mut lens) = (0, 0, self.lens.as_slice());
        (0..self.rows).map(move |row| {
            let cell = row * self.header.len() + index;
            let marked = cell - cell % MARKED;
            if at < marked {
                let (start, number) = self.marks[cell / MARKED];
                (at, text, lens) = (marked, start, &self.lens[number..]);
            }
            while at < cell {
                text += take(&mut lens) as usize;
                at += 1;
            }
            let start = text;
            text += take(&mut lens) as usize;
            at += 1;
            &self.text[start..text]
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

/// A name as it is compared.
fn lowercase(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|byte| byte.to_ascii_lowercase())
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
