//! Catalogues for the tests, and runs that load or check them.

use std::fs;
use std::path::{Path, PathBuf};

use atelier_base::tables::TABLES;
use atelier_sample::{Defects, Manifest, Options, generate};
use atelier_testing::Database;
use serde_json::Value;
use tempfile::TempDir;

use crate::run::{Run, etl};

/// `data/example`, made by hand: every awkward but valid case and a few defects.
pub(crate) fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/example")
}

/// A generated catalogue with the seed 1, and its manifest.
pub(crate) fn generated(products: u32, defects: Defects) -> (TempDir, Manifest) {
    let out = tempfile::tempdir().unwrap();
    let options = Options { out: out.path().to_owned(), products, seed: 1, defects, threads: 2 };
    let manifest = generate(&options, &|| Ok(())).unwrap();
    (out, manifest)
}

/// A catalogue with these files, given as (name, content).
pub(crate) fn written<C: AsRef<[u8]>>(files: impl IntoIterator<Item = (String, C)>) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

/// The files of a catalogue whose names are the usual ones: table and content.
pub(crate) fn files(directory: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let read = |table: &str| fs::read(directory.join(format!("{table}.csv"))).unwrap();
    TABLES.iter().map(|table| (table.name, read(table.name))).collect()
}

/// The records of a file as the `csv` crate reads them, without the header.
pub(crate) fn records(path: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

/// A `load` or `check` that has ended, with what it wrote.
pub(crate) struct Done {
    pub(crate) run: Run,
    /// The JSON of `--report`; null if there is none.
    pub(crate) report: Value,
    out: TempDir,
}

impl Done {
    /// The reject file of `table`, or nothing if there is none.
    pub(crate) fn rejects(&self, table: &str) -> Option<Vec<u8>> {
        let path = self.out.path().join("rejects").join(format!("{table}.csv"));
        path.exists().then(|| fs::read(path).unwrap())
    }

    /// One entry of each table's report, in the order of the tables.
    pub(crate) fn of_tables(&self, key: &str) -> Vec<Value> {
        TABLES.iter().map(|table| self.report["tables"][table.name][key].clone()).collect()
    }

    /// Panics with the output of the run if it failed.
    pub(crate) fn succeeded(self) -> Done {
        let Run { code, stdout, stderr, .. } = &self.run;
        assert_eq!(*code, 0, "{stderr}\n{stdout}");
        self
    }
}

/// Loads `data` into `database`, with more arguments.
pub(crate) fn load(database: &Database<'_>, data: &Path, more: &[&str]) -> Done {
    let url = database.url();
    run("load", data, &[&["--database-url", &url], more].concat())
}

/// Checks `data`, with more arguments.
pub(crate) fn check(data: &Path, more: &[&str]) -> Done {
    run("check", data, more)
}

fn run(command: &str, data: &Path, more: &[&str]) -> Done {
    let out = tempfile::tempdir().unwrap();
    let path = |name: &str| out.path().join(name).display().to_string();
    let (report, rejects, data) = (path("report.json"), path("rejects"), data.display().to_string());
    let fixed = [command, "--data", &data, "--report", &report, "--rejects", &rejects, "--progress", "none"];
    let run = etl(fixed.iter().chain(more));
    let report = fs::read(report).ok().and_then(|json| serde_json::from_slice(&json).ok());
    Done { run, report: report.unwrap_or_default(), out }
}
