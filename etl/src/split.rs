//! Bytes → chunks that end where a record ends. Decides on record ends only; no fields, no values, no I/O: who reads
//! is given.

use crate::ending::{Ending, Reading, ending};
use crate::record::{Delimiter, MAX_RECORD_BYTES};

/// A run of whole records, and where in the file it stands.
#[derive(Debug)]
pub struct Chunk {
    /// The records with their line ends. The last line of a file may lack its own.
    pub bytes: Vec<u8>,
    /// Number of the first line, from 1.
    pub line: u64,
    /// Position of the first byte in the uncompressed file.
    pub offset: u64,
    /// How many records it holds; empty lines are none.
    pub records: u64,
    /// The chunk is the beginning of one record that is longer than [`MAX_RECORD_BYTES`]; this is its length.
    pub oversize: Option<u64>,
}

/// Records of a chunk at the most. Real ones have fewer; a file of nothing but short rejects would make a chunk take
/// many times its own size.
const MAX_RECORDS: u64 = 32_768;

/// How much of a record that is not whole is kept in memory. Where its end is further away it is looked for in a second
/// reading, which has to unpack a compressed file from its start: with less, a hostile one would make it do so for every
/// mebibyte.
const MAX_UNDECIDED_BYTES: usize = 8 * MAX_RECORD_BYTES;

/// Bytes that can be read once more.
pub trait Input: Sized {
    /// Why they cannot be read.
    type Error;
    /// Appends the next bytes to `buffer` and says whether they were the last. Not called again then.
    fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<bool, Self::Error>;
    /// The same bytes from `offset` on.
    fn again(&self, offset: u64) -> Result<Self, Self::Error>;
}

/// Where to cut the bytes read so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Behind this many bytes, which hold this many lines.
    At {
        /// Bytes of whole records, at least one.
        bytes: usize,
        /// Line ends among them; a last line without one counts.
        lines: u64,
        /// Records among them; empty lines are none.
        records: u64,
    },
    /// The first record is not whole yet: read on.
    More,
    /// The same, but more of it than is kept in memory was read.
    Undecided,
}

/// Finds the last record end in `bytes`, or the one behind as many records as a chunk may have. `bytes` start where a
/// record starts and must not be empty; `complete` says that the file ends behind them.
pub fn cut(bytes: &[u8], complete: bool, delimiter: Delimiter) -> Cut {
    let mut at = 0;
    let mut lines = 0;
    let mut records = 0;
    while at < bytes.len() && records < MAX_RECORDS {
        let rest = &bytes[at..];
        let Some(ending) = ending(rest, complete, delimiter) else { break };
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

/// Whether a line without its `\n` is no record.
fn is_empty_line(line: &[u8]) -> bool {
    line.iter().all(|&byte| byte == b'\r')
}

/// Cuts the rows of a file into chunks, in their order.
#[derive(Debug)]
pub struct Chunks<I> {
    delimiter: Delimiter,
    /// Read, and not yet in a chunk.
    buffer: Vec<u8>,
    /// Nothing follows the buffer.
    complete: bool,
    /// Where the buffer's first byte stands.
    line: u64,
    offset: u64,
    input: I,
}

impl<I: Input> Chunks<I> {
    /// The rows begin in `line`, `offset` bytes behind the beginning of the file, with `read`, the bytes that are read
    /// already; `complete` says that they are all.
    pub fn new(
        delimiter: Delimiter,
        (line, offset): (u64, u64),
        (read, complete): (Vec<u8>, bool),
        input: I,
    ) -> Chunks<I> {
        Chunks { delimiter, buffer: read, complete, line, offset, input }
    }

    /// What was cut.
    pub fn into_input(self) -> I {
        self.input
    }

    fn fill(&mut self) -> Result<(), I::Error> {
        self.complete = self.input.fill(&mut self.buffer)?;
        Ok(())
    }

    /// The first `bytes` of the buffer, which hold so many lines.
    fn take(&mut self, bytes: usize, lines: u64, records: u64) -> Chunk {
        let rest = self.buffer.split_off(bytes);
        let whole = std::mem::replace(&mut self.buffer, rest);
        let (line, offset) = (self.line, self.offset);
        (self.line, self.offset) = (line + lines, offset + bytes as u64);
        Chunk { bytes: whole, line, offset, records, oversize: None }
    }

    /// The first record, which has no end in the buffer.
    fn undecided(&mut self) -> Result<Chunk, I::Error> {
        let mut reading = Reading::new(self.delimiter);
        let mut ending = reading.next(&self.buffer);
        if ending.is_none() {
            let mut again = self.input.again(self.offset + self.buffer.len() as u64)?;
            let (mut ahead, mut complete) = (Vec::new(), false);
            while ending.is_none() && !complete {
                ahead.clear();
                complete = again.fill(&mut ahead)?;
                ending = reading.next(&ahead);
            }
        }
        let ending = ending.unwrap_or_else(|| reading.finish());
        match usize::try_from(ending.bytes) {
            // A quote that is never closed.
            Ok(line) if line < self.buffer.len() && line <= MAX_RECORD_BYTES => Ok(self.take(line + 1, 1, 1)),
            _ => self.oversize(ending),
        }
    }

    /// The beginning of the first record, which is longer than a record may be; the rest of it is passed over.
    fn oversize(&mut self, ending: Ending) -> Result<Chunk, I::Error> {
        let head = self.buffer[..MAX_RECORD_BYTES].to_vec();
        let mut left = ending.bytes + 1;
        while left > self.buffer.len() as u64 && !self.complete {
            left -= self.buffer.len() as u64;
            self.buffer.clear();
            self.fill()?;
        }
        self.buffer.drain(..self.buffer.len().min(left as usize));
        let (line, offset) = (self.line, self.offset);
        (self.line, self.offset) = (line + ending.lines, offset + ending.bytes + 1);
        Ok(Chunk { bytes: head, line, offset, records: 1, oversize: Some(ending.bytes) })
    }
}

impl<I: Input> Iterator for Chunks<I> {
    type Item = Result<Chunk, I::Error>;

    fn next(&mut self) -> Option<Result<Chunk, I::Error>> {
        loop {
            let cut = match self.buffer.is_empty() {
                true => Cut::More,
                false => cut(&self.buffer, self.complete, self.delimiter),
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

    fn cut_of(text: &[u8], complete: bool) -> Cut {
        cut(text, complete, Delimiter::Comma)
    }

    #[test]
    fn cuts_behind_the_last_whole_record() {
        let cases: &[(&str, bool, Cut)] = &[
            ("1,a,b\n2,c", false, Cut::At { bytes: 6, lines: 1, records: 1 }),
            ("1,a,b\n2,c,d", true, Cut::At { bytes: 11, lines: 2, records: 2 }),
            ("1,a", false, Cut::More),
            ("\r\r\n\n1,a\n", false, Cut::At { bytes: 8, lines: 3, records: 1 }),
            // A real line end in quotes, and one whose partner is not in sight yet.
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
    fn gives_up_on_a_record_without_an_end_in_memory() {
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
