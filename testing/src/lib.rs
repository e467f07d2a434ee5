//! What the tests of all crates start and compare with: private PostgreSQL servers, PgBouncer, certificates, and the list
//! of a program's messages. No program depends on it.

#![allow(clippy::unwrap_used, reason = "for tests alone, where a panic is the report")]

mod certificates;
mod messages;
mod postgres;
mod wait;

pub use certificates::Certificates;
pub use messages::{Messages, unlisted};
pub use postgres::{Database, Pooler, Rows, Server};
pub use wait::until;
