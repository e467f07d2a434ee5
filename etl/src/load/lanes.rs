//! The lanes of a load: connections that work in parallel on one queue, first copying tables, then building their indexes.
//! The first failure ends all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use atelier_base::connect::{Setting, Target};
use atelier_base::error::Result;
use atelier_base::tables::{TABLES, Table, TableId, longest_first};
use enum_map::EnumMap;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::database::lock::lock_lane;
use crate::database::names::{BEGIN_STAGED, LANE_SESSION};
use crate::database::schema;
use crate::database::session::Session;
use crate::load::context::Context;
use crate::load::copy::{Copied, TableCopy, expect_rows};
use crate::load::parents::FirstPass;
use crate::load::queue::Queue;
use crate::output::progress::Phase;
use crate::output::rejects::RejectFile;
use crate::output::report::TableDone;
use crate::rows::convert::Output;

/// Memory for sorting an index's entries: with less, large indexes are sorted on the disk. Parallel workers are off: rows
/// are almost in the order of the keys, and merging the workers' parts takes more than twice the processor time, while
/// the other lanes have work for every core.
const INDEX_MEMORY: &str = "256MB";

enum Task {
    Copy(Box<TableCopy>),
    /// Index a table of so many rows.
    Index(&'static Table, u64),
}

pub(crate) struct Lanes<'a> {
    context: &'a Context<'a>,
    /// First the copies. The task to index a table is added when it is copied.
    tasks: Queue<Task>,
    /// As many as jobs. A lane needs one to work, but not to commit: then the database writes a whole table to the disk,
    /// and the processors are idle.
    permits: Semaphore,
    done: Mutex<BTreeMap<TableId, TableDone>>,
    /// When the last copy ended.
    copied_at: Mutex<Instant>,
    /// A file is not accepted: the others are still read, so that all reject files are complete, but nothing is indexed.
    rejected: AtomicBool,
}

impl<'a> Lanes<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        rejects: EnumMap<TableId, RejectFile>,
        first_pass: &FirstPass,
    ) -> Lanes<'a> {
        let mut rejects = rejects.map(|_, file| Some(file));
        let copies = longest_first().filter_map(|table| {
            Some(Task::Copy(Box::new(TableCopy {
                table: table.table(),
                source: context.input.sources[table].clone(),
                parents: first_pass.ids.clone(),
                first_digest: first_pass.digests[table],
                output: match table.table().ranked {
                    true => Output::RankedRows(first_pass.ids.of(table)),
                    false => Output::Rows,
                },
                rejects: rejects[table].take()?,
                progress: Arc::clone(&context.progress),
                pool: Arc::clone(&context.input.pool),
            })))
        });
        Lanes {
            context,
            tasks: Queue::new(copies),
            permits: Semaphore::new(context.input.jobs),
            done: Mutex::default(),
            copied_at: Mutex::new(Instant::now()),
            rejected: AtomicBool::new(false),
        }
    }

    /// Works until the queue is empty, or until the first failure.
    pub(crate) async fn run(&self) -> Result<()> {
        let Context { input, database, control, .. } = *self.context;
        let target = database.target.for_bulk().with(&settings(control).await?);
        // All connect before the first one works, so that a refusal is found before any row is sent.
        let sessions = (0..number_of_lanes(input.jobs)).map(|_| self.connect(&target));
        let sessions = try_join_all(sessions).await?;
        try_join_all(sessions.into_iter().map(|session| self.lane(session))).await.map(drop)
    }

    /// The tables, and when the last row was copied.
    pub(crate) fn done(self) -> (BTreeMap<TableId, TableDone>, Instant) {
        (self.done.into_inner(), self.copied_at.into_inner())
    }

    async fn connect(&self, target: &Target) -> Result<Session> {
        let session = Session::connect(target, LANE_SESSION).await?;
        self.context.cancellers.lock().push(session.canceller());
        lock_lane(&session).await?;
        Ok(session)
    }

    async fn lane(&self, session: Session) -> Result<()> {
        while let Some(task) = self.tasks.pop() {
            // It fails only on a closed semaphore, and this one is never closed.
            let permit = self.permits.acquire().await.ok();
            match task {
                Task::Copy(copy) => self.copy(*copy, &session, permit).await?,
                Task::Index(table, rows) if !self.rejected.load(Ordering::Relaxed) => {
                    self.index(table, rows, &session, permit).await?;
                }
                Task::Index(..) => {}
            }
        }
        Ok(())
    }

    async fn copy(
        &self,
        copy: TableCopy,
        session: &Session,
        permit: Option<SemaphorePermit<'_>>,
    ) -> Result<()> {
        let (table, begin) = (copy.table, Instant::now());
        let Context { input, ref progress, .. } = *self.context;
        progress.table(table.id).enter(Phase::Rows);
        let Copied { outcome, waits, rejects } = copy.run(session).await?;
        drop(permit);
        commit(session, table).await?;
        progress.table(table.id).enter(Phase::Waiting);
        if input.acceptance().check(table.id, &input.sources[table.id], &outcome).is_err() {
            self.rejected.store(true, Ordering::Relaxed);
        }
        self.tasks.push(Task::Index(table, outcome.loaded));
        let rows = self.context.span(begin);
        self.done.lock().insert(table.id, TableDone { outcome, waits, rejects, rows, index: None });
        *self.copied_at.lock() = Instant::now();
        Ok(())
    }

    /// Builds the indexes of a table, checks that they have all accepted rows, and analyzes it.
    async fn index(
        &self,
        table: &'static Table,
        rows: u64,
        session: &Session,
        permit: Option<SemaphorePermit<'_>>,
    ) -> Result<()> {
        let begin = Instant::now();
        let progress = self.context.progress.table(table.id);
        progress.enter(Phase::Index);
        let failed = |error: &tokio_postgres::Error| {
            session.failed(format!("cannot index {} and analyze it", table.name), error)
        };
        let indexes = format!("{BEGIN_STAGED}; {}", schema::statements(table).after.join(";"));
        session.client.batch_execute(&indexes).await.map_err(|error| failed(&error))?;
        progress.enter(Phase::Verify);
        expect_indexed(session, table, rows).await?;
        let analyze = format!("ANALYZE {}", table.name);
        session.client.batch_execute(&analyze).await.map_err(|error| failed(&error))?;
        drop(permit);
        commit(session, table).await?;
        progress.enter(Phase::Done);
        if let Some(done) = self.done.lock().get_mut(&table.id) {
            done.index = Some(self.context.span(begin));
        }
        Ok(())
    }
}

/// One more than jobs, and than tables: one lane works while another waits for the disk.
pub(crate) fn number_of_lanes(jobs: usize) -> usize {
    jobs.min(TABLES.len()) + 1
}

/// For the lanes' sessions.
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
/// stores how many rows it found, so counting them again would add nothing. It stores the number for the table too, but
/// since PostgreSQL 18 not if autovacuum is off, as here. The number is a `real`, exact up to 16,777,216; COPY's own count,
/// checked before, is always exact.
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
