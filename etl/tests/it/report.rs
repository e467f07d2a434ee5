//! The reports match `docs/report.md`, and the number of jobs changes nothing in them but the times.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use atelier_base::tables::TABLES;
use atelier_etl::rows::defect::{Code, Fault, Repair};
use atelier_sample::Defects;
use atelier_testing::Server;
use serde_json::Value;

use crate::catalogue::{example, files, generated, written};
use crate::run::Etl;

/// The rows of the tables under a heading of `docs/report.md`, cell by cell, without the heads.
fn documented(heading: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/report.md");
    let text = fs::read_to_string(path).unwrap();
    let section = text.split("\n## ").find(|section| section.lines().next() == Some(heading)).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = |row: &str| {
        row.trim_end_matches('|')
            .split('|')
            .map(|cell| cell.trim().trim_end_matches('`').to_owned())
            .collect()
    };
    rows.map(cells).collect()
}

/// A documented key: name, types, whether it varies.
fn keys(heading: &str) -> Vec<(String, BTreeSet<String>, bool)> {
    let key = |row: Vec<String>| {
        assert!(["", "yes"].contains(&&*row[2]), "{row:?}");
        (row[0].clone(), row[1].split(" or ").map(str::to_owned).collect(), row[2] == "yes")
    };
    documented(heading).into_iter().map(key).collect()
}

/// Every key of a report as the document writes it, in order, with the type of its value.
fn walk(prefix: &str, value: &Value, found: &mut Vec<(String, &'static str)>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !prefix.is_empty() {
        found.push((prefix.to_owned(), kind));
    }
    match value {
        Value::Array(elements) => {
            elements.iter().for_each(|value| walk(&format!("{prefix}[]"), value, found))
        }
        Value::Object(entries) => {
            for (name, value) in entries {
                let any = ["tables", "tables.*.repaired", "tables.*.rejected"].contains(&prefix);
                let name = if any { "*" } else { name };
                let separator = if prefix.is_empty() { "" } else { "." };
                walk(&format!("{prefix}{separator}{name}"), value, found);
            }
        }
        _ => {}
    }
}

/// Compares these reports with the document: all keys, their order and their types.
fn expect_documented(heading: &str, reports: &[Value]) {
    let documented = keys(heading);
    let order: Vec<&str> = documented.iter().map(|(key, ..)| key.as_str()).collect();
    let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for report in reports {
        let mut found = Vec::new();
        walk("", report, &mut found);
        for (key, kind) in &found {
            assert!(order.contains(&key.as_str()), "{key} is not documented");
            types.entry(key.clone()).or_default().insert((*kind).to_owned());
        }
        let mut seen = BTreeSet::new();
        let first = found.iter().filter(|(key, _)| seen.insert(key)).map(|(key, _)| key.as_str());
        let first: Vec<&str> = first.collect();
        let expected: Vec<&str> = order.iter().copied().filter(|key| first.contains(key)).collect();
        assert_eq!(first, expected, "the order of the document is that of the report");
    }
    let documented: BTreeMap<String, BTreeSet<String>> =
        documented.into_iter().map(|(key, types, _)| (key, types)).collect();
    assert_eq!(types, documented);
}

/// A directory that runs share, so that the paths in their reports are equal.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    /// Runs a command with `--report`. Returns its output and the content of the report.
    fn run(&self, etl: Etl, code: i32) -> (String, String) {
        let report = self.0.path().join("report.json");
        let _ = fs::remove_file(&report);
        let run = etl.arg("--report").arg(&report).run();
        assert_eq!(run.code, code, "{run:?}");
        (run.stdout, fs::read_to_string(report).unwrap())
    }

    /// The same of `load` or `check`, with the reject files.
    fn read(&self, etl: Etl, data: &Path, code: i32) -> (String, String) {
        let rejects = self.0.path().join("rejects");
        let etl = etl.arg("--data").arg(data).arg("--rejects").arg(rejects).arg("--progress=none");
        self.run(etl, code)
    }

    fn rejects(&self) -> BTreeMap<&'static str, Vec<u8>> {
        let path = |name| self.0.path().join("rejects").join(format!("{name}.csv"));
        TABLES.iter().filter_map(|table| Some((table.name, fs::read(path(table.name)).ok()?))).collect()
    }
}

#[test]
fn every_key_of_a_report_is_documented_and_every_documented_key_is_in_a_report() {
    let database = Server::shared().database();
    let url = format!("--database-url={}", database.url());
    let catalogue = written(files(&example()).into_iter().map(|(table, bytes)| match table {
        // No rows, and an unknown column: two warnings.
        "related" => (format!("{table}.csv"), b"id,product_id,related_product_id,note\n".to_vec()),
        _ => (format!("{table}.csv"), bytes),
    }));
    let (place, data) = (Place::new(), catalogue.path());
    let accepting = "--max-rejects=50%";
    let json = |(_, text): (String, String)| serde_json::from_str::<Value>(&text).unwrap();
    let read = |etl, code| json(place.read(etl, data, code));
    let reports = [
        read(Etl::new(["check", accepting]), 0),
        read(Etl::new(["load", &url]), 3),
        read(Etl::new(["load", &url, accepting]), 0),
        read(Etl::new(["load", &url, accepting]), 0),
    ];
    assert_eq!(reports[3]["unchanged"], true);
    assert_eq!(reports[2]["warnings"].as_array().unwrap().len(), 2);
    expect_documented("`load` and `check`", &reports);
    expect_documented("`verify`", &[json(place.run(Etl::new(["verify", &url]), 0))]);
}

#[test]
fn every_code_is_documented_and_every_documented_code_is_one() {
    let outcome = |codes: Vec<&str>, outcome: &str| -> Vec<_> {
        codes.into_iter().map(|code| vec![code.to_owned(), outcome.to_owned()]).collect()
    };
    let repairs = outcome(Repair::all().map(Repair::code).collect(), "repaired");
    let faults = outcome(Fault::all().map(Fault::code).collect(), "rejected");
    let documented = documented("Codes").into_iter().map(|row| row[..2].to_vec());
    assert_eq!(documented.collect::<Vec<_>>(), [repairs, faults].concat());
}

/// The text of a report with `_` in place of the values that vary, according to the document.
fn without_what_varies(heading: &str, report: &str) -> String {
    let varying: BTreeSet<String> = keys(heading)
        .into_iter()
        .filter(|(.., varies)| *varies)
        .map(|(key, ..)| key.rsplit('.').next().unwrap().to_owned())
        .collect();
    let lines = report.lines().map(|line| match line.split_once("\": ") {
        Some((key, value)) if varying.contains(key.trim_start().trim_start_matches('"')) => {
            assert!(!value.starts_with(['{', '[']), "{line}");
            format!("{key}\": _{}", if value.ends_with(',') { "," } else { "" })
        }
        _ => line.to_owned(),
    });
    lines.map(|line| line + "\n").collect()
}

/// The summary without seconds and rates, and without the last lines, which are about them.
fn without_times(summary: &str, last: usize) -> String {
    let lines: Vec<&str> = summary.lines().collect();
    let lines = lines[..lines.len() - last].iter().enumerate();
    // The head, six tables and the total: the first five columns are about rows.
    lines
        .map(|(number, line)| if number < 8 { format!("{}\n", &line[..57]) } else { format!("{line}\n") })
        .collect()
}

#[test]
fn the_number_of_jobs_changes_nothing_but_times() {
    let (catalogue, _) = generated(3_000, Defects::Heavy);
    let database = Server::shared().database();
    let url = format!("--database-url={}", database.url());
    let accepting = "--max-rejects=50%";
    let place = Place::new();
    let heading = "`load` and `check`";
    for (command, more, last_lines) in [
        ("load", vec![accepting, "--force", &url], 3),
        ("check", vec![accepting], 1),
        ("check", vec!["--max-rejects=0"], 0),
    ] {
        let code = if last_lines == 0 { 3 } else { 0 };
        let with = |jobs: &str| {
            let etl = Etl::new([command, "--jobs", jobs]);
            let etl = more.iter().fold(etl, |etl, argument| etl.arg(argument));
            let (summary, report) = place.read(etl, catalogue.path(), code);
            (without_what_varies(heading, &report), place.rejects(), without_times(&summary, last_lines))
        };
        let one = with("1");
        assert_eq!(one.1.len(), TABLES.len());
        assert!(one.0.contains("\"repaired_rows\": ") && one.2.contains(" repaired, spacing\n"), "{}", one.2);
        for jobs in ["2", "8", "8"] {
            let other = with(jobs);
            assert_eq!(other.0, one.0, "{command}, {jobs} jobs");
            assert!(other.1 == one.1, "{command}, {jobs} jobs: the reject files");
            assert_eq!(other.2, one.2, "{command}, {jobs} jobs");
        }
    }

    let verify = |jobs: &str| {
        let (_, report) = place.run(Etl::new(["verify", &url, "--jobs", jobs]), 0);
        without_what_varies("`verify`", &report)
    };
    assert_eq!(verify("1"), verify("6"));
}
