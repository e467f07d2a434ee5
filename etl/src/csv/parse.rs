//! Chunk → records with their place in the file. Closes quotes that were left open. No values, no I/O.

use memchr::{memchr, memchr_iter};

use crate::csv::chunk::Chunk;
use crate::csv::ending::read_on;
use crate::csv::record::{Fields, MAX_RECORD_BYTES, RecordShape, scan, without_carriage_returns};

/// One record of a chunk.
#[derive(Debug)]
pub struct Record<'a> {
    /// Without the line end.
    pub raw: &'a [u8],
    /// Index of its first byte in the chunk.
    pub at: usize,
    /// Longer than [`MAX_RECORD_BYTES`]: its fields were not read.
    pub too_long: bool,
    /// It has more than one line.
    pub has_lines: bool,
}

/// Reads the records of a chunk. [`crate::csv::chunk::cut`] uses the same rule, so both agree on where each record ends,
/// whatever the chunk's size.
#[derive(Debug)]
pub struct Records<'a> {
    chunk: &'a Chunk,
    shape: &'a RecordShape,
    at: usize,
}

impl<'a> Records<'a> {
    pub fn new(chunk: &'a Chunk, shape: &'a RecordShape) -> Records<'a> {
        Records { chunk, shape, at: 0 }
    }

    /// The next record; its fields are read into `fields`, which must have the same delimiter. Skips empty lines.
    #[inline]
    pub fn next(&mut self, fields: &mut Fields) -> Option<Record<'a>> {
        loop {
            let at = self.at;
            let rest = self.chunk.bytes.get(at..).filter(|rest| !rest.is_empty())?;
            if self.chunk.oversize.is_some() {
                self.at = rest.len();
                return Some(Record { raw: rest, at, too_long: true, has_lines: true });
            }
            let line_end = memchr(b'\n', rest).unwrap_or(rest.len());
            let mut end = line_end;
            scan(&rest[..line_end], fields);
            if fields.open && !fields.malformed {
                end = self.read_on(rest, line_end, fields);
            }
            self.at = at + end + 1;
            let raw = match rest[..end].last() {
                Some(b'\r') => without_carriage_returns(&rest[..end]),
                _ => &rest[..end],
            };
            if !raw.is_empty() {
                let too_long = raw.len() > MAX_RECORD_BYTES;
                return Some(Record { raw, at, too_long, has_lines: end > line_end });
            }
        }
    }

    /// The end of the record at the start of `rest`, in which a quote is open at `line_end`.
    #[cold]
    fn read_on(&self, rest: &[u8], line_end: usize, fields: &mut Fields) -> usize {
        // A record ends in its chunk.
        let end = read_on(rest, true, self.shape).map_or(line_end, |ending| ending.bytes as usize);
        if end > line_end {
            scan(&rest[..end], fields);
        }
        end
    }
}

/// Finds the line numbers of records in a chunk, in rising order.
#[derive(Debug)]
pub struct Lines<'a> {
    chunk: &'a Chunk,
    at: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    pub fn new(chunk: &'a Chunk) -> Lines<'a> {
        Lines { chunk, at: 0, line: chunk.line }
    }

    /// The line of the byte at index `at`, which must not be before that of the last call.
    pub fn line_of(&mut self, at: usize) -> u64 {
        self.line += memchr_iter(b'\n', &self.chunk.bytes[self.at..at]).count() as u64;
        self.at = at;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::record::{Delimiter, Form};

    /// Line, record and the forms of its fields.
    type Expected<'a> = (u64, &'a str, &'a [Form]);

    fn records(text: &str) -> Vec<(u64, String, Vec<Form>)> {
        let chunk =
            Chunk { bytes: text.as_bytes().to_vec(), line: 2, offset: 10, records: 0, oversize: None };
        let shape = RecordShape { delimiter: Delimiter::Comma, fields: 3, ids: vec![0] };
        let mut records = Records::new(&chunk, &shape);
        let mut lines = Lines::new(&chunk);
        let mut fields = Fields::default();
        let mut found = Vec::new();
        while let Some(record) = records.next(&mut fields) {
            let text = String::from_utf8(record.raw.to_vec()).unwrap();
            found.push((
                lines.line_of(record.at),
                text,
                fields.kept().iter().map(|field| field.form).collect(),
            ));
        }
        found
    }

    #[test]
    fn one_bad_quote_costs_one_line() {
        use Form::*;
        let open = Open { escaped: false };
        let cases: &[(&str, &[Expected<'_>])] = &[
            ("1,a,\"b\"\r\n\r\n2,c,d", &[(2, "1,a,\"b\"", &[Bare, Bare, Quoted]), (4, "2,c,d", &[Bare; 3])]),
            // Unterminated, twice in a row, and on the last line.
            (
                "1,a,\"b\n2,c,\"d\n3,e,\"f",
                &[
                    (2, "1,a,\"b", &[Bare, Bare, open]),
                    (3, "2,c,\"d", &[Bare, Bare, open]),
                    (4, "3,e,\"f", &[Bare, Bare, open]),
                ],
            ),
            // Real line ends in quotes, whatever the lines look like.
            (
                "1,a,\"b\n2,c,d\n\"\n2,d,e\n",
                &[(2, "1,a,\"b\n2,c,d\n\"", &[Bare, Bare, Quoted]), (5, "2,d,e", &[Bare; 3])],
            ),
            // Unterminated before a line that lacks a field: reading on ends in text after a quote.
            (
                "1,a,\"b\n2,\"c\"\n3,d,e\n",
                &[
                    (2, "1,a,\"b", &[Bare, Bare, open]),
                    (3, "2,\"c\"", &[Bare, Quoted]),
                    (4, "3,d,e", &[Bare; 3]),
                ],
            ),
            // More than one carriage return before the line end.
            (
                "1,a,b\r\r\n\r\r\n2,\"c\",\"d\r\r\n",
                &[(2, "1,a,b", &[Bare; 3]), (4, "2,\"c\",\"d", &[Bare, Quoted, open])],
            ),
            // A carriage return that no line end follows.
            ("1,a\rb,\"c\"\rd\n", &[(2, "1,a\rb,\"c\"\rd", &[Bare, Malformed, Malformed])]),
            // A quote that opens mid-field opens nothing.
            ("1,a\"b,c\n2,d,e\n", &[(2, "1,a\"b,c", &[Bare, Malformed, Bare]), (3, "2,d,e", &[Bare; 3])]),
            // A doubled quote at the end, closed and not closed.
            (
                "1,a,\"b\"\"\"\n2,c,\"d\"\"\n3,e,f\n",
                &[
                    (2, "1,a,\"b\"\"\"", &[Bare, Bare, Escaped]),
                    (3, "2,c,\"d\"\"", &[Bare, Bare, Open { escaped: true }]),
                    (4, "3,e,f", &[Bare; 3]),
                ],
            ),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> = expected
                .iter()
                .map(|(line, raw, forms)| (*line, (*raw).to_owned(), forms.to_vec()))
                .collect();
            assert_eq!(records(text), expected, "{text:?}");
        }
    }
}
