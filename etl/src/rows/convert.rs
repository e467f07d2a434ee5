//! One chunk from bytes to encoded rows: parse, check, encode. Pure, so that chunks are converted side by side.
//! What needs the rows before it, the uniqueness of ids, is done on the results in their order.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::csv::chunk::{Chunk, LinesLikeRecords};
use crate::csv::ending::ending;
use crate::csv::excerpt::{excerpt, excerpt_of_end};
use crate::csv::parse::{Lines, Record, Records};
use crate::csv::record::{Fields, MAX_RECORD_BYTES, Shape, without_carriage_returns};
use crate::rows::defect::{Code, Counts, Fault, Mended, Reject, Repair};
use crate::rows::digest::ContentDigest;
use crate::rows::encode;
use crate::rows::validate::{Checker, Row};

/// Examples of a repair that are kept, for each file.
pub const EXAMPLES: usize = 3;

/// An accepted row.
#[derive(Clone, Copy, Debug)]
struct RowKey {
    id: u32,
    /// Index of its first byte in the chunk. Chunks are far smaller than 4 GiB.
    at: u32,
    /// Where its encoding ends.
    end: u32,
    repairs: [bool; 3],
}

/// What became of a chunk.
#[derive(Debug)]
pub struct Converted {
    /// The accepted rows in COPY's binary format, in the order of the file.
    pub encoded: Vec<u8>,
    /// Rows read, accepted and rejected.
    pub read: u64,
    /// The rejected ones, in the order of the file.
    pub rejects: Vec<Reject>,
    /// Accepted rows by what was mended in them.
    pub repaired: Counts,
    /// Accepted rows in which anything was mended: one with two repairs is one row.
    pub repaired_rows: u64,
    /// The first ones of each repair.
    pub mended: Vec<Mended>,
    /// Of the accepted rows as they are encoded.
    pub digest: ContentDigest,
    /// Records of several lines, one of which looks like a record by itself: how many, and the line of the first.
    pub like_records: Option<LikeRecords>,
    /// An accepted id has no position: the file is not the one that was scanned.
    pub unknown_id: Option<u32>,
    chunk: Chunk,
    shape: Shape,
    rows: Vec<RowKey>,
}

/// Records of several lines, one of which looks like a record by itself. They are read as RFC 4180 has it; it may be
/// that a quote is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LikeRecords {
    /// How many.
    pub records: u64,
    /// Number of the first one's first line.
    pub line: u64,
}

impl LikeRecords {
    /// Those of a file's part and of the next one.
    pub fn add(first: Option<LikeRecords>, next: Option<LikeRecords>) -> Option<LikeRecords> {
        match (first, next) {
            (Some(first), Some(next)) => Some(LikeRecords { records: first.records + next.records, ..first }),
            (first, next) => first.or(next),
        }
    }
}

/// What is wanted of the accepted rows.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Their ids alone.
    Ids,
    /// Their encoding and its digest.
    Rows,
    /// The same with the position of each, which is the rank of its id among these.
    RankedRows(Arc<RoaringBitmap>),
}

/// Converts the chunks of one file.
#[derive(Debug)]
pub struct Converter {
    checker: Checker,
    wanted: Wanted,
}

impl Converter {
    /// Converts what passes `checker`.
    pub fn new(checker: Checker, wanted: Wanted) -> Converter {
        Converter { checker, wanted }
    }

    /// What a whole record of the file looks like.
    pub fn shape(&self) -> &Shape {
        &self.checker.layout().shape
    }

    /// Parses, checks and encodes all records of `chunk`.
    pub fn convert(&self, chunk: Chunk) -> Converted {
        let clean =
            memchr::memchr(0, &chunk.bytes).is_none() && simdutf8::basic::from_utf8(&chunk.bytes).is_ok();
        let columns = self.checker.table().columns.len();
        let mut out = Converted {
            // Binary integers are longer than short decimal ones, by at most this much in real files.
            encoded: Vec::with_capacity(chunk.bytes.len() * 2),
            read: 0,
            rejects: Vec::new(),
            repaired: Counts::default(),
            repaired_rows: 0,
            mended: Vec::new(),
            digest: ContentDigest::default(),
            like_records: None,
            unknown_id: None,
            rows: Vec::with_capacity(chunk.bytes.len() / 16),
            chunk: Chunk { bytes: Vec::new(), ..chunk },
            shape: self.shape().clone(),
        };
        let shape = self.shape();
        let mut records = Records::new(&chunk, shape);
        let mut lines = Lines::new(&chunk);
        let mut fields = Fields::new(shape.delimiter);
        let mut row = Row::default();
        let mut ranks = match &self.wanted {
            Wanted::RankedRows(ids) => Some(Ranks::new(ids)),
            Wanted::Ids | Wanted::Rows => None,
        };
        let encode = !matches!(self.wanted, Wanted::Ids);
        while let Some(record) = records.next(&mut fields) {
            out.read += 1;
            if record.has_lines && has_line_like_record(&record, &chunk, shape) {
                let found = LikeRecords { records: 1, line: lines.line_of(record.at) };
                out.like_records = LikeRecords::add(out.like_records, Some(found));
            }
            if record.too_long {
                out.rejects.push(too_long(&chunk, &record, lines.line_of(record.at)));
                continue;
            }
            if let Err(refusal) = self.checker.check(record.raw, &fields, clean, &mut row) {
                out.rejects.push(Reject {
                    line: lines.line_of(record.at),
                    offset: chunk.offset + record.at as u64,
                    column: refusal.column,
                    fault: refusal.fault,
                    message: refusal.message,
                    raw: record.raw.to_vec(),
                });
                continue;
            }
            let position = match &mut ranks {
                Some(ranks) => {
                    let position = ranks.of(row.id);
                    if position.is_none() {
                        out.unknown_id = Some(row.id);
                    }
                    Some(position.unwrap_or_default())
                }
                None => None,
            };
            if encode {
                let start = out.encoded.len();
                encode::row(&row.values[..columns], position, &mut out.encoded);
                out.digest.add(&out.encoded[start..]);
            }
            if row.repairs != [false; 3] {
                out.count_repairs(row.repairs, record.raw, lines.line_of(record.at));
            }
            out.rows.push(RowKey {
                id: row.id,
                at: record.at as u32,
                end: out.encoded.len() as u32,
                repairs: row.repairs,
            });
        }
        out.chunk = chunk;
        out
    }
}

impl Converted {
    /// How many records the splitter counted in the chunk.
    pub fn split(&self) -> u64 {
        self.chunk.records
    }

    /// How many rows are accepted.
    pub fn loaded(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Takes out the rows whose id is in `seen` already, and adds the others' ids to it. Call it chunk by chunk
    /// in the order of the file: the first row with an id stays.
    pub fn reject_duplicates(&mut self, seen: &mut RoaringBitmap) {
        let mut again = Vec::new();
        let mut index = 0;
        while let Some(row) = self.rows.get(index) {
            // Ids mostly count up, and a run of them is looked up and added at once.
            let run = self.rows[index..].iter().zip(row.id..).take_while(|(row, id)| row.id == *id).count();
            let ids = row.id..row.id + run as u32;
            if run > 1 && seen.range_cardinality(ids.clone()) == 0 {
                seen.insert_range(ids);
            } else {
                again.extend(ids.enumerate().filter(|&(_, id)| !seen.insert(id)).map(|(at, _)| index + at));
            }
            index += run;
        }
        if !again.is_empty() {
            self.take_out(&again);
        }
    }

    #[cold]
    fn take_out(&mut self, indices: &[usize]) {
        let mut lines = Lines::new(&self.chunk);
        let mut encoded = Vec::with_capacity(self.encoded.len());
        let mut rows = Vec::with_capacity(self.rows.len());
        let mut wanted = indices.iter().copied().peekable();
        let mut start = 0;
        for (index, row) in self.rows.iter().enumerate() {
            let bytes = &self.encoded[start..row.end as usize];
            start = row.end as usize;
            if wanted.next_if_eq(&index).is_none() {
                encoded.extend_from_slice(bytes);
                rows.push(RowKey { end: encoded.len() as u32, ..*row });
                continue;
            }
            self.digest.remove(bytes);
            let line = lines.line_of(row.at as usize);
            self.rejects.push(Reject {
                line,
                offset: self.chunk.offset + u64::from(row.at),
                column: "id",
                fault: Fault::DuplicateId,
                message: format!("an earlier row has the id {}", row.id),
                raw: self.raw(row),
            });
        }
        (self.encoded, self.rows) = (encoded, rows);
        self.rejects.sort_by_key(|reject| reject.offset);
        self.count_repairs_again();
    }

    #[cold]
    fn count_repairs(&mut self, repairs: [bool; 3], raw: &[u8], line: u64) {
        self.repaired_rows += 1;
        for &repair in Repair::ALL.iter().filter(|repair| repairs[repair.number()]) {
            self.repaired.add(repair);
            if self.repaired.get(repair) <= EXAMPLES as u64 {
                let excerpt = match repair {
                    Repair::UnterminatedQuote => excerpt_of_end(raw),
                    Repair::PriceFormat | Repair::Spacing => excerpt(raw),
                };
                self.mended.push(Mended { repair, line, excerpt });
            }
        }
    }

    /// After rows were taken out: the first ones of each repair may be others now.
    fn count_repairs_again(&mut self) {
        (self.repaired, self.repaired_rows, self.mended) = (Counts::default(), 0, Vec::new());
        let mut lines = Lines::new(&self.chunk);
        let rows = self.rows.iter().filter(|row| row.repairs != [false; 3]);
        let rows: Vec<_> =
            rows.map(|row| (row.repairs, self.raw(row), lines.line_of(row.at as usize))).collect();
        for (repairs, raw, line) in rows {
            self.count_repairs(repairs, &raw, line);
        }
    }

    /// The record of an accepted row: up to the next record's beginning, without the line end.
    fn raw(&self, row: &RowKey) -> Vec<u8> {
        let bytes = &self.chunk.bytes[row.at as usize..];
        // Nothing behind a chunk belongs to a record in it.
        let end = ending(bytes, true, &self.shape).map_or(bytes.len(), |ending| ending.bytes as usize);
        without_carriage_returns(&bytes[..end]).to_vec()
    }
}

#[cold]
fn has_line_like_record(record: &Record<'_>, chunk: &Chunk, shape: &Shape) -> bool {
    if let Some(oversize) = chunk.oversize {
        return oversize.has_line_like_record;
    }
    let mut lines = LinesLikeRecords::new(shape);
    lines.pass(record.raw);
    lines.finish()
}

#[cold]
fn too_long(chunk: &Chunk, record: &Record<'_>, line: u64) -> Reject {
    let of_raw = || (record.raw.len() as u64, 1 + memchr::memchr_iter(b'\n', record.raw).count() as u64);
    let (bytes, lines) =
        chunk.oversize.map_or_else(of_raw, |oversize| (oversize.ending.bytes, oversize.ending.lines));
    let of_lines = if lines > 1 { format!(" in {lines} lines") } else { String::new() };
    Reject {
        line,
        offset: chunk.offset + record.at as u64,
        column: "",
        fault: Fault::RecordTooLong,
        message: format!("the record has {bytes} bytes{of_lines}, more than {MAX_RECORD_BYTES}"),
        raw: record.raw[..record.raw.len().min(MAX_RECORD_BYTES)].to_vec(),
    }
}

/// Ranks of ids in a set, from 1. Files are clustered by id, so the next id is mostly the one behind the last.
struct Ranks<'a> {
    ids: &'a RoaringBitmap,
    last: (u32, u32),
}

impl<'a> Ranks<'a> {
    fn new(ids: &'a RoaringBitmap) -> Ranks<'a> {
        Ranks { ids, last: (0, 0) }
    }

    fn of(&mut self, id: u32) -> Option<u32> {
        if !self.ids.contains(id) {
            return None;
        }
        let rank = if id == self.last.0.wrapping_add(1) && self.last.0 != 0 {
            self.last.1 + 1
        } else {
            // Ids are positive ints: there are fewer than 2^31 of them.
            self.ids.rank(id) as u32
        };
        self.last = (id, rank);
        Some(rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::header::layout;
    use atelier_base::tables::TableId;

    fn converter() -> Converter {
        let table = TableId::Skus.table();
        let layout = layout(b"id,styleId,size,quantity", None, table, "skus.csv").unwrap();
        let ids = Arc::new(RoaringBitmap::from_iter(1..=3));
        Converter::new(Checker::new(table, layout, |_| Arc::clone(&ids)), Wanted::Rows)
    }

    fn chunk(text: &str) -> Chunk {
        Chunk { bytes: text.as_bytes().to_vec(), line: 2, offset: 25, records: 0, oversize: None }
    }

    #[test]
    fn the_first_row_with_an_id_stays_and_leaves_no_trace_of_the_second() {
        let mut seen = RoaringBitmap::from_iter([7]);
        let mut with =
            converter().convert(chunk("1,1,\"S\",1\n1,2, \"M\",2\nx,1,\"S\",1\n7,1,\"L\",3\n2,2,\"M\",2"));
        with.reject_duplicates(&mut seen);
        let mut without = converter().convert(chunk("1,1,\"S\",1\n2,2,\"M\",2"));
        without.reject_duplicates(&mut RoaringBitmap::new());

        assert_eq!(with.encoded, without.encoded);
        assert_eq!(with.digest, without.digest);
        assert_eq!((with.read, with.loaded(), with.repaired.total()), (5, 2, 0));
        let rejects: Vec<_> = with.rejects.iter().map(|r| (r.line, r.offset, r.fault, &r.raw[..])).collect();
        assert_eq!(
            rejects,
            [
                (3, 35, Fault::DuplicateId, &b"1,2, \"M\",2"[..]),
                (4, 46, Fault::BadInteger, b"x,1,\"S\",1"),
                (5, 56, Fault::DuplicateId, b"7,1,\"L\",3"),
            ]
        );
    }

    /// Also where the first rows that were mended are duplicates.
    #[test]
    fn the_first_mended_rows_are_those_that_stay() {
        let rows = (1..=6).map(|id| format!("{id},1, \"S\",1\n")).collect::<String>();
        let mut converted = converter().convert(chunk(&format!("{rows}7,1, \"S,1\n8,1, \"S\", \"1\n")));
        converted.reject_duplicates(&mut RoaringBitmap::from_iter([1, 2, 4]));
        let mended: Vec<_> = converted.mended.iter().map(|mended| (mended.repair, mended.line)).collect();
        let spacing = |line| (Repair::Spacing, line);
        assert_eq!(mended, [spacing(4), spacing(6), spacing(7), (Repair::UnterminatedQuote, 9)]);
        assert_eq!(converted.mended[0].excerpt, "3,1, \"S\",1");
        // One row has two repairs, and one is rejected for its number of fields.
        assert_eq!((converted.repaired.total(), converted.repaired_rows), (5, 4));
    }

    #[test]
    fn ranks_follow_the_order_of_ids() {
        let ids = RoaringBitmap::from_iter([2, 3, 5, 9]);
        let mut ranks = Ranks::new(&ids);
        let found: Vec<_> = [2, 3, 9, 5, 4].map(|id| ranks.of(id)).into();
        assert_eq!(found, [Some(1), Some(2), Some(4), Some(3), None]);
    }
}
