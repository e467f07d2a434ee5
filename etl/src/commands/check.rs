//! `check`: reads the files as a load does, without a database.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use atelier_base::error::Result;

use crate::load::pipeline::{self, Job, RowSink};
use crate::options::Input;
use crate::output::acceptance::{bottleneck, verdict, warnings};
use crate::output::progress::{Board, Display, Phase};
use crate::output::rejects::{self, RejectFile};
use crate::output::report::{Report, Span, TableReport};
use crate::rows::convert::Output;
use crate::rows::defect::Reject;
use crate::rows::ids::ParentIds;
use crate::rows::outcome::Outcome;
use atelier_base::tables::TableId;

/// Asked for every chunk of a file; its error ends a check.
pub type GoingOn = dyn Fn() -> Result<()> + Sync;

/// Writes rejects to their file and drops the rows.
struct ToFile<'a> {
    file: RejectFile,
    going_on: &'a GoingOn,
}

impl RowSink for ToFile<'_> {
    fn rows(&mut self, _: Vec<u8>) -> Result<()> {
        (self.going_on)()
    }
    fn rejects(&mut self, rejects: &[Reject]) -> Result<()> {
        (self.going_on)()?;
        self.file.write(rejects)
    }
}

/// Checks all six files. The error that there are too many rejects, if there are, comes beside the report.
pub fn check(input: &Input, going_on: &GoingOn) -> Result<(Report, Result<()>)> {
    let begin = Instant::now();
    let board = Arc::new(Board::new(&input.sources));
    let mut rejects = rejects::create(&input.rejects)?.map(|_, file| Some(file));
    let display = Display::start(input.show, Arc::clone(&board));

    let mut parents = ParentIds::default();
    let mut checked = BTreeMap::new();
    // A generation needs the ids of the ones before it.
    let generations: [&[TableId]; 3] = [
        &[TableId::Product],
        &[TableId::Styles],
        &[TableId::Photos, TableId::Skus, TableId::Related, TableId::Features],
    ];
    for generation in generations {
        let jobs: Vec<(TableId, RejectFile)> =
            generation.iter().filter_map(|&table| Some((table, rejects[table].take()?))).collect();
        for (table, mut found) in side_by_side(jobs, input, &parents, &board, begin, going_on)? {
            parents.insert(table, std::mem::take(&mut found.outcome.ids));
            checked.insert(table, found);
        }
    }
    drop(display);
    let reported = report(input, &checked, begin);
    rejects::name(checked.into_values().map(|found| found.rejects))?;
    Ok(reported)
}

struct Checked {
    outcome: Outcome,
    rejects: RejectFile,
    rows: Span,
}

/// Checks tables whose parents are known, `jobs` at a time.
fn side_by_side(
    tables: Vec<(TableId, RejectFile)>,
    input: &Input,
    parents: &ParentIds,
    board: &Board,
    begin: Instant,
    going_on: &GoingOn,
) -> Result<Vec<(TableId, Checked)>> {
    let lanes = input.jobs.min(tables.len());
    let queue = Mutex::new(tables.into_iter());
    let lane = || -> Result<Vec<(TableId, Checked)>> {
        let mut done = Vec::new();
        loop {
            let next = queue.lock().ok().and_then(|mut queue| queue.next());
            let Some((table, file)) = next else { return Ok(done) };
            let progress = board.table(table);
            progress.enter(Phase::Rows);
            let start = Instant::now();
            let source = &input.sources[table];
            let job =
                Job { table: table.table(), source, parents, output: Output::Rows, meter: &progress.meter };
            let mut sink = ToFile { file, going_on };
            let outcome = pipeline::run(&job, &input.pool, &mut sink)?;
            sink.file.finish()?;
            progress.enter(Phase::Done);
            let rows = Span { began: (start - begin).as_secs_f64(), seconds: start.elapsed().as_secs_f64() };
            done.push((table, Checked { outcome, rejects: sink.file, rows }));
        }
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

fn report(input: &Input, checked: &BTreeMap<TableId, Checked>, begin: Instant) -> (Report, Result<()>) {
    let verdict = verdict(input, checked.iter().map(|(table, found)| (*table, &found.outcome)));
    let waits = checked.values().map(|found| found.outcome.waits);
    let report = Report {
        bottleneck: bottleneck(waits),
        warnings: checked.iter().flat_map(|(table, found)| warnings(table.table(), &found.outcome)).collect(),
        tables: (checked.iter())
            .map(|(table, found)| {
                let file = found.rejects.path().map(|path| path.display().to_string());
                let source = &input.sources[*table];
                (table.table().name, TableReport::new(source, &found.outcome, file, found.rows))
            })
            .collect(),
        ..Report::new("check", begin)
    };
    (report, verdict)
}
