//! A load from the first look to publishing. The first failure cancels everything; whatever happens, the published
//! catalogue is touched by nothing but the one transaction that publishes.

pub mod copy;
pub mod lanes;
pub mod parents;
pub mod pipeline;
pub mod unchanged;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atelier_base::error::{Error, Result};
use futures_util::future::join_all;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::database::metadata::Signature;
use crate::database::publish::{self, Replaced};
use crate::database::session::{Canceller, Session};
use crate::load::lanes::{Lanes, lock};
use crate::options::{Database, Input};
use crate::output::acceptance::{bottleneck, verdict, warnings};
use crate::output::progress::{Board, Display, Phase};
use crate::output::rejects::{self, RejectFile};
use crate::output::report::{Report, Span, Stages, TableReport, warned};
use crate::output::stdout::print;
use atelier_base::tables::{TABLES, TableId, parent_tables};
use enum_map::EnumMap;
use parents::FirstPass;

/// How often the database is asked how far its indexes are.
const INDEX_PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// How often the clean-up tries to drop what is staged.
const CLEAN_UP_TRIES: usize = 3;

/// What a load may do besides.
pub struct Options {
    /// Keep the catalogue published so far.
    pub keep_previous: bool,
}

/// What a load comes to: its report, and beside it the error if files are not accepted.
pub type Loaded = (Report, Result<()>);

/// Loads and publishes. Ends early with [`Error::interrupted`] when `interrupt` is ready. Files that are not
/// accepted come as an error beside the report, which says what was found in them.
pub async fn load(
    input: &mut Input,
    database: &Database,
    options: &Options,
    interrupt: impl Future<Output = ()>,
) -> Result<Loaded> {
    run(input, database, options, When::Always, interrupt).await
}

/// The same, unless the files are those of the load that is published: then nothing is loaded, and nothing is touched
/// but what a load that died left behind. The report says so.
pub async fn load_if_changed(
    input: &mut Input,
    database: &Database,
    options: &Options,
    interrupt: impl Future<Output = ()>,
) -> Result<Loaded> {
    run(input, database, options, When::Changed, interrupt).await
}

/// Whether files are loaded that are published already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    Changed,
}

/// What is found before the first row.
enum Prepared {
    Ready(Session, Box<EnumMap<TableId, RejectFile>>, Announced),
    /// These files are published. With what was odd about dropping what a load that died left behind.
    Unchanged(Signature, Announced),
}

/// What was printed before anything was dropped.
#[derive(Default)]
struct Announced {
    /// True whatever becomes of the load.
    warnings: Vec<String>,
    /// True if it publishes.
    if_published: Vec<String>,
}

impl Announced {
    /// Prints it.
    fn warn(&mut self, warning: String) -> Result<()> {
        print(&warned(&warning))?;
        self.warnings.push(warning);
        Ok(())
    }

    /// Drops what a load that died left behind, and names what others have hung on it before.
    async fn clear(&mut self, control: &Session) -> Result<()> {
        for dependent in publish::affected(control, publish::LEFT_BEHIND, false).await? {
            self.warn(dependent.warning(Replaced::Dropped))?;
        }
        publish::clear(control).await
    }

    fn printed(&self) -> Vec<String> {
        self.warnings.iter().chain(&self.if_published).cloned().collect()
    }
}

async fn run(
    input: &mut Input,
    database: &Database,
    options: &Options,
    when: When,
    interrupt: impl Future<Output = ()>,
) -> Result<Loaded> {
    let begin = Instant::now();
    let mut interrupt = pin!(interrupt);
    let prepare = async {
        let target = publish::lockable(&database.target);
        let control = Session::connect_within(&target, publish::CONTROL_SESSION, database.patience).await?;
        publish::preflight(&control).await?;
        publish::lock(&control).await?;
        if when == When::Changed
            && let Some(published) = unchanged::published_already(&control, input).await?
        {
            // What is left behind may have readers still: nothing stands in their way.
            let mut announced = Announced::default();
            if let Err(error) = announced.clear(&control).await {
                announced.warn(format!("{error:#}"))?;
            }
            publish::unlock(&control).await;
            return Ok(Prepared::Unchanged(published, announced));
        }
        publish::check_connections(&control, input.jobs, Lanes::number(input.jobs)).await?;
        let announced = announce(&control, input, options).await?;
        // Not before the lock is ours: another load may be writing them.
        let rejects = Box::new(rejects::create(&input.rejects)?);
        Ok::<_, Error>(Prepared::Ready(control, rejects, announced))
    };
    let prepared = tokio::select! {
        prepared = prepare => prepared?,
        () = &mut interrupt => return Err(Error::interrupted()),
    };
    let (control, rejects, announced) = match prepared {
        Prepared::Ready(control, rejects, announced) => (control, *rejects, announced),
        Prepared::Unchanged(published, announced) => {
            return Ok((nothing_loaded(published, announced, begin), Ok(())));
        }
    };

    let load = Load {
        input,
        database,
        control: &control,
        board: Arc::new(Board::new(&input.sources)),
        cancellers: Mutex::default(),
        announced,
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
    if matches!(published, Ok((_, Ok(())))) {
        publish::unlock(&control).await;
    } else {
        load.clean_up().await;
    }
    published
}

/// Names what will be dropped, before anything is; drops what a load that died left behind, and compares what is free
/// with what the files will take.
async fn announce(control: &Session, input: &Input, options: &Options) -> Result<Announced> {
    let mut announced = Announced::default();
    for dependent in publish::affected(control, publish::REPLACED, options.keep_previous).await? {
        let warning = dependent.warning(Replaced::by(options.keep_previous));
        print(&warned(&warning))?;
        announced.if_published.push(warning);
    }
    announced.clear(control).await?;
    if let Some(warning) = publish::check_disk(control, input.sources.as_slice()).await? {
        announced.warn(warning)?;
    }
    Ok(announced)
}

fn nothing_loaded(published: Signature, announced: Announced, begin: Instant) -> Report {
    Report {
        load_id: Some(published.load_id),
        unchanged: true,
        printed: announced.printed(),
        warnings: announced.warnings,
        ..Report::new("load", begin)
    }
}

/// A load under way.
pub(crate) struct Load<'a> {
    pub(crate) input: &'a Input,
    pub(crate) database: &'a Database,
    pub(crate) board: Arc<Board>,
    /// Of the lanes, to stop what they are doing.
    pub(crate) cancellers: Mutex<Vec<Canceller>>,
    pub(crate) control: &'a Session,
    announced: Announced,
    begin: Instant,
}

impl Load<'_> {
    /// Makes the whole catalogue but publishes nothing. With files that are not accepted, nothing is signed.
    async fn stage(&self, rejects: EnumMap<TableId, RejectFile>) -> Result<Loaded> {
        let begin = Instant::now();
        let mut stages = Stages::default();
        publish::stage(self.control).await?;
        let _display = Display::start(self.input.show, Arc::clone(&self.board));
        let first_pass = self.first_pass().await?;
        stages.scan = begin.elapsed().as_secs_f64();

        let copying = Instant::now();
        let lanes = Lanes::new(self, rejects, &first_pass);
        tokio::select! {
            done = lanes.run() => done?,
            silent = self.watch_indexes() => return Err(silent),
        }
        let (done, copied_at) = lanes.done();
        stages.copy = (copied_at - copying).as_secs_f64();
        stages.index = copied_at.elapsed().as_secs_f64();
        let verdict = verdict(self.input, done.iter().map(|(table, done)| (*table, &done.copied.outcome)));
        let report = Report {
            load_id: verdict.is_ok().then(|| uuid::Uuid::now_v7().to_string()),
            stages,
            bottleneck: bottleneck(done.values().map(|done| done.copied.outcome.waits)),
            printed: self.announced.printed(),
            warnings: (self.announced.warnings.iter().cloned())
                .chain(done.iter().flat_map(|(table, done)| warnings(table.table(), &done.copied.outcome)))
                .collect(),
            tables: done
                .iter()
                .map(|(table, done)| {
                    let file = done.copied.rejects.path().map(|path| path.display().to_string());
                    let source = &self.input.sources[*table];
                    let mut report = TableReport::new(source, &done.copied.outcome, file, done.rows);
                    report.index_began = done.index.map(|span| span.began);
                    report.index_seconds = done.index.map(|span| span.seconds);
                    (table.table().name, report)
                })
                .collect(),
            ..Report::new("load", self.begin)
        };
        rejects::name(done.into_values().map(|done| done.copied.rejects))?;
        if verdict.is_ok() {
            publish::sign(self.control, &report).await?;
            publish::grant_to_reader(self.control).await?;
        }
        Ok((report, verdict))
    }

    /// From `start`, an instant of this load, to now.
    pub(crate) fn span(&self, start: Instant) -> Span {
        Span { began: (start - self.begin).as_secs_f64(), seconds: start.elapsed().as_secs_f64() }
    }

    /// The first reading, in a thread that may block.
    async fn first_pass(&self) -> Result<FirstPass> {
        for table in parent_tables() {
            self.board.table(table).enter(Phase::Scan);
        }
        let (sources, pool) = (self.input.sources.clone(), Arc::clone(&self.input.pool));
        match spawn_blocking(move || parents::first_pass(&sources, &pool)).await {
            Ok(first_pass) => {
                for table in parent_tables() {
                    self.board.table(table).enter(Phase::Waiting);
                }
                first_pass
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Takes the progress of index builds from the database's own view to the board, until the database does not answer:
    /// a lane that waits for it would wait for ever where something in between keeps the connections open.
    async fn watch_indexes(&self) -> Error {
        let query = "SELECT c.relname::text,
                            greatest(p.blocks_done * 1000 / nullif(p.blocks_total, 0),
                                     p.tuples_done * 1000 / nullif(p.tuples_total, 0), 0)
                     FROM pg_stat_progress_create_index p JOIN pg_class c ON c.oid = p.relid
                     WHERE p.datname = current_database()";
        loop {
            tokio::time::sleep(INDEX_PROGRESS_INTERVAL).await;
            let Ok(answer) = timeout(self.control.silence, self.control.client.query(query, &[])).await
            else {
                return self.control.silent();
            };
            // It is only for show: what else is wrong with the connection is found where it matters.
            let Ok(rows) = answer else { continue };
            for row in rows {
                let (name, permille): (String, i64) = (row.get(0), row.get(1));
                if let Some(table) = TABLES.iter().find(|table| table.name == name) {
                    self.board.table(table.id).index_built(permille.unsigned_abs());
                }
            }
        }
    }

    async fn publish(
        &self,
        mut report: Report,
        options: &Options,
        interrupt: impl Future<Output = ()>,
    ) -> Result<Report> {
        let begin = Instant::now();
        let publishing = async {
            let published = publish::publish(self.control, options.keep_previous).await?;
            let left = published.left.iter().map(|dependent| dependent.warning(published.replaced));
            let left: Vec<String> = left.collect();
            // What has come since, before it is dropped.
            for warning in left.iter().filter(|left| !self.announced.if_published.contains(left)) {
                // It is published already; what cannot be printed is in the report.
                let _ = print(&warned(warning));
            }
            let mut warnings = Vec::from_iter(published.warning);
            warnings.extend(match published.replaced {
                Replaced::InUse => Some(publish::NOT_DROPPED.to_owned()),
                Replaced::Dropped | Replaced::Kept => publish::drop_replaced(self.control).await,
            });
            Ok((left, warnings))
        };
        let (left, warnings) = publish::interruptible(self.control, publishing, interrupt).await?;
        report.printed.extend_from_slice(&left);
        report.warnings.extend(left.into_iter().chain(warnings));
        report.stages.publish = begin.elapsed().as_secs_f64();
        report.seconds = self.begin.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Stops what the lanes are doing and drops what is staged, as far as the database still listens: what stays
    /// behind, the next load drops.
    async fn clean_up(&self) {
        let cancellers = std::mem::take(&mut *lock(&self.cancellers));
        let clean_up = async {
            join_all(cancellers.into_iter().map(Canceller::cancel)).await;
            // A cancel request that was meant for publishing may come late and hit this.
            for _ in 0..CLEAN_UP_TRIES {
                if publish::unstage(self.control).await.is_ok() {
                    return Ok(());
                }
            }
            // The session is gone, and with it the lock.
            let target = publish::lockable(&self.database.target);
            let control = Session::connect(&target, publish::CONTROL_SESSION).await?;
            publish::lock(&control).await?;
            publish::unstage(&control).await?;
            Ok::<_, Error>(())
        };
        let _ = timeout(publish::CLEAN_UP_PATIENCE, clean_up).await;
    }
}
