//! The report of a load or a check. Its JSON has stable keys.

use std::collections::BTreeMap;
use std::time::Instant;

use atelier_base::tables::TableId;
use enum_map::EnumMap;
use serde::Serialize;
use uuid::Uuid;

use crate::csv::source::Source;
use crate::load::waits::Waits;
use crate::output::acceptance::warnings;
use crate::output::rejects::RejectFile;
use crate::rows::defect::{Code, by_code};
use crate::rows::outcome::Outcome;

/// Seconds are wall-clock time.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `load` or `check`.
    pub command: &'static str,
    /// Of atelier-etl.
    pub version: &'static str,
    /// The load that this run published, or that was published before and is unchanged; null otherwise.
    pub load_id: Option<Uuid>,
    /// The files are already published: nothing was loaded, and `tables` is empty.
    pub unchanged: bool,
    pub seconds: f64,
    pub stages: Stages,
    /// What took longest: `reading`, `parsing` or `database`.
    pub bottleneck: &'static str,
    /// Peak resident set of this process in bytes.
    pub peak_rss_bytes: u64,
    /// By table.
    pub tables: BTreeMap<&'static str, TableReport>,
    pub warnings: Vec<String>,
    /// Those warnings that were printed already.
    #[serde(skip)]
    pub printed: Vec<String>,
}

/// Seconds of each stage of a load. Indexes are built while other tables are still being copied: `index` is what remains
/// after the last row.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Stages {
    /// The first pass over the parent tables, for their ids.
    pub scan: f64,
    /// Until the last row of the last table is in the database.
    pub copy: f64,
    /// Until the last index is built, analyzed and its table counted.
    pub index: f64,
    /// Until the catalogue is published and the old one is dropped.
    pub publish: f64,
}

/// When something was done, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// From the start of the command.
    pub(crate) began: f64,
    pub(crate) seconds: f64,
}

#[derive(Debug, Serialize)]
pub struct TableReport {
    pub file: String,
    /// Size of the file.
    pub bytes: u64,
    /// XXH3 (128 bits) of the file, in hexadecimal.
    pub digest: String,
    /// Rows in the file: `loaded` + those of `rejected`.
    pub read: u64,
    /// Rows in the table.
    pub loaded: u64,
    /// Rows loaded after a repair: one with two repairs is one row.
    pub repaired_rows: u64,
    /// Rows loaded after a repair, by its code, and the header if it was repaired.
    pub repaired: BTreeMap<&'static str, u64>,
    /// Rows not loaded, by code.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Sum of the XXH3 digests (128 bits) of the rows as COPY sends them, in hexadecimal.
    pub content_digest: String,
    /// Seconds from the start of the command until reading its rows began.
    pub began: f64,
    /// Of reading and copying its rows.
    pub seconds: f64,
    /// Seconds from the start of the command until building its indexes began; null for a check.
    pub index_began: Option<f64>,
    /// Of building and counting its indexes and analyzing it; null for a check.
    pub index_seconds: Option<f64>,
    /// Where the rejected rows are; null if there are none.
    pub rejects_file: Option<String>,
    /// The first rows of each code.
    pub examples: Vec<Example>,
}

#[derive(Debug, Serialize)]
pub struct Example {
    pub code: &'static str,
    /// `repaired` or `rejected`.
    pub outcome: &'static str,
    /// Of its first line, from 1.
    pub line: u64,
    /// Null if the row as a whole is at fault.
    pub column: Option<&'static str>,
    /// What is wrong; of a repaired row, its beginning.
    pub message: String,
}

impl Span {
    /// From `start` to now, in a command that began at `begin`.
    pub(crate) fn since(start: Instant, begin: Instant) -> Span {
        Span { began: (start - begin).as_secs_f64(), seconds: start.elapsed().as_secs_f64() }
    }
}

/// A table whose file was read to its end.
pub(crate) struct TableDone {
    pub(crate) outcome: Outcome,
    pub(crate) waits: Waits,
    pub(crate) rejects: RejectFile,
    /// When its rows were read, and copied by a load.
    pub(crate) rows: Span,
    /// When its indexes were built, if they were.
    pub(crate) index: Option<Span>,
}

impl TableReport {
    fn new(source: &Source, done: &TableDone) -> TableReport {
        let TableDone { outcome, rejects, rows, index, .. } = done;
        let repaired = outcome.first_repairs.iter().map(|repaired| Example {
            code: repaired.repair.code(),
            outcome: "repaired",
            line: repaired.line,
            column: None,
            message: repaired.excerpt.clone(),
        });
        let rejected = outcome.first_rejects.iter().map(|reject| Example {
            code: reject.fault.code(),
            outcome: "rejected",
            line: reject.line,
            column: Some(reject.column).filter(|column| !column.is_empty()),
            message: reject.message.clone(),
        });
        TableReport {
            file: source.path.display().to_string(),
            bytes: outcome.file_bytes,
            digest: format!("{:032x}", outcome.file_digest),
            read: outcome.read,
            loaded: outcome.loaded,
            repaired_rows: outcome.repaired_rows,
            repaired: by_code(&outcome.repaired),
            rejected: by_code(&outcome.rejected),
            content_digest: outcome.content_digest.to_string(),
            began: rows.began,
            seconds: rows.seconds,
            index_began: index.map(|span| span.began),
            index_seconds: index.map(|span| span.seconds),
            rejects_file: rejects.path().map(|path| path.display().to_string()),
            examples: repaired.chain(rejected).collect(),
        }
    }
}

impl Report {
    /// Of a command that has read nothing yet.
    pub(crate) fn new(command: &'static str, begin: Instant) -> Report {
        Report {
            command,
            version: env!("CARGO_PKG_VERSION"),
            load_id: None,
            unchanged: false,
            seconds: begin.elapsed().as_secs_f64(),
            stages: Stages::default(),
            bottleneck: Waits::default().bottleneck(),
            peak_rss_bytes: peak_rss_bytes(),
            tables: BTreeMap::new(),
            warnings: Vec::new(),
            printed: Vec::new(),
        }
    }

    /// Of a command that has read these files.
    pub(crate) fn of_tables(
        command: &'static str,
        begin: Instant,
        sources: &EnumMap<TableId, Source>,
        done: &BTreeMap<TableId, TableDone>,
    ) -> Report {
        let tables = done.iter().map(|(id, done)| (id.table().name, TableReport::new(&sources[*id], done)));
        Report {
            bottleneck: done.values().map(|done| done.waits).sum::<Waits>().bottleneck(),
            warnings: done.iter().flat_map(|(id, done)| warnings(id.table(), &done.outcome)).collect(),
            tables: tables.collect(),
            ..Report::new(command, begin)
        }
    }
}

/// Peak resident set of this process in bytes, or 0 if the system does not say.
pub(crate) fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or_default()
        * 1024
}
