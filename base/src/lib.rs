//! What both programs share: how to reach the database, how errors are shown, colours, and how numbers are typed. It
//! knows nothing of tables, files or HTTP, and names no flag that only one of the programs has.

pub mod connect;
mod conninfo;
pub mod error;
mod passfile;
pub mod sql;
pub mod terminal;
mod tls;
pub mod typed;

#[cfg(feature = "testing")]
pub mod certificates;
#[cfg(feature = "testing")]
pub mod testing;
pub mod visible;
