//! Generated catalogues loaded: the database against the files, the report against the manifest, and one content
//! under many spellings.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use atelier_base::tables::{ColumnKind, TABLES, Table, TableId};
use atelier_sample::{Defects, Manifest};
use atelier_testing::{Database, Server};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::catalogue::{Done, check, files, generated, load, records, written};

/// A field of the file as the database prints the value it means.
fn printed(kind: ColumnKind, field: &str) -> Option<String> {
    match kind {
        ColumnKind::Price { .. } | ColumnKind::Text { null: true, .. } if field == "null" => None,
        ColumnKind::Price { .. } => {
            let (whole, cents) = field.split_once('.').unwrap_or((field, ""));
            Some(format!("{whole}.{cents:0<2}"))
        }
        ColumnKind::Boolean => Some(if field == "1" { "t" } else { "f" }.to_owned()),
        _ => Some(field.to_owned()),
    }
}

/// The rows of the file, each value as the database prints it, read by the `csv` crate.
fn rows_of_file(table: &Table, directory: &Path) -> Vec<Vec<Option<String>>> {
    let path = directory.join(format!("{}.csv", table.name));
    // The csv crate does not tell `null` from `"null"`.
    assert!(!fs::read_to_string(&path).unwrap().contains("\"null\""));
    let records = records(&path).into_iter();
    records
        .map(|record| {
            table.columns.iter().zip(&record).map(|(column, field)| printed(column.kind, field)).collect()
        })
        .collect()
}

#[test]
fn every_row_of_every_table_is_in_the_database_in_the_order_of_its_file() {
    let (catalogue, manifest) = generated(1_500, Defects::None);
    let database = Server::shared().database();
    let loaded = load(&database, catalogue.path(), &["--max-rejects", "0"]).succeeded();
    for table in &TABLES {
        let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let query = format!("SELECT {} FROM atelier.{} ORDER BY ctid", names.join(", "), table.name);
        let (found, expected) = (database.query(&query), rows_of_file(table, catalogue.path()));
        assert_eq!(found.len(), expected.len(), "{}", table.name);
        assert_eq!(found.len() as u64, manifest.tables[table.id].loaded, "{}", table.name);
        // Not assert_eq on all: it would print everything.
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{}", table.name);
        }
    }
    assert!(
        loaded
            .of_tables("repaired")
            .iter()
            .chain(&loaded.of_tables("rejected"))
            .all(|codes| *codes == json!({}))
    );
}

/// Holds what a run found against what was planted.
fn expect_manifest(done: &Done, manifest: &Manifest) {
    for table in &TABLES {
        let (found, planted) = (&done.report["tables"][table.name], &manifest.tables[table.id]);
        assert_eq!(found["read"], planted.read, "{}", table.name);
        assert_eq!(found["loaded"], planted.loaded, "{}", table.name);
        assert_eq!(found["repaired"], json!(planted.repaired), "{}", table.name);
        assert_eq!(found["rejected"], json!(planted.rejected), "{}", table.name);
        let lines = done.rejects(table.name).map_or(0, |rejects| {
            csv::ReaderBuilder::new().from_reader(&rejects[..]).into_byte_records().count() as u64
        });
        assert_eq!(lines, planted.read - planted.loaded, "{}", table.name);
    }
}

fn expect_counts(database: &Database<'_>, manifest: &Manifest) {
    for table in &TABLES {
        let count = database.query(&format!("SELECT count(*) FROM atelier.{}", table.name));
        let planted = manifest.tables[table.id].loaded.to_string();
        assert_eq!(count[0][0].as_ref(), Some(&planted), "{}", table.name);
    }
}

#[test]
fn the_defects_of_real_copies_cost_no_row_that_can_be_kept() {
    let (catalogue, manifest) = generated(3_000, Defects::Legacy);
    let database = Server::shared().database();
    let loaded = load(&database, catalogue.path(), &[]).succeeded();
    expect_manifest(&loaded, &manifest);
    expect_counts(&database, &manifest);
    expect_manifest(&check(catalogue.path(), &[]).succeeded(), &manifest);
    let photos = &manifest.tables[TableId::Photos];
    assert_eq!((photos.read, &photos.repaired["unterminated_quote"]), (photos.loaded, &10));

    // The same file by PostgreSQL's own COPY: no error, and 193 rows gone.
    let url = database.url();
    database.execute("CREATE TABLE photos (id int, style_id int, url text, thumbnail_url text)");
    let file = catalogue.path().join("photos.csv");
    let copy = format!("\\copy photos from '{}' with (format csv, header, null 'null')", file.display());
    let mut psql = Command::new(Server::shared().bin().join("psql"));
    let output = psql.args(["-X", "-v", "ON_ERROR_STOP=1", "-d", &url, "-c", &copy]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("COPY {}", photos.read - 193));
}

#[test]
fn every_defect_is_found_whatever_the_number_of_jobs() {
    let (catalogue, manifest) = generated(3_000, Defects::Heavy);
    let database = Server::shared().database();
    let accepting = ["--max-rejects", "50%", "--jobs"];
    let one = load(&database, catalogue.path(), &[&accepting[..], &["1"]].concat()).succeeded();
    expect_manifest(&one, &manifest);
    expect_counts(&database, &manifest);
    let all_codes: usize =
        manifest.tables.values().map(|table| table.repaired.len() + table.rejected.len()).sum();
    assert!(all_codes > 30, "{all_codes} pairs of table and code is not heavy");

    let eight = load(&database, catalogue.path(), &[&accepting[..], &["8", "--force"]].concat()).succeeded();
    let checked = check(catalogue.path(), &[&accepting[..], &["8"]].concat()).succeeded();
    expect_manifest(&checked, &manifest);
    expect_manifest(&eight, &manifest);
    for table in &TABLES {
        assert!(one.rejects(table.name) == eight.rejects(table.name), "{}", table.name);
        assert!(one.rejects(table.name) == checked.rejects(table.name), "{}", table.name);
    }
}

#[test]
fn position_is_the_rank_of_the_id() {
    // 601 products whose ids are far apart and in no order, the last ones first; every seventh line is rejected.
    let ids = (0..601u64).map(|index| 1 + index * 7_919 % 601 * 3_571_429).rev();
    let (mut products, mut accepted) =
        ("id,name,slogan,description,category,default_price\n".to_owned(), Vec::new());
    for (index, id) in ids.enumerate() {
        let price = if index % 7 == 3 { "free" } else { "1" };
        products += &format!("{id},\"n\",\"s\",\"d\",\"c\",{price}\n");
        if index % 7 != 3 {
            accepted.push(id);
        }
    }
    let empty = TABLES[1..].iter().map(|table| (format!("{}.csv", table.name), table.header()));
    let catalogue = written(empty.chain([("product.csv".to_owned(), products)]));

    let database = Server::shared().database();
    let loaded = load(&database, catalogue.path(), &["--max-rejects", "50%"]).succeeded();
    let warnings = loaded.report["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 5, "{warnings:?}");
    assert_eq!(warnings[0], "features: the file has a header but no rows");

    accepted.sort_unstable();
    let expected: Vec<_> = accepted
        .iter()
        .zip(1..)
        .map(|(id, rank)| vec![Some(id.to_string()), Some(rank.to_string())])
        .collect();
    assert_eq!(database.query("SELECT id, position FROM atelier.product ORDER BY position"), expected);
}

/// The fields of a line as they are written, quotes included.
fn raw_fields(line: &str) -> Vec<&str> {
    let mut quoted = false;
    line.split(|character| {
        quoted ^= character == '"';
        character == ',' && !quoted
    })
    .collect()
}

/// A way to write the files of a catalogue: name and text of each, from name and text.
type Spelling = fn(&str, &str) -> (String, Vec<u8>);

const SPELLINGS: [(&str, Spelling); 11] = [
    ("gzip, of two members", |table, text| {
        let (first, second) = text.split_at(text.len() / 3);
        let mut bytes = Vec::new();
        for part in [first, second] {
            let mut encoder = GzEncoder::new(&mut bytes, Compression::fast());
            encoder.write_all(part.as_bytes()).unwrap();
            encoder.finish().unwrap();
        }
        (format!("{table}.csv.gz"), bytes)
    }),
    ("zstandard", |table, text| (format!("{table}.csv.zst"), zstd::encode_all(text.as_bytes(), 1).unwrap())),
    ("zstandard, of two frames and one to be skipped", |table, text| {
        let (first, second) = text.split_at(text.len() / 3);
        let frame = |part: &str| zstd::encode_all(part.as_bytes(), 1).unwrap();
        let skipped = b"\x50\x2a\x4d\x18\x04\0\0\0skip".to_vec();
        (format!("{table}.csv.zst"), [frame(first), skipped, frame(second)].concat())
    }),
    ("CRLF", |table, text| (format!("{table}.csv"), text.replace('\n', "\r\n").into_bytes())),
    ("byte order mark", |table, text| (format!("{table}.csv"), format!("\u{feff}{text}").into_bytes())),
    ("final line end", |table, text| (format!("{table}.csv"), format!("{text}\n").into_bytes())),
    ("spaces in the header", |table, text| {
        let (header, rows) = text.split_once('\n').unwrap();
        (format!("{table}.csv"), format!("{}\n{rows}", header.replace(',', ", ")).into_bytes())
    }),
    ("spaces behind every comma", |table, text| {
        let lines: Vec<String> = text.split('\n').map(|line| raw_fields(line).join(", ")).collect();
        (format!("{table}.csv"), lines.join("\n").into_bytes())
    }),
    ("spaces around names in quotes, behind a byte order mark, with CRLF", |table, text| {
        let (header, rows) = text.split_once('\n').unwrap();
        let names: Vec<String> = header.split(',').map(|name| format!(" \" {name}\" ")).collect();
        let text = format!("\u{feff}{}\n{rows}", names.join(","));
        (format!("{table}.csv"), text.replace('\n', "\r\n").into_bytes())
    }),
    ("other header and file names", |table, text| {
        let (header, rows) = text.split_once('\n').unwrap();
        let names = HashMap::from([
            ("productId", "product_id"),
            ("product_id", "productId"),
            ("styleId", "style_id"),
            ("current_product_id", "Product_ID"),
            ("default_price", "defaultPrice"),
        ]);
        let header: Vec<&str> = header.split(',').map(|name| *names.get(name).unwrap_or(&name)).collect();
        let name = match table {
            "product" => "products",
            "features" => "feature",
            "skus" => "sku",
            other => other,
        };
        (format!("{name}.csv"), format!("{}\n{rows}", header.join(",")).into_bytes())
    }),
    ("columns from right to left, and one more", |table, text| {
        let turned = text.split('\n').enumerate().map(|(index, line)| {
            let mut fields = raw_fields(line);
            fields.insert(1, if index == 0 { "note" } else { "\"of no interest\"" });
            fields.reverse();
            fields.join(",")
        });
        (format!("{table}.csv"), turned.collect::<Vec<_>>().join("\n").into_bytes())
    }),
];

#[test]
fn the_same_content_has_the_same_digest_however_it_is_written() {
    let (catalogue, _) = generated(200, Defects::None);
    let database = Server::shared().database();
    let plain = load(&database, catalogue.path(), &[]).succeeded();
    let content =
        |done: &Done| ["content_digest", "read", "loaded", "rejected"].map(|key| done.of_tables(key));
    let files = files(catalogue.path());
    for (spelling, rewrite) in SPELLINGS {
        let files = files.iter().map(|(table, bytes)| rewrite(table, str::from_utf8(bytes).unwrap()));
        let other = written(files.collect::<Vec<_>>());
        let other = load(&database, other.path(), &[]).succeeded();
        assert_eq!(content(&other), content(&plain), "{spelling}");
        assert!(other.of_tables("digest") != plain.of_tables("digest"), "{spelling} is another file");
        let spaced = other.of_tables("repaired").iter().filter(|codes| codes["spacing"].is_u64()).count();
        assert_eq!(spaced, if spelling.starts_with("spaces") { 6 } else { 0 }, "{spelling}");
    }

    // Another content has another digest: one letter, and the same rows in another order does not.
    let product = String::from_utf8(files[0].1.clone()).unwrap();
    let edit = |product: String| {
        let others = files[1..].iter().map(|(table, bytes)| (format!("{table}.csv"), bytes.clone()));
        let edited = written(others.chain([("product.csv".to_owned(), product.into_bytes())]));
        load(&database, edited.path(), &[]).succeeded().of_tables("content_digest")
    };
    let digests = plain.of_tables("content_digest");
    let at = product.rfind("\",").unwrap();
    let changed = edit(format!("{}~{}", &product[..at], &product[at..]));
    assert!(changed[0] != digests[0] && changed[1..] == digests[1..]);
    let mut lines: Vec<&str> = product.split('\n').collect();
    lines[1..].reverse();
    assert_eq!(edit(lines.join("\n")), digests);
}
