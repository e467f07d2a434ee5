//! Unusual files: without rows, empty, with line ends of two kinds; and as many rejects as are allowed.

use std::fmt::Write as _;

use atelier_base::tables::TABLES;
use atelier_testing::Server;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::catalogue::{Done, check, example, files, load, written};

/// The example with another file of `table`.
fn example_with(table: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> TempDir {
    written(files(&example()).into_iter().map(|(name, bytes)| {
        let bytes = if name == table { change(bytes) } else { bytes };
        (format!("{name}.csv"), bytes)
    }))
}

fn warnings(done: &Done) -> &Vec<Value> {
    done.report["warnings"].as_array().unwrap()
}

#[test]
fn a_file_with_only_a_header_is_an_error_for_product_and_a_warning_elsewhere() {
    for table in &TABLES {
        let header = |bytes: Vec<u8>| bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap().to_vec();
        let without_line_end = |bytes| header(bytes).trim_ascii_end().to_vec();
        let with_empty_lines = |bytes| [header(bytes), b"\n\r\n\n".to_vec()].concat();
        for catalogue in [
            example_with(table.name, header),
            example_with(table.name, without_line_end),
            example_with(table.name, with_empty_lines),
        ] {
            let done = check(catalogue.path(), &["--max-rejects", "100%"]);
            let warning = format!("{}: the file has a header but no rows", table.name);
            assert_eq!(warnings(&done), &[json!(warning)]);
            assert!(done.run.stdout.contains(&format!("warning: {warning}\n")), "{}", done.run.stdout);
            let report = &done.report["tables"][table.name];
            assert_eq!((&report["read"], &report["loaded"]), (&json!(0), &json!(0)), "{}", table.name);
            assert!(done.rejects(table.name).is_none());
            if table.name == "product" {
                assert_eq!(done.run.code, 3, "{:?}", done.run);
                let message = "atelier-etl: product: no row can be loaded from ";
                assert!(done.run.stderr.starts_with(message), "{}", done.run.stderr);
            } else {
                assert_eq!((done.run.code, done.run.stderr.as_str()), (0, ""));
            }
        }
    }
}

#[test]
fn an_empty_file_is_an_error_for_every_table() {
    for table in &TABLES {
        for (content, telling) in [
            ("", format!("{}.csv is empty: it has not even a header", table.name)),
            ("\u{feff}", format!("{}.csv, line 1: no column \"id\"", table.name)),
            ("\n", format!("{}.csv, line 1: no column \"id\"", table.name)),
        ] {
            let done = check(example_with(table.name, |_| content.into()).path(), &[]);
            assert_eq!(done.run.code, 3, "{:?}", done.run);
            assert!(done.run.stderr.contains(&telling), "{telling} is not in: {}", done.run.stderr);
        }
    }
}

#[test]
fn line_ends_in_quotes_are_kept_and_those_after_a_record_are_not() {
    let product = "id,name,slogan,description,category,default_price\r\n\
                   1,\"a\",\"one\r\ntwo\nthree\",\"\r\n\",\"d\r\",5\r\n\
                   2,\"b\",bare,\"a, b\r\n\"\"c\"\"\r\n\",\"d\",\"6.00\"\r\n\
                   3,\"c\",\"s\",\"d\",\"open\n\
                   4,\"d\",\"s\",\"d\",\"e\",7\r\n";
    let features =
        "id,product_id,feature,value\r\n1,1,\"f\",\"open\r\n2,1,\"f\",bare\r\n3,2,\"f\",\"open\r\n4,2,f,null";
    let catalogue = written(TABLES.iter().map(|table| {
        let text = match table.name {
            "product" => product.to_owned(),
            "features" => features.to_owned(),
            _ => table.header(),
        };
        (format!("{}.csv", table.name), text)
    }));
    let database = Server::shared().database();
    let loaded = load(&database, catalogue.path(), &["--max-rejects", "1"]).succeeded();
    let rows = |sql| -> Vec<Vec<String>> {
        let rows = database.query(sql).into_iter();
        rows.map(|row| row.into_iter().map(|value| value.unwrap_or("∅".into())).collect()).collect()
    };
    assert_eq!(
        rows("SELECT slogan, description, category, default_price FROM atelier.product ORDER BY id"),
        [
            ["one\r\ntwo\nthree", "\r\n", "d\r", "5.00"],
            ["bare", "a, b\r\n\"c\"\r\n", "d", "6.00"],
            ["s", "d", "e", "7.00"],
        ]
    );
    assert_eq!(
        rows("SELECT id, value FROM atelier.features ORDER BY id"),
        [["1", "open"], ["2", "bare"], ["3", "open"], ["4", "∅"]]
    );
    let rejects = String::from_utf8(loaded.rejects("product").unwrap()).unwrap();
    let expected =
        "9,126,,field_count,5 fields where the header has 6,\"3,\"\"c\"\",\"\"s\"\",\"\"d\"\",\"\"open\"\n";
    assert_eq!(rejects.split_once('\n').unwrap().1, expected);
}

#[test]
fn as_many_rejects_as_the_limit_are_accepted_and_one_more_is_not() {
    let catalogue = example_with("features", |_| {
        let mut text = "id,product_id,feature,value\n".to_owned();
        for id in 1..=100 {
            let _ = writeln!(text, "{id},{},\"f\",null", if id > 71 { 99 } else { 1 });
        }
        text.into_bytes()
    });
    // The other files of the example have fewer: by number and by share.
    for (limit, shown, accepted) in
        [("29", "29", true), ("28", "28", false), ("29%", "29 %", true), ("28.999999%", "28.999999 %", false)]
    {
        let done = check(catalogue.path(), &["--max-rejects", limit]);
        assert_eq!(done.run.code, if accepted { 0 } else { 3 }, "{limit}: {}", done.run.stderr);
        let refusal = format!("features: 29 of 100 rows rejected, more than --max-rejects {shown} allows");
        assert_eq!(done.run.stderr.contains(&refusal), !accepted, "{limit}: {}", done.run.stderr);
        // Nothing is published; the findings are reported anyway.
        assert_eq!(done.report["tables"]["features"]["rejected"], json!({"orphan": 29}));
    }
}
