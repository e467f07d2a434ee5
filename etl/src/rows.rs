//! Records → accepted rows, repaired or rejected, and their binary form. No I/O.

pub mod convert;
pub mod converted;
pub mod decode;
pub mod defect;
pub mod digest;
pub mod duplicates;
pub mod encode;
pub(crate) mod ids;
pub(crate) mod number;
pub mod outcome;
mod ranks;
pub mod validate;
pub mod value;
