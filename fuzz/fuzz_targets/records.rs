//! A file's rows, read as one chunk and cut into chunks: the same records, rows, rejects, repairs and line numbers. Every
//! byte is accounted for, the rows for COPY are decoded as the same rows, and valid CSV has the fields that the `csv` crate
//! finds in it, with every delimiter.
//!
//! The input: a byte for the table (`0` to `5`), one for its header (`0` the usual one), two for how much is read at a
//! time; then the rows. In the seeds there is a line end before the rows, which counts as an empty line.

#![no_main]

use arbitrary::{Result, Unstructured};
use atelier_base::tables::{TABLES, Table};
use atelier_etl::csv::record::Delimiter;
use atelier_etl::rows::decode::{Content, Decoder};
use atelier_etl::rows::encode::{HEADER, TRAILER};
use libfuzzer_sys::fuzz_target;
use properties::{assert_cutting_changes_nothing, assert_valid_is_read_as_csv_reads_it};

#[path = "../../etl/tests/it/records/properties.rs"]
mod properties;

fuzz_target!(|input: &[u8]| {
    // An input that is too short is ignored.
    let _ = read(Unstructured::new(input));
});

fn read(mut input: Unstructured<'_>) -> Result<()> {
    let table = input.choose(&TABLES)?;
    let header = header(table, input.arbitrary()?);
    let fills = input.arbitrary::<[u8; 2]>()?.map(|fill| usize::from(fill) + 1);
    let rows = input.take_rest();
    for delimiter in Delimiter::ALL {
        assert_valid_is_read_as_csv_reads_it(rows, delimiter, &fills);
    }
    let found = assert_cutting_changes_nothing(table.id, &header, rows, &fills);

    let copy = [HEADER, &found.encoded, TRAILER].concat();
    let mut decoder = Decoder::default();
    for piece in copy.chunks(fills[0]) {
        assert_eq!(decoder.take(piece), Ok(()));
    }
    let (rows, digest) = (found.outcome.loaded, found.outcome.content_digest);
    assert_eq!(decoder.finish(), Ok(Content { rows, digest, bytes: copy.len() as u64 }));
    Ok(())
}

/// The usual header, or one with the columns in reverse and, before them, one that is not loaded.
fn header(table: &Table, unusual: bool) -> String {
    let mut names: Vec<&str> = table.columns.iter().map(|column| column.headers[0]).collect();
    if unusual {
        names.push("note");
        names.reverse();
    }
    names.join(",")
}
