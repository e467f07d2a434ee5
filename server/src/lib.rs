//! `atelier-server`: the read-only HTTP API of a product catalogue that `atelier-etl` has published in PostgreSQL.
//!
//! The way of a request: `listen` accepts a connection at a `listener` and hands it to a `worker`, one thread with its own
//! runtime and its own way to the database. `connection` reads requests of HTTP/1.1 off it, `http2` those of HTTP/2, from a
//! `socket` over a `stream`, encrypted by `tls` or not; `activity` notes what happens there, and `connections` what all of
//! them hold. `route` says what is asked for, `respond` answers from `cache` or through `database`, where requests that
//! wait at the same time become one of its `jobs` and share a statement of `queries`, and `json` writes the bytes.
//! `shared` is all that the threads have in common.
//!
//! `route`, `parameters`, `path`, `host`, `json`, `problem`, `encoding`, `etag`, `kind`, `client` and `load` never see
//! tokio; all SQL is in `queries`: a test holds both. No queue is unbounded.

pub mod admin;
pub mod assets;
pub mod catalogue;
pub mod config;
pub mod database;
pub mod http;
pub mod net;
pub mod reload;
pub mod shared;
pub mod telemetry;
pub mod worker;

#[cfg(test)]
mod testing;
