//! Progress: what the work writes to, and a thread that shows it. Showing never delays the work.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use atelier_base::tables::TableId;
use enum_map::EnumMap;
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressStyle};

use crate::csv::source::Source;
use crate::load::meter::Meter;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// A bar for each table.
    Bars,
    /// A line every [`LINE_INTERVAL`].
    Lines,
    Nothing,
}

const BAR_INTERVAL: Duration = Duration::from_millis(100);
const LINE_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    Waiting,
    /// The first pass reads its ids.
    FirstPass,
    /// Its rows are read and copied.
    Rows,
    /// Its indexes are built.
    Index,
    /// Its indexes are counted, and it is analyzed.
    Verify,
    Done,
}

const PHASES: [Phase; 6] =
    [Phase::Waiting, Phase::FirstPass, Phase::Rows, Phase::Index, Phase::Verify, Phase::Done];

#[derive(Debug, Default)]
pub(crate) struct TableProgress {
    pub(crate) meter: Meter,
    total: u64,
    phase: AtomicU8,
    index_permille: AtomicU64,
}

impl TableProgress {
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Sets how much of the current index is built, from 0 to 1000.
    pub(crate) fn set_index_built(&self, permille: u64) {
        self.index_permille.store(permille, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Relaxed))]
    }

    fn percent(&self) -> u64 {
        (self.meter.bytes.load(Ordering::Relaxed) * 100).checked_div(self.total).unwrap_or(100)
    }

    /// The rate since its rows began to be read, and the time left at that rate. Empty in the first second, in which the file
    /// is read ahead of its rows.
    fn rate(&self, since: Duration) -> String {
        let (bytes, seconds) = (self.meter.bytes.load(Ordering::Relaxed), since.as_secs_f64());
        if bytes == 0 || seconds < 1.0 {
            return String::new();
        }
        let rate = bytes as f64 / seconds;
        let left = self.total.saturating_sub(bytes) as f64 / rate;
        format!("{:>4.0} MB/s {left:>4.0} s left  ", rate / 1e6)
    }

    fn text(&self) -> String {
        match self.phase() {
            Phase::Waiting => "waiting".into(),
            Phase::FirstPass => "reading ids".into(),
            Phase::Rows => format!("{} rows", HumanCount(self.meter.rows.load(Ordering::Relaxed))),
            Phase::Index => format!("indexing {} %", self.index_permille.load(Ordering::Relaxed) / 10),
            Phase::Verify => "verifying".into(),
            Phase::Done => format!("{} rows, done", HumanCount(self.meter.rows.load(Ordering::Relaxed))),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Progress {
    tables: EnumMap<TableId, TableProgress>,
}

impl Progress {
    pub(crate) fn new(sources: &EnumMap<TableId, Source>) -> Progress {
        let total = |table| TableProgress { total: sources[table].bytes, ..TableProgress::default() };
        Progress { tables: EnumMap::from_fn(total) }
    }

    pub(crate) fn table(&self, table: TableId) -> &TableProgress {
        &self.tables[table]
    }
}

/// Shows progress until it is dropped.
pub(crate) struct Display {
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Display {
    pub(crate) fn start(show: Show, all: Arc<Progress>) -> Display {
        let (stop, stopped) = channel();
        let run = move || {
            let (interval, mut draw): (_, Box<dyn FnMut(bool)>) = match show {
                Show::Bars => (BAR_INTERVAL, bars(all)),
                _ => (LINE_INTERVAL, lines(all)),
            };
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                draw(false);
            }
            draw(true);
        };
        let thread = match show {
            Show::Nothing => None,
            // Without the thread there is no progress, but the work is done.
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

fn bars(all: Arc<Progress>) -> Box<dyn FnMut(bool)> {
    let multi = MultiProgress::new();
    let style = "{prefix:<9}{bar:20} {percent:>3}% {msg}";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bars: Vec<ProgressBar> = (all.tables.iter())
        .map(|(table, progress)| {
            let bar =
                ProgressBar::new(progress.total).with_style(style.clone()).with_prefix(table.table().name);
            multi.add(bar)
        })
        .collect();
    // When each table was first seen in Phase::Rows.
    let mut begun = EnumMap::<TableId, Option<Instant>>::default();
    Box::new(move |last| {
        for (bar, (table, progress)) in bars.iter().zip(&all.tables) {
            bar.set_position(progress.meter.bytes.load(Ordering::Relaxed).min(progress.total));
            bar.set_message(match progress.phase() {
                Phase::Rows => {
                    let begun = begun[table].get_or_insert_with(Instant::now);
                    format!("{}{}", progress.rate(begun.elapsed()), progress.text())
                }
                _ => progress.text(),
            });
            if last {
                bar.abandon();
            }
        }
    })
}

fn lines(all: Arc<Progress>) -> Box<dyn FnMut(bool)> {
    let begin = Instant::now();
    Box::new(move |last| {
        if last {
            return;
        }
        let parts: Vec<String> = (all.tables.iter())
            .filter(|(_, progress)| !matches!(progress.phase(), Phase::Waiting | Phase::Done))
            .map(|(table, progress)| match progress.phase() {
                Phase::Rows => {
                    format!("{} {} %, {}", table.table().name, progress.percent(), progress.text())
                }
                _ => format!("{} {}", table.table().name, progress.text()),
            })
            .collect();
        if !parts.is_empty() {
            // Progress is not worth failing for when standard error is closed.
            let _ = writeln!(std::io::stderr(), "{:>5} s  {}", begin.elapsed().as_secs(), parts.join("; "));
        }
    })
}
