//! Properties of splitting, parsing and converting, with the `csv` crate as the reference where the input is valid, and one
//! chunk as the reference where it is not. No database.

use atelier_base::tables::{ColumnKind, TABLES, Table};
use atelier_etl::csv::chunk::CHUNK_BYTES;
use atelier_etl::csv::record::{Delimiter, MAX_RECORD_BYTES, RecordShape};
use atelier_etl::rows::digest::ContentDigest;
use atelier_etl::rows::encode;
use atelier_etl::rows::value::Value;
use csv::{QuoteStyle, Terminator, WriterBuilder};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::catalogue::{check, example, files, written};
use properties::{
    Seen, assert_complete, assert_cutting_changes_nothing, assert_valid_is_read_as_csv_reads_it,
};

mod properties;

fn shape(fields: usize) -> RecordShape {
    RecordShape { delimiter: Delimiter::Comma, fields, ids: vec![0] }
}

/// The records of an input that is one chunk.
fn whole(input: &[u8], fields: usize) -> Vec<Seen> {
    let shape = shape(fields);
    properties::records(&properties::whole(input, &shape), &shape)
}

fn in_chunks(input: &[u8], fills: &[usize], fields: usize) -> Vec<Seen> {
    let shape = shape(fields);
    properties::records(&properties::chunks(input, fills, &shape), &shape)
}

/// Pieces that CSV is made of, and some that it is not.
const PIECES: [&str; 22] = [
    "\"",
    "\"",
    "\"",
    ",",
    ",",
    ",",
    "\n",
    "\n",
    "\r\n",
    "\r",
    " ",
    "\t",
    "1",
    "2,",
    "\n3,",
    "\"\"",
    "\",\"",
    "\"\n",
    "null",
    "x",
    "\u{e9}",
    "\u{1f9f5}",
];

/// Text that may need quotes; with `line_ends` or without.
fn text(line_ends: bool) -> impl Strategy<Value = String> {
    vec(select(&PIECES[..]), 0..8).prop_map(move |pieces| match (pieces.concat(), line_ends) {
        (text, true) => text,
        (text, false) => text.replace(['\n', '\r'], ""),
    })
}

/// Records that begin with an id and have all the same number of fields, two to five.
fn table(line_ends: bool) -> impl Strategy<Value = Vec<Vec<String>>> {
    (1usize..5).prop_flat_map(move |texts| {
        vec((0u32..10_000, vec(text(line_ends), texts)), 1..8).prop_map(|records| {
            let record = |(id, texts): (u32, Vec<String>)| [vec![id.to_string()], texts].concat();
            records.into_iter().map(record).collect()
        })
    })
}

/// How the `csv` crate writes, and whether the file ends with a line end.
fn style() -> impl Strategy<Value = (QuoteStyle, Terminator, bool)> {
    let quotes = select(&[QuoteStyle::Always, QuoteStyle::NonNumeric, QuoteStyle::Necessary][..]);
    let ends = prop_oneof![Just(Terminator::CRLF), Just(Terminator::Any(b'\n'))];
    (quotes, ends, any::<bool>())
}

fn write(records: &[Vec<String>], (quotes, terminator, last): (QuoteStyle, Terminator, bool)) -> Vec<u8> {
    let mut writer = WriterBuilder::new().quote_style(quotes).terminator(terminator).from_writer(Vec::new());
    for record in records {
        writer.write_record(record).unwrap();
    }
    let mut bytes = writer.into_inner().unwrap();
    if !last {
        let end = bytes.strip_suffix(b"\n").map(|text| text.strip_suffix(b"\r").unwrap_or(text));
        bytes.truncate(end.unwrap().len());
    }
    bytes
}

/// Where something is put in or in place of a byte, and what.
type Damage = Vec<(Index, bool, &'static [u8])>;

fn damage() -> impl Strategy<Value = Damage> {
    let piece = prop_oneof![
        16 => select(&PIECES[..]).prop_map(str::as_bytes),
        1 => Just(&b"\0"[..]),
        1 => Just(&b"\xff"[..]),
    ];
    vec((any::<Index>(), any::<bool>(), piece), 0..4)
}

fn damaged(mut bytes: Vec<u8>, damage: Damage) -> Vec<u8> {
    for (place, replaced, piece) in damage {
        let at = place.index(bytes.len());
        bytes.splice(at..at + usize::from(replaced), piece.iter().copied());
    }
    bytes
}

/// Anything: bytes, pieces of CSV, or valid records with a few bytes changed.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let records = (table(true), style(), damage())
        .prop_map(|(records, style, damage)| damaged(write(&records, style), damage));
    prop_oneof![
        1 => vec(any::<u8>(), 0..200),
        3 => vec(select(&PIECES[..]), 0..60).prop_map(|pieces| pieces.concat().into_bytes()),
        4 => records,
    ]
}

/// Fields of a column: values, forms that are repaired, and faults. Ids are few, so that some are duplicates.
fn field(kind: ColumnKind) -> impl Strategy<Value = &'static str> {
    let fields: &[&str] = match kind {
        ColumnKind::Id => &["1", "2", "3", "4", "5", "6", "7", " 8", "009", "\"10\"", "0", "x", ""],
        ColumnKind::Parent(_) => &["1", "2", "3", "4 ", "\"9\"", "10", "null"],
        ColumnKind::Integer => &["0", "-3", "140", " 7", "1.5"],
        ColumnKind::Text { .. } => &[
            "XS",
            "\"XS\"",
            "\"6\"\" nails\"",
            "\"two\nlines\"",
            " \"XS\" ",
            "\"\"",
            "null",
            "",
            "  x",
            "XS\r",
            "\"open",
            "X\"S",
            "\u{e9}",
        ],
        ColumnKind::Price { .. } => {
            &["140", "586.07", "\"$818\"", "$5", "\"default_price\": 49", "null", "1.001"]
        }
        ColumnKind::Boolean => &["0", "1", "t", "1 ", "2"],
    };
    select(fields)
}

/// Rows of `table`, sound and faulty, with a few bytes changed.
fn rows(table: &Table) -> impl Strategy<Value = Vec<u8>> + use<> {
    let fields: Vec<_> = table.columns.iter().map(|column| field(column.kind)).collect();
    let record = (fields, select(&["\n", "\n", "\r\n", "\r\r\n", "\n\n"][..]))
        .prop_map(|(fields, end)| fields.join(",") + end);
    (vec(record, 1..16), damage())
        .prop_map(|(records, damage)| damaged(records.concat().into_bytes(), damage))
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn valid_csv_is_read_as_the_csv_crate_reads_it(records in table(true), style in style()) {
        let bytes = write(&records, style);
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&bytes[..]);
        let reference: Vec<Vec<String>> =
            reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
        prop_assert_eq!(&reference, &records);

        let seen = whole(&bytes, records[0].len());
        // Only the spaces around a field without quotes are not read as they are.
        let trimmed = |text: &String| match text.contains([',', '"', '\n', '\r']) {
            false if matches!(style.0, QuoteStyle::Necessary) => text.trim_matches([' ', '\t']).to_owned(),
            _ => text.clone(),
        };
        let expected: Vec<Vec<String>> =
            reference.iter().map(|record| record.iter().map(trimmed).collect()).collect();
        prop_assert_eq!(seen.iter().map(Seen::texts).collect::<Vec<_>>(), expected);
        prop_assert!(seen.iter().all(|record| record.flags[1..] == [false, false]));
    }

    /// Of any bytes: what is valid in them, in every delimiter.
    #[test]
    fn any_valid_input_is_read_as_the_csv_crate_reads_it(
        input in anything(),
        delimiter in select(&Delimiter::ALL[..]),
        fills in vec(1usize..40, 1..6),
    ) {
        let commas = input.iter().map(|&byte| if byte == b',' { delimiter.byte() } else { byte });
        let input: Vec<u8> = commas.collect();
        assert_valid_is_read_as_csv_reads_it(&input, delimiter, &fills);
    }

    #[test]
    fn cutting_does_not_change_the_records(
        input in anything(),
        fields in 2usize..6,
        fills in vec(1usize..40, 1..6),
    ) {
        let expected = whole(&input, fields);
        prop_assert_eq!(&in_chunks(&input, &fills, fields), &expected);
        prop_assert_eq!(&in_chunks(&input, &[1], fields), &expected);
    }

    #[test]
    fn every_byte_is_in_one_record_or_in_an_empty_line(input in anything(), fields in 2usize..6) {
        assert_complete(&input, &whole(&input, fields));
    }

    #[test]
    fn cutting_does_not_change_rows_rejects_and_repairs(
        (table, rows) in (0..TABLES.len()).prop_flat_map(|index| (Just(&TABLES[index]), rows(&TABLES[index]))),
        fills in vec(1usize..60, 1..6),
    ) {
        assert_cutting_changes_nothing(table.id, &table.header(), &rows, &fills);
        assert_cutting_changes_nothing(table.id, &table.header(), &rows, &[1]);
    }

    #[test]
    fn one_bad_quote_costs_one_line(
        records in table(false),
        style in style(),
        (line, place, insert) in (any::<Index>(), any::<Index>(), any::<bool>()),
    ) {
        let bytes = write(&records, style);
        let sound = whole(&bytes, records[0].len());
        prop_assert_eq!(sound.len(), records.len());

        let damaged = line.index(records.len());
        let start = sound[damaged].offset as usize;
        let raw = &sound[damaged].raw;
        let quotes: Vec<usize> = (0..raw.len()).filter(|&at| raw[at] == b'"').collect();
        let mut bytes = bytes.clone();
        if insert || quotes.is_empty() {
            bytes.insert(start + place.index(raw.len() + 1), b'"');
        } else {
            bytes.remove(start + quotes[place.index(quotes.len())]);
        }
        let seen = whole(&bytes, records[0].len());
        prop_assert_eq!(seen.len(), records.len());
        for (index, (before, after)) in sound.iter().zip(&seen).enumerate() {
            prop_assert_eq!(before.line, after.line);
            if index != damaged {
                prop_assert_eq!((&before.raw, &before.fields), (&after.raw, &after.fields));
            }
        }
    }
}

/// Values of anything, in a file that is read in several chunks: by the digest of the rows that the `csv` crate reads.
#[test]
fn a_valid_file_is_read_as_the_csv_crate_reads_it_by_any_number_of_jobs() {
    let mut runner = TestRunner::deterministic();
    let mut text = || format!("x{}", text(true).new_tree(&mut runner).unwrap().current());
    let records = (1..60_000).map(|id: u32| vec![id.to_string(), "1".to_owned(), text(), text()]);
    let records: Vec<Vec<String>> = records.collect();
    for style in
        [(QuoteStyle::Necessary, Terminator::CRLF, true), (QuoteStyle::Always, Terminator::Any(b'\n'), false)]
    {
        let header = vec!["id", "product_id", "feature", "value"].into_iter().map(str::to_owned).collect();
        let bytes = write(&[vec![header], records.clone()].concat(), style);
        assert!(bytes.len() > 2 * CHUNK_BYTES);
        let (mut digest, mut row) = (ContentDigest::default(), Vec::new());
        for record in csv::Reader::from_reader(&bytes[..]).into_byte_records().map(Result::unwrap) {
            let id = std::str::from_utf8(&record[0]).unwrap().parse().unwrap();
            row.clear();
            let values =
                [Value::Integer(id), Value::Integer(1), Value::Text(&record[2]), Value::Text(&record[3])];
            encode::row(&values, None, &mut row);
            digest.add(&row);
        }
        let catalogue = example();
        let files = files(&catalogue).into_iter().map(|(table, file)| match table {
            "features" => ("features.csv".to_owned(), bytes.clone()),
            _ => (format!("{table}.csv"), file),
        });
        let catalogue = written(files);
        for jobs in ["1", "2", "3", "8"] {
            let report = &check(catalogue.path(), &["--jobs", jobs, "--max-rejects", "50%"]).report;
            let features = &report["tables"]["features"];
            assert_eq!(features["loaded"], records.len(), "{jobs}");
            assert_eq!(features["repaired_rows"], 0, "{jobs}");
            assert_eq!(features["content_digest"], digest.to_string(), "{jobs}");
        }
    }
}

/// Records about as long as a record may be, which random input never has.
#[test]
fn cutting_a_long_record_changes_nothing() {
    let filler = |bytes: usize| "x".repeat(bytes);
    let lines = |bytes: usize| "a line\n".repeat(bytes / 7);
    let mut cases = Vec::new();
    for less in [20, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0] {
        let near = MAX_RECORD_BYTES - less;
        cases.push(format!("1,a\n2,{}\n3,b\n", filler(near)));
        cases.push(format!("1,a\n2,\"{}\"\n3,b\n", filler(near)));
        // A quoted field of many lines that ends just before the limit or just after it.
        cases.push(format!("1,a\n2,\"{}{}\"\n3,b\n4,c", lines(near), filler(near % 7)));
    }
    // Valid, and longer than is kept in memory; and the same but for the text after the closing quote.
    for behind in ["", "x"] {
        let text = lines(20 * MAX_RECORD_BYTES);
        cases.push(format!("1,a\n2,\"{text}4,d\n\"\"\"{behind}\n3,b\n4,\"c\n5,d\"\n"));
    }
    cases.push(format!("1,\"a\n{}\n3,b\n4,\"c\n5,d\"\n", filler(3 * MAX_RECORD_BYTES)));
    // The first line alone is longer.
    cases.push(format!("1,\"{}\n2,b\"\n3,c\n", filler(9 * MAX_RECORD_BYTES)));
    cases.push(format!("1,a\"b,\"{}\n2,b\"\n3,c\n", filler(9 * MAX_RECORD_BYTES)));
    cases.push(format!("1,\"{}", lines(MAX_RECORD_BYTES + 100)));
    cases.push(filler(MAX_RECORD_BYTES + 1));
    cases.push(format!("{}\n\n2,b", filler(2 * MAX_RECORD_BYTES)));
    for (case, input) in cases.iter().enumerate() {
        let expected = whole(input.as_bytes(), 2);
        assert!(!expected.is_empty());
        for fill in [100_003, 512 << 10, MAX_RECORD_BYTES, MAX_RECORD_BYTES + 1, 10 * MAX_RECORD_BYTES] {
            let found = in_chunks(input.as_bytes(), &[fill], 2);
            // Not assert_eq: it would print megabytes.
            let place = (0..found.len().max(expected.len())).find(|&at| found.get(at) != expected.get(at));
            assert_eq!(place, None, "case {case}, {fill} bytes at a time: the record that differs");
        }
    }
}

/// So many records that a chunk may not have them all, although they were read at once.
#[test]
fn cutting_many_short_records_changes_nothing() {
    let input = "1,\n\n2,\"a\r\nb\"\n".repeat(40_000);
    let chunks = properties::chunks(input.as_bytes(), &[usize::MAX], &shape(2));
    assert_eq!(chunks.iter().map(|chunk| chunk.records).collect::<Vec<_>>(), [32_768, 32_768, 14_464]);
    assert!(properties::records(&chunks, &shape(2)) == whole(input.as_bytes(), 2));
}
