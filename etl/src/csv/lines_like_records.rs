//! Records of several lines in which a line looks like a record by itself. RFC 4180 reads them as one record; it may be
//! that a quote is missing, so the user is warned. No I/O.

use crate::csv::record::{Fields, MAX_RECORD_BYTES, RecordShape};

/// How many there are in a file, or in a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinesLikeRecords {
    pub records: u64,
    /// Where the first of them begins.
    pub line: u64,
}

impl LinesLikeRecords {
    /// `first`, and what follows it in the file.
    pub(crate) fn sum(
        first: Option<LinesLikeRecords>,
        next: Option<LinesLikeRecords>,
    ) -> Option<LinesLikeRecords> {
        match (first, next) {
            (Some(first), Some(next)) => {
                Some(LinesLikeRecords { records: first.records + next.records, ..first })
            }
            (first, next) => first.or(next),
        }
    }
}

/// Reads a record in pieces and finds whether a line of it, but for the first, is a record by itself.
pub(crate) struct Finder<'a> {
    shape: &'a RecordShape,
    fields: Fields,
    /// The line that is being read, cut at the size of a record. `None` in the first line.
    line: Option<Vec<u8>>,
    found: bool,
}

impl<'a> Finder<'a> {
    pub(crate) fn new(shape: &'a RecordShape) -> Finder<'a> {
        Finder { shape, fields: Fields::new(shape.delimiter), line: None, found: false }
    }

    pub(crate) fn read(&mut self, bytes: &[u8]) {
        for (number, piece) in bytes.split(|&byte| byte == b'\n').enumerate() {
            if number > 0 {
                self.end_line();
            }
            if let Some(line) = &mut self.line {
                line.extend_from_slice(&piece[..piece.len().min(MAX_RECORD_BYTES - line.len())]);
            }
        }
    }

    fn end_line(&mut self) {
        let line = self.line.get_or_insert_default();
        self.found |= self.shape.fits(line, &mut self.fields);
        line.clear();
    }

    /// To be called at the end of the record.
    pub(crate) fn finish(mut self) -> bool {
        if self.line.is_some() {
            self.end_line();
        }
        self.found
    }
}
