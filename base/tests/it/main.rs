//! What only shows on a real PostgreSQL: the way to it, and that the harness which starts it keeps its promises.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod connect;
mod harness;
mod tls;
