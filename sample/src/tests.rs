//! Compares the files with the manifest, by a reader that is as plain as it can be and shares nothing with `plan`: it
//! reads the lines alone, and finds in each what a correct loader has to find.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use atelier_base::tables::{Column, ColumnKind, TABLES, Table};
use enum_map::Enum as _;
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

use crate::defect::Defect;
use crate::*;

fn generated(products: u32, defects: Defects, threads: usize) -> (TempDir, Manifest) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { out: dir.path().join("new/data"), products, seed: 42, defects, threads };
    let manifest = generate(&options, &|| Ok(())).unwrap();
    (dir, manifest)
}

fn read(dir: &TempDir, table: &Table) -> Vec<u8> {
    fs::read(dir.path().join("new/data").join(format!("{}.csv", table.stems[0]))).unwrap()
}

fn all_bytes(dir: &TempDir) -> Vec<u8> {
    TABLES.iter().flat_map(|table| read(dir, table)).collect()
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// A record's fields without their quotes, whether each was quoted, and what is wrong with its form.
struct Line {
    fields: Vec<(Vec<u8>, bool)>,
    form: Option<&'static str>,
}

/// Reads one record, which may lack its last quote.
fn parse(record: &[u8]) -> Line {
    let mut form = None;
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let trimmed = rest.trim_ascii_start();
        let mut spaces = rest.len() - trimmed.len();
        let (mut field, is_quoted) = (Vec::new(), trimmed.first() == Some(&b'"'));
        rest = trimmed;
        if is_quoted {
            rest = &rest[1..];
            loop {
                match rest {
                    [] => break,
                    [b'"', b'"', ..] => (field.push(b'"'), rest = &rest[2..]).0,
                    [b'"', ..] => break,
                    [byte, ..] => (field.push(*byte), rest = &rest[1..]).0,
                }
            }
            match rest {
                [] => form = form.or(Some("unterminated_quote")),
                _ => rest = &rest[1..],
            }
        }
        let end = rest.iter().position(|&byte| byte == b',').unwrap_or(rest.len());
        let after = &rest[..end];
        if is_quoted {
            spaces += after.len() - after.trim_ascii_start().len();
            match after.trim_ascii() {
                b"" => {}
                price if price.starts_with(b": ") && field == b"default_price" => {
                    field.splice(.., *b"$").for_each(drop);
                    field.extend_from_slice(&price[2..]);
                }
                _ => form = Some("bad_quote"),
            }
        } else {
            field.extend_from_slice(after);
            if after.contains(&b'"') {
                form = Some("bad_quote");
            }
        }
        if spaces > 0 {
            form = form.or(Some("spacing"));
        }
        fields.push((field, is_quoted));
        if end == rest.len() {
            return Line { fields, form };
        }
        rest = &rest[end + 1..];
    }
}

/// What is wrong with a field that holds `kind`, apart from its form.
fn judge(kind: ColumnKind, field: &[u8], is_quoted: bool) -> Option<&'static str> {
    let is_null = !is_quoted && (field == b"null" || field.is_empty());
    let plain = |field: &[u8]| {
        let text = std::str::from_utf8(field).unwrap();
        let (whole, cents) = text.split_once('.').unwrap_or((text, ""));
        (whole.parse::<u64>().is_ok_and(|whole| whole < 10_000_000_000) && cents.len() <= 2).then_some(())
    };
    match kind {
        ColumnKind::Text { empty: true, .. } if !is_null => None,
        ColumnKind::Text { null: true, .. } | ColumnKind::Price { null: true } if is_null => None,
        ColumnKind::Text { .. } => (is_null || field.is_empty()).then_some("missing_value"),
        _ if is_null => Some("missing_value"),
        ColumnKind::Id => {
            number(field).filter(|&id| (1..1 << 31).contains(&id)).map_or(Some("bad_integer"), |_| None)
        }
        ColumnKind::Parent(_) | ColumnKind::Integer => number(field).map_or(Some("bad_integer"), |_| None),
        ColumnKind::Boolean => (!matches!(field, b"0" | b"1")).then_some("bad_boolean"),
        ColumnKind::Price { .. } => match field.strip_prefix(b"$") {
            _ if !is_quoted => plain(field).map_or(Some("bad_price"), |()| None),
            digits => plain(digits.unwrap_or(field)).map_or(Some("bad_price"), |()| Some("price_format")),
        },
    }
}

/// The records of a file, without its header.
fn records(bytes: &[u8], table: &Table) -> Vec<Vec<u8>> {
    let mut lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec);
    assert_eq!(lines.next().unwrap(), table.header().as_bytes());
    let mut records: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        assert!(!line.is_empty() && !line.ends_with(b"\r"));
        // Only products have texts of several lines; their first lines begin with an id and a comma.
        let begins = line.trim_ascii_start().iter().take(2).any(u8::is_ascii_digit);
        match records.last_mut() {
            Some(record) if table.id == TableId::Product && !begins => {
                record.push(b'\n');
                record.extend(line);
            }
            _ => records.push(line),
        }
    }
    records
}

fn defects() -> impl Iterator<Item = Defect> {
    (0..Defect::LENGTH).map(Defect::from_usize)
}

/// Counts what a correct loader finds, and compares it with the manifest.
fn recount(dir: &TempDir, manifest: &Manifest) {
    let mut loaded = EnumMap::<TableId, HashSet<u32>>::default();
    for table in &TABLES {
        let bytes = read(dir, table);
        let expected = &manifest.tables[table.id];
        let (mut ids, mut by_code) = (HashSet::new(), BTreeMap::<String, u64>::new());
        let records = records(&bytes, table);
        let mut previous = None;
        for record in &records {
            let line = parse(record);
            let encoding =
                (record.contains(&0) || std::str::from_utf8(record).is_err()).then_some("bad_encoding");
            let long = (record.len() > 1 << 20).then_some("record_too_long");
            let count = (line.fields.len() != table.columns.len()).then_some("field_count");
            let rejected = line.form.filter(|&form| form == "bad_quote");
            let fields = || table.columns.iter().zip(&line.fields);
            let id = number(line.fields[0].0.as_slice());
            let code = long
                .or(encoding)
                .or(rejected)
                .or(count)
                .or_else(|| fields().find_map(|(column, (field, quoted))| judge(column.kind, field, *quoted)))
                .or(line.form);
            let code = match code {
                code @ (None | Some("price_format" | "spacing" | "unterminated_quote")) => {
                    let is_lost = |(column, field): (&Column, &(Vec<u8>, bool))| {
                        let ColumnKind::Parent(parent) = column.kind else { return false };
                        !loaded[parent].contains(&number(&field.0).unwrap())
                    };
                    if fields().any(is_lost) {
                        Some("orphan")
                    } else if !ids.insert(id.unwrap()) {
                        Some("duplicate_id")
                    } else {
                        code
                    }
                }
                code => code,
            };
            // An orphan by its parent's defect is a line like any other.
            let is_missing = |(column, field): (&Column, &(Vec<u8>, bool))| {
                let is_parent = matches!(column.kind, ColumnKind::Parent(_));
                is_parent && number(&field.0).is_some_and(|id| id == 0 || id >= 2_000_000_000)
            };
            let is_planted = match code {
                Some("orphan") => fields().any(is_missing),
                code => code.is_some(),
            };
            assert!(!(is_planted && previous == Some(true)), "two in a row: {}", record.escape_ascii());
            previous = Some(is_planted);
            if let Some(code) = code {
                *by_code.entry(code.to_owned()).or_default() += 1;
            }
        }
        let is_repaired = |code: &str| defects().any(|defect| defect.code() == code && defect.is_repaired());
        let (repaired, rejected): (BTreeMap<_, _>, BTreeMap<_, _>) =
            by_code.into_iter().partition(|(code, _)| is_repaired(code));
        assert_eq!(expected.bytes, bytes.len() as u64, "{}", table.name);
        assert_eq!(expected.read, records.len() as u64, "{}", table.name);
        assert_eq!(expected.loaded, ids.len() as u64, "{}", table.name);
        assert_eq!((&expected.repaired, &expected.rejected), (&repaired, &rejected), "{}", table.name);
        assert_eq!(previous, previous.and(Some(false)), "the last row has no defect");
        loaded[table.id] = ids;
    }
}

#[test]
fn the_manifest_describes_the_files() {
    for (products, defects) in [
        (1, Defects::None),
        (1, Defects::Heavy),
        (40, Defects::Legacy),
        (2500, Defects::None),
        (2500, Defects::Legacy),
        (4500, Defects::Heavy),
    ] {
        let (dir, manifest) = generated(products, defects, 2);
        recount(&dir, &manifest);
        let written = fs::read_to_string(dir.path().join("new/data/manifest.json")).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&written).unwrap(), manifest);
    }
}

#[test]
fn bytes_depend_on_the_options_alone() {
    let (one, _) = generated(1500, Defects::Heavy, 1);
    let (four, _) = generated(1500, Defects::Heavy, 4);
    assert!(all_bytes(&one) == all_bytes(&four));
}

/// A change of these numbers changes every generated catalogue: note it in the changelog.
#[test]
fn bytes_are_those_of_this_version() {
    for (defects, digest) in [
        (Defects::None, 0x69c9_27b3_909f_2474),
        (Defects::Legacy, 0x3dff_5634_814a_c298),
        (Defects::Heavy, 0xfd6d_9abf_c847_4cd1),
    ] {
        let (dir, _) = generated(200, defects, 2);
        assert_eq!(xxh3_64(&all_bytes(&dir)), digest, "{defects:?}");
    }
}

#[test]
fn a_catalogue_without_defects_is_strict_csv() {
    let (dir, manifest) = generated(2500, Defects::None, 2);
    for table in &TABLES {
        let bytes = read(&dir, table);
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        assert_eq!(records.len() as u64, manifest.tables[table.id].loaded, "{}", table.name);
        let ids: Vec<u32> = records.iter().map(|record| record[0].parse().unwrap()).collect();
        let descents = ids.windows(2).filter(|pair| pair[1] < pair[0]).count();
        let is_sorted = table.id == TableId::Related;
        assert_eq!(descents == 0, is_sorted, "{}: {descents} ids not in order", table.name);
        assert!(!bytes.ends_with(b"\n"));
    }
}

/// Reads as COPY does: a quote opens or closes, wherever it is. (The `csv` crate reads a quote after a closed field as
/// text, so it damages the line after each of the ten, and makes no pairs.)
fn rows_of_copy(bytes: &[u8]) -> usize {
    let mut is_quoted = false;
    let ends = bytes.iter().filter(|&&byte| {
        is_quoted ^= byte == b'"';
        byte == b'\n' && !is_quoted
    });
    ends.count()
}

#[test]
fn copy_loses_193_photos_of_a_legacy_catalogue() {
    let (dir, manifest) = generated(400, Defects::Legacy, 2);
    let photos = &manifest.tables[TableId::Photos];
    let lost = photos.loaded as usize - rows_of_copy(&read(&dir, TableId::Photos.table()));
    assert_eq!((lost, photos.repaired["unterminated_quote"]), (193, 10));
}

#[test]
fn heavy_catalogues_have_every_code_and_stay_below_the_usual_limit() {
    let (_dir, manifest) = generated(2000, Defects::Heavy, 2);
    let codes = |table: &TableManifest| table.repaired.len() + table.rejected.len();
    let found: Vec<usize> = manifest.tables.values().map(codes).collect();
    assert_eq!(found, [2 + 8, 2 + 7, 2 + 9, 2 + 8, 1 + 7, 1 + 6], "{manifest:?}");

    let (_dir, manifest) = generated(10_000, Defects::Heavy, 2);
    for (table, counts) in &manifest.tables {
        let share = (counts.read - counts.loaded) as f64 / counts.read as f64;
        assert!(share < 0.009, "{table:?}: {share}");
    }
    for table in [TableId::Product, TableId::Styles] {
        let counts = &manifest.tables[table];
        let share = counts.repaired["price_format"] as f64 / counts.read as f64;
        assert!((0.07..0.09).contains(&share), "{table:?}: {share}");
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn real_data_is_not_overwritten_and_generated_data_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut options =
        Options { out: dir.path().into(), products: 0, seed: 1, defects: Defects::None, threads: 1 };
    assert_eq!(generate(&options, &|| Ok(())).unwrap_err().class(), atelier_base::error::Class::Usage);
    options.products = 30;
    fs::write(dir.path().join("products.csv.gz"), "mine").unwrap();
    let error = generate(&options, &|| Ok(())).unwrap_err();
    assert_eq!(error.class(), atelier_base::error::Class::Usage);
    assert!(format!("{error:#}").contains("--out"), "{error:#}");
    assert_eq!(names(dir.path()), ["products.csv.gz"]);

    fs::remove_file(dir.path().join("products.csv.gz")).unwrap();
    let first = generate(&options, &|| Ok(())).unwrap();
    options.seed = 2;
    assert_ne!(generate(&options, &|| Ok(())).unwrap().tables, first.tables);
    let all = [
        "features.csv",
        "manifest.json",
        "photos.csv",
        "product.csv",
        "related.csv",
        "skus.csv",
        "styles.csv",
    ];
    assert_eq!(names(dir.path()), all);
}

#[test]
fn an_interrupt_leaves_no_partial_file() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { out: dir.path().into(), products: 20_000, seed: 1, defects: Defects::None, threads: 2 };
    let calls = Cell::new(0);
    let check_interrupt = || {
        calls.set(calls.get() + 1);
        assert!(!names(dir.path()).is_empty());
        if calls.get() < 3 { Ok(()) } else { Err(Error::interrupted()) }
    };
    let error = generate(&options, &check_interrupt).unwrap_err();
    assert_eq!((error.class(), calls.get()), (atelier_base::error::Class::Interrupted, 3));
    assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { out: dir.path().into(), products: 3000, seed: 1, defects: Defects::None, threads: 2 };
    std::os::unix::fs::symlink("/dev/full", dir.path().join("photos.csv.partial")).unwrap();
    let error = generate(&options, &|| Ok(())).unwrap_err();
    assert_eq!(error.class(), atelier_base::error::Class::Input);
    let message = format!("{error:#}");
    assert!(message.contains("photos.csv.partial") && message.contains("make room"), "{message}");
    assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
}

#[test]
fn partial_files_of_another_process_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { out: dir.path().into(), products: 10, seed: 1, defects: Defects::None, threads: 1 };
    let partial = |name: &str| dir.path().join(format!("{name}.csv.partial"));
    std::fs::create_dir(partial("skus")).unwrap();
    std::fs::write(partial("related"), "of another").unwrap();
    let error = generate(&options, &|| Ok(())).unwrap_err();
    assert!(format!("{error:#}").contains("skus.csv.partial"), "{error:#}");
    assert_eq!(names(dir.path()), ["related.csv.partial", "skus.csv.partial"]);
    assert_eq!(std::fs::read_to_string(partial("related")).unwrap(), "of another");
}
