//! How far the work is: a board that the work writes to, and a thread that shows it. Showing never slows the
//! work down, and nothing depends on it.

use std::io::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::pipeline::Meter;
use crate::report::grouped;
use crate::source::Source;
use crate::tables::{TABLES, TableId};

/// How to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// A bar a table.
    Bars,
    /// A plain line now and then.
    Lines,
    /// Nothing.
    Nothing,
}

const BAR_INTERVAL: Duration = Duration::from_millis(100);
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// What is being done with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Nothing yet.
    Waiting,
    /// Its file is read for its ids.
    Scan,
    /// Its rows are read.
    Rows,
    /// Its indexes are built.
    Index,
    /// It is analyzed and counted.
    Verify,
    /// Everything is done.
    Done,
}

const PHASES: [Phase; 6] =
    [Phase::Waiting, Phase::Scan, Phase::Rows, Phase::Index, Phase::Verify, Phase::Done];

/// How far one table is.
#[derive(Debug, Default)]
pub struct TableProgress {
    /// Of its file.
    pub meter: Meter,
    total: u64,
    phase: AtomicU8,
    index_permille: AtomicU64,
}

impl TableProgress {
    /// Says what is being done now.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Says how much of the index under way is built, from 0 to 1000.
    pub fn index_built(&self, permille: u64) {
        self.index_permille.store(permille, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Relaxed))]
    }

    fn percent(&self) -> u64 {
        (self.meter.bytes.load(Ordering::Relaxed) * 100).checked_div(self.total).unwrap_or(100)
    }

    fn words(&self) -> String {
        match self.phase() {
            Phase::Waiting => "waiting".into(),
            Phase::Scan => "reading its ids".into(),
            Phase::Rows => format!("{} rows", grouped(self.meter.rows.load(Ordering::Relaxed))),
            Phase::Index => format!("indexing {} %", self.index_permille.load(Ordering::Relaxed) / 10),
            Phase::Verify => "verifying".into(),
            Phase::Done => format!("{} rows, done", grouped(self.meter.rows.load(Ordering::Relaxed))),
        }
    }
}

/// How far every table is.
#[derive(Debug)]
pub struct Board {
    tables: [TableProgress; 6],
}

impl Board {
    /// Nothing is done of these files, which stand in the order of [`TABLES`].
    pub fn new(sources: &[Source]) -> Board {
        let mut tables = <[TableProgress; 6]>::default();
        for (table, source) in tables.iter_mut().zip(sources) {
            table.total = source.bytes;
        }
        Board { tables }
    }

    /// How far a table is.
    pub fn table(&self, table: TableId) -> &TableProgress {
        &self.tables[table as usize]
    }
}

/// Shows a board until it is dropped.
pub struct Display {
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Display {
    /// Begins to show `board`.
    pub fn start(show: Show, board: Arc<Board>) -> Display {
        let (stop, stopped) = channel();
        let run = move || {
            let (interval, mut draw): (_, Box<dyn FnMut(bool)>) = match show {
                Show::Bars => (BAR_INTERVAL, bars(board)),
                _ => (LINE_INTERVAL, lines(board)),
            };
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                draw(false);
            }
            draw(true);
        };
        let thread = match show {
            Show::Nothing => None,
            // Without the thread the work goes on unseen.
            _ => thread::Builder::new().name("progress".into()).spawn(run).ok(),
        };
        Display { thread: thread.map(|thread| (stop, thread)) }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

fn bars(board: Arc<Board>) -> Box<dyn FnMut(bool)> {
    let all = MultiProgress::new();
    let rows = style("{prefix:<9}{bar:20} {percent:>3}% {binary_bytes_per_sec:>12} {eta:>4} left  {msg}");
    let other = style("{prefix:<9}{bar:20} {percent:>3}% {msg}");
    let bars: Vec<ProgressBar> = (TABLES.iter().zip(&board.tables))
        .map(|(table, progress)| {
            let bar = ProgressBar::new(progress.total).with_style(other.clone()).with_prefix(table.name);
            all.add(bar)
        })
        .collect();
    let shown = Mutex::new([Phase::Waiting; 6]);
    Box::new(move |last| {
        let Ok(mut shown) = shown.lock() else { return };
        for ((bar, progress), shown) in bars.iter().zip(&board.tables).zip(shown.iter_mut()) {
            let phase = progress.phase();
            if phase != *shown {
                bar.set_style(if phase == Phase::Rows { rows.clone() } else { other.clone() });
                if phase == Phase::Rows {
                    bar.reset();
                }
                *shown = phase;
            }
            bar.set_position(progress.meter.bytes.load(Ordering::Relaxed).min(progress.total));
            bar.set_message(progress.words());
            if last {
                bar.abandon();
            }
        }
    })
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn lines(board: Arc<Board>) -> Box<dyn FnMut(bool)> {
    let begin = Instant::now();
    Box::new(move |last| {
        if last {
            return;
        }
        let parts: Vec<String> = (TABLES.iter().zip(&board.tables))
            .filter(|(_, progress)| !matches!(progress.phase(), Phase::Waiting | Phase::Done))
            .map(|(table, progress)| match progress.phase() {
                Phase::Rows => format!("{} {} %, {}", table.name, progress.percent(), progress.words()),
                _ => format!("{} {}", table.name, progress.words()),
            })
            .collect();
        if !parts.is_empty() {
            // Nobody reads standard error any more: the work matters, not the line.
            let _ = writeln!(std::io::stderr(), "{:>5} s  {}", begin.elapsed().as_secs(), parts.join("; "));
        }
    })
}
