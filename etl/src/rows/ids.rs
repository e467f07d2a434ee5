//! The accepted ids of the tables that others point at.

use std::sync::Arc;

use atelier_base::tables::TableId;
use enum_map::EnumMap;
use roaring::RoaringBitmap;

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ParentIds(EnumMap<TableId, Arc<RoaringBitmap>>);

impl ParentIds {
    /// The accepted ids of `table`. Empty until they are inserted.
    pub(crate) fn of(&self, table: TableId) -> Arc<RoaringBitmap> {
        Arc::clone(&self.0[table])
    }

    /// Keeps the ids of `table` if other tables point at it.
    pub(crate) fn insert(&mut self, table: TableId, ids: RoaringBitmap) {
        if table.is_parent() {
            self.0[table] = Arc::new(ids);
        }
    }
}
