//! The first pass: reads the tables that others point at for their accepted ids, which takes a few per cent of a load.
//! When all ids are known before the first row is copied, the six tables can load in parallel, a product gets its position
//! while it is copied, and an orphan is found at its line.

use atelier_base::error::Result;
use atelier_base::tables::{TableId, parent_tables};
use enum_map::EnumMap;
use rayon::ThreadPool;

use crate::csv::source::Source;
use crate::load::meter::Meter;
use crate::load::pipeline::{self, Job, RowSink};
use crate::rows::convert::Output;
use crate::rows::defect::Reject;
use crate::rows::ids::ParentIds;

/// Discards all rows: the ids are in the outcome.
struct NullSink;

impl RowSink for NullSink {
    fn rows(&mut self, _: Vec<u8>) -> Result<()> {
        Ok(())
    }
    fn rejects(&mut self, _: &[Reject]) -> Result<()> {
        Ok(())
    }
}

pub(crate) struct FirstPass {
    pub(crate) ids: ParentIds,
    /// Of the files that were read: the second pass must find the same.
    pub(crate) digests: EnumMap<TableId, Option<u128>>,
}

pub(crate) fn first_pass(sources: &EnumMap<TableId, Source>, pool: &ThreadPool) -> Result<FirstPass> {
    let mut ids = ParentIds::default();
    let mut digests = EnumMap::default();
    let meter = Meter::default();
    for table in parent_tables() {
        let job = Job {
            table: table.table(),
            source: &sources[table],
            parents: &ids,
            output: Output::Ids,
            meter: &meter,
        };
        let outcome = pipeline::run(&job, pool, &mut NullSink)?.outcome;
        digests[table] = Some(outcome.file_digest);
        ids.insert(table, outcome.ids);
    }
    Ok(FirstPass { ids, digests })
}
