//! What is served.

pub mod cache;
pub mod encoding;
pub mod etag;
pub mod existing;
pub mod json;
pub mod kind;
pub mod load_id;
pub mod queries;
