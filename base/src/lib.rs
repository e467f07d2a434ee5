//! What several crates need: the tables and their files, connections to PostgreSQL, errors, colours, and command-line
//! arguments. Knows nothing of CSV or HTTP, and no flag that only one of the programs has.

pub mod args;
pub mod connect;
mod conninfo;
pub mod error;
mod passfile;
pub mod sql;
pub mod tables;
pub mod terminal;
mod tls;
pub mod visible;
