//! The lanes of a load: connections that work side by side through one queue of tables, first copying their rows, then
//! building their indexes. The first failure ends all of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use atelier_base::connect::{Setting, Target};
use atelier_base::error::Result;
use futures_util::future::try_join_all;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::database::publish;
use crate::database::schema;
use crate::database::session::Session;
use crate::load::Load;
use crate::load::copy::{Copied, TableCopy, expect_rows};
use crate::load::parents::FirstPass;
use crate::output::acceptance::verdict;
use crate::output::progress::Phase;
use crate::output::rejects::RejectFile;
use crate::output::report::Span;
use crate::rows::convert::Output;
use atelier_base::tables::{TABLES, Table, TableId};
use enum_map::EnumMap;

/// The order in which tables are copied and read back: those that take longest first, so that the lanes end together.
pub(crate) const LONGEST_FIRST: [TableId; 6] =
    [TableId::Photos, TableId::Skus, TableId::Related, TableId::Product, TableId::Features, TableId::Styles];

/// Memory for sorting an index's entries: with less, large indexes are sorted on the disk. Each is sorted by its lane
/// alone: rows stand almost in the order of the keys, and workers would have to merge what they took apart, for more
/// than twice the processor time, while the other lanes have work for every core.
const INDEX_MEMORY: &str = "256MB";

/// What a lane does next.
enum Task {
    Copy(Box<TableCopy>),
    Finish(&'static Table, u64),
}

/// What became of a table.
pub(crate) struct Done {
    /// What was in its file.
    pub(crate) copied: Copied,
    /// Of copying it.
    pub(crate) rows: Span,
    /// Of building its indexes and analyzing it; none if the load was refused before.
    pub(crate) index: Option<Span>,
}

/// The lanes of a load, and what they share.
pub(crate) struct Lanes<'a> {
    load: &'a Load<'a>,
    tasks: Mutex<Vec<Task>>,
    /// As many as there are jobs. A lane needs one to work, but not to commit, when the database writes a whole table
    /// to the disk and the processors have nothing to do for it.
    permits: Semaphore,
    done: Mutex<BTreeMap<TableId, Done>>,
    /// When the last copy ended.
    copied_at: Mutex<Instant>,
    /// A file has more rejects than allowed: the rest is read, so that the reject files are whole, but nothing is
    /// built on it.
    refused: AtomicBool,
}

impl<'a> Lanes<'a> {
    /// All tables wait to be copied.
    pub(crate) fn new(
        load: &'a Load<'a>,
        rejects: EnumMap<TableId, RejectFile>,
        first: &FirstPass,
    ) -> Lanes<'a> {
        let mut rejects = rejects.map(|_, file| Some(file));
        let copies = LONGEST_FIRST.iter().rev().filter_map(|&table| {
            Some(Task::Copy(Box::new(TableCopy {
                table: table.table(),
                source: load.input.sources[table].clone(),
                parents: first.ids.clone(),
                first_digest: first.digests[table],
                output: match table.table().ranked {
                    true => Output::RankedRows(first.ids.of(table)),
                    false => Output::Rows,
                },
                rejects: rejects[table].take()?,
                board: Arc::clone(&load.board),
                pool: Arc::clone(&load.input.pool),
            })))
        });
        Lanes {
            load,
            tasks: Mutex::new(copies.collect()),
            permits: Semaphore::new(load.input.jobs),
            done: Mutex::default(),
            copied_at: Mutex::new(Instant::now()),
            refused: AtomicBool::new(false),
        }
    }

    /// How many there are. One more than there are permits: it works while another waits for the disk.
    pub(crate) fn number(jobs: usize) -> usize {
        jobs.min(TABLES.len()) + 1
    }

    /// Works until nothing is left to do, or to the first failure.
    pub(crate) async fn run(&self) -> Result<()> {
        let lanes = Lanes::number(self.load.input.jobs);
        let target = self.load.database.target.for_bulk().with(&settings(self.load.control).await?);
        // All are there before the first one works: what keeps one out is found before any row is sent.
        let sessions = try_join_all((0..lanes).map(|_| self.connect(&target))).await?;
        try_join_all(sessions.into_iter().map(|session| self.lane(session))).await.map(drop)
    }

    /// What became of the tables, and when the last row was copied.
    pub(crate) fn done(self) -> (BTreeMap<TableId, Done>, Instant) {
        (std::mem::take(&mut *lock(&self.done)), *lock(&self.copied_at))
    }

    async fn connect(&self, target: &Target) -> Result<Session> {
        let session = Session::connect(target, publish::LANE_SESSION).await?;
        lock(&self.load.cancellers).push(session.canceller());
        publish::lock_lane(&session).await?;
        Ok(session)
    }

    /// Works through the queue on a connection of its own: copies first, then indexes.
    async fn lane(&self, session: Session) -> Result<()> {
        loop {
            let Some(task) = lock(&self.tasks).pop() else { return Ok(()) };
            // It fails only on a closed semaphore, and nobody closes this one.
            let permit = self.permits.acquire().await.ok();
            match task {
                Task::Copy(copy) => self.copy(*copy, &session, permit).await?,
                Task::Finish(table, rows) if !self.refused.load(Ordering::Relaxed) => {
                    self.finish(table, rows, &session, permit).await?;
                }
                Task::Finish(..) => {}
            }
        }
    }

    async fn copy(
        &self,
        copy: TableCopy,
        session: &Session,
        permit: Option<SemaphorePermit<'_>>,
    ) -> Result<()> {
        let (table, begin) = (copy.table, Instant::now());
        self.load.board.table(table.id).enter(Phase::Rows);
        let copied = copy.run(session).await?;
        drop(permit);
        commit(session, table).await?;
        self.load.board.table(table.id).enter(Phase::Waiting);
        if verdict(self.load.input, [(table.id, &copied.outcome)].into_iter()).is_err() {
            self.refused.store(true, Ordering::Relaxed);
        }
        // Behind all copies, and the first to be copied is the first to be indexed.
        lock(&self.tasks).insert(0, Task::Finish(table, copied.outcome.loaded));
        lock(&self.done).insert(table.id, Done { copied, rows: self.load.span(begin), index: None });
        *lock(&self.copied_at) = Instant::now();
        Ok(())
    }

    /// Builds a table's indexes, compares the number of its rows with what was accepted, and analyzes it.
    async fn finish(
        &self,
        table: &'static Table,
        rows: u64,
        session: &Session,
        permit: Option<SemaphorePermit<'_>>,
    ) -> Result<()> {
        let begin = Instant::now();
        let progress = self.load.board.table(table.id);
        progress.enter(Phase::Index);
        let failed = |error: &tokio_postgres::Error| {
            session.failed(format!("cannot index {} and analyze it", table.name), error)
        };
        let indexes = format!("{}; {}", publish::BEGIN_STAGED, schema::statements(table).after.join(";"));
        session.client.batch_execute(&indexes).await.map_err(|error| failed(&error))?;
        progress.enter(Phase::Verify);
        expect_indexed(session, table, rows).await?;
        let analyze = format!("ANALYZE {}", table.name);
        session.client.batch_execute(&analyze).await.map_err(|error| failed(&error))?;
        drop(permit);
        commit(session, table).await?;
        progress.enter(Phase::Done);
        if let Some(done) = lock(&self.done).get_mut(&table.id) {
            done.index = Some(self.load.span(begin));
        }
        Ok(())
    }
}

/// Of the lanes' sessions.
async fn settings(control: &Session) -> Result<[Setting; 3]> {
    let memory = format!(
        "SELECT greatest(pg_size_bytes(current_setting('maintenance_work_mem')), pg_size_bytes('{INDEX_MEMORY}')) / 1024
                || 'kB'"
    );
    let memory = control.client.query_one(&memory, &[]).await;
    let memory = memory.map_err(|error| control.failed("cannot set up a session", &error))?;
    Ok([
        ("client_connection_check_interval", "5s".to_owned()),
        ("max_parallel_maintenance_workers", "0".to_owned()),
        ("maintenance_work_mem", memory.get(0)),
    ])
}

async fn commit(session: &Session, table: &Table) -> Result<()> {
    let result = session.client.batch_execute("COMMIT").await;
    result.map_err(|error| session.failed(format!("cannot commit {}", table.name), &error))
}

/// Fails unless each index of the table has as many rows as were accepted. Building an index reads the whole table and
/// notes how many rows it found, so counting them once more would tell nothing new. It notes them for the table too, but
/// from PostgreSQL 18 on not where autovacuum is off, as it is here. PostgreSQL keeps the number as a `real`, exact up to
/// 16,777,216; COPY's own count, compared before, is always exact.
async fn expect_indexed(session: &Session, table: &Table, rows: u64) -> Result<()> {
    let query = "SELECT c.relname::text, c.reltuples FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
                 WHERE i.indrelid = to_regclass($1)";
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
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
