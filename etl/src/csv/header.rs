//! The beginning of a file up to its first record: a byte order mark, a line `sep=;`, and the line with the names.

use atelier_base::error::{Error, Result};
use atelier_base::tables::Table;
use memchr::memchr;

use crate::csv::chunk::{CHUNK_BYTES, Start};
use crate::csv::layout::{Layout, cr_line_ends, layout, named_delimiter};
use crate::csv::source::{Reader, Source};

/// Enough for any real header, and a bound on reading a file that has none.
const MAX_HEADER_BYTES: usize = 64 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(crate) struct Header {
    pub(crate) layout: Layout,
    /// The line with the names, without byte order mark and `\n`.
    pub(crate) line: Vec<u8>,
    /// 1, or 2 where a line before it names the delimiter.
    pub(crate) line_number: u64,
    pub(crate) rows: Start,
}

/// Fails where the file cannot be opened, or its header cannot be read.
pub(crate) fn check(table: &Table, source: &Source) -> Result<()> {
    read(&mut source.open()?, table, source).map(drop)
}

/// Reads the header of `source`, which `reader` has opened.
pub(crate) fn read(reader: &mut Reader, table: &Table, source: &Source) -> Result<Header> {
    let mut read = Vec::new();
    let complete = reader.fill(&mut read, CHUNK_BYTES)?;
    let file = source.path.display().to_string();
    if read.is_empty() {
        return Err(Error::input(format!("{file} is empty: it has not even a header"))
            .hint(format!("fetch the file of {} again", table.name)));
    }
    let mut rows = Start { line: 1, offset: 0, read, complete };
    if rows.read.starts_with(BYTE_ORDER_MARK) {
        rows.read.drain(..BYTE_ORDER_MARK.len());
        rows.offset = BYTE_ORDER_MARK.len() as u64;
    }
    let mut line = take_line(&mut rows, table, &file)?;
    let delimiter = named_delimiter(&line, &file)?;
    if delimiter.is_some() {
        line = take_line(&mut rows, table, &file)?;
    }
    let line_number = rows.line - 1;
    let layout = layout(&line, delimiter, table, &format!("{file}, line {line_number}"))?;
    Ok(Header { layout, line, line_number, rows })
}

/// Takes the first line out of `rows`, without its line end.
fn take_line(rows: &mut Start, table: &Table, file: &str) -> Result<Vec<u8>> {
    let head = &rows.read[..rows.read.len().min(MAX_HEADER_BYTES)];
    let end = match memchr(b'\n', head) {
        Some(end) => end,
        None if rows.complete => rows.read.len(),
        None if head.contains(&b'\r') => {
            return Err(cr_line_ends(&format!("{file}, line {}", rows.line)));
        }
        None => {
            let what = format!("{file}, line {}: no line end within {MAX_HEADER_BYTES} bytes", rows.line);
            return Err(Error::input(what).hint(format!(
                "check that this is the CSV file of {}: it begins with a header",
                table.name
            )));
        }
    };
    let next = (end + 1).min(rows.read.len());
    let rest = rows.read.split_off(next);
    let mut line = std::mem::replace(&mut rows.read, rest);
    line.truncate(end);
    rows.line += 1;
    rows.offset += next as u64;
    Ok(line)
}
