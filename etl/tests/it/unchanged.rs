//! Files that are published already are not loaded again, and only those.

use std::fs;
use std::path::Path;

use atelier_sample::Defects;
use atelier_testing::{Database, Server};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::catalogue::{Done, example, files, generated, load, written};
use crate::published::one;
use crate::run::{Etl, etl};

fn published(database: &Database<'_>) -> String {
    one(database, "SELECT load_id FROM atelier.load")
}

/// Whether something was loaded according to the database. The output of the run must agree.
#[track_caller]
fn loaded(database: &Database<'_>, data: &Path, more: &[&str]) -> bool {
    let before = published(database);
    let done = load(database, data, more).succeeded();
    let after = published(database);
    assert_eq!(done.report["load_id"], after);
    assert_eq!(done.report["unchanged"], after == before);
    let unchanged = format!(
        "nothing to load: these files are already published\nload {before} is unchanged; --force loads them again\n"
    );
    assert_eq!(done.run.stdout == unchanged, after == before, "{}", done.run.stdout);
    after != before
}

/// A copy of the catalogue with another `photos.csv`.
fn with_photos(data: &Path, name: &str, photos: Vec<u8>) -> tempfile::TempDir {
    let others = files(data).into_iter().filter(|(table, _)| *table != "photos");
    let others = others.map(|(table, bytes)| (format!("{table}.csv"), bytes));
    written(others.chain([(name.to_owned(), photos)]))
}

fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut packed = Vec::new();
    std::io::copy(&mut &bytes[..], &mut GzEncoder::new(&mut packed, Compression::new(level))).unwrap();
    packed
}

#[test]
fn the_same_files_are_not_loaded_again() {
    let (catalogue, _) = generated(200, Defects::None);
    let data = catalogue.path();
    let database = Server::shared().database();
    load(&database, data, &[]).succeeded();
    assert!(!loaded(&database, data, &[]));
    assert!(!loaded(&database, data, &["--jobs", "1", "--keep-previous", "--max-rejects", "0"]));
    assert_eq!(one(&database, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'atelier%'"), "1");

    // The path and age of a file do not matter.
    let photos = fs::read(data.join("photos.csv")).unwrap();
    let copy = with_photos(data, "photo.csv", photos.clone());
    assert!(!loaded(&database, copy.path(), &[]));

    // One byte, in a file of the same size.
    let mut changed = photos.clone();
    let at = changed.len() / 2;
    changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
    let changed = with_photos(data, "photos.csv", changed);
    assert!(loaded(&database, changed.path(), &["--max-rejects", "1"]));
    assert!(loaded(&database, data, &[]));
    assert!(loaded(&database, data, &["--force"]));

    // A compressed file is another file, and so is one that is compressed differently.
    for level in [1, 9] {
        let packed = with_photos(data, "photos.csv.gz", gzip(&photos, level));
        assert!(loaded(&database, packed.path(), &[]));
        assert!(!loaded(&database, packed.path(), &[]));
    }
    assert!(loaded(&database, data, &[]));

    // Another version may have made another catalogue of the same files.
    database.execute("UPDATE atelier.load SET version = '0.0.1'");
    assert!(loaded(&database, data, &[]));
    database.execute("DROP TABLE atelier.skus");
    assert!(loaded(&database, data, &[]));
    assert!(!loaded(&database, data, &[]));
}

#[test]
fn the_report_says_so_and_reject_files_are_kept() {
    let database = Server::shared().database();
    load(&database, &example(), &["--max-rejects", "50%"]).succeeded();
    // Left behind by a load that was killed.
    database.execute("CREATE SCHEMA atelier_staging; CREATE TABLE atelier_staging.load (LIKE atelier.load)");
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    fs::create_dir(path("rejects")).unwrap();
    fs::write(path("rejects/product.csv"), "as it was").unwrap();
    let run = Etl::new(["load", "--database-url", &database.url(), "--max-rejects", "50%"])
        .arg("--data")
        .arg(example())
        .arg("--rejects")
        .arg(path("rejects"))
        .arg("--report")
        .arg(path("report.json"))
        .run();
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert_eq!(fs::read_to_string(path("rejects/product.csv")).unwrap(), "as it was");
    assert_eq!(fs::read_dir(path("rejects")).unwrap().count(), 1);
    let report: serde_json::Value = serde_json::from_slice(&fs::read(path("report.json")).unwrap()).unwrap();
    assert_eq!(report["load_id"], published(&database));
    assert_eq!((&report["unchanged"], &report["tables"]), (&json!(true), &json!({})));
    assert_eq!(one(&database, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'atelier%'"), "1");
}

/// As it would if nothing were published.
#[test]
fn a_stricter_limit_refuses_published_files() {
    let database = Server::shared().database();
    let first: Done = load(&database, &example(), &["--max-rejects", "50%"]).succeeded();
    let data = example().display().to_string();
    let run = etl(["load", "--database-url", &database.url(), "--data", &data, "--progress", "none"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert_eq!(first.report["load_id"], published(&database));
}
