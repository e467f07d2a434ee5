//! Records → accepted rows, repaired or rejected, and their binary form. No I/O.

pub mod convert;
pub mod decode;
pub mod defect;
pub mod digest;
pub mod encode;
pub mod number;
pub mod validate;
pub mod value;
