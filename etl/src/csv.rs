//! Bytes → records. Knows no database; `source` alone reads files.

pub mod chunk;
pub mod ending;
pub mod excerpt;
pub mod header;
pub mod parse;
pub mod record;
pub mod source;
