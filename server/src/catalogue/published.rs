//! Which load is published, as far as this process knows: as it was at most a second ago.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use crate::catalogue::load_id::LoadId;
use crate::catalogue::product_ids::ProductIds;
use crate::catalogue::resource::Resource;

/// How long a load that was seen in an answer is used before the watch confirms it.
const OTHER_LOAD_TTL: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(crate) struct Published {
    load: RwLock<Option<LoadId>>,
    product_ids: RwLock<Option<ProductIds>>,
    /// How often `load` has changed.
    version: AtomicU64,
    /// The latest answer from another load.
    other: RwLock<Option<OtherLoad>>,
}

#[derive(Clone, Copy)]
struct OtherLoad {
    published: LoadId,
    seen: LoadId,
    at: Instant,
}

impl Published {
    /// The published load; `None` if there is none, or none is known yet.
    pub(crate) fn load(&self) -> Option<LoadId> {
        *self.load.read()
    }

    pub(crate) fn set_load(&self, load: Option<LoadId>) {
        *self.load.write() = load;
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Changes whenever the load does. A thread that reads this first and [`Published::load`] second misses no change.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn set_product_ids(&self, product_ids: ProductIds) {
        *self.product_ids.write() = Some(product_ids);
    }

    /// Whether the ids of the published load's products are known.
    pub(crate) fn has_product_ids(&self) -> bool {
        self.product_ids.read().as_ref().map(|ids| ids.load) == self.load()
    }

    /// Whether `load` has the product that `resource` is about; `None` if that is not known.
    pub(crate) fn exists(&self, load: LoadId, resource: &Resource) -> Option<bool> {
        let Some(product) = resource.product() else { return Some(true) };
        let product_ids = self.product_ids.read();
        let product_ids = product_ids.as_ref().filter(|ids| ids.load == load)?;
        Some(product_ids.ids.contains(product.unsigned_abs()))
    }

    /// An answer came from a load other than the published one: a newer one, or that of a standby which is ahead or behind.
    pub(crate) fn record_other_load(&self, published: LoadId, seen: LoadId) {
        *self.other.write() = Some(OtherLoad { published, seen, at: Instant::now() });
    }

    /// The load that an answer came from a moment ago, in place of the published one.
    pub(crate) fn other_load(&self, published: LoadId) -> Option<LoadId> {
        let other = *self.other.read();
        other
            .filter(|other| other.published == published && other.at.elapsed() < OTHER_LOAD_TTL)
            .map(|other| other.seen)
    }
}
