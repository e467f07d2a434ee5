//! Bytes → chunks that end where a record ends. Decides on record ends only; no fields, no values, no I/O: who reads
//! is given.

use memchr::{memchr, memchr_iter};

use crate::record::{Ending, Fields, MAX_RECORD_BYTES, Shape, ending};

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
    /// The chunk is the beginning of one line that is longer than [`MAX_RECORD_BYTES`]; this is its length.
    pub oversize: Option<u64>,
}

/// Records of a chunk at the most. Real ones have fewer; a file of nothing but short rejects would make a chunk take
/// many times its own size.
const MOST_RECORDS: u64 = 32_768;

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
    /// The first line is longer than a record may be, and its end is not in sight.
    Oversize,
}

/// Finds the last record end in `bytes`, or the one behind as many records as a chunk may have. `bytes` start where a
/// record starts and must not be empty; `complete` says that the file ends behind them.
pub fn cut(bytes: &[u8], complete: bool, shape: &Shape) -> Cut {
    let mut fields = Fields::default();
    let mut at = 0;
    let mut lines = 0;
    let mut records = 0;
    while at < bytes.len() && records < MOST_RECORDS {
        let rest = &bytes[at..];
        let (end, inner) = match ending(rest, complete, shape, &mut fields) {
            Ending::Line(end) | Ending::Unterminated(end) => (end, 0),
            Ending::Later(end) => (end, memchr_iter(b'\n', &rest[..end]).count() as u64),
            Ending::Unknown => break,
        };
        lines += inner + 1;
        records += u64::from(!matches!(&rest[..end], [] | [b'\r']));
        at = (at + end + 1).min(bytes.len());
    }
    if at > 0 {
        Cut::At { bytes: at, lines, records }
    } else if bytes.len() > MAX_RECORD_BYTES && !bytes[..=MAX_RECORD_BYTES].contains(&b'\n') {
        Cut::Oversize
    } else {
        Cut::More
    }
}

/// Cuts the rows of a file into chunks, in their order.
#[derive(Debug)]
pub struct Chunks<'a, F> {
    shape: &'a Shape,
    /// Read, and not yet in a chunk.
    buffer: Vec<u8>,
    /// Nothing follows the buffer.
    complete: bool,
    /// Where the buffer's first byte stands.
    line: u64,
    offset: u64,
    fill: F,
}

impl<'a, E, F: FnMut(&mut Vec<u8>) -> Result<bool, E>> Chunks<'a, F> {
    /// The rows begin in line 2, behind a header of `offset` bytes, with `read`, the bytes that are read already. For
    /// more, `fill` appends to the buffer and says whether the file ended; then it is not called again.
    pub fn new(shape: &'a Shape, offset: u64, read: Vec<u8>, complete: bool, fill: F) -> Chunks<'a, F> {
        Chunks { shape, buffer: read, complete, line: 2, offset, fill }
    }

    /// The beginning of a line that is longer than a record may be; the rest of it is passed over.
    fn oversize(&mut self) -> Result<Chunk, E> {
        let head = self.buffer[..MAX_RECORD_BYTES].to_vec();
        let mut length = 0;
        let rest = loop {
            if let Some(end) = memchr(b'\n', &self.buffer) {
                length += end as u64;
                break self.buffer.split_off(end + 1);
            }
            length += self.buffer.len() as u64;
            self.buffer.clear();
            if self.complete {
                break Vec::new();
            }
            self.complete = (self.fill)(&mut self.buffer)?;
        };
        self.buffer = rest;
        let (line, offset) = (self.line, self.offset);
        (self.line, self.offset) = (line + 1, offset + length + 1);
        Ok(Chunk { bytes: head, line, offset, records: 1, oversize: Some(length) })
    }
}

impl<E, F: FnMut(&mut Vec<u8>) -> Result<bool, E>> Iterator for Chunks<'_, F> {
    type Item = Result<Chunk, E>;

    fn next(&mut self) -> Option<Result<Chunk, E>> {
        loop {
            let cut = match self.buffer.is_empty() {
                true => Cut::More,
                false => cut(&self.buffer, self.complete, self.shape),
            };
            match cut {
                Cut::At { bytes, lines, records } => {
                    let rest = self.buffer.split_off(bytes);
                    let whole = std::mem::replace(&mut self.buffer, rest);
                    let (line, offset) = (self.line, self.offset);
                    (self.line, self.offset) = (line + lines, offset + bytes as u64);
                    return Some(Ok(Chunk { bytes: whole, line, offset, records, oversize: None }));
                }
                Cut::More if self.buffer.is_empty() && self.complete => return None,
                Cut::More => match (self.fill)(&mut self.buffer) {
                    Ok(complete) => self.complete = complete,
                    Err(error) => return Some(Err(error)),
                },
                Cut::Oversize => return Some(self.oversize()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape { fields: 3, ids: vec![0] }
    }

    #[test]
    fn cuts_behind_the_last_whole_record() {
        let cases: &[(&str, bool, Cut)] = &[
            ("1,a,b\n2,c", false, Cut::At { bytes: 6, lines: 1, records: 1 }),
            ("1,a,b\n2,c,d", true, Cut::At { bytes: 11, lines: 2, records: 2 }),
            ("1,a", false, Cut::More),
            // A real line end in quotes, and one whose partner is not in sight yet.
            ("1,\"a\nb\",c\n", false, Cut::At { bytes: 10, lines: 2, records: 1 }),
            ("1,\"a\nb", false, Cut::More),
            // The next line is a record by itself: the quote was never closed.
            ("1,a,\"b\n2,c,d\n", false, Cut::At { bytes: 13, lines: 2, records: 2 }),
            ("1,a,\"b\n2,c,\"d\n3,e,f\n", false, Cut::At { bytes: 20, lines: 3, records: 3 }),
            ("1,a,\"b\n", true, Cut::At { bytes: 7, lines: 1, records: 1 }),
        ];
        for (text, complete, expected) in cases {
            assert_eq!(cut(text.as_bytes(), *complete, &shape()), *expected, "{text:?}");
        }
    }

    #[test]
    fn gives_up_on_a_line_without_end_and_on_a_quote_without_partner() {
        let mut long = vec![b'x'; MAX_RECORD_BYTES];
        assert_eq!(cut(&long, false, &shape()), Cut::More);
        long.push(b'x');
        assert_eq!(cut(&long, false, &shape()), Cut::Oversize);
        assert_eq!(cut(&long, true, &shape()), Cut::At { bytes: long.len(), lines: 1, records: 1 });

        let mut runaway = b"1,a,\"b\nno record\n".to_vec();
        let first_two = runaway.len();
        runaway.resize(MAX_RECORD_BYTES, b'x');
        assert_eq!(cut(&runaway, false, &shape()), Cut::More);
        runaway.push(b'x');
        assert_eq!(cut(&runaway, false, &shape()), Cut::At { bytes: first_two, lines: 2, records: 2 });
    }

    /// Both a buffer that ends with the longest record there may be and one that shows a byte more.
    #[test]
    fn the_edge_of_the_window_ends_no_record() {
        let mut longest = b"1,a,\"b\nno record\n".to_vec();
        let first_line = 7;
        longest.resize(MAX_RECORD_BYTES - 1, b'x');
        longest.push(b'"');
        assert_eq!(cut(&longest, false, &shape()), Cut::More);
        let whole = Cut::At { bytes: longest.len(), lines: 3, records: 1 };
        assert_eq!(cut(&longest, true, &shape()), whole);
        longest.push(b'\n');
        let whole = Cut::At { bytes: longest.len(), lines: 3, records: 1 };
        assert_eq!(cut(&longest, false, &shape()), whole);
        longest.pop();
        longest.extend_from_slice(b"\"tail\"\n");
        let Cut::At { bytes, .. } = cut(&longest, false, &shape()) else { panic!("undecided") };
        assert!(bytes >= first_line && longest[bytes - 1] == b'\n');
    }
}
