//! What a chunk is converted to: accepted rows, encoded, and rejected ones.

use crate::csv::chunk::Chunk;
use crate::csv::ending::ending;
use crate::csv::excerpt::{excerpt, excerpt_of_end};
use crate::csv::lines_like_records::LinesLikeRecords;
use crate::csv::parse::Lines;
use crate::csv::record::{RecordShape, without_carriage_returns};
use crate::rows::defect::{Counts, Reject, Repair, Repaired, Repairs};
use crate::rows::digest::ContentDigest;

/// Examples of a repair that are kept, for each file.
pub(crate) const MAX_EXAMPLES: usize = 3;

#[derive(Clone, Copy, Debug)]
pub(super) struct AcceptedRow {
    pub(super) id: u32,
    /// Index of its first byte in the chunk. Chunks are far smaller than 4 GiB.
    pub(super) at: u32,
    /// Where its encoding ends.
    pub(super) end: u32,
    pub(super) repairs: Repairs,
}

#[derive(Debug)]
pub struct Converted {
    /// The accepted rows in COPY's binary format, in the order of the file.
    pub encoded: Vec<u8>,
    /// Rows read, accepted and rejected.
    pub read: u64,
    /// In the order of the file.
    pub rejects: Vec<Reject>,
    /// Accepted rows by what was repaired in them.
    pub repaired: Counts<Repair>,
    /// Accepted rows with a repair: one with two repairs is one row.
    pub repaired_rows: u64,
    /// The first ones of each repair.
    pub first_repairs: Vec<Repaired>,
    /// Of the accepted rows as they are encoded.
    pub digest: ContentDigest,
    pub lines_like_records: Option<LinesLikeRecords>,
    /// An accepted id that has no position: the file is not the one that the ids were read from.
    pub unknown_id: Option<u32>,
    pub(super) chunk: Chunk,
    pub(super) shape: RecordShape,
    pub(super) rows: Vec<AcceptedRow>,
}

impl Converted {
    /// Nothing yet of a chunk of this many bytes; the chunk itself is to be put into it when it is converted.
    pub(super) fn new(bytes: usize, shape: RecordShape) -> Converted {
        Converted {
            // Binary integers are longer than short decimal ones, by at most this much in real files.
            encoded: Vec::with_capacity(bytes * 2),
            read: 0,
            rejects: Vec::new(),
            repaired: Counts::default(),
            repaired_rows: 0,
            first_repairs: Vec::new(),
            digest: ContentDigest::default(),
            lines_like_records: None,
            unknown_id: None,
            rows: Vec::with_capacity(bytes / 16),
            chunk: Chunk::default(),
            shape,
        }
    }

    /// How many records the splitter counted in the chunk.
    pub fn records(&self) -> u64 {
        self.chunk.records
    }

    /// How many rows are accepted.
    pub fn accepted(&self) -> u64 {
        self.rows.len() as u64
    }

    #[cold]
    pub(super) fn count_repairs(&mut self, repairs: Repairs, raw: &[u8], line: u64) {
        self.repaired_rows += 1;
        for repair in repairs.iter() {
            self.repaired[repair] += 1;
            if self.repaired[repair] <= MAX_EXAMPLES as u64 {
                let excerpt = match repair {
                    Repair::UnterminatedQuote => excerpt_of_end(raw),
                    Repair::PriceFormat | Repair::Spacing => excerpt(raw),
                };
                self.first_repairs.push(Repaired { repair, line, excerpt });
            }
        }
    }

    /// After rows were removed: the first ones of each repair may be others now.
    pub(super) fn recount_repairs(&mut self) {
        (self.repaired, self.repaired_rows, self.first_repairs) = (Counts::default(), 0, Vec::new());
        let mut lines = Lines::new(&self.chunk);
        let rows = self.rows.iter().filter(|row| !row.repairs.is_empty());
        let rows: Vec<_> =
            rows.map(|row| (row.repairs, self.raw(row), lines.line_of(row.at as usize))).collect();
        for (repairs, raw, line) in rows {
            self.count_repairs(repairs, &raw, line);
        }
    }

    /// The record of an accepted row: up to the next record's beginning, without the line end.
    pub(super) fn raw(&self, row: &AcceptedRow) -> Vec<u8> {
        let bytes = &self.chunk.bytes[row.at as usize..];
        // A record ends in its chunk.
        let end = ending(bytes, true, &self.shape).map_or(bytes.len(), |ending| ending.bytes as usize);
        without_carriage_returns(&bytes[..end]).to_vec()
    }
}
