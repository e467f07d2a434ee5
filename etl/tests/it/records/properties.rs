//! For property tests and the fuzz target `records`: one input read in two ways, as a single chunk, which is the reference,
//! and cut into chunks as a load cuts a file.

use std::convert::Infallible;
use std::iter::{Copied, Cycle};
use std::ops::Range;
use std::slice;
use std::sync::Arc;

use atelier_base::tables::TableId;
use atelier_etl::csv::chunk::{Chunk, Chunks, Rereadable, Start};
use atelier_etl::csv::layout::layout;
use atelier_etl::csv::parse::{Lines, Records};
use atelier_etl::csv::record::{Delimiter, Fields, Form, MAX_RECORD_BYTES, RecordShape};
use atelier_etl::rows::convert::{Converter, Output};
use atelier_etl::rows::defect::Reject;
use atelier_etl::rows::duplicates::reject_duplicates;
use atelier_etl::rows::outcome::Outcome;
use atelier_etl::rows::validate::Validator;
use roaring::RoaringBitmap;

/// A record as the loader sees it, with its place in the whole input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Number of its first line; that of the input is 2, as after a header.
    pub(crate) line: u64,
    /// Position of its first byte.
    pub(crate) offset: u64,
    /// Its bytes without the line end, cut at [`MAX_RECORD_BYTES`].
    pub(crate) raw: Vec<u8>,
    /// Longer than that: none of its fields were read.
    pub(crate) too_long: bool,
    /// Spans of its fields in `raw`, and how they are written.
    pub(crate) fields: Vec<(Range<usize>, Form)>,
    /// How many fields it has.
    pub(crate) count: usize,
    /// Whether it is spaced, malformed, open: see [`Fields`].
    pub(crate) flags: [bool; 3],
}

impl Seen {
    /// The fields' content, doubled quotes written once.
    pub(crate) fn texts(&self) -> Vec<String> {
        let text = |(span, form): &(Range<usize>, Form)| {
            let text = String::from_utf8_lossy(&self.raw[span.clone()]).into_owned();
            let escaped = matches!(form, Form::Escaped | Form::Open { escaped: true });
            if escaped { text.replace("\"\"", "\"") } else { text }
        };
        self.fields.iter().map(text).collect()
    }
}

/// The reference: the whole input as one chunk.
pub(crate) fn whole(input: &[u8], shape: &RecordShape) -> Vec<Chunk> {
    let mut chunk = Chunk { bytes: input.to_vec(), line: 2, offset: 0, records: 0, oversize: None };
    chunk.records = records_of(&chunk, shape).len() as u64;
    vec![chunk]
}

/// An input that is read so many bytes at a time, over and over, from this place on.
struct Pieces<'a> {
    input: &'a [u8],
    at: Option<usize>,
    sizes: Cycle<Copied<slice::Iter<'a, usize>>>,
}

impl Rereadable for Pieces<'_> {
    type Error = Infallible;

    fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<bool, Infallible> {
        let at = self.at.unwrap_or_else(|| panic!("read after the end: {buffer:?}"));
        let size = self.sizes.next().unwrap_or(usize::MAX);
        let piece = &self.input[at..][..size.min(self.input.len() - at)];
        buffer.extend_from_slice(piece);
        self.at = (piece.len() == size).then_some(at + size);
        Ok(self.at.is_none())
    }

    fn reopen(&self, offset: u64) -> Result<Self, Infallible> {
        Ok(Pieces { at: Some(offset as usize), sizes: self.sizes.clone(), ..*self })
    }
}

/// The input as a load cuts it, but read `fills` bytes at a time, over and over. None of them may be 0.
pub(crate) fn chunks(input: &[u8], fills: &[usize], shape: &RecordShape) -> Vec<Chunk> {
    let pieces = Pieces { input, at: Some(0), sizes: fills.iter().copied().cycle() };
    let start = Start { line: 2, offset: 0, read: Vec::new(), complete: false };
    Chunks::new(shape, start, pieces).map(|Ok(chunk)| chunk).collect()
}

/// The records of all chunks, in order. Each has as many as the splitter counted.
pub(crate) fn records(chunks: &[Chunk], shape: &RecordShape) -> Vec<Seen> {
    let counted = |chunk: &Chunk| {
        let seen = records_of(chunk, shape);
        assert_eq!(seen.len() as u64, chunk.records, "the splitter counts what the parser finds");
        seen
    };
    chunks.iter().flat_map(counted).collect()
}

fn records_of(chunk: &Chunk, shape: &RecordShape) -> Vec<Seen> {
    let (mut records, mut lines, mut fields) =
        (Records::new(chunk, shape), Lines::new(chunk), Fields::new(shape.delimiter));
    let mut seen = Vec::new();
    while let Some(record) = records.next(&mut fields) {
        let kept = fields.kept().iter().map(|field| (field.span(), field.form));
        // What is too long is not read into fields, and rejected with its beginning alone.
        let (kept, count, flags) = match record.too_long {
            true => (Vec::new(), 0, [false; 3]),
            false => (kept.collect(), fields.count(), [fields.spaced, fields.malformed, fields.open]),
        };
        seen.push(Seen {
            line: lines.line_of(record.at),
            offset: chunk.offset + record.at as u64,
            raw: record.raw[..record.raw.len().min(MAX_RECORD_BYTES)].to_vec(),
            too_long: record.too_long,
            fields: kept,
            count,
            flags,
        });
    }
    seen
}

/// Where the whole input is valid CSV by RFC 4180, with the same number of fields in every record, as far as the `csv`
/// crate can tell, our records have the same fields, however it is cut. Spaces around a field without quotes are ignored.
pub(crate) fn assert_valid_is_read_as_csv_reads_it(input: &[u8], delimiter: Delimiter, fills: &[usize]) {
    let Some(valid) = valid_records(input, delimiter) else { return };
    let shape = RecordShape { delimiter, fields: valid.first().map_or(0, Vec::len), ids: Vec::new() };
    for chunks in [whole(input, &shape), chunks(input, fills, &shape)] {
        let seen: Vec<_> = records(&chunks, &shape).iter().map(Seen::texts).collect();
        assert_eq!(seen, valid, "{}", input.escape_ascii());
    }
}

/// The fields as the `csv` crate reads them, if writing them again by RFC 4180 gives every record as it is in the input:
/// each field in quotes, with its quotes doubled, or bare, without quotes and line ends. The crate itself accepts more.
fn valid_records(input: &[u8], delimiter: Delimiter) -> Option<Vec<Vec<String>>> {
    // It would take a byte order mark for no part of the text.
    let behind_a_line = [b"0\n", input].concat();
    let mut reader = csv::ReaderBuilder::new();
    reader.has_headers(false).flexible(true).delimiter(delimiter.byte());
    let records = reader.from_reader(&behind_a_line[..]).into_byte_records();
    let mut rest = &behind_a_line[..];
    let mut valid = Vec::new();
    for record in records {
        while let Some(b'\n') = rest.get(returns(rest)) {
            rest = &rest[returns(rest) + 1..];
        }
        let mut texts = Vec::new();
        for (index, field) in record.ok()?.iter().enumerate() {
            if index > 0 {
                rest = rest.strip_prefix(&[delimiter.byte()])?;
            }
            let is_bare = rest.first() != Some(&b'"');
            let written = match is_bare {
                true => field.to_vec(),
                false => quoted(field),
            };
            rest = rest.strip_prefix(&written[..])?;
            if is_bare && written.iter().any(|byte| b"\"\r\n".contains(byte)) {
                return None;
            }
            let text = String::from_utf8_lossy(field);
            let is_space =
                |character: char| u8::try_from(character).is_ok_and(|byte| delimiter.is_space(byte));
            texts.push(if is_bare { text.trim_matches(is_space).to_owned() } else { text.into_owned() });
        }
        if !matches!(rest.get(returns(rest)), None | Some(b'\n')) {
            return None;
        }
        valid.push(texts);
    }
    valid.remove(0);
    let fields = valid.first().map(Vec::len);
    valid.iter().all(|record| Some(record.len()) == fields).then_some(valid)
}

/// How many carriage returns these bytes begin with.
fn returns(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&byte| byte == b'\r').count()
}

fn quoted(field: &[u8]) -> Vec<u8> {
    let content =
        field.iter().flat_map(|byte| if *byte == b'"' { &b"\"\""[..] } else { slice::from_ref(byte) });
    b"\"".iter().chain(content).chain(b"\"").copied().collect()
}

/// Every byte is in one record or in an empty line, and every line number is right: `seen` are the records of `input`,
/// none of them too long.
pub(crate) fn assert_complete(input: &[u8], seen: &[Seen]) {
    let mut end = 0;
    for record in seen {
        let start = record.offset as usize;
        assert!(is_empty_lines(&input[end..start]), "before {record:?}");
        assert_eq!(&input[start..start + record.raw.len()], &record.raw[..]);
        assert_eq!(record.line as usize, 2 + memchr::memchr_iter(b'\n', &input[..start]).count());
        end = start + record.raw.len();
        let rest = &input[end..];
        assert!(matches!(rest.get(returns(rest)), None | Some(b'\n')), "after {record:?}");
        end = input.len().min(end + returns(rest) + 1);
    }
    assert!(is_empty_lines(&input[end..]), "at the end");
}

/// Whether these are line ends only.
fn is_empty_lines(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| b"\r\n".contains(byte))
}

/// What is found in a file.
#[derive(Debug, PartialEq)]
pub(crate) struct Found {
    /// As a load counts it.
    pub(crate) outcome: Outcome,
    /// The rows for COPY.
    pub(crate) encoded: Vec<u8>,
    /// All rejected rows.
    pub(crate) rejects: Vec<Reject>,
}

/// The highest id of the parents' rows; the lowest is 1.
pub(crate) const LAST_PARENT: u32 = 9;

/// Reads `rows`, which follow `header`, as a load does: once for their ids, and again for the rows. Cutting must change
/// nothing: no record, no byte for COPY, no reject, no repair, no line number.
pub(crate) fn assert_cutting_changes_nothing(
    table: TableId,
    header: &str,
    rows: &[u8],
    fills: &[usize],
) -> Found {
    let read = |output: Output| {
        let parents = Arc::new(RoaringBitmap::from_iter(1..=LAST_PARENT));
        let layout = layout(header.as_bytes(), None, table.table(), table.table().name)
            .unwrap_or_else(|error| panic!("{header}: {error}"));
        let converter =
            Converter::new(Validator::new(table.table(), layout, |_| Arc::clone(&parents)), output);
        let shape = converter.shape();
        let (whole, chunks) = (whole(rows, shape), chunks(rows, fills, shape));
        let seen = records(&whole, shape);
        assert_complete(rows, &seen);
        assert_eq!(records(&chunks, shape), seen);
        let expected = convert(whole, &converter);
        assert_eq!(convert(chunks, &converter), expected);
        expected
    };
    let ids = read(Output::Ids).outcome.ids;
    let found = read(match table.table().ranked {
        true => Output::RankedRows(Arc::new(ids.clone())),
        false => Output::Rows,
    });
    assert_eq!(found.outcome.ids, ids, "the second reading finds what the first one found");
    found
}

/// Converts all chunks and takes the results in order.
fn convert(chunks: Vec<Chunk>, converter: &Converter) -> Found {
    let mut found = Found { outcome: Outcome::default(), encoded: Vec::new(), rejects: Vec::new() };
    for chunk in chunks {
        let mut converted = converter.convert(chunk);
        assert_eq!(converted.unknown_id, None);
        reject_duplicates(&mut converted, &mut found.outcome.ids);
        assert_eq!(converted.records(), converted.read, "the splitter counts what the converter reads");
        assert_eq!(converted.read, converted.accepted() + converted.rejects.len() as u64);
        found.outcome.add(&mut converted);
        found.encoded.append(&mut converted.encoded);
        found.rejects.append(&mut converted.rejects);
    }
    found
}
