//! The ids of all products of a load. Only a product that exists gets a 304, and with these ids a conditional request
//! (`If-None-Match`) gets it without a query.

use roaring::RoaringBitmap;

use crate::catalogue::load_id::LoadId;

pub(crate) struct ProductIds {
    pub(crate) load: LoadId,
    /// At most two bytes a product, and next to nothing where ids are dense.
    pub(crate) ids: RoaringBitmap,
}
