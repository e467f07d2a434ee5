//! What the crates share: the six tables, how a database is reached, how errors are shown, colours, and how the command
//! line is parsed. It knows nothing of CSV or HTTP, and names no flag that only one of the programs has.

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
