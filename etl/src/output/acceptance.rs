//! Whether a file is accepted, and what is unusual about it.

use std::path::Path;

use atelier_base::error::{Error, Result};
use atelier_base::tables::{Table, TableId};
use enum_map::EnumMap;

use crate::csv::excerpt::excerpt;
use crate::csv::lines_like_records::LinesLikeRecords;
use crate::csv::source::Source;
use crate::output::limit::Limit;
use crate::output::rejects;
use crate::rows::outcome::Outcome;

/// What a load accepts.
#[derive(Clone, Copy)]
pub(crate) struct Acceptance<'a> {
    pub(crate) max_rejects: Limit,
    /// The directory of the reject files, for messages.
    pub(crate) rejects: &'a Path,
}

impl Acceptance<'_> {
    /// Refuses a file with more rejects than allowed, and a catalogue without products.
    pub(crate) fn check(self, table: TableId, source: &Source, outcome: &Outcome) -> Result<()> {
        let (name, rejected) = (table.table().name, outcome.rejected.values().sum::<u64>());
        if self.max_rejects.is_exceeded(outcome.read, rejected) {
            return Err(Error::input(format!(
                "{name}: {rejected} of {} rows rejected, more than --max-rejects {} allows",
                outcome.read, self.max_rejects
            ))
            .hint(format!(
                "read {}, repair the file, or raise --max-rejects",
                rejects::path(self.rejects, table.table()).display()
            )));
        }
        if table == TableId::Product && outcome.loaded == 0 {
            return Err(Error::input(format!("{name}: no row can be loaded from {}", source.path.display()))
                .hint("a catalogue needs at least one product: check that this is the right file"));
        }
        Ok(())
    }

    /// Fails with the error of the first table that is not accepted.
    pub(crate) fn check_all<'a>(
        self,
        sources: &EnumMap<TableId, Source>,
        outcomes: impl IntoIterator<Item = (TableId, &'a Outcome)>,
    ) -> Result<()> {
        outcomes.into_iter().try_for_each(|(table, outcome)| self.check(table, &sources[table], outcome))
    }
}

/// What is unusual about a file, but no error.
pub(crate) fn warnings(table: &Table, outcome: &Outcome) -> Vec<String> {
    let mut warnings = Vec::new();
    if outcome.read == 0 {
        warnings.push(format!("{}: the file has a header but no rows", table.name));
    }
    if let Some(LinesLikeRecords { records, line }) = outcome.lines_like_records {
        let more = match records {
            1 => String::new(),
            _ => format!(" ({} more like it)", records - 1),
        };
        warnings.push(format!(
            "{}, line {line}: lines_like_records: a value of several lines has a line that looks like a record{more}; \
             it is read as one value: check for a missing quote",
            table.name
        ));
    }
    for column in &outcome.unknown_columns {
        warnings.push(format!(
            "{}: the column \"{}\" is not loaded: no such column in the table",
            table.name,
            excerpt(column.as_bytes())
        ));
    }
    warnings
}
