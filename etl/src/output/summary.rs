//! The report of a load or a check as text.

use std::fmt::Write as _;

use atelier_base::error::Result;
use atelier_base::tables::TABLES;
use atelier_base::terminal::{DIM, ERROR, LABEL, WARNING, styled};
use atelier_base::visible::visible;
use indicatif::HumanCount;

use crate::output::report::{Report, Stages, TableReport};
use crate::output::report_file::ReportFile;
use crate::output::stdout::{print, warning_line};

/// Prints the summary and writes the report. If one of them fails, the other is still done.
pub(crate) fn show(report: &Report, file: &mut ReportFile) -> Result<()> {
    let printed = print(&report.summary());
    file.write(report).and(printed)
}

impl Report {
    fn tables(&self) -> impl Iterator<Item = (&'static str, &TableReport)> {
        TABLES.iter().filter_map(|table| Some((table.name, self.tables.get(table.name)?)))
    }

    /// In lines of at most 80 columns, except for paths and values from the files.
    pub(crate) fn summary(&self) -> String {
        let header = format!(
            "{:<9}{:>12}{:>12}{:>12}{:>12}{:>9}{:>11}",
            "table", "rows read", "loaded", "repaired", "rejected", "seconds", "rows/s"
        );
        let mut text = styled(LABEL, header) + "\n";
        let mut total = Line { name: "total", seconds: self.seconds, ..Line::default() };
        for (name, report) in self.tables() {
            let line = Line {
                name,
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
        for (name, report) in self.tables() {
            // Writing into a String cannot fail.
            let _ = write_defects(&mut text, name, report);
        }
        text + &self.new_warnings()
    }

    /// The warnings that were not printed before, a line each.
    pub(crate) fn new_warnings(&self) -> String {
        let new = self.warnings.iter().filter(|warning| !self.printed.contains(warning));
        new.map(|warning| warning_line(warning)).collect()
    }

    /// How long it took, by stage.
    pub(crate) fn times(&self) -> String {
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
        let rows = |rows| format!("{:>12}", HumanCount(rows).to_string());
        let defects = |style, number| styled(if number == 0 { DIM } else { style }, rows(number));
        format!(
            "{}{}{}{}{}{:>9.1}{:>11}\n",
            styled(LABEL, format_args!("{:<9}", self.name)),
            rows(self.read),
            rows(self.loaded),
            defects(WARNING, self.repaired),
            defects(ERROR, self.rejected),
            self.seconds,
            HumanCount(rate).to_string()
        )
    }
}

fn write_defects(text: &mut String, table: &str, report: &TableReport) -> std::fmt::Result {
    for (codes, outcome, style) in
        [(&report.repaired, "repaired", WARNING), (&report.rejected, "rejected", ERROR)]
    {
        for (code, rows) in codes {
            let what = styled(style, format_args!("{} {outcome}", HumanCount(*rows)));
            writeln!(text, "{table}: {what}, {code}")?;
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
