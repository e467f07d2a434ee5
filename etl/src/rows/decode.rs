//! PostgreSQL's binary COPY format → the digest of its rows. The bytes come in pieces of any size; a row that is in one
//! piece, as PostgreSQL sends them, is digested without copying. No I/O.

use std::fmt;

use crate::rows::digest::ContentDigest;
use crate::rows::encode::{HEADER, TRAILER};

/// The bytes are not a binary COPY. PostgreSQL sends no such bytes, so the position is all that is reported.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Rows before the error.
    pub rows: u64,
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} rows: {}", self.rows, self.what)
    }
}

impl std::error::Error for Malformed {}

/// What was in a COPY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub rows: u64,
    pub digest: ContentDigest,
    /// Of the whole COPY.
    pub bytes: u64,
}

/// Reads a COPY.
#[derive(Debug, Default)]
pub struct Decoder {
    content: Content,
    /// The beginning of a row, or of the header.
    rest: Vec<u8>,
    part: Part,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Header,
    Rows,
    End,
}

/// What is at the beginning of some bytes.
enum Next {
    /// A row of this length.
    Row(usize),
    Trailer,
    /// More bytes are needed.
    More,
    Malformed,
}

impl Decoder {
    pub fn take(&mut self, piece: &[u8]) -> Result<(), Malformed> {
        self.content.bytes += piece.len() as u64;
        if self.rest.is_empty() {
            let taken = self.rows(piece)?;
            self.rest.extend_from_slice(&piece[taken..]);
        } else {
            let mut bytes = std::mem::take(&mut self.rest);
            bytes.extend_from_slice(piece);
            let taken = self.rows(&bytes)?;
            bytes.drain(..taken);
            self.rest = bytes;
        }
        Ok(())
    }

    /// To be called after the last piece.
    pub fn finish(self) -> Result<Content, Malformed> {
        match self.part {
            Part::End => Ok(self.content),
            Part::Header | Part::Rows => Err(self.malformed("the copy is incomplete")),
        }
    }

    /// Digests the whole rows in `bytes`, and returns their length.
    fn rows(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        if self.part == Part::Header {
            let Some(header) = bytes.get(..HEADER.len()) else { return Ok(0) };
            if header != HEADER {
                return Err(self.malformed("this is not a binary copy without OIDs"));
            }
            self.part = Part::Rows;
            at = HEADER.len();
        }
        while at < bytes.len() {
            if self.part == Part::End {
                return Err(self.malformed("something follows the end of the copy"));
            }
            match next(&bytes[at..]) {
                Next::Row(length) => {
                    self.content.digest.add(&bytes[at..at + length]);
                    self.content.rows += 1;
                    at += length;
                }
                Next::Trailer => {
                    self.part = Part::End;
                    at += TRAILER.len();
                }
                Next::More => break,
                Next::Malformed => return Err(self.malformed("a negative number of columns or bytes")),
            }
        }
        Ok(at)
    }

    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { rows: self.content.rows, what }
    }
}

/// A row is the number of its fields, then each field's length, -1 for null, and bytes.
#[inline]
fn next(bytes: &[u8]) -> Next {
    let Some((columns, _)) = bytes.split_first_chunk() else { return Next::More };
    let columns = i16::from_be_bytes(*columns);
    if columns < 0 {
        return if columns == -1 { Next::Trailer } else { Next::Malformed };
    }
    let mut at = 2;
    for _ in 0..columns {
        let Some((length, _)) = bytes.get(at..).and_then(<[u8]>::split_first_chunk) else {
            return Next::More;
        };
        at += 4 + match i32::from_be_bytes(*length) {
            -1 => 0,
            length @ 0.. => length as usize,
            _ => return Next::Malformed,
        };
    }
    if at <= bytes.len() { Next::Row(at) } else { Next::More }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::rows::encode::row;
    use crate::rows::value::Value;

    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Content, Malformed> {
        let mut decoder = Decoder::default();
        pieces.into_iter().try_for_each(|piece| decoder.take(piece))?;
        decoder.finish()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_digest_is_that_of_the_encoded_rows_however_the_copy_is_cut(
            texts in vec(any::<Option<Vec<u8>>>(), 0..20),
            cuts in vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let (mut copy, mut digest) = (HEADER.to_vec(), ContentDigest::default());
            for (line, text) in texts.iter().enumerate() {
                let start = copy.len();
                let text = text.as_ref().map_or(Value::Null, |text| Value::Text(text));
                row(&[Value::Integer(line as i32), text], None, &mut copy);
                digest.add(&copy[start..]);
            }
            copy.extend_from_slice(TRAILER);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(copy.len())).collect();
            cuts.extend([0, copy.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &copy[cut[0]..cut[1]]);
            let expected = Content { rows: texts.len() as u64, digest, bytes: copy.len() as u64 };
            prop_assert_eq!(decode(pieces), Ok(expected));
            // One byte at a time too, and nothing is a whole copy but the whole.
            prop_assert_eq!(decode(copy.chunks(1)), Ok(expected));
            for length in 0..copy.len() {
                prop_assert!(decode([&copy[..length]]).is_err());
            }
        }
    }

    #[test]
    fn other_bytes_are_malformed() {
        let with = |bytes: &[u8]| decode([&[HEADER, bytes].concat()[..]]).unwrap_err();
        let row = b"\0\x01\0\0\0\x01x";
        assert_eq!(decode([&b"PGCOPY\n\xff\r\n\0\0\x01\0\0\0\0\0\0"[..]]).unwrap_err().rows, 0);
        for (bytes, rows, what) in [
            (&b""[..], 0, "incomplete"),
            (row, 1, "incomplete"),
            (b"\0\x01\xff\xff\xff\xfe", 0, "negative"),
            (b"\xff\xfe", 0, "negative"),
            (b"\xff\xff\0", 0, "follows the end"),
        ] {
            let malformed = with(bytes);
            assert!(malformed.what.contains(what) && malformed.rows == rows, "{malformed}");
        }
    }
}
