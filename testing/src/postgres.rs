//! PostgreSQL for the tests: real servers that start and stop by themselves, and leave nothing behind however the tests
//! end. Needs the installed programs (`scripts/test` installs them), no network, and works as root.
//!
//! Our own, since pgtemp 0.7 needs sudo to run as root, cannot start a server again, and cleans up in `Drop` alone, which
//! does not run on Ctrl-C, on `kill -9` and for statics; postgresql_embedded 0.22 downloads its server and does not change
//! accounts.
//!
//! Most tests want `Server::shared().database()`: a new database on one server for all. Those that stop, kill or fill
//! their server start one of their own.
//!
//! Linux only: processes are found in `/proc`.

mod database;
mod guardian;
mod pooler;
mod port;
mod programs;
mod server;

pub use database::Database;
pub use pooler::Pooler;
pub use server::{Rows, Server};
