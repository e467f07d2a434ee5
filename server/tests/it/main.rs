//! Integration tests of the server: the real program, on real sockets and a real PostgreSQL, with catalogues that the
//! real loader has loaded.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod activation;
mod admin;
mod catalogue;
mod client;
mod clients;
mod contract;
mod database_failures;
mod database_url;
mod encodings;
mod fairness;
mod fixture;
mod http;
mod http2;
mod legacy_clients;
mod memory_limits;
mod messages;
mod metrics;
mod new_load;
mod openapi;
mod page;
mod poolers;
mod privileges;
mod problems;
mod reference;
mod reload;
mod server;
mod shutdown;
mod smoke;
mod startup_errors;
mod systemd;
mod tls;
mod traffic;
mod unix_sockets;
