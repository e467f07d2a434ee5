//! Integration tests of the server: the real program, on real sockets and a real PostgreSQL, with catalogues that the
//! real loader has loaded.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod activation;
mod admin;
mod bounds;
mod catalogue;
mod client;
mod clients;
mod contract;
mod counted;
mod database_trouble;
mod database_url;
mod encodings;
mod fairness;
mod habits;
mod hammer;
mod http;
mod http2;
mod manager;
mod messages;
mod newload;
mod openapi;
mod page;
mod poolers;
mod reference;
mod refusals;
mod reload;
mod rights;
mod served;
mod server;
mod shutdown;
mod smoke;
mod start;
mod tls;
mod unix_sockets;
