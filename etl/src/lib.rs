//! The loader of the Atelier catalogue, as a library so that tests, benchmarks and fuzz targets reach its
//! parts. Modules stand in the order in which data flows.

pub mod check;
pub mod connect;
pub mod convert;
pub mod defect;
pub mod encode;
pub mod error;
pub mod header;
pub mod parse;
pub mod pipeline;
pub mod record;
pub mod rejects;
pub mod schema;
pub mod source;
pub mod split;
pub mod tables;
pub mod tls;
