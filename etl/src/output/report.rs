//! What happened, for people (a table) and for programs (JSON with stable keys).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use atelier_base::terminal::{DIM, ERROR, LABEL, WARNING, styled};
use atelier_base::visible::visible;
use serde::Serialize;

use crate::csv::source::Source;
use crate::output::acceptance::bottleneck;
use crate::rows::defect::{Code, by_code};
use crate::rows::outcome::Outcome;
use atelier_base::tables::{TABLES, Table};

/// A load or a check. Seconds are wall-clock time.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `load` or `check`.
    pub command: &'static str,
    /// Of atelier-etl.
    pub version: &'static str,
    /// Id of the load that is published now; null if none was.
    pub load_id: Option<String>,
    /// The files are those of the load that is published: nothing was loaded, and `tables` is empty.
    pub unchanged: bool,
    /// From start to end.
    pub seconds: f64,
    /// How long each stage took, in their order.
    pub stages: Stages,
    /// What the reading waited for most: `reading`, `parsing` or `database`.
    pub bottleneck: &'static str,
    /// Peak resident set of this process in bytes.
    pub peak_rss_bytes: u64,
    /// By table.
    pub tables: BTreeMap<&'static str, TableReport>,
    /// What is odd but no error.
    pub warnings: Vec<String>,
    /// Those among them that were printed when it mattered.
    #[serde(skip)]
    pub printed: Vec<String>,
}

/// Seconds of each stage of a load. A table's indexes are begun while other tables' rows still come in: `index` is
/// what remains behind the last row.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Stages {
    /// First reading of the parents, for their ids.
    pub scan: f64,
    /// Until the last row of the last table is in the database.
    pub copy: f64,
    /// Until the last index is built, analyzed and its table counted.
    pub index: f64,
    /// Until the catalogue is published and what was before is gone.
    pub publish: f64,
}

/// When something was done: seconds from the start to where it began, and what it took.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// From the start of the command.
    pub began: f64,
    /// From there to its end.
    pub seconds: f64,
}

/// What became of a file.
#[derive(Debug, Serialize)]
pub struct TableReport {
    /// Its path.
    pub file: String,
    /// Its size on the disk.
    pub bytes: u64,
    /// XXH3 (128 bits) of the file as it stands on the disk, in hexadecimal.
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
    /// Sum of the XXH3 digests (128 bits) of the rows as COPY has them, in hexadecimal.
    pub content_digest: String,
    /// Seconds from the start to where reading its rows began.
    pub began: f64,
    /// Of reading and copying its rows.
    pub seconds: f64,
    /// Seconds from the start to where building its indexes began; null if there are none.
    pub index_began: Option<f64>,
    /// Of building its indexes, analyzing and counting; null if there are none.
    pub index_seconds: Option<f64>,
    /// Where the rejected rows are; null if there are none.
    pub rejects_file: Option<String>,
    /// The first rows of each code.
    pub examples: Vec<Example>,
}

/// A row with a defect.
#[derive(Debug, Serialize)]
pub struct Example {
    /// Of the defect.
    pub code: &'static str,
    /// `repaired` or `rejected`.
    pub outcome: &'static str,
    /// Number of its first line, from 1.
    pub line: u64,
    /// The column at fault; null where it is the row as a whole.
    pub column: Option<&'static str>,
    /// What is wrong, or the row's beginning.
    pub message: String,
}

impl TableReport {
    /// What a pipeline found, and how long that took.
    pub fn new(source: &Source, outcome: &Outcome, rejects_file: Option<String>, rows: Span) -> TableReport {
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
            index_began: None,
            index_seconds: None,
            rejects_file,
            examples: repaired.chain(rejected).collect(),
        }
    }
}

impl Report {
    /// Of a `command` that began at `begin` and has read nothing yet.
    pub fn new(command: &'static str, begin: Instant) -> Report {
        Report {
            command,
            version: env!("CARGO_PKG_VERSION"),
            load_id: None,
            unchanged: false,
            seconds: begin.elapsed().as_secs_f64(),
            stages: Stages::default(),
            bottleneck: bottleneck(std::iter::empty()),
            peak_rss_bytes: peak_rss_bytes(),
            tables: BTreeMap::new(),
            warnings: Vec::new(),
            printed: Vec::new(),
        }
    }

    fn table(&self, table: &Table) -> Option<&TableReport> {
        self.tables.get(table.name)
    }

    /// The summary for people, in lines of at most 80 columns besides paths and values from the files.
    pub fn summary(&self) -> String {
        let header = format!(
            "{:<9}{:>12}{:>12}{:>12}{:>12}{:>9}{:>11}",
            "table", "rows read", "loaded", "repaired", "rejected", "seconds", "rows/s"
        );
        let mut text = styled(LABEL, header) + "\n";
        let mut total = Line { name: "total", seconds: self.seconds, ..Line::default() };
        for (table, report) in TABLES.iter().filter_map(|table| Some((table, self.table(table)?))) {
            let line = Line {
                name: table.name,
                read: report.read,
                loaded: report.loaded,
                repaired: report.repaired_rows,
                rejected: report.rejected.values().sum(),
                seconds: report.seconds,
            };
            text += &line.text();
            total.add(&line);
        }
        text += &total.text();
        for (table, report) in TABLES.iter().filter_map(|table| Some((table, self.table(table)?))) {
            // Writing into a String cannot fail.
            let _ = defects(&mut text, table, report);
        }
        text + &self.warned()
    }

    /// The warnings that were not printed before, a line each.
    pub fn warned(&self) -> String {
        let new = self.warnings.iter().filter(|warning| !self.printed.contains(warning));
        new.map(|warning| warned(warning)).collect()
    }

    /// How long it took and what that was spent on.
    pub fn times(&self) -> String {
        let Stages { scan, copy, index, publish } = self.stages;
        format!(
            "in {:.1} s: scan {scan:.1} s, copy {copy:.1} s, index {index:.1} s, publish {publish:.1} s\n\
             slowest: {}; peak memory: {} MB\n",
            self.seconds,
            self.bottleneck,
            self.peak_rss_bytes / 1_000_000
        )
    }
}

/// A warning for people, in a line.
pub fn warned(warning: &str) -> String {
    format!("{} {warning}\n", styled(WARNING, "warning:"))
}

/// A line of the summary.
#[derive(Default)]
struct Line {
    name: &'static str,
    read: u64,
    loaded: u64,
    repaired: u64,
    rejected: u64,
    seconds: f64,
}

impl Line {
    fn add(&mut self, other: &Line) {
        self.read += other.read;
        self.loaded += other.loaded;
        self.repaired += other.repaired;
        self.rejected += other.rejected;
    }

    fn text(&self) -> String {
        let rate = if self.seconds > 0.0 { (self.read as f64 / self.seconds) as u64 } else { 0 };
        let rows = |rows| format!("{:>12}", grouped(rows));
        let defects = |style, number| styled(if number == 0 { DIM } else { style }, rows(number));
        format!(
            "{}{}{}{}{}{:>9.1}{:>11}\n",
            styled(LABEL, format_args!("{:<9}", self.name)),
            rows(self.read),
            rows(self.loaded),
            defects(WARNING, self.repaired),
            defects(ERROR, self.rejected),
            self.seconds,
            grouped(rate)
        )
    }
}

fn defects(text: &mut String, table: &Table, report: &TableReport) -> std::fmt::Result {
    for (codes, outcome, style) in
        [(&report.repaired, "repaired", WARNING), (&report.rejected, "rejected", ERROR)]
    {
        for (code, rows) in codes {
            let what = styled(style, format_args!("{} {outcome}", grouped(*rows)));
            writeln!(text, "{}: {what}, {code}", table.name)?;
            for example in
                report.examples.iter().filter(|example| (example.outcome, example.code) == (outcome, *code))
            {
                let column = example.column.map(|column| format!("{column}: ")).unwrap_or_default();
                writeln!(text, "  line {}: {column}{}", example.line, example.message)?;
            }
        }
    }
    if let Some(file) = &report.rejects_file {
        writeln!(text, "  the rejected rows are in {}", visible(file))?;
    }
    Ok(())
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Peak resident set of this process in bytes, or 0 where the system does not tell.
pub fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or_default()
        * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let found = [0, 999, 1000, 27_665_228].map(grouped);
        assert_eq!(found, ["0", "999", "1,000", "27,665,228"]);
    }
}
