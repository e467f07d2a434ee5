//! The result of `verify`: each table as it was loaded and as it is published. Its JSON has stable keys.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use atelier_base::error::{Error, Result};
use atelier_base::tables::TABLES;
use atelier_base::terminal::{ERROR, LABEL, SUCCESS, styled};
use indicatif::HumanCount;
use serde::Serialize;
use uuid::Uuid;

/// What to do about a table that is not what was loaded.
pub(crate) const DAMAGED: &str = "check who may write to the schema atelier, and the disk; then load the files again with \
                                  --force, or roll back if a previous load is kept";

/// Seconds are wall-clock time.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    /// `verify`.
    pub(crate) command: &'static str,
    /// Of atelier-etl.
    pub(crate) version: &'static str,
    /// The published load.
    pub(crate) load_id: Uuid,
    /// All tables are equal.
    pub(crate) equal: bool,
    pub(crate) seconds: f64,
    pub(crate) peak_rss_bytes: u64,
    pub(crate) tables: BTreeMap<&'static str, TableComparison>,
}

#[derive(Debug, Serialize)]
pub(crate) struct TableComparison {
    /// Rows that were loaded.
    pub(crate) loaded: u64,
    /// Rows that are published.
    pub(crate) published: u64,
    /// Of the loaded rows, as in the report of `load`.
    pub(crate) content_digest: String,
    /// Of the published rows.
    pub(crate) published_digest: String,
    pub(crate) equal: bool,
    /// Size of the rows as they were read, in COPY's binary format.
    pub(crate) bytes: u64,
    /// Of reading them.
    pub(crate) seconds: f64,
}

impl Comparison {
    fn tables(&self) -> impl Iterator<Item = (&'static str, &TableComparison)> {
        TABLES.iter().filter_map(|table| Some((table.name, self.tables.get(table.name)?)))
    }

    /// An error that names the tables that differ.
    pub(crate) fn expect_equal(&self) -> Result<()> {
        let different = self.tables().filter(|(_, table)| !table.equal).map(|(name, table)| {
            let (loaded, published) = (HumanCount(table.loaded), HumanCount(table.published));
            match table.loaded == table.published {
                true => format!("{name}: the {published} published rows are not those that were loaded"),
                false => format!("{name}: {loaded} rows were loaded, {published} are published"),
            }
        });
        let different: Vec<String> = different.collect();
        if different.is_empty() {
            return Ok(());
        }
        Err(Error::mismatch(format!("load {}: {}", self.load_id, different.join("; "))).hint(DAMAGED))
    }

    /// In lines of at most 80 columns.
    pub(crate) fn summary(&self) -> String {
        let header = format!(
            "{:<9}{:>12}{:>12}  {:<9}{:>8}{:>11}{:>8}",
            "table", "loaded", "published", "content", "seconds", "rows/s", "MB/s"
        );
        let mut text = styled(LABEL, header) + "\n";
        let mut total = Line { name: "total", equal: self.equal, seconds: self.seconds, ..Line::default() };
        for (name, table) in self.tables() {
            let TableComparison { loaded, published, equal, bytes, seconds, .. } = *table;
            Line { name, loaded, published, bytes, equal, seconds }.write(&mut text);
            total.loaded += loaded;
            total.published += published;
            total.bytes += bytes;
        }
        total.write(&mut text);
        text
    }
}

#[derive(Default)]
struct Line {
    name: &'static str,
    loaded: u64,
    published: u64,
    bytes: u64,
    equal: bool,
    seconds: f64,
}

impl Line {
    fn write(&self, text: &mut String) {
        let rate = |amount: u64| if self.seconds > 0.0 { amount as f64 / self.seconds } else { 0.0 };
        let (style, content) = if self.equal { (SUCCESS, "equal") } else { (ERROR, "DIFFERS") };
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{}{:>12}{:>12}  {}{:>8.1}{:>11}{:>8.0}",
            styled(LABEL, format_args!("{:<9}", self.name)),
            HumanCount(self.loaded).to_string(),
            HumanCount(self.published).to_string(),
            styled(style, format_args!("{content:<9}")),
            self.seconds,
            HumanCount(rate(self.published) as u64).to_string(),
            rate(self.bytes) / 1e6
        );
    }
}
