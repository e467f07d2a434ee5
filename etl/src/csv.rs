//! Bytes → records. Knows no database; only `source` and `header` read files.

pub mod chunk;
pub(crate) mod ending;
pub(crate) mod excerpt;
pub(crate) mod header;
pub mod layout;
pub(crate) mod lines_like_records;
pub mod parse;
pub mod record;
pub(crate) mod source;
