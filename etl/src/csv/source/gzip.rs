//! gzip: one or more members (RFC 1952, 2.2), and zeros after them, which tapes leave and `gzip` ignores.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// The text of all members.
pub(super) enum Members<R> {
    Member(Box<GzDecoder<R>>),
    /// After the last one.
    End,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(compressed: R) -> Members<R> {
        Members::Member(Box::new(GzDecoder::new(compressed)))
    }

    /// What follows a member.
    fn next(mut compressed: R) -> io::Result<Members<R>> {
        loop {
            let bytes = compressed.fill_buf()?;
            match bytes {
                [] => return Ok(Members::End),
                // The decoder checks the second byte.
                [0x1f, ..] => return Ok(Members::new(compressed)),
                _ if bytes.iter().all(|&byte| byte == 0) => {
                    let zeros = bytes.len();
                    compressed.consume(zeros);
                }
                _ => {
                    let what = "what follows the end of the compressed data is not gzip";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
        }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Members::Member(member) = self {
            match member.read(buffer)? {
                0 if !buffer.is_empty() => {
                    let Members::Member(ended) = std::mem::replace(self, Members::End) else { break };
                    *self = Members::next(ended.into_inner())?;
                }
                read => return Ok(read),
            }
        }
        Ok(0)
    }
}
