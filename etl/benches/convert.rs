//! Bytes per second of one core from CSV text to COPY rows, and of `csv-core` reading the same text, which only
//! finds the fields. `cargo bench -p atelier-etl` prints them side by side.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]
#![allow(missing_docs, reason = "divan makes the items of this file")]

use std::sync::Arc;
use std::sync::LazyLock;

use atelier_base::tables::TableId;
use atelier_etl::csv::chunk::{Chunk, cut};
use atelier_etl::csv::layout::layout;
use atelier_etl::csv::parse::Records;
use atelier_etl::csv::record::Fields;
use atelier_etl::rows::convert::{Converter, Output};
use atelier_etl::rows::validate::Validator;
use atelier_sample::{Defects, Options, generate};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use enum_map::EnumMap;
use roaring::RoaringBitmap;

fn main() {
    divan::main();
}

/// The first half MiB of each file of a catalogue, without the header: a chunk as the loader has it.
static CHUNKS: LazyLock<EnumMap<TableId, (String, Vec<u8>)>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_owned();
    generate(&Options { out, products: 10_000, seed: 1, defects: Defects::None, threads: 1 }, &|| Ok(()))
        .unwrap();
    let read = |table: TableId| {
        let path = directory.path().join(format!("{}.csv", table.table().name));
        let text = std::fs::read_to_string(path).unwrap();
        let (header, rows) = text.split_once('\n').unwrap();
        let end = rows[..rows.len().min(512 << 10)].rfind('\n').unwrap() + 1;
        (header.to_owned(), rows.as_bytes()[..end].to_vec())
    };
    EnumMap::from_fn(read)
});

fn converter(table: TableId) -> Converter {
    let layout = layout(CHUNKS[table].0.as_bytes(), None, table.table(), "bench").unwrap();
    let ids = Arc::new(RoaringBitmap::from_sorted_iter(1..1_000_000).unwrap());
    Converter::new(Validator::new(table.table(), layout, |_| Arc::clone(&ids)), Output::Rows)
}

const TABLES: [TableId; 3] = [TableId::Product, TableId::Photos, TableId::Skus];

/// Parse, check and encode.
#[divan::bench(args = TABLES)]
fn convert(bencher: Bencher<'_, '_>, table: TableId) {
    let (converter, bytes) = (converter(table), &CHUNKS[table].1);
    bencher
        .counter(BytesCount::new(bytes.len()))
        .with_inputs(|| Chunk { bytes: bytes.clone(), line: 2, offset: 0, records: 0, oversize: None })
        .bench_values(|chunk| converter.convert(chunk));
}

/// Finding the fields alone.
#[divan::bench(args = TABLES)]
fn records(bencher: Bencher<'_, '_>, table: TableId) {
    let (converter, bytes) = (converter(table), CHUNKS[table].1.clone());
    let chunk = Chunk { bytes, line: 2, offset: 0, records: 0, oversize: None };
    bencher.counter(BytesCount::new(chunk.bytes.len())).bench(|| {
        let (mut records, mut fields, mut found) =
            (Records::new(&chunk, converter.shape()), Fields::default(), 0);
        while records.next(&mut fields).is_some() {
            found += black_box(fields.count());
        }
        found
    });
}

/// Finding record ends, which one thread does for a whole file.
#[divan::bench(args = TABLES)]
fn split(bencher: Bencher<'_, '_>, table: TableId) {
    let (converter, bytes) = (converter(table), &CHUNKS[table].1);
    bencher.counter(BytesCount::new(bytes.len())).bench(|| cut(black_box(bytes), true, converter.shape()));
}

/// The same fields by `csv-core`.
#[divan::bench(args = TABLES)]
fn csv_core(bencher: Bencher<'_, '_>, table: TableId) {
    let bytes = &CHUNKS[table].1;
    let mut reader = csv_core::Reader::new();
    let (mut output, mut ends) = (vec![0; 1 << 20], vec![0; 16]);
    bencher.counter(BytesCount::new(bytes.len())).bench_local(|| {
        let (mut rest, mut found) = (&bytes[..], 0);
        while !rest.is_empty() {
            let (_, read, _, fields) = reader.read_record(rest, &mut output, &mut ends);
            rest = &rest[read..];
            found += black_box(fields);
        }
        found
    });
}
