//! The loader of the Atelier catalogue, as a library so that tests, benchmarks and fuzz targets reach its
//! parts. Modules stand in the order in which data flows.

pub mod error;
pub mod generate;
pub mod tables;
