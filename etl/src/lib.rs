//! The loader of the Atelier catalogue, as a library so that tests and benchmarks reach its parts. The groups of
//! modules stand in the order in which data flows; `ARCHITECTURE.md` tells the way of a row through them.

pub mod cli;
pub mod limit;
pub mod options;

pub mod tables;

pub mod check;
pub mod convert;
pub mod decode;
pub mod defect;
pub mod digest;
pub mod encode;
pub mod ending;
pub mod excerpt;
pub mod header;
pub mod number;
pub mod parse;
pub mod pipeline;
pub mod record;
pub mod rejects;
pub mod scan;
pub mod source;
pub mod split;
pub mod value;
pub mod verdict;

pub mod copy;
mod lanes;
pub mod load;
pub mod publish;
pub mod rollback;
pub mod schema;
pub mod session;
pub mod signature;
pub mod status;
pub mod unchanged;
pub mod verify;

pub mod progress;
pub mod report;

pub mod generate;

#[cfg(feature = "testing")]
pub mod testing;
