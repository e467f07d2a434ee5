//! A load from the first look to publishing. The first failure cancels everything; whatever happens, the published
//! catalogue is touched by nothing but the one transaction that publishes.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atelier_base::error::{Error, Result};
use futures_util::future::join_all;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::lanes::{Lanes, lock};
use crate::options::{Database, Input};
use crate::progress::{Board, Display, Phase};
use crate::publish;
use crate::rejects::{self, RejectFile};
use crate::report::{Report, Span, Stages, TableReport};
use crate::scan::{self, Scanned};
use crate::session::{Canceller, Session};
use crate::signature::Signature;
use crate::tables::TABLES;
use crate::unchanged;
use crate::verdict::{bottleneck, verdict, warnings};

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
    Ready(Session, Vec<RejectFile>),
    /// These files are published. With a warning if what a load that died left behind is there still.
    Unchanged(Signature, Option<String>),
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
        publish::check_rights(&control).await?;
        publish::lock(&control).await?;
        if when == When::Changed
            && let Some(published) = unchanged::published_already(&control, input).await?
        {
            // What is left behind may have readers still: nothing stands in their way.
            let warning = publish::clear(&control).await.err();
            publish::unlock(&control).await;
            return Ok(Prepared::Unchanged(published, warning.map(|error| error.in_a_line())));
        }
        // Not before the lock is ours: another load may be writing them.
        let rejects = rejects::create(&input.rejects)?;
        Ok::<_, Error>(Prepared::Ready(control, rejects))
    };
    let prepared = tokio::select! {
        prepared = prepare => prepared?,
        () = &mut interrupt => return Err(Error::interrupted()),
    };
    let (control, rejects) = match prepared {
        Prepared::Ready(control, rejects) => (control, rejects),
        Prepared::Unchanged(published, warning) => {
            return Ok((nothing_loaded(published, warning, begin), Ok(())));
        }
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
    if matches!(published, Ok((_, Ok(())))) {
        publish::unlock(&control).await;
    } else {
        load.clean_up().await;
    }
    published
}

fn nothing_loaded(published: Signature, warning: Option<String>, begin: Instant) -> Report {
    Report {
        load_id: Some(published.load_id),
        unchanged: true,
        warnings: Vec::from_iter(warning),
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
    begin: Instant,
}

impl Load<'_> {
    /// Makes the whole catalogue but publishes nothing. With files that are not accepted, nothing is signed.
    async fn stage(&self, rejects: Vec<RejectFile>) -> Result<Loaded> {
        let begin = Instant::now();
        let mut stages = Stages::default();
        publish::stage(self.control).await?;
        let _display = Display::start(self.input.show, Arc::clone(&self.board));
        let scanned = self.scan_parents().await?;
        stages.scan = begin.elapsed().as_secs_f64();

        let copying = Instant::now();
        let lanes = Lanes::new(self, rejects, &scanned);
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
            warnings: done
                .iter()
                .flat_map(|(table, done)| warnings(table.table(), &done.copied.outcome))
                .collect(),
            tables: done
                .iter()
                .map(|(table, done)| {
                    let file = done.copied.rejects.path().map(|path| path.display().to_string());
                    let source = &self.input.sources[*table as usize];
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
            let mut warnings = Vec::from_iter(publish::publish(self.control, options.keep_previous).await?);
            warnings.extend(publish::drop_replaced(self.control).await);
            Ok(warnings)
        };
        let warnings = publish::interruptible(self.control, publishing, interrupt).await?;
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
