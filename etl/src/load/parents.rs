//! The first reading of `product` and `styles`: the ids that other tables point at.

use std::collections::BTreeMap;

use atelier_base::error::Result;
use atelier_base::tables::TableId;
use rayon::ThreadPool;

use super::pipeline::{self, Job, Meter, Parents, Taker};
use crate::csv::source::Source;
use crate::rows::convert::Wanted;
use crate::rows::defect::Reject;

/// Counts, and keeps nothing.
struct Nowhere;

impl Taker for Nowhere {
    fn rows(&mut self, _: Vec<u8>) -> Result<()> {
        Ok(())
    }
    fn rejects(&mut self, _: &[Reject]) -> Result<()> {
        Ok(())
    }
}

/// The tables that others point at, parents first.
pub const PARENTS: [TableId; 2] = [TableId::Product, TableId::Styles];

/// What the first reading found.
pub struct Scanned {
    /// The accepted ids.
    pub parents: Parents,
    /// Digests of the files read: the second reading must find the same.
    pub digests: BTreeMap<TableId, u128>,
}

/// Reads `product` and `styles` for their accepted ids, which takes a few per cent of a load. Knowing them before the
/// first row is copied lets all six tables load side by side, tells a product's position while it is copied, and
/// tells an orphan at its line.
pub fn parents(sources: &[Source], pool: &ThreadPool) -> Result<Scanned> {
    let mut parents = Parents::default();
    let mut digests = BTreeMap::new();
    let meter = Meter::default();
    for table in PARENTS {
        let source = &sources[table as usize];
        let job = Job { table: table.table(), source, parents: &parents, wanted: Wanted::Ids, meter: &meter };
        let outcome = pipeline::run(&job, pool, &mut Nowhere)?;
        digests.insert(table, outcome.file_digest);
        parents.keep(table, outcome.ids);
    }
    Ok(Scanned { parents, digests })
}
