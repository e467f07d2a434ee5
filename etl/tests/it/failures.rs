//! Bad input and failures: each gives one clear message and its exit code, and does not change the published catalogue.

mod crashes;
mod database;
mod disk;
mod foreign;
pub(crate) mod gate;
mod input;
mod interrupt;
mod middle;
mod needs;
mod rollback;

use std::env;
use std::fs;
use std::path::Path;

use atelier_sample::Defects;
use atelier_testing::{Database, Rows, Server};
use tempfile::TempDir;

use crate::catalogue::{self, example};
use crate::run::{Etl, Run};

/// A copy of the hand-made catalogue, to be damaged.
fn copy_of_example() -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(example()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

/// A generated catalogue without defects. 2,000 products are 4.6 MB, more than the buffers between the loader and a
/// database that does not read.
fn generated(products: u32) -> TempDir {
    catalogue::generated(products, Defects::None).0
}

/// A load of `data` into `url` that accepts up to half of the rows rejected, and shows no progress.
fn load(url: &str, data: &Path) -> Etl {
    Etl::new(["load", "--database-url", url])
        .arg("--data")
        .arg(data)
        // Defaults that a test may change.
        .env("ATELIER_MAX_REJECTS", "50%")
        .env("ATELIER_FORCE", "true")
        .env("ATELIER_JOBS", "2")
        .env("ATELIER_PROGRESS", "none")
}

/// A database with a published catalogue, which no failure may change.
struct Shop<'server> {
    database: Database<'server>,
    published: Rows,
}

impl Shop<'_> {
    fn new(server: &Server) -> Shop<'_> {
        let mut shop = Shop { database: server.database(), published: Rows::new() };
        shop.loads();
        shop
    }

    /// A load of `data` as superuser.
    fn load(&self, data: &Path) -> Etl {
        load(&self.database.url(), data)
    }

    /// Checks that a load of the example is published without any help.
    fn loads(&mut self) {
        let run = self.load(&example()).run();
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
        let published = published(&self.database);
        assert_ne!(published[0], self.published.first().cloned().unwrap_or_default());
        self.published = published;
        assert_eq!(schemas(&self.database), "atelier");
    }

    /// Checks that the published catalogue is unchanged, and that nothing is left behind.
    fn is_untouched(&self) {
        self.is_served_as_before();
        assert_eq!(schemas(&self.database), "atelier");
    }

    /// Checks that the published catalogue is unchanged. Something may be left behind.
    fn is_served_as_before(&self) {
        assert_eq!(published(&self.database), self.published);
    }
}

/// The id of the published load, then the rows of each of its tables.
fn published(database: &Database<'_>) -> Rows {
    database.query(
        "SELECT load_id FROM atelier.load;
         SELECT count(*), sum(id), max(position) FROM atelier.product; SELECT count(*), sum(id) FROM atelier.features;
         SELECT count(*), sum(id) FROM atelier.styles; SELECT count(*), sum(id) FROM atelier.photos;
         SELECT count(*), sum(id) FROM atelier.skus; SELECT count(*), sum(id) FROM atelier.related",
    )
}

/// Says that a test did not run because it requires what `takes` names. In CI that is a failure.
fn skipped(takes: &str) {
    assert!(env::var_os("CI").is_none(), "cannot be skipped in CI: {takes}");
    eprintln!("skipped: {takes}");
}

/// The schemas of the loader that exist.
pub(crate) fn schemas(database: &Database<'_>) -> String {
    let query =
        "SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname LIKE 'atelier%'";
    database.query(query)[0][0].clone().unwrap_or_default()
}

impl Run {
    /// Checks that the run ended with `code` and one message with all of `telling`.
    #[track_caller]
    fn failed(&self, code: i32, telling: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        let messages = self.stderr.lines().filter(|line| line.starts_with("atelier-etl: ")).count();
        assert!(self.stderr.starts_with("atelier-etl: ") && messages == 1, "one message: {}", self.stderr);
        for text in telling {
            assert!(self.stderr.contains(text), "{text:?} is not in: {}", self.stderr);
        }
        // Only an interruption needs no hint.
        assert_eq!(self.stderr.contains("\n  hint: "), code != 130, "{}", self.stderr);
        assert!(!self.stdout.contains("is published"), "{}", self.stdout);
    }
}
