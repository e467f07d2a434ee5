//! Catalogues, loaded by the real loader.

use std::path::{Path, PathBuf};

use atelier_base::testing::Database;
use atelier_etl::cli;
use atelier_etl::generate::{Defects, Options, generate};
use atelier_etl::{load, options};
use clap::Parser as _;
use tempfile::TempDir;

/// `data/example`, made by hand: every awkward but valid case and a few defects.
pub(crate) fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/example")
}

/// A generated catalogue without defects.
pub(crate) fn generated(products: u32, seed: u64) -> TempDir {
    let out = tempfile::tempdir().unwrap();
    let options = Options { out: out.path().to_owned(), products, seed, defects: Defects::None, threads: 2 };
    generate(&options, &|_| {}).unwrap();
    out
}

/// Loads and publishes the files in `data`; gives the id of the load.
pub(crate) fn publish(database: &Database<'_>, data: &Path) -> String {
    let rejects = tempfile::tempdir().unwrap();
    let url = database.url();
    let arguments =
        ["atelier-etl", "load", "--database-url", &url, "--max-rejects", "100%", "--progress", "none"];
    let paths = ["--data".as_ref(), data.as_os_str(), "--rejects".as_ref(), rejects.path().as_os_str()];
    let cli = cli::Cli::parse_from(arguments.iter().map(AsRef::as_ref).chain(paths));
    let cli::Command::Load(typed) = cli.command else { panic!("that is the command load") };
    let mut input = options::Input::resolve(&typed.input).unwrap();
    let target = options::Database::resolve(&typed.database).unwrap();
    let how = load::Options { keep_previous: false };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let loading = load::load(&mut input, &target, &how, std::future::pending());
    let (report, verdict) = runtime.block_on(loading).unwrap();
    verdict.unwrap();
    report.load_id.unwrap()
}

/// A session of a test's own, for locks that it holds and lets go of.
pub(crate) struct Session {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
}

impl Session {
    pub(crate) fn open(database: &Database<'_>) -> Session {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let url = database.url();
        let connect = tokio_postgres::connect(&url, tokio_postgres::NoTls);
        let (client, connection) = runtime.block_on(connect).unwrap();
        runtime.spawn(connection);
        Session { runtime, client }
    }

    pub(crate) fn execute(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap();
    }
}
