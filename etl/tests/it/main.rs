//! What only shows on a real PostgreSQL, with the real program. One binary, so that it links once and all of
//! it shares one server.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod failures;
mod harness;
mod postgres;
mod run;
