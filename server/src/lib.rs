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

pub mod activation;
pub mod activity;
pub mod admin;
pub mod cache;
pub mod client;
pub mod config;
pub mod connection;
pub mod connections;
pub mod database;
pub mod docs;
pub mod encoding;
pub mod etag;
pub mod existing;
pub mod exposition;
pub mod files;
pub mod host;
pub mod http2;
pub mod jobs;
pub mod json;
mod kernel;
pub mod kind;
pub mod labels;
pub mod limits;
pub mod listen;
pub mod listener;
pub mod load;
pub mod log;
pub mod manager;
pub mod metrics;
pub mod page;
pub mod parameters;
pub mod path;
mod pooler;
pub mod problem;
pub mod queries;
pub mod reload;
pub mod respond;
pub mod route;
pub mod session;
pub mod shared;
pub mod socket;
pub mod stream;
pub mod tally;
pub mod tls;
pub mod watch;
pub mod worker;

#[cfg(test)]
mod testing;
