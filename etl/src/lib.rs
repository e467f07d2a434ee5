//! The loader of the Atelier catalogue, as a library so that tests, benchmarks and fuzz targets reach its parts. The folders
//! follow a row: `csv` → `rows` → `load` → `database`, beside them `output`; `commands` puts them together.

pub mod cli;
pub mod commands;
pub mod csv;
mod database;
pub mod load;
pub mod options;
mod output;
pub mod rows;
