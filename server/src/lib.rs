//! `atelier-server`: a read-only HTTP API for a product catalogue that `atelier-etl` has published in PostgreSQL.
//!
//! The path of a request:
//!
//! 1. `serve` opens the ports and starts one thread for each `worker`. `net::accept` accepts a connection and hands it to the
//!    next of them.
//! 2. `net::connection` has hyper parse HTTP/1.1, and `net::http2` HTTP/2, from a `stream` with or without TLS. `net::activity`
//!    records what happens, to find clients that are too slow; `net::connections` bounds the memory of all connections.
//! 3. `http::route` turns method, path and query into a `catalogue::resource`, or a `problem`.
//! 4. `http::respond` compares `If-None-Match`, and `http::answer` looks the answer up in `catalogue::cache`.
//! 5. If it is not there, `database::pool` puts the request into a `queue`. When a connection is free, the waiting requests of
//!    one kind become a `batch`, which is one statement of `catalogue::queries`.
//! 6. `catalogue::json` renders the rows, and `catalogue::encoding` compresses the body.
//!
//! `shared` has what all threads share, and `database::watch` keeps it up to date. All SQL is in `catalogue::queries`. No queue
//! is unbounded. Modules that say "No I/O" do none.

pub(crate) mod admin;
pub mod assets;
pub mod catalogue;
pub mod config;
pub(crate) mod database;
pub mod http;
pub(crate) mod life;
pub(crate) mod net;
pub(crate) mod reload;
pub mod serve;
pub(crate) mod shared;
pub(crate) mod sources;
pub mod telemetry;
pub(crate) mod worker;
