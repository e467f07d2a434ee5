//! What the readings of the files come to: whether they are accepted, what is odd about them, and what was waited for.

use atelier_base::error::{Error, Result};

use crate::csv::excerpt::excerpt;
use crate::csv::lines_like_records::LinesLikeRecords;
use crate::options::Input;
use crate::output::rejects;
use crate::rows::outcome::{Outcome, Waits};
use atelier_base::tables::{Table, TableId};

/// Whether the files are accepted: no more rejects than allowed, and at least one product.
pub fn verdict<'a>(input: &Input, outcomes: impl Iterator<Item = (TableId, &'a Outcome)>) -> Result<()> {
    for (table, outcome) in outcomes {
        let (name, rejected) = (table.table().name, outcome.rejected.values().sum::<u64>());
        if input.max_rejects.is_exceeded(outcome.read, rejected) {
            return Err(Error::input(format!(
                "{name}: {rejected} of {} rows rejected, more than --max-rejects {} allows",
                outcome.read, input.max_rejects
            ))
            .hint(format!(
                "read {}, mend the file, or raise --max-rejects",
                rejects::path(&input.rejects, table.table()).display()
            )));
        }
        if table == TableId::Product && outcome.loaded == 0 {
            return Err(Error::input(format!(
                "{name}: no row can be loaded from {}",
                input.sources[table].path.display()
            ))
            .hint("a catalogue needs at least one product: check that this is the right file"));
        }
    }
    Ok(())
}

/// What is odd about a file but no error.
pub fn warnings(table: &Table, outcome: &Outcome) -> Vec<String> {
    let mut warnings = Vec::new();
    if outcome.read == 0 {
        warnings.push(format!("{}: the file has a header and no rows", table.name));
    }
    if let Some(LinesLikeRecords { records, line }) = outcome.lines_like_records {
        let more = match records {
            1 => String::new(),
            _ => format!(" ({} more like it)", records - 1),
        };
        warnings.push(format!(
            "{}, line {line}: lines_like_records: a value of several lines holds one that is a record by itself{more}; \
             it is read as one value: see whether a quote is missing",
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

/// What the rows waited for most.
pub fn bottleneck(waits: impl Iterator<Item = Waits>) -> &'static str {
    waits.sum::<Waits>().bottleneck()
}
