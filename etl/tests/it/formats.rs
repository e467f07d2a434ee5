//! The format of a file, whatever its name: the same catalogue compressed, encoded and delimited in every way that is
//! supported, and messages that name other formats.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use atelier_base::tables::TABLES;
use atelier_sample::Defects;
use atelier_testing::Server;
use csv::{QuoteStyle, ReaderBuilder, WriterBuilder};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::catalogue::{Done, check, example, files, generated, load, written};

/// A catalogue with each file changed.
fn changed(directory: &Path, extension: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> TempDir {
    let file = |(table, bytes)| (format!("{table}.{extension}"), change(bytes));
    written(files(directory).into_iter().map(file))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// A window four times larger than the default limit of decoders.
fn zstd_long(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.window_log(29).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The two halves, each by itself.
fn halves(bytes: &[u8], encode: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    [encode(first), encode(second)].concat()
}

/// A frame that decoders skip (RFC 8878, 3.1.2).
const SKIPPABLE: &[u8] = b"\x50\x2a\x4d\x18\x03\0\0\0abc";

/// A frame of four bytes that names the dictionary 7 (RFC 8878, 3.1.1.1.3).
const WITH_DICTIONARY: &[u8] = b"\x28\xb5\x2f\xfd\x21\x07\x04\x21\0\0id,\n";

fn utf_16(mark: &str, bytes: &[u8], unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let text = format!("{mark}{}", std::str::from_utf8(bytes).unwrap());
    text.encode_utf16().flat_map(unit).collect()
}

fn utf_32(mark: &str, bytes: &[u8], unit: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let text = format!("{mark}{}", std::str::from_utf8(bytes).unwrap());
    text.chars().flat_map(|character| unit(character.into())).collect()
}

/// The same records with another delimiter, behind what is written before them.
fn delimited(before: &str, delimiter: u8, bytes: &[u8]) -> Vec<u8> {
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(bytes);
    let mut writer = WriterBuilder::new()
        .delimiter(delimiter)
        .quote_style(QuoteStyle::NonNumeric)
        .from_writer(before.as_bytes().to_vec());
    for record in reader.byte_records() {
        let record = record.unwrap();
        // The word alone is null, and in quotes it is text.
        let line: Vec<_> = record.iter().map(|field| if field == b"null" { b"" } else { field }).collect();
        writer.write_record(line).unwrap();
    }
    let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
    // The writer puts quotes around what is empty.
    let delimiter = char::from(delimiter);
    text.replace(&format!("{delimiter}\"\"{delimiter}"), &format!("{delimiter}{delimiter}"))
        .replace(&format!("{delimiter}\"\"\n"), &format!("{delimiter}\n"))
        .into_bytes()
}

const MARK: &str = "\u{feff}";

/// How a file is changed, and its new name.
type Way = (&'static str, fn(Vec<u8>) -> Vec<u8>);

const WAYS: &[Way] = &[
    ("csv", |bytes| [MARK.as_bytes(), &bytes].concat()),
    ("csv", |bytes| gzip(&bytes)),
    ("csv.zst", |bytes| gzip(&bytes)),
    ("csv.gz", |bytes| bytes),
    ("csv.gz", |bytes| halves(&bytes, gzip)),
    ("csv.gz", |bytes| [gzip(&bytes), gzip(b""), vec![0; 300_000]].concat()),
    ("csv", |bytes| zstd(&bytes)),
    ("csv.zst", |bytes| zstd_long(&bytes)),
    ("csv.zst", |bytes| [SKIPPABLE, &halves(&bytes, zstd), SKIPPABLE].concat()),
    ("csv", |bytes| utf_16(MARK, &bytes, u16::to_le_bytes)),
    ("csv", |bytes| utf_16(MARK, &bytes, u16::to_be_bytes)),
    ("csv", |bytes| utf_16("", &bytes, u16::to_le_bytes)),
    ("csv", |bytes| utf_16("", &bytes, u16::to_be_bytes)),
    ("csv", |bytes| utf_32(MARK, &bytes, u32::to_le_bytes)),
    ("csv", |bytes| utf_32(MARK, &bytes, u32::to_be_bytes)),
    ("csv", |bytes| utf_32("", &bytes, u32::to_le_bytes)),
    ("csv", |bytes| utf_32("", &bytes, u32::to_be_bytes)),
    ("csv.gz", |bytes| gzip(&utf_16(MARK, &bytes, u16::to_le_bytes))),
    ("csv", |bytes| delimited("", b';', &bytes)),
    ("csv", |bytes| delimited("", b'\t', &bytes)),
    ("csv", |bytes| delimited("", b'|', &bytes)),
    ("csv", |bytes| delimited("sep=;\n", b';', &bytes)),
    ("csv", |bytes| delimited("\u{feff}\"SEP=,\"\r\n", b',', &bytes)),
    ("csv", |bytes| utf_16(MARK, &delimited("sep=\t\r\n", b'\t', &bytes), u16::to_le_bytes)),
];

#[test]
fn every_supported_format_gives_the_same_rows() {
    // Photos, at least, are longer than what is read at a time.
    let (plain, manifest) = generated(1_000, Defects::None);
    let expected = check(plain.path(), &[]).succeeded().of_tables("content_digest");
    for (number, (extension, change)) in WAYS.iter().enumerate() {
        let done =
            check(changed(plain.path(), extension, change).path(), &["--max-rejects", "0"]).succeeded();
        assert_eq!(done.of_tables("content_digest"), expected, "{number}: {extension}");
        assert_eq!(done.report["tables"]["product"]["read"], manifest.products, "{number}: {extension}");
        assert_eq!(done.of_tables("repaired"), vec![json!({}); TABLES.len()], "{number}: {extension}");
        assert_eq!(done.report["warnings"], json!([]), "{number}: {extension}");
    }
}

/// A surrogate without its partner does not become a replacement character: the row is rejected.
#[test]
fn a_row_of_invalid_utf_16_is_rejected() {
    let catalogue = changed(&example(), "csv", |bytes| bytes);
    let features = "id,product_id,feature,value\n1,1,\u{e000},x\n2,1,b,x\n";
    let mut bytes = utf_16("", features.as_bytes(), u16::to_be_bytes);
    let private = bytes.windows(2).position(|unit| unit == 0xe000_u16.to_be_bytes()).unwrap();
    bytes[private..private + 2].copy_from_slice(&0xd800_u16.to_be_bytes());
    std::fs::write(catalogue.path().join("features.csv"), bytes).unwrap();
    let done = check(catalogue.path(), &["--max-rejects", "90%"]).succeeded();
    let report = &done.report["tables"]["features"];
    assert_eq!((&report["rejected"], &report["loaded"]), (&json!({"bad_encoding": 1}), &json!(1)));
}

/// The message names the file, what it is, and what to do.
#[test]
fn unsupported_formats_are_named() {
    let plain = files(&example()).into_iter().find(|(table, _)| *table == "skus").unwrap().1;
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 4].to_vec();
    let flipped = |mut bytes: Vec<u8>, from_end: usize| {
        let at = bytes.len() - from_end;
        bytes[at] ^= 0x55;
        bytes
    };
    let checked = |bytes: &[u8]| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (b"PK\x03\x04\x14\0".to_vec(), "is a zip archive", "unpack it"),
        (b"BZh91AY&SY".to_vec(), "is compressed with bzip2", "unpack it"),
        (b"<!DOCTYPE html><title>404".to_vec(), "is an HTML page", "fetch the CSV file itself"),
        (gzip(b"PK\x03\x04\x14\0"), "is a zip archive", "unpack it"),
        (gzip(&gzip(&plain)), "is compressed twice, the second time with gzip", "decompress it once"),
        (zstd(&gzip(&plain)), "is compressed twice, the second time with gzip", "decompress it once"),
        // The end is missing, or a checksum fails: only then is another copy needed.
        (cut(gzip(&plain)), "cannot decompress", "the end of the file is missing: fetch it again"),
        (cut(zstd(&plain)), "cannot decompress", "the end of the file is missing: fetch it again"),
        (flipped(gzip(&plain), 6), "checksum", "fetch it again"),
        (flipped(checked(&plain), 2), "checksum", "fetch it again"),
        (WITH_DICTIONARY.to_vec(), "cannot decompress", "compress it without a dictionary"),
        (
            [gzip(&plain), b"rest".to_vec()].concat(),
            "follows the end of the compressed data",
            "check it with gzip -t",
        ),
        ([zstd(&plain), b"rest".to_vec()].concat(), "cannot decompress", "check it with zstd -t"),
        (b"sep=^\nid^styleId^size^quantity\n".to_vec(), "separated by \"^\"", "separate them by commas"),
        (
            b"id;styleId;size\n".to_vec(),
            "no column \"quantity\" (found: \"id\", \"styleId\", \"size\")",
            "header of skus",
        ),
        (b"id,styleId,size,quantity\r1,1,S,2\r".to_vec(), "line 1: the lines end in CR alone", "LF or CRLF"),
        ("id,styleId,size,quantity\r1,1,S,2\r".repeat(40_000).into_bytes(), "end in CR alone", "LF or CRLF"),
    ];
    for (bytes, what, to_do) in cases {
        let catalogue = changed(&example(), "csv", |bytes| bytes);
        std::fs::write(catalogue.path().join("skus.csv"), bytes).unwrap();
        let Done { run, .. } = check(catalogue.path(), &["--max-rejects", "90%"]);
        assert_eq!(run.code, 3, "{what}: {run:?}");
        for telling in ["skus.csv", what, to_do] {
            assert!(run.stderr.contains(telling), "{telling:?} is not in {}", run.stderr);
        }
        assert_eq!(run.stderr.contains("fetch it again"), to_do.contains("fetch it again"), "{}", run.stderr);
    }
}

/// Files that PostgreSQL writes from the published tables give the same rows.
#[test]
fn copies_of_the_published_tables_can_be_loaded() {
    let database = Server::shared().database();
    let generated = generated(1_000, Defects::Heavy).0;
    for catalogue in [&*example(), generated.path()] {
        let loaded = load(&database, catalogue, &["--max-rejects", "50%"]).succeeded();
        let copies = tempfile::tempdir().unwrap();
        for table in &TABLES {
            let file = copies.path().join(format!("{}.csv", table.name));
            // The word null alone is null, as the files have it.
            let quote = if table.name == "features" { " FORCE QUOTE value" } else { "" };
            let copy = format!("\\copy atelier.{} TO '{}' CSV HEADER{quote}", table.name, file.display());
            let psql = Command::new(Server::shared().bin().join("psql"))
                .args([&database.url(), "-c", &copy])
                .output();
            assert!(psql.as_ref().unwrap().status.success(), "{psql:?}");
        }
        let again = load(&database, copies.path(), &["--max-rejects", "0"]).succeeded();
        assert_eq!(again.of_tables("content_digest"), loaded.of_tables("content_digest"));
        for nothing in ["repaired", "rejected"] {
            assert_eq!(again.of_tables(nothing), vec![json!({}); TABLES.len()]);
        }
        assert_eq!(again.report["warnings"], Value::Array(Vec::new()));
    }
}
