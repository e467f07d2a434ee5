//! What is served: resources, the rows that answer them, and finished answers.

pub(crate) mod cache;
pub(crate) mod encoding;
pub(crate) mod etag;
pub(crate) mod json;
pub(crate) mod load_id;
pub(crate) mod product_ids;
pub(crate) mod published;
pub(crate) mod queries;
pub(crate) mod query_kind;
pub mod resource;
