//! Crashes: whatever is killed, disconnected or full, and at any moment, either the old catalogue is published or the whole
//! new one, and the next load needs no help.
//!
//! The moments are random, one in each of as many equal parts of a load's time as there are strikes, in random order.
//! The seed is printed; `ATELIER_CRASH_SEED` strikes at the same moments again. `ATELIER_CRASHES` is the number of
//! loads that are killed before they end, 50 unless it says otherwise; a few more strikes come when one has ended.

mod database;
mod disk;
mod loader;
mod network;
mod random;

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use atelier_testing::{Database, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use super::gate::{Gate, Place};
use super::{Etl, Run, load, schemas};
use crate::catalogue::Done;
use crate::published::{Seen, seen};
use crate::run::{Running, etl};
use random::seeded;

/// Takes under half a second to load, in a build for tests.
const PRODUCTS: u32 = 3_000;

/// Strikes between two measurements of a load's time, which other tests change.
const ROUND: u32 = 10;

/// How long a load waits for readers, and the warning after that.
const READERS_PATIENCE: Duration = Duration::from_secs(5);
const BESIDE_READERS: &str = " s: it may see tables of both catalogues";

/// The files of a catalogue, and the content of the tables when it is published.
struct Catalogue {
    files: TempDir,
    digests: Vec<Value>,
    rows: (i64, i64),
}

/// What is published, as read back row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Published {
    load_id: String,
    /// Of the two catalogues.
    which: usize,
}

/// A database that serves one of two catalogues, and is loaded with the other again and again.
struct Shelf<'a> {
    database: &'a Database<'a>,
    /// How the loader gets to it.
    url: String,
    catalogues: Vec<Catalogue>,
    published: Published,
    /// The id of the load that was published before it.
    replaced: Option<String>,
    /// Everything that readers may have seen since the beginning, in order.
    history: Vec<Seen>,
    /// How long undisturbed loads took.
    took: Vec<Duration>,
    watch: Option<Watch>,
    /// How often a load was struck where.
    strikes_by_phase: BTreeMap<String, u32>,
}

impl<'a> Shelf<'a> {
    /// The first catalogue is published.
    fn new(database: &'a Database<'a>, products: u32) -> Shelf<'a> {
        let catalogues = [(2, products + products / 10), (1, products)].map(|(seed, products)| {
            let files = tempfile::tempdir().unwrap();
            let out = files.path().display().to_string();
            let (seed, products) = (seed.to_string(), products.to_string());
            let run = etl(["generate", "--out", &out, "--seed", &seed, "--products", &products]);
            assert_eq!(run.code, 0, "{run:?}");
            let done: Done = crate::catalogue::load(database, files.path(), &[]).succeeded();
            let (load_id, product, photos) = seen(&done);
            let digests = done.of_tables("content_digest");
            (Catalogue { files, digests, rows: (product, photos) }, load_id)
        });
        let published = Published { load_id: catalogues[1].1.clone(), which: 0 };
        let mut catalogues = Vec::from(catalogues.map(|(catalogue, _)| catalogue));
        catalogues.reverse();
        assert!(catalogues[0].digests.iter().zip(&catalogues[1].digests).all(|(a, b)| a != b));
        let mut shelf = Shelf {
            database,
            url: database.url(),
            catalogues,
            history: Vec::new(),
            published,
            replaced: None,
            took: Vec::new(),
            watch: None,
            strikes_by_phase: BTreeMap::new(),
        };
        shelf.history.push(shelf.seen());
        shelf
    }

    fn seen(&self) -> Seen {
        let (products, photos) = self.catalogues[self.published.which].rows;
        (self.published.load_id.clone(), products, photos)
    }

    /// The catalogue that is not published.
    fn other(&self) -> usize {
        1 - self.published.which
    }

    /// A load of a catalogue, started from the same command line each time.
    fn load(&self, which: usize, how: How) -> Etl {
        load(&self.url, self.catalogues[which].files.path())
            .env("ATELIER_FORCE", if how.force { "true" } else { "false" })
            .env("ATELIER_KEEP_PREVIOUS", if how.keep_previous { "true" } else { "false" })
    }

    /// The time of an undisturbed load, the shorter of two.
    fn measure(&mut self) -> Duration {
        for _ in 0..2 {
            self.loads(self.other(), How::default());
        }
        self.usual()
    }

    /// The current time of a load: the median of the last ones.
    fn usual(&self) -> Duration {
        let mut last: Vec<Duration> = self.took.iter().rev().take(ROUND as usize).copied().collect();
        last.sort();
        let duration = last[(last.len() - 1) / 2];
        println!("a load takes {duration:?}");
        duration
    }

    /// A load has published what was `found`.
    fn publishes(&mut self, found: Published, run: &Run) {
        let old = self.seen();
        self.published = found;
        let new = self.seen();
        // Its warning says so; a load that was struck may not have printed it.
        let struck_late = run.code != 0 && run.took >= READERS_PATIENCE;
        if struck_late || run.stdout.contains(BESIDE_READERS) {
            self.history.extend([(old.0.clone(), old.1, new.2), (old.0.clone(), new.1, new.2)]);
        }
        self.history.push(new);
        self.replaced = Some(old.0);
    }

    /// Reads back what is published: all of one of the catalogues, row for row what the load says it loaded.
    fn read_back(&self) -> Published {
        let place = tempfile::tempdir().unwrap();
        let report = place.path().join("report.json");
        let mut run = None;
        // A database that was struck may be recovering.
        until("what is published can be read", || {
            let verify = Etl::new(["verify", "--wait=60", "--database-url", &self.database.url()]);
            let verify = verify.arg("--report").arg(&report).run();
            let answers = verify.code != 4;
            run = Some(verify);
            answers
        });
        let run = run.unwrap();
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
        let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
        let digests: Vec<&Value> = (atelier_base::tables::TABLES.iter())
            .map(|table| &report["tables"][table.name]["published_digest"])
            .collect();
        let which = self.catalogues.iter().position(|catalogue| catalogue.digests.iter().eq(digests.clone()));
        let which = which.unwrap_or_else(|| panic!("neither of the two catalogues: {report}"));
        Published { load_id: report["load_id"].as_str().unwrap().to_owned(), which }
    }

    /// Checks what a load of `new` left behind when it was struck: the old catalogue or the whole new one, as its message says.
    fn survives(&mut self, new: usize, run: &Run) {
        let found = self.read_back();
        if found == self.published {
            assert_ne!(run.code, 0, "said to be published: {run:?}");
            return;
        }
        assert_ne!(found.load_id, self.published.load_id);
        assert_eq!(found.which, new, "{run:?}");
        assert!(!run.stderr.contains("the published catalogue is unchanged"), "{run:?}");
        self.publishes(found, run);
    }

    /// Checks that the same command, repeated immediately and without help, publishes its catalogue and leaves nothing behind.
    fn loads(&mut self, new: usize, how: How) {
        let mut run = None;
        // It waits for the session of a load that was killed, which may take longer on a busy machine.
        until("the lock of a load that was struck is free", || {
            let again = self.load(new, how).run();
            let locked = again.stderr.contains("another load or rollback of this database is running");
            run = Some(again);
            !locked
        });
        let run = run.unwrap();
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
        // On a busy machine readers may prevent it from locking the tables.
        let warned = run.stdout.matches("warning").count();
        assert_eq!(warned, run.stdout.matches(BESIDE_READERS).count(), "{run:?}");
        let found = self.read_back();
        assert_eq!(found.which, new);
        if found != self.published {
            self.publishes(found, &run);
            self.took.push(run.took);
        } else {
            assert!(!how.force && run.stdout.contains("nothing to load"), "{run:?}");
        }
        let expected = if how.keep_previous { "atelier atelier_previous" } else { "atelier" };
        assert_eq!(schemas(self.database), expected);
        if how.keep_previous {
            let kept = self.database.query("SELECT load_id FROM atelier_previous.load")[0][0].clone();
            assert_eq!(kept, self.replaced);
        }
        until("no session is left", || self.sessions("") == "0");
    }

    /// How many sessions of loads are there.
    fn sessions(&self, which: &str) -> String {
        let query = format!(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name LIKE 'atelier-etl%' {which}"
        );
        self.database.query(&query)[0][0].clone().unwrap()
    }

    /// What the load that runs is doing, and the sessions that do it.
    fn phase(&mut self) -> (String, Vec<i32>) {
        let database = self.database;
        self.watch.get_or_insert_with(|| Watch::new(database)).phase()
    }

    /// Starts a load of the catalogue that is not published, and strikes it at a moment after its start. `strike` is given the
    /// sessions that do what the load is doing. Then checks what is left, and loads again.
    fn strike(
        &mut self,
        moment: Duration,
        how: How,
        mut strike: impl FnMut(&mut Self, &Running, &[i32]),
    ) -> Run {
        let new = self.other();
        let begin = Instant::now();
        let load = self.load(new, how).spawn();
        thread::sleep(moment.saturating_sub(begin.elapsed()));
        let (phase, sessions) = self.phase();
        let after = begin.elapsed();
        strike(self, &load, &sessions);
        let run = load.finish();
        println!("{after:?}, {phase}: exit {}", run.code);
        *self.strikes_by_phase.entry(phase).or_default() += 1;
        self.survives(new, &run);
        self.loads(new, how);
        run
    }

    /// The same at a certain place. Later loads are not held there.
    fn strike_at(
        &mut self,
        place: Place,
        how: How,
        mut strike: impl FnMut(&mut Self, &Running, &[i32]),
    ) -> Run {
        let (new, gate) = (self.other(), Gate::close(self.database, place));
        let load = self.load(new, how).spawn();
        let session = gate.wait();
        gate.lift();
        strike(self, &load, &[session]);
        let run = load.finish();
        println!("at {place:?}: exit {}", run.code);
        self.survives(new, &run);
        self.loads(new, how);
        run
    }
}

/// How a load is started.
#[derive(Clone, Copy, Debug, Default)]
struct How {
    force: bool,
    keep_previous: bool,
}

impl How {
    /// Every way in turn.
    fn nth(n: usize) -> How {
        How { force: n % 2 == 1, keep_previous: n % 3 == 2 }
    }
}

/// `strikes` moments of a load that takes `duration`, and of a little longer.
fn moments(random: &mut StdRng, strikes: u32, duration: Duration) -> Vec<Duration> {
    let part = duration.mul_f64(1.1) / strikes;
    let mut moments: Vec<Duration> =
        (0..strikes).map(|n| part * n + part.mul_f64(random.random::<f64>())).collect();
    moments.shuffle(random);
    moments
}

/// A load that was struck ended with one clear message, unless it was too fast.
fn judge(run: &Run) {
    if run.code != 0 {
        run.failed(4, &[]);
    }
}

/// A session that queries what loads are doing. It is connected in advance, to be fast.
struct Watch {
    client: Client,
    runtime: Runtime,
}

/// From the end of a load to its beginning: the first that matches is its phase.
const PHASE: &str = "
    WITH sessions AS (
        SELECT pid, application_name = 'atelier-etl' AS control, state <> 'idle' AS busy, query
        FROM pg_stat_activity
        WHERE datname = current_database() AND application_name IN ('atelier-etl', 'atelier-etl lane')
    ), phases AS (
        SELECT pid, CASE
            WHEN control AND busy AND query LIKE '%RENAME TO%' THEN 6
            WHEN control AND busy AND query LIKE '%DROP SCHEMA%' THEN 5
            WHEN NOT control AND busy AND (query LIKE '%ALTER TABLE%' OR query LIKE 'ANALYZE%') THEN 4
            WHEN NOT control AND busy AND query LIKE 'COPY %' THEN 3
            WHEN NOT control THEN 2
            ELSE 1 END AS phase
        FROM sessions
    )
    SELECT coalesce(max(phase), 0), array_agg(pid) FILTER (WHERE phase = (SELECT max(phase) FROM phases))
    FROM phases";

const PHASES: [&str; 7] =
    ["no session", "look and scan", "between", "copy", "index", "clear or drop", "publish"];

impl Watch {
    fn new(database: &Database<'_>) -> Watch {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        });
        Watch { client, runtime }
    }

    fn phase(&self) -> (String, Vec<i32>) {
        let row = self.runtime.block_on(self.client.query_one(PHASE, &[])).unwrap();
        let phase: i32 = row.get(0);
        let sessions: Option<Vec<i32>> = row.get(1);
        (PHASES[phase as usize].to_owned(), sessions.unwrap_or_default())
    }
}

/// `kill -9` of a process that may have ended.
fn kill_process(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}
