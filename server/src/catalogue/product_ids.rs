//! The ids of all products of a load. A conditional request (`If-None-Match`) for a product that does not exist is a 404,
//! like any other request for it, and these ids tell so without a query.

use roaring::RoaringBitmap;

use crate::catalogue::load_id::LoadId;

pub(crate) struct ProductIds {
    pub(crate) load: LoadId,
    /// At most two bytes a product, and next to nothing where ids are dense.
    pub(crate) ids: RoaringBitmap,
}
