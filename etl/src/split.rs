//! Bytes → chunks that end where a record ends. Decides on record ends only; no fields, no values, no I/O.

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

/// Finds the last record end in `bytes`, or the one behind as many records as a chunk may have. They start where a record starts. `complete` says that the file ends
/// behind them. `bytes` must not be empty.
pub fn cut(bytes: &[u8], complete: bool, shape: &Shape) -> Cut {
    let mut fields = Fields::default();
    let mut at = 0;
    let mut lines = 0;
    let mut records = 0;
    while at < bytes.len() && records < MOST_RECORDS {
        let rest = &bytes[at..];
        let (end, inner) = match ending(rest, complete, shape, &mut fields) {
            Ending::Line(end) | Ending::Unterminated(end) => (end, 0),
            Ending::Later(end) => (end, memchr::memchr_iter(b'\n', &rest[..end]).count() as u64),
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
