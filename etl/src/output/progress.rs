//! How far the work is: a board that the work writes to, and a thread that shows it. Showing never slows the
//! work down, and nothing depends on it.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::csv::source::Source;
use crate::output::report::grouped;
use crate::rows::meter::Meter;
use atelier_base::tables::TableId;
use enum_map::EnumMap;

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
    pub(crate) meter: Meter,
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

    /// How fast its file was read in the time since its rows began, and how long the rest takes at that pace. Nothing in
    /// the first second: files are read ahead of their rows.
    fn pace(&self, since: Duration) -> String {
        let (bytes, seconds) = (self.meter.bytes.load(Ordering::Relaxed), since.as_secs_f64());
        if bytes == 0 || seconds < 1.0 {
            return String::new();
        }
        let rate = bytes as f64 / seconds;
        let left = self.total.saturating_sub(bytes) as f64 / rate;
        format!("{:>4.0} MB/s {left:>4.0} s left  ", rate / 1e6)
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
    tables: EnumMap<TableId, TableProgress>,
}

impl Board {
    /// Nothing is done of these files.
    pub fn new(sources: &EnumMap<TableId, Source>) -> Board {
        let total = |table| TableProgress { total: sources[table].bytes, ..TableProgress::default() };
        Board { tables: EnumMap::from_fn(total) }
    }

    /// How far a table is.
    pub fn table(&self, table: TableId) -> &TableProgress {
        &self.tables[table]
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
    let style = "{prefix:<9}{bar:20} {percent:>3}% {msg}";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bars: Vec<ProgressBar> = (board.tables.iter())
        .map(|(table, progress)| {
            let bar =
                ProgressBar::new(progress.total).with_style(style.clone()).with_prefix(table.table().name);
            all.add(bar)
        })
        .collect();
    // When each table's rows were first seen to be read.
    let mut begun = EnumMap::<TableId, Option<Instant>>::default();
    Box::new(move |last| {
        for (bar, (table, progress)) in bars.iter().zip(&board.tables) {
            bar.set_position(progress.meter.bytes.load(Ordering::Relaxed).min(progress.total));
            bar.set_message(match progress.phase() {
                Phase::Rows => {
                    let begun = begun[table].get_or_insert_with(Instant::now);
                    format!("{}{}", progress.pace(begun.elapsed()), progress.words())
                }
                _ => progress.words(),
            });
            if last {
                bar.abandon();
            }
        }
    })
}

fn lines(board: Arc<Board>) -> Box<dyn FnMut(bool)> {
    let begin = Instant::now();
    Box::new(move |last| {
        if last {
            return;
        }
        let parts: Vec<String> = (board.tables.iter())
            .filter(|(_, progress)| !matches!(progress.phase(), Phase::Waiting | Phase::Done))
            .map(|(table, progress)| match progress.phase() {
                Phase::Rows => {
                    format!("{} {} %, {}", table.table().name, progress.percent(), progress.words())
                }
                _ => format!("{} {}", table.table().name, progress.words()),
            })
            .collect();
        if !parts.is_empty() {
            // Nobody reads standard error any more: the work matters, not the line.
            let _ = writeln!(std::io::stderr(), "{:>5} s  {}", begin.elapsed().as_secs(), parts.join("; "));
        }
    })
}
