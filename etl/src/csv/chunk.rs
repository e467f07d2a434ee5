//! Bytes → chunks that end where a record ends. Decides on record ends only. No fields, no values, no I/O: the bytes come
//! from a [`Rereadable`].

use crate::csv::ending::{Ending, Reading, ending};
use crate::csv::lines_like_records::Finder;
use crate::csv::record::{MAX_RECORD_BYTES, RecordShape};

/// Bytes read at a time: small enough that a chunk and what is made of it may stay in the second-level cache of a core,
/// with enough rows that passing it between threads costs nothing. Other sizes were not measured.
pub const CHUNK_BYTES: usize = 512 << 10;

/// A run of whole records, and its place in the file.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The records with their line ends. The last line of a file may lack its own.
    pub bytes: Vec<u8>,
    /// Number of the first line, from 1.
    pub line: u64,
    /// Position of the first byte in the uncompressed file.
    pub offset: u64,
    /// Empty lines are not records.
    pub records: u64,
    /// The chunk is the beginning of one record that is longer than [`MAX_RECORD_BYTES`].
    pub oversize: Option<Oversize>,
}

/// A record of which only the beginning is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversize {
    /// Its length in bytes and in lines.
    pub ending: Ending,
    /// One of its lines after the first is a record by itself.
    pub has_line_like_record: bool,
}

/// Of a chunk. Real ones have fewer; the rejects of a chunk of very short records would take many times its own size.
const MAX_RECORDS: u64 = 32_768;

/// How much is kept in memory of a record whose end is not known: more than of any that is accepted. An end that is
/// further away is found by a second reading.
const MAX_UNDECIDED_BYTES: usize = MAX_RECORD_BYTES + MAX_RECORD_BYTES / 4;

/// Bytes that can be read a second time.
pub trait Rereadable: Sized {
    type Error;
    /// Appends the next bytes to `buffer` and returns whether they were the last. Not called again after the last.
    fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<bool, Self::Error>;
    /// The same bytes from `offset` on.
    fn reopen(&self, offset: u64) -> Result<Self, Self::Error>;
}

/// Where the rows of a file begin, and what was read of them together with the header.
#[derive(Debug)]
pub struct Start {
    /// Number of the first line, from 1.
    pub line: u64,
    /// Position of the first byte in the uncompressed file.
    pub offset: u64,
    pub read: Vec<u8>,
    /// Nothing follows `read`.
    pub complete: bool,
}

/// Where to cut the bytes read so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// After whole records.
    At {
        /// At least one.
        bytes: usize,
        /// A last line without a line end counts.
        lines: u64,
        /// Empty lines are not records.
        records: u64,
    },
    /// The end of the first record is not known yet: read on.
    More,
    /// The same, and no more of it may be kept in memory.
    Undecided,
}

/// Finds the last record end in `bytes`, or that of the last record that a chunk may have. `bytes` start where a record
/// starts and must not be empty; `complete` means that nothing follows them.
pub fn cut(bytes: &[u8], complete: bool, shape: &RecordShape) -> Cut {
    let mut at = 0;
    let mut lines = 0;
    let mut records = 0;
    while at < bytes.len() && records < MAX_RECORDS {
        let rest = &bytes[at..];
        let Some(ending) = ending(rest, complete, shape) else { break };
        lines += ending.lines;
        records += u64::from(!is_empty_line(&rest[..ending.bytes as usize]));
        at = (at + ending.bytes as usize + 1).min(bytes.len());
    }
    match at {
        0 if bytes.len() > MAX_UNDECIDED_BYTES => Cut::Undecided,
        0 => Cut::More,
        bytes => Cut::At { bytes, lines, records },
    }
}

/// Whether a line, without its `\n`, is not a record.
fn is_empty_line(line: &[u8]) -> bool {
    line.iter().all(|&byte| byte == b'\r')
}

/// Cuts the rows of a file into chunks, in their order.
#[derive(Debug)]
pub struct Chunks<'a, I> {
    shape: &'a RecordShape,
    /// Read, and not yet in a chunk.
    buffer: Vec<u8>,
    /// Nothing follows the buffer.
    complete: bool,
    /// Place of the buffer's first byte in the file.
    line: u64,
    offset: u64,
    input: I,
    ahead: Option<Ahead<I>>,
}

impl<'a, I: Rereadable> Chunks<'a, I> {
    /// Cuts the rows from `start` on; `input` reads what follows it.
    pub fn new(shape: &'a RecordShape, start: Start, input: I) -> Chunks<'a, I> {
        let Start { line, offset, read, complete } = start;
        Chunks { shape, buffer: read, complete, line, offset, input, ahead: None }
    }

    pub(crate) fn into_input(self) -> I {
        self.input
    }

    fn fill(&mut self) -> Result<(), I::Error> {
        self.complete = self.input.fill(&mut self.buffer)?;
        Ok(())
    }

    /// The first `bytes` of the buffer.
    fn take(&mut self, bytes: usize, lines: u64, records: u64) -> Chunk {
        let rest = self.buffer.split_off(bytes);
        let whole = std::mem::replace(&mut self.buffer, rest);
        let (line, offset) = (self.line, self.offset);
        (self.line, self.offset) = (line + lines, offset + bytes as u64);
        Chunk { bytes: whole, line, offset, records, oversize: None }
    }

    /// The first record, whose end is not in the buffer.
    fn undecided(&mut self) -> Result<Chunk, I::Error> {
        let mut reading = Reading::new(self.shape);
        let ending = match reading.next(&self.buffer) {
            Some(ending) => ending,
            None => self.read_ahead(&mut reading)?,
        };
        match usize::try_from(ending.bytes) {
            // A quote that is never closed.
            Ok(line) if line < self.buffer.len() => Ok(self.take(line + 1, 1, 1)),
            _ => self.oversize(ending),
        }
    }

    /// Reads on after the buffer. That ends at the latest in the next line with an odd number of quotes, and the next record
    /// that has to be read on begins there at the earliest: so the second reading rarely has to start again, only where
    /// lines are longer than records may be. Starting again means decompressing a compressed file from its start.
    fn read_ahead(&mut self, reading: &mut Reading<'_>) -> Result<Ending, I::Error> {
        let from = self.offset + self.buffer.len() as u64;
        let mut ahead = match self.ahead.take().filter(|ahead| ahead.start() <= from) {
            Some(ahead) => ahead,
            None => Ahead { input: self.input.reopen(from)?, buffer: Vec::new(), end: from, complete: false },
        };
        while ahead.end < from && !ahead.complete {
            ahead.advance()?;
        }
        let passed = (from - ahead.start()).min(ahead.buffer.len() as u64);
        let mut ending = reading.next(&ahead.buffer[passed as usize..]);
        while ending.is_none() && !ahead.complete {
            ahead.advance()?;
            ending = reading.next(&ahead.buffer);
        }
        self.ahead = Some(ahead);
        Ok(ending.unwrap_or_else(|| reading.finish()))
    }

    /// The beginning of the first record, which is longer than a record may be; the rest of it is skipped.
    fn oversize(&mut self, ending: Ending) -> Result<Chunk, I::Error> {
        let head = self.buffer[..MAX_RECORD_BYTES].to_vec();
        let mut lines = Finder::new(self.shape);
        // With its line end.
        let mut left = ending.bytes + 1;
        while left > self.buffer.len() as u64 && !self.complete {
            left -= self.buffer.len() as u64;
            lines.read(&self.buffer);
            self.buffer.clear();
            self.fill()?;
        }
        let rest = self.buffer.len().min(left as usize);
        lines.read(&self.buffer[..rest]);
        self.buffer.drain(..rest);
        let (line, offset) = (self.line, self.offset);
        (self.line, self.offset) = (line + ending.lines, offset + ending.bytes + 1);
        let oversize = Oversize { ending, has_line_like_record: lines.finish() };
        Ok(Chunk { bytes: head, line, offset, records: 1, oversize: Some(oversize) })
    }
}

/// A second reading of the same input, to find where a record ends.
#[derive(Debug)]
struct Ahead<I> {
    input: I,
    /// What was read last, and its end in the file.
    buffer: Vec<u8>,
    end: u64,
    complete: bool,
}

impl<I: Rereadable> Ahead<I> {
    fn start(&self) -> u64 {
        self.end - self.buffer.len() as u64
    }

    fn advance(&mut self) -> Result<(), I::Error> {
        self.buffer.clear();
        self.complete = self.input.fill(&mut self.buffer)?;
        self.end += self.buffer.len() as u64;
        Ok(())
    }
}

impl<I: Rereadable> Iterator for Chunks<'_, I> {
    type Item = Result<Chunk, I::Error>;

    fn next(&mut self) -> Option<Result<Chunk, I::Error>> {
        loop {
            let cut = match self.buffer.is_empty() {
                true => Cut::More,
                false => cut(&self.buffer, self.complete, self.shape),
            };
            return Some(match cut {
                Cut::At { bytes, lines, records } => Ok(self.take(bytes, lines, records)),
                Cut::Undecided => self.undecided(),
                Cut::More if self.complete => return None,
                Cut::More => match self.fill() {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::record::Delimiter;

    fn cut_of(text: &[u8], complete: bool) -> Cut {
        cut(text, complete, &RecordShape { delimiter: Delimiter::Comma, fields: 3, ids: vec![0] })
    }

    #[test]
    fn cuts_after_the_last_whole_record() {
        let cases: &[(&str, bool, Cut)] = &[
            ("1,a,b\n2,c", false, Cut::At { bytes: 6, lines: 1, records: 1 }),
            ("1,a,b\n2,c,d", true, Cut::At { bytes: 11, lines: 2, records: 2 }),
            ("1,a", false, Cut::More),
            ("\r\r\n\n1,a\n", false, Cut::At { bytes: 8, lines: 3, records: 1 }),
            // A real line end in quotes, and a quote that is not closed yet.
            ("1,\"a\nb\",c\n", false, Cut::At { bytes: 10, lines: 2, records: 1 }),
            ("1,\"a\nb", false, Cut::More),
            ("1,a,\"b\n2,c,d\n", false, Cut::More),
            ("1,a,\"b\n2,c,d\n", true, Cut::At { bytes: 13, lines: 2, records: 2 }),
            ("1,a,\"b\n2,c,\"d\n3,e,f\n", false, Cut::At { bytes: 7, lines: 1, records: 1 }),
        ];
        for (text, complete, expected) in cases {
            assert_eq!(cut_of(text.as_bytes(), *complete), *expected, "{text:?}");
        }
    }

    #[test]
    fn a_record_without_an_end_in_memory_is_undecided() {
        for start in ["1,a", "1,a,\"b\nno record\n"] {
            let mut long = start.as_bytes().to_vec();
            long.resize(MAX_UNDECIDED_BYTES, b'x');
            assert_eq!(cut_of(&long, false), Cut::More);
            long.push(b'x');
            assert_eq!(cut_of(&long, false), Cut::Undecided);
            let lines = 1 + start.matches('\n').count() as u64;
            assert_eq!(cut_of(&long, true), Cut::At { bytes: long.len(), lines, records: lines });
        }
    }
}
