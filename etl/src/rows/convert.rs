//! One chunk from bytes to encoded rows: parse, validate, encode. A pure function, so chunks are converted in parallel.
//! What needs the rows before it, the uniqueness of ids, is checked afterwards, in `duplicates`.

use std::sync::Arc;

use memchr::{memchr, memchr_iter};
use roaring::RoaringBitmap;

use crate::csv::chunk::Chunk;
use crate::csv::lines_like_records::{Finder, LinesLikeRecords};
use crate::csv::parse::{Lines, Record, Records};
use crate::csv::record::{Fields, MAX_RECORD_BYTES, RecordShape};
use crate::rows::converted::{AcceptedRow, Converted};
use crate::rows::defect::{Fault, Reject};
use crate::rows::encode;
use crate::rows::ranks::Ranks;
use crate::rows::validate::{Row, Validator};

/// What is made of the accepted rows.
#[derive(Clone, Debug)]
pub enum Output {
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
    validator: Validator,
    output: Output,
}

impl Converter {
    pub fn new(validator: Validator, output: Output) -> Converter {
        Converter { validator, output }
    }

    /// What a whole record of the file looks like.
    pub fn shape(&self) -> &RecordShape {
        &self.validator.layout().shape
    }

    pub fn convert(&self, chunk: Chunk) -> Converted {
        let clean = memchr(0, &chunk.bytes).is_none() && simdutf8::basic::from_utf8(&chunk.bytes).is_ok();
        let columns = self.validator.table().columns.len();
        let shape = self.shape();
        let mut out = Converted::new(chunk.bytes.len(), shape.clone());
        let mut records = Records::new(&chunk, shape);
        let mut lines = Lines::new(&chunk);
        let mut fields = Fields::new(shape.delimiter);
        let mut row = Row::default();
        let mut ranks = match &self.output {
            Output::RankedRows(ids) => Some(Ranks::new(ids)),
            Output::Ids | Output::Rows => None,
        };
        let encode = !matches!(self.output, Output::Ids);
        while let Some(record) = records.next(&mut fields) {
            out.read += 1;
            if record.has_lines && has_line_like_record(&record, &chunk, shape) {
                let found = LinesLikeRecords { records: 1, line: lines.line_of(record.at) };
                out.lines_like_records = LinesLikeRecords::sum(out.lines_like_records, Some(found));
            }
            if record.too_long {
                out.rejects.push(too_long(&chunk, &record, lines.line_of(record.at)));
                continue;
            }
            if let Err(error) = self.validator.validate(record.raw, &fields, clean, &mut row) {
                out.rejects.push(Reject {
                    line: lines.line_of(record.at),
                    offset: chunk.offset + record.at as u64,
                    column: error.column,
                    fault: error.fault,
                    message: error.message,
                    raw: record.raw.to_vec(),
                });
                continue;
            }
            let position = ranks.as_mut().map(|ranks| {
                let position = ranks.rank(row.id);
                if position.is_none() {
                    out.unknown_id = Some(row.id);
                }
                position.unwrap_or_default()
            });
            if encode {
                let start = out.encoded.len();
                encode::row(&row.values[..columns], position, &mut out.encoded);
                out.digest.add(&out.encoded[start..]);
            }
            if !row.repairs.is_empty() {
                out.count_repairs(row.repairs, record.raw, lines.line_of(record.at));
            }
            out.rows.push(AcceptedRow {
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

#[cold]
fn has_line_like_record(record: &Record<'_>, chunk: &Chunk, shape: &RecordShape) -> bool {
    if let Some(oversize) = chunk.oversize {
        return oversize.has_line_like_record;
    }
    let mut finder = Finder::new(shape);
    finder.read(record.raw);
    finder.finish()
}

#[cold]
fn too_long(chunk: &Chunk, record: &Record<'_>, line: u64) -> Reject {
    let of_raw = || (record.raw.len() as u64, 1 + memchr_iter(b'\n', record.raw).count() as u64);
    let (bytes, lines) =
        chunk.oversize.map_or_else(of_raw, |oversize| (oversize.ending.bytes, oversize.ending.lines));
    let in_lines = if lines > 1 { format!(" in {lines} lines") } else { String::new() };
    Reject {
        line,
        offset: chunk.offset + record.at as u64,
        column: "",
        fault: Fault::RecordTooLong,
        message: format!("the record has {bytes} bytes{in_lines}, more than {MAX_RECORD_BYTES}"),
        raw: record.raw[..record.raw.len().min(MAX_RECORD_BYTES)].to_vec(),
    }
}
