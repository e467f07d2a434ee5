//! `data/damaged`, the heads of a copy as damaged as real ones, compared with a list of its defects written by hand.

use std::path::{Path, PathBuf};

use atelier_base::tables::TABLES;
use atelier_testing::Server;
use serde_json::{Value, json};

use crate::catalogue::{Done, check, files, load, records, written};

const ACCEPTING: [&str; 2] = ["--max-rejects", "50%"];

fn damaged() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/damaged")
}

/// A line of `expected.csv`.
struct Expected {
    table: String,
    line: u64,
    column: String,
    code: String,
    rejected: bool,
}

fn expected() -> Vec<Expected> {
    let rows = records(&damaged().join("expected.csv")).into_iter();
    let expected = rows.map(|row| {
        let [table, line, column, code, outcome] = <[String; 5]>::try_from(row).unwrap();
        assert!(["repaired", "rejected"].contains(&&*outcome), "{outcome}");
        Expected { table, line: line.parse().unwrap(), column, code, rejected: outcome == "rejected" }
    });
    expected.collect()
}

/// The lines, columns and codes of a reject file.
fn rejected(done: &Done, table: &str) -> Vec<(u64, String, String)> {
    let rejects = done.rejects(table).unwrap_or_default();
    let records = csv::Reader::from_reader(&rejects[..]).into_records().map(Result::unwrap);
    records.map(|record| (record[0].parse().unwrap(), record[2].to_owned(), record[3].to_owned())).collect()
}

fn expect_all(done: &Done) {
    let expected = expected();
    for table in &TABLES {
        let of_table = || expected.iter().filter(|row| row.table == table.name);
        let rejects = of_table().filter(|row| row.rejected);
        let rejects: Vec<_> = rejects.map(|row| (row.line, row.column.clone(), row.code.clone())).collect();
        assert_eq!(rejected(done, table.name), rejects, "{}", table.name);

        let report = &done.report["tables"][table.name];
        let repairs: Vec<&Expected> = of_table().filter(|row| !row.rejected).collect();
        for code in ["unterminated_quote", "price_format", "spacing"] {
            let lines: Vec<u64> = repairs.iter().filter(|row| row.code == code).map(|row| row.line).collect();
            let counted = report["repaired"][code].as_u64().unwrap_or_default();
            assert_eq!(counted, lines.len() as u64, "{}, {code}", table.name);
            let examples = report["examples"].as_array().unwrap().iter();
            let shown = examples.filter(|example| example["code"] == code).map(|example| &example["line"]);
            let first = lines.iter().take(3).map(|line| Value::from(*line)).collect::<Vec<_>>();
            assert_eq!(shown.collect::<Vec<_>>(), first.iter().collect::<Vec<_>>(), "{}, {code}", table.name);
        }
        let mut rows: Vec<u64> = repairs.iter().map(|row| row.line).filter(|line| *line > 1).collect();
        rows.dedup();
        assert_eq!(report["repaired_rows"], rows.len(), "{}", table.name);
        let accounted = report["loaded"].as_u64().unwrap() + rejected(done, table.name).len() as u64;
        assert_eq!(report["read"], accounted, "{}", table.name);
    }
}

#[test]
fn every_line_that_is_listed_is_repaired_or_rejected_and_no_other() {
    let database = Server::shared().database();
    let loaded = load(&database, &damaged(), &ACCEPTING).succeeded();
    expect_all(&loaded);
    expect_all(&check(&damaged(), &ACCEPTING).succeeded());
    assert_eq!(loaded.of_tables("read"), [30, 33, 40, 45, 52, 36]);
    assert_eq!(loaded.of_tables("loaded"), [28, 27, 33, 34, 44, 29]);

    // The repaired values.
    let query = |sql: &str| database.query(sql).into_iter().flatten().map(Option::unwrap).collect::<Vec<_>>();
    let prices = "SELECT default_price FROM atelier.product WHERE id IN (1, 11, 15, 16, 25) ORDER BY id";
    assert_eq!(query(prices), ["185.00", "52.00", "835.00", "888.00", "109.00"]);
    let prices = "SELECT sale_price, original_price FROM atelier.styles WHERE id = 35";
    assert_eq!(query(prices), ["870.00", "922.00"]);
    let urls = "SELECT DISTINCT right(thumbnail_url, 11) FROM atelier.photos";
    assert_eq!(query(urls), ["&w=300&q=80"]);
    assert_eq!(query("SELECT sum(quantity) FROM atelier.skus WHERE id IN (30, 36, 42)"), ["33"]);
}

/// The product 29 is rejected, so its style 36 is an orphan, and so are the photo and the sku of that style.
#[test]
fn a_repaired_product_restores_its_styles_and_their_photos_and_skus() {
    let repaired = files(&damaged()).into_iter().map(|(table, bytes)| {
        let text = String::from_utf8(bytes).unwrap();
        (format!("{table}.csv"), text.replace("\n29,\"Wallis Jacket\",\"", "\n29,\"Wallis Jacket\",\"\",\""))
    });
    let repaired = written(repaired);
    let (before, after) = (check(&damaged(), &ACCEPTING), check(repaired.path(), &ACCEPTING).succeeded());
    for (table, back) in [
        ("product", vec![(30, "", "field_count")]),
        ("features", vec![(31, "product_id", "orphan")]),
        ("styles", vec![(37, "product_id", "orphan")]),
        ("photos", vec![(41, "style_id", "orphan")]),
        ("skus", vec![(50, "style_id", "orphan")]),
        ("related", vec![(28, "related_product_id", "orphan")]),
    ] {
        let mut remaining = rejected(&before, table);
        let back = back.into_iter().map(|(line, column, code)| (line, column.to_owned(), code.to_owned()));
        for row in back {
            remaining.remove(remaining.iter().position(|other| *other == row).unwrap());
        }
        assert_eq!(rejected(&after, table), remaining, "{table}");
    }
}

/// The heads are cut, so that many children have no parents: as a share of a file's rows, too many.
#[test]
fn cut_heads_exceed_the_usual_limit() {
    let refused = check(&damaged(), &[]);
    assert_eq!(refused.run.code, 3);
    let message = "product: 2 of 30 rows rejected, more than --max-rejects 1 % allows";
    assert!(refused.run.stderr.contains(message), "{}", refused.run.stderr);
    expect_all(&refused);
    assert_eq!(refused.report["load_id"], json!(null));
}
