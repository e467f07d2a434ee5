//! `check`: reads the files as a load does, without a database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use atelier_base::error::{Error, Result};
use atelier_base::tables::{TableId, longest_first, parent_tables};
use atelier_base::terminal::{SUCCESS, styled};
use tokio_util::sync::CancellationToken;

use crate::cli;
use crate::commands::signals::{check_cancelled, run_blocking};
use crate::load::pipeline::{self, Job, PipelineDone, RowSink};
use crate::load::queue::Queue;
use crate::options::Input;
use crate::output::progress::{Display, Phase, Progress};
use crate::output::rejects::{self, RejectFile};
use crate::output::report::{Report, Span, TableDone};
use crate::output::stdout::print;
use crate::output::summary::show;
use crate::rows::convert::Output;
use crate::rows::defect::Reject;
use crate::rows::ids::ParentIds;

enum CheckOutcome {
    Accepted(Report),
    Rejected { error: Error, report: Report },
}

pub async fn run(args: cli::Check) -> Result<()> {
    run_blocking(move |cancel| check_and_show(&args, cancel)).await
}

fn check_and_show(args: &cli::Check, cancel: &CancellationToken) -> Result<()> {
    let mut input = Input::resolve(&args.input)?;
    match check(&input, cancel)? {
        CheckOutcome::Accepted(report) => {
            let shown = show(&report, &mut input.report);
            let megabytes = report.tables.values().map(|table| table.bytes).sum::<u64>() as f64 / 1e6;
            let printed = print(&format!(
                "{}: {megabytes:.1} MB in {:.1} s, {:.0} MB/s\n",
                styled(SUCCESS, "the files can be loaded"),
                report.seconds,
                megabytes / report.seconds
            ));
            shown.and(printed)
        }
        CheckOutcome::Rejected { error, report } => {
            // Why the files are not accepted matters more than a report that cannot be written.
            let _ = show(&report, &mut input.report);
            Err(error)
        }
    }
}

/// What the checked tables share.
struct CheckContext<'a> {
    input: &'a Input,
    progress: Arc<Progress>,
    cancel: &'a CancellationToken,
    begin: Instant,
}

fn check(input: &Input, cancel: &CancellationToken) -> Result<CheckOutcome> {
    let begin = Instant::now();
    let progress = Arc::new(Progress::new(&input.sources));
    let context = CheckContext { input, progress: Arc::clone(&progress), cancel, begin };
    let mut rejects = rejects::create(&input.rejects)?.map(|_, file| Some(file));
    let display = Display::start(input.show, progress);

    let mut parents = ParentIds::default();
    let mut done = BTreeMap::new();
    // The tables of a group need the ids of those of the groups before: one parent after the other, then the others.
    let parents_first = parent_tables().map(|table| vec![table]);
    let others = longest_first().filter(|table| !table.is_parent()).collect();
    for group in parents_first.chain([others]) {
        let files: Vec<(TableId, RejectFile)> =
            group.into_iter().filter_map(|table| Some((table, rejects[table].take()?))).collect();
        for (table, mut checked) in context.check_group(files, &parents)? {
            parents.insert(table, std::mem::take(&mut checked.outcome.ids));
            done.insert(table, checked);
        }
    }
    drop(display);
    let report = Report::of_tables("check", begin, &input.sources, &done);
    let outcomes = done.iter().map(|(&table, done)| (table, &done.outcome));
    let acceptance = input.acceptance().check_all(&input.sources, outcomes);
    rejects::rename_all(done.into_values().map(|done| done.rejects))?;
    Ok(match acceptance {
        Ok(()) => CheckOutcome::Accepted(report),
        Err(error) => CheckOutcome::Rejected { error, report },
    })
}

impl CheckContext<'_> {
    /// Checks tables whose parents are known, `jobs` at a time.
    fn check_group(
        &self,
        files: Vec<(TableId, RejectFile)>,
        parents: &ParentIds,
    ) -> Result<Vec<(TableId, TableDone)>> {
        let lanes = self.input.jobs.min(files.len());
        let queue = Queue::new(files);
        let lane = || -> Result<Vec<(TableId, TableDone)>> {
            let mut done = Vec::new();
            while let Some((table, file)) = queue.pop() {
                done.push((table, self.check_table(table, file, parents)?));
            }
            Ok(done)
        };
        thread::scope(|scope| {
            let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
            let mut done = Vec::new();
            for lane in lanes {
                done.extend(lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(done)
        })
    }

    fn check_table(&self, table: TableId, rejects: RejectFile, parents: &ParentIds) -> Result<TableDone> {
        let progress = self.progress.table(table);
        progress.enter(Phase::Rows);
        let start = Instant::now();
        let job = Job {
            table: table.table(),
            source: &self.input.sources[table],
            parents,
            output: Output::Rows,
            meter: &progress.meter,
        };
        let mut sink = RejectSink { rejects, cancel: self.cancel };
        let PipelineDone { outcome, waits } = pipeline::run(&job, &self.input.pool, &mut sink)?;
        sink.rejects.finish()?;
        progress.enter(Phase::Done);
        Ok(TableDone {
            outcome,
            waits,
            rejects: sink.rejects,
            rows: Span::since(start, self.begin),
            index: None,
        })
    }
}

/// Writes rejected rows to their file and discards the others.
struct RejectSink<'a> {
    rejects: RejectFile,
    cancel: &'a CancellationToken,
}

impl RowSink for RejectSink<'_> {
    fn rows(&mut self, _: Vec<u8>) -> Result<()> {
        check_cancelled(self.cancel)
    }
    fn rejects(&mut self, rejects: &[Reject]) -> Result<()> {
        check_cancelled(self.cancel)?;
        self.rejects.write(rejects)
    }
}
