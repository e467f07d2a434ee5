//! A load, from the preflight to publishing. The first failure cancels everything. Whatever happens, only the one
//! transaction that publishes changes the published catalogue.

mod announced;
mod context;
pub(crate) mod copy;
mod lanes;
pub(crate) mod meter;
pub(crate) mod parents;
pub(crate) mod pipeline;
pub(crate) mod queue;
mod unchanged;
pub(crate) mod waits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use atelier_base::error::{Error, Result};
use atelier_base::tables::{TABLES, TableId, parent_tables};
use enum_map::EnumMap;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database::capacity::check_connections;
use crate::database::dependents::Replaced;
use crate::database::lock::{lock, lockable, unlock};
use crate::database::metadata;
use crate::database::names::CONTROL_SESSION;
use crate::database::preflight::preflight;
use crate::database::privileges::grant_to_reader;
use crate::database::publish::{self, interruptible};
use crate::database::session::{Canceller, Session};
use crate::database::staging;
use crate::load::announced::Announced;
use crate::load::context::Context;
use crate::load::lanes::{Lanes, number_of_lanes};
use crate::load::parents::{FirstPass, first_pass};
use crate::load::unchanged::published_already;
use crate::options::{Database, Input};
use crate::output::progress::{Display, Phase, Progress};
use crate::output::rejects::{self, RejectFile};
use crate::output::report::{Report, Stages};
use crate::output::stdout::{print, warning_line};

/// How often the progress of index builds is queried.
const INDEX_PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// How long cleaning up after a failure may take. The next load drops what remains.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(20);

/// Attempts to drop the staging schema on the same session.
const MAX_CLEANUP_ATTEMPTS: usize = 3;

pub struct Options {
    /// Keep the replaced catalogue.
    pub keep_previous: bool,
    /// Load even if these files are already published.
    pub force: bool,
}

pub enum LoadOutcome {
    Published {
        load_id: Uuid,
        report: Report,
    },
    /// The files are those of the published load. Nothing was loaded.
    Unchanged {
        load_id: Uuid,
        report: Report,
    },
    /// A file has too many rejected rows, or there are no products. Nothing was published.
    Rejected {
        error: Error,
        report: Report,
    },
}

/// Loads and publishes. Ends with [`Error::interrupted`] if `cancel` is cancelled.
pub async fn load(
    input: &Input,
    database: &Database,
    options: &Options,
    cancel: &CancellationToken,
) -> Result<LoadOutcome> {
    let begin = Instant::now();
    let prepared = tokio::select! {
        prepared = prepare(input, database, options) => prepared?,
        () = cancel.cancelled() => return Err(Error::interrupted()),
    };
    let Ready { control, rejects, announced } = match prepared {
        Prepared::Ready(ready) => *ready,
        Prepared::Unchanged(load_id, announced) => return Ok(unchanged(load_id, announced, begin)),
    };
    let context = Context {
        input,
        database,
        control: &control,
        progress: Arc::new(Progress::new(&input.sources)),
        cancellers: Mutex::default(),
        begin,
    };
    let load = Load { context, announced };
    let staged = tokio::select! {
        staged = load.stage(rejects) => staged,
        error = control.ended() => Err(error),
        () = cancel.cancelled() => Err(Error::interrupted()),
    };
    let outcome = match staged {
        Ok(Staged::Complete { load_id, report }) => {
            let report = load.publish(report, options, cancel).await;
            report.map(|report| LoadOutcome::Published { load_id, report })
        }
        Ok(Staged::Rejected { error, report }) => Ok(LoadOutcome::Rejected { error, report }),
        Err(error) => Err(error),
    };
    if matches!(outcome, Ok(LoadOutcome::Published { .. })) {
        unlock(&control).await;
    } else {
        load.clean_up().await;
    }
    outcome
}

/// What is known before the first row is read.
enum Prepared {
    Ready(Box<Ready>),
    /// The published load is of the same files.
    Unchanged(Uuid, Announced),
}

struct Ready {
    /// Holds the lock.
    control: Session,
    rejects: EnumMap<TableId, RejectFile>,
    announced: Announced,
}

async fn prepare(input: &Input, database: &Database, options: &Options) -> Result<Prepared> {
    let target = lockable(&database.target);
    let control = Session::connect_within(&target, CONTROL_SESSION, database.wait).await?;
    preflight(&control).await?;
    lock(&control).await?;
    if !options.force
        && let Some(load_id) = published_already(&control, input).await?
    {
        let mut announced = Announced::default();
        // What an earlier load left behind may still be read: that is no reason to fail.
        if let Err(error) = announced.clear(&control).await {
            announced.warn(format!("{error:#}"))?;
        }
        unlock(&control).await;
        return Ok(Prepared::Unchanged(load_id, announced));
    }
    check_connections(&control, input.jobs, number_of_lanes(input.jobs)).await?;
    let announced = Announced::announce(&control, input, options.keep_previous).await?;
    // Only with the lock held: another load may be writing the files of its own.
    let rejects = rejects::create(&input.rejects)?;
    Ok(Prepared::Ready(Box::new(Ready { control, rejects, announced })))
}

fn unchanged(load_id: Uuid, announced: Announced, begin: Instant) -> LoadOutcome {
    let report = Report {
        load_id: Some(load_id),
        unchanged: true,
        printed: announced.printed(),
        warnings: announced.warnings,
        ..Report::new("load", begin)
    };
    LoadOutcome::Unchanged { load_id, report }
}

struct Load<'a> {
    context: Context<'a>,
    announced: Announced,
}

enum Staged {
    Complete { load_id: Uuid, report: Report },
    Rejected { error: Error, report: Report },
}

impl Load<'_> {
    /// Makes the whole catalogue, but does not publish it.
    async fn stage(&self, rejects: EnumMap<TableId, RejectFile>) -> Result<Staged> {
        let Context { input, control, ref progress, begin, .. } = self.context;
        let mut stages = Stages::default();
        let staging = Instant::now();
        staging::stage(control).await?;
        let _display = Display::start(input.show, Arc::clone(progress));
        let first_pass = self.first_pass().await?;
        stages.scan = staging.elapsed().as_secs_f64();

        let copying = Instant::now();
        let lanes = Lanes::new(&self.context, rejects, &first_pass);
        tokio::select! {
            done = lanes.run() => done?,
            silent = self.watch_indexes() => return Err(silent),
        }
        let (done, copied_at) = lanes.done();
        stages.copy = (copied_at - copying).as_secs_f64();
        stages.index = copied_at.elapsed().as_secs_f64();

        let outcomes = done.iter().map(|(&table, done)| (table, &done.outcome));
        let acceptance = input.acceptance().check_all(&input.sources, outcomes);
        let mut report = Report::of_tables("load", begin, &input.sources, &done);
        report.stages = stages;
        report.printed = self.announced.printed();
        report.warnings.splice(0..0, self.announced.warnings.iter().cloned());
        rejects::rename_all(done.into_values().map(|done| done.rejects))?;
        if let Err(error) = acceptance {
            return Ok(Staged::Rejected { error, report });
        }
        let load_id = Uuid::now_v7();
        report.load_id = Some(load_id);
        metadata::write(control, load_id, report.seconds, &report.tables).await?;
        grant_to_reader(control).await?;
        Ok(Staged::Complete { load_id, report })
    }

    /// The first pass, in a thread that may block.
    async fn first_pass(&self) -> Result<FirstPass> {
        let Context { input, ref progress, .. } = self.context;
        let enter = |phase| parent_tables().for_each(|table| progress.table(table).enter(phase));
        enter(Phase::FirstPass);
        let (sources, pool) = (input.sources.clone(), Arc::clone(&input.pool));
        match spawn_blocking(move || first_pass(&sources, &pool)).await {
            Ok(first_pass) => {
                enter(Phase::Waiting);
                first_pass
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Queries the progress of index builds until the database does not answer. A lane would wait for its answer forever if
    /// something between them keeps the connection open.
    async fn watch_indexes(&self) -> Error {
        let query = "SELECT c.relname::text,
                            greatest(p.blocks_done * 1000 / nullif(p.blocks_total, 0),
                                     p.tuples_done * 1000 / nullif(p.tuples_total, 0), 0)
                     FROM pg_stat_progress_create_index p JOIN pg_class c ON c.oid = p.relid
                     WHERE p.datname = current_database()";
        let Context { control, ref progress, .. } = self.context;
        loop {
            tokio::time::sleep(INDEX_PROGRESS_INTERVAL).await;
            let Ok(answer) = timeout(control.silence, control.client.query(query, &[])).await else {
                return control.silent();
            };
            // Progress is not worth failing for: any other failure of the connection is found where it matters.
            let Ok(rows) = answer else { continue };
            for row in rows {
                let (name, permille): (String, i64) = (row.get(0), row.get(1));
                if let Some(table) = TABLES.iter().find(|table| table.name == name) {
                    progress.table(table.id).set_index_built(permille.unsigned_abs());
                }
            }
        }
    }

    async fn publish(
        &self,
        mut report: Report,
        options: &Options,
        cancel: &CancellationToken,
    ) -> Result<Report> {
        let (publishing, control) = (Instant::now(), self.context.control);
        let swap = async {
            let published = publish::publish(control, options.keep_previous).await?;
            let dependents = published.dependents.iter();
            let dependents: Vec<String> =
                dependents.map(|dependent| dependent.warning(published.replaced)).collect();
            // What was created since the announcement, before it is dropped.
            for warning in dependents.iter().filter(|new| !self.announced.if_published.contains(new)) {
                // The load is published already; if this cannot be printed, it is in the report.
                let _ = print(&warning_line(warning));
            }
            let mut warnings = Vec::from_iter(published.warning);
            warnings.extend(match published.replaced {
                Replaced::InUse => Some(staging::NOT_DROPPED.to_owned()),
                Replaced::Dropped | Replaced::Kept => staging::drop_replaced(control).await,
            });
            Ok((dependents, warnings))
        };
        let (dependents, warnings) = interruptible(control, swap, cancel).await?;
        report.printed.extend_from_slice(&dependents);
        report.warnings.extend(dependents.into_iter().chain(warnings));
        report.stages.publish = publishing.elapsed().as_secs_f64();
        report.seconds = self.context.begin.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Cancels the lanes' statements and drops the staging schema, as far as the database still answers. The next load drops
    /// what remains.
    async fn clean_up(&self) {
        let cancellers = std::mem::take(&mut *self.context.cancellers.lock());
        let clean_up = async {
            join_all(cancellers.into_iter().map(Canceller::cancel)).await;
            // A cancel request that was meant for publishing may arrive late and hit this.
            for _ in 0..MAX_CLEANUP_ATTEMPTS {
                if staging::unstage(self.context.control).await.is_ok() {
                    return Ok(());
                }
            }
            // The session has ended, and its lock with it.
            let target = lockable(&self.context.database.target);
            let control = Session::connect(&target, CONTROL_SESSION).await?;
            lock(&control).await?;
            staging::unstage(&control).await
        };
        let _: Result<Result<()>, _> = timeout(CLEANUP_TIMEOUT, clean_up).await;
    }
}
