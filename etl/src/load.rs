//! A load from the first look to publishing. The first failure cancels everything; whatever happens, the published
//! catalogue is touched by nothing but the one transaction that publishes.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::connect::{Canceller, Session};
use crate::convert::Wanted;
use crate::copy::{Copied, Copy, expect_rows};
use crate::error::{Error, Result};
use crate::options::{Database, Input};
use crate::progress::{Board, Display, Phase};
use crate::publish;
use crate::rejects::{self, RejectFile};
use crate::report::{Report, Stages, TableReport, peak_rss_bytes};
use crate::scan::{self, Scanned};
use crate::schema;
use crate::tables::{TABLES, Table, TableId};

/// The order in which tables are copied: those that take longest first, so that the lanes end together.
const LONGEST_FIRST: [TableId; 6] =
    [TableId::Photos, TableId::Skus, TableId::Related, TableId::Product, TableId::Features, TableId::Styles];

/// Memory for sorting an index's entries: with less, large indexes are sorted on the disk.
const INDEX_MEMORY: &str = "256MB";

/// How often the database is asked how far its indexes are.
const INDEX_PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// How often an interrupted publishing is asked to stop.
const CANCEL_INTERVAL: Duration = Duration::from_millis(100);

/// How often the clean-up tries to drop what is staged.
const CLEAN_UP_TRIES: usize = 3;

/// What a load may do besides.
pub struct Options {
    /// Keep the catalogue published so far.
    pub keep_previous: bool,
}

/// Loads and publishes. Ends early with [`Error::interrupted`] when `interrupt` is ready. Files that are not
/// accepted come as an error beside the report, which says what was found in them.
pub async fn load(
    input: &mut Input,
    database: &Database,
    options: &Options,
    interrupt: impl Future<Output = ()>,
) -> Result<(Report, Result<()>)> {
    let begin = Instant::now();
    let mut interrupt = pin!(interrupt);
    let prepare = async {
        let control = database.target.connect_within(publish::CONTROL_SESSION, database.patience).await?;
        publish::check_rights(&control).await?;
        publish::lock(&control).await?;
        // Not before the lock is ours: another load may be writing them.
        let rejects = rejects::create(&input.rejects)?;
        Ok::<_, Error>((control, rejects))
    };
    let (control, rejects) = tokio::select! {
        prepared = prepare => prepared?,
        () = &mut interrupt => return Err(Error::interrupted()),
    };

    let load = Load {
        input,
        database,
        control: &control,
        board: Arc::new(Board::new(&input.sources)),
        cancellers: Mutex::default(),
        begin,
    };
    let staged = tokio::select! {
        staged = load.stage(rejects) => staged,
        error = control.ended() => Err(error),
        () = &mut interrupt => Err(Error::interrupted()),
    };
    let published = match staged {
        Ok((report, Ok(()))) => load.publish(report, options, interrupt).await.map(|report| (report, Ok(()))),
        refused_or_failed => refused_or_failed,
    };
    if !matches!(published, Ok((_, Ok(())))) {
        load.clean_up().await;
    }
    published
}

struct Load<'a> {
    input: &'a Input,
    database: &'a Database,
    control: &'a Session,
    board: Arc<Board>,
    cancellers: Mutex<Vec<Canceller>>,
    begin: Instant,
}

/// What a lane does next.
enum Task {
    Copy(Box<Copy>),
    Finish(&'static Table, u64),
}

/// What became of a table.
struct Done {
    copied: Copied,
    seconds: f64,
}

/// What the lanes share.
struct Queue {
    tasks: Mutex<Vec<Task>>,
    /// As many as there are jobs. A lane needs one to work, but not to commit, when the database writes a whole table
    /// to the disk and the processors have nothing to do for it.
    permits: Semaphore,
    done: Mutex<BTreeMap<TableId, Done>>,
    index_seconds: Mutex<BTreeMap<TableId, f64>>,
    /// When the last copy ended.
    copied_at: Mutex<Instant>,
    /// A file has more rejects than allowed: the rest is read, so that the reject files are whole, but nothing is
    /// built on it.
    refused: AtomicBool,
}

impl Load<'_> {
    /// Makes the whole catalogue but publishes nothing. With files that are not accepted, nothing is signed.
    async fn stage(&self, rejects: Vec<RejectFile>) -> Result<(Report, Result<()>)> {
        let begin = Instant::now();
        let mut stages = Stages::default();
        publish::stage(self.control).await?;
        let _display = Display::start(self.input.show, Arc::clone(&self.board));
        let scanned = self.scan_parents().await?;
        stages.scan = begin.elapsed().as_secs_f64();

        let copying = Instant::now();
        let queue = self.queue(rejects, &scanned);
        // One more than there are permits: it works while another waits for the disk.
        let lanes = try_join_all((0..self.input.jobs.min(TABLES.len()) + 1).map(|_| self.lane(&queue)));
        tokio::select! {
            lanes = lanes => drop(lanes?),
            () = self.watch_indexes() => {}
        }
        let copied_at = *lock(&queue.copied_at);
        stages.copy = (copied_at - copying).as_secs_f64();
        let done = std::mem::take(&mut *lock(&queue.done));
        let verdict =
            scan::verdict(self.input, done.iter().map(|(table, done)| (*table, &done.copied.outcome)));
        stages.index = copied_at.elapsed().as_secs_f64();
        let report = Report {
            command: "load",
            version: env!("CARGO_PKG_VERSION"),
            load_id: verdict.is_ok().then(|| uuid::Uuid::now_v7().to_string()),
            seconds: self.begin.elapsed().as_secs_f64(),
            stages,
            bottleneck: scan::bottleneck(done.values().map(|done| done.copied.outcome.waits)),
            peak_rss_bytes: peak_rss_bytes(),
            warnings: done
                .iter()
                .flat_map(|(table, done)| scan::warnings(table.table(), &done.copied.outcome))
                .collect(),
            tables: done
                .iter()
                .map(|(table, done)| {
                    let file = done.copied.rejects_file.as_ref().map(|path| path.display().to_string());
                    let source = &self.input.sources[*table as usize];
                    let mut report = TableReport::new(source, &done.copied.outcome, file, done.seconds);
                    report.index_seconds = lock(&queue.index_seconds).get(table).copied();
                    (table.table().name, report)
                })
                .collect(),
        };
        if verdict.is_ok() {
            publish::sign(self.control, &report).await?;
            publish::grant_to_reader(self.control).await?;
        }
        Ok((report, verdict))
    }

    /// The first reading, in a thread that may block.
    async fn scan_parents(&self) -> Result<Scanned> {
        for table in scan::PARENTS {
            self.board.table(table).enter(Phase::Scan);
        }
        let (sources, pool) = (self.input.sources.clone(), Arc::clone(&self.input.pool));
        match spawn_blocking(move || scan::parents(&sources, &pool)).await {
            Ok(scanned) => {
                for table in scan::PARENTS {
                    self.board.table(table).enter(Phase::Waiting);
                }
                scanned
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    fn queue(&self, rejects: Vec<RejectFile>, scanned: &Scanned) -> Queue {
        let parents = &scanned.parents;
        let mut rejects: Vec<Option<RejectFile>> = rejects.into_iter().map(Some).collect();
        let copies = LONGEST_FIRST.iter().rev().filter_map(|&table| {
            Some(Task::Copy(Box::new(Copy {
                table: table.table(),
                source: self.input.sources[table as usize].clone(),
                parents: parents.clone(),
                scanned: scanned.digests.get(&table).copied(),
                wanted: match table.table().ranked {
                    true => Wanted::RankedRows(parents.ids(table)),
                    false => Wanted::Rows,
                },
                rejects: rejects[table as usize].take()?,
                board: Arc::clone(&self.board),
                pool: Arc::clone(&self.input.pool),
            })))
        });
        Queue {
            tasks: Mutex::new(copies.collect()),
            permits: Semaphore::new(self.input.jobs),
            done: Mutex::default(),
            index_seconds: Mutex::default(),
            copied_at: Mutex::new(Instant::now()),
            refused: AtomicBool::new(false),
        }
    }

    /// Works through the queue on a connection of its own: copies first, then indexes.
    async fn lane(&self, queue: &Queue) -> Result<()> {
        let session = self.database.target.connect(publish::LANE_SESSION).await?;
        lock(&self.cancellers).push(session.canceller());
        let settings = format!(
            "SET search_path TO {}; SET client_connection_check_interval = '5s';
             SELECT set_config('maintenance_work_mem', '{INDEX_MEMORY}', false)
             WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes('{INDEX_MEMORY}')",
            publish::STAGING
        );
        session
            .client
            .batch_execute(&settings)
            .await
            .map_err(|error| session.failed("cannot set up a session", &error))?;
        loop {
            let Some(task) = lock(&queue.tasks).pop() else { return Ok(()) };
            let permit = queue.permits.acquire().await.ok();
            match task {
                Task::Copy(copy) => self.copy(*copy, &session, queue, permit).await?,
                Task::Finish(table, rows) if !queue.refused.load(Ordering::Relaxed) => {
                    self.finish(table, rows, &session, queue, permit).await?;
                }
                Task::Finish(..) => {}
            }
        }
    }

    async fn copy(
        &self,
        copy: Copy,
        session: &Session,
        queue: &Queue,
        permit: Option<SemaphorePermit<'_>>,
    ) -> Result<()> {
        let (table, begin) = (copy.table, Instant::now());
        self.board.table(table.id).enter(Phase::Rows);
        let copied = copy.run(session).await?;
        drop(permit);
        commit(session, table).await?;
        self.board.table(table.id).enter(Phase::Waiting);
        if scan::verdict(self.input, [(table.id, &copied.outcome)].into_iter()).is_err() {
            queue.refused.store(true, Ordering::Relaxed);
        }
        // Behind all copies, and the first to be copied is the first to be indexed.
        lock(&queue.tasks).insert(0, Task::Finish(table, copied.outcome.loaded));
        lock(&queue.done).insert(table.id, Done { copied, seconds: begin.elapsed().as_secs_f64() });
        *lock(&queue.copied_at) = Instant::now();
        Ok(())
    }

    /// Builds a table's indexes, compares the number of its rows with what was accepted, and analyzes it.
    async fn finish(
        &self,
        table: &'static Table,
        rows: u64,
        session: &Session,
        queue: &Queue,
        permit: Option<SemaphorePermit<'_>>,
    ) -> Result<()> {
        let begin = Instant::now();
        let progress = self.board.table(table.id);
        progress.enter(Phase::Index);
        let failed = |error: &tokio_postgres::Error| {
            session.failed(format!("cannot index {} and analyze it", table.name), error)
        };
        let indexes = format!("BEGIN; {}", schema::statements(table).after.join(";"));
        session.client.batch_execute(&indexes).await.map_err(|error| failed(&error))?;
        progress.enter(Phase::Verify);
        expect_indexed(session, table, rows).await?;
        let analyze = format!("ANALYZE {}", table.name);
        session.client.batch_execute(&analyze).await.map_err(|error| failed(&error))?;
        drop(permit);
        commit(session, table).await?;
        progress.enter(Phase::Done);
        lock(&queue.index_seconds).insert(table.id, begin.elapsed().as_secs_f64());
        Ok(())
    }

    /// Takes the progress of index builds from the database's own view to the board, for ever.
    async fn watch_indexes(&self) {
        let query = "SELECT c.relname::text,
                            greatest(p.blocks_done * 1000 / nullif(p.blocks_total, 0),
                                     p.tuples_done * 1000 / nullif(p.tuples_total, 0), 0)
                     FROM pg_stat_progress_create_index p JOIN pg_class c ON c.oid = p.relid
                     WHERE p.datname = current_database()";
        loop {
            tokio::time::sleep(INDEX_PROGRESS_INTERVAL).await;
            // It is only for show: what is wrong with the connection is found where it matters.
            let Ok(rows) = self.control.client.query(query, &[]).await else { continue };
            for row in rows {
                let (name, permille): (String, i64) = (row.get(0), row.get(1));
                if let Some(table) = TABLES.iter().find(|table| table.name == name) {
                    self.board.table(table.id).index_built(permille.unsigned_abs());
                }
            }
        }
    }

    /// Publishing waits for the locks of others, and so can be interrupted. Whether the load is published then is for
    /// the database to say.
    async fn publish(
        &self,
        mut report: Report,
        options: &Options,
        interrupt: impl Future<Output = ()>,
    ) -> Result<Report> {
        let begin = Instant::now();
        let mut publishing = pin!(async {
            let mut warnings = Vec::from_iter(publish::publish(self.control).await?);
            if !options.keep_previous {
                warnings.extend(publish::drop_previous(self.control).await);
            }
            Ok(warnings)
        });
        let warnings = tokio::select! {
            warnings = &mut publishing => warnings?,
            () = interrupt => loop {
                // Again and again: a request that comes between two statements cancels nothing.
                self.control.canceller().cancel().await;
                if let Ok(published) = timeout(CANCEL_INTERVAL, &mut publishing).await {
                    // On a lost connection it is for the database to say what has happened: its error says so.
                    let lost = self.control.client.is_closed();
                    break published.map_err(|error| if lost { error } else { Error::interrupted() })?;
                }
            },
        };
        report.warnings.extend(warnings);
        report.stages.publish = begin.elapsed().as_secs_f64();
        report.seconds = self.begin.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Stops what the lanes are doing and drops what is staged, as far as the database still listens: what stays
    /// behind, the next load drops.
    async fn clean_up(&self) {
        let cancellers = std::mem::take(&mut *lock(&self.cancellers));
        let clean_up = async {
            for canceller in cancellers {
                canceller.cancel().await;
            }
            // A cancel request that was meant for publishing may come late and hit this.
            for _ in 0..CLEAN_UP_TRIES {
                if publish::unstage(self.control).await.is_ok() {
                    return Ok(());
                }
            }
            // The session is gone, and with it the lock.
            let control = self.database.target.connect(publish::CONTROL_SESSION).await?;
            publish::lock_again(&control).await?;
            publish::unstage(&control).await?;
            Ok::<_, Error>(())
        };
        let _ = timeout(publish::CLEAN_UP_PATIENCE, clean_up).await;
    }
}

async fn commit(session: &Session, table: &Table) -> Result<()> {
    let result = session.client.batch_execute("COMMIT").await;
    result.map_err(|error| session.failed(format!("cannot commit {}", table.name), &error))
}

/// Fails unless the table and each of its indexes have as many rows as were accepted. Building an index reads the
/// whole table and notes how many rows it found, so counting them once more would tell nothing new. PostgreSQL keeps
/// the number as a `real`, exact up to 16,777,216; COPY's own count, compared before, is always exact.
async fn expect_indexed(session: &Session, table: &Table, rows: u64) -> Result<()> {
    let query = "SELECT c.relname::text, c.reltuples FROM pg_class c
                 WHERE c.oid = to_regclass($1) OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = to_regclass($1))";
    let found = session.client.query(query, &[&table.name]).await;
    let found =
        found.map_err(|error| session.failed(format!("cannot count the rows of {}", table.name), &error))?;
    for row in &found {
        let (name, counted): (String, f32) = (row.get(0), row.get(1));
        if counted != rows as f32 {
            expect_rows(table, rows, counted as u64, &format!("building the indexes found in {name}"))?;
        }
    }
    Ok(())
}

/// Nothing is left half-done under these locks, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
