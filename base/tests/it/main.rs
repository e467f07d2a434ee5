//! Connecting to a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod connect;
mod tls;
