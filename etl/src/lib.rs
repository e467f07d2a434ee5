//! The loader of the Atelier catalogue, as a library so that tests, benchmarks and fuzz targets reach its
//! parts. Modules stand in the order in which data flows.

pub mod cli;
pub mod options;

pub mod error;
pub mod tables;

pub mod source;
pub mod record;
pub mod header;
pub mod split;
pub mod parse;
pub mod defect;
pub mod check;
pub mod encode;
pub mod convert;
pub mod rejects;
pub mod pipeline;
pub mod scan;

pub mod tls;
pub mod connect;
pub mod schema;
pub mod copy;
pub mod publish;
pub mod load;
pub mod status;

pub mod progress;
pub mod report;

pub mod generate;
