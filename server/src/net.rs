//! Bytes from and to clients: sockets, connections, and what they hold.

pub mod activation;
pub mod activity;
pub mod client;
pub mod connection;
pub mod connections;
pub mod http2;
mod kernel;
pub mod listen;
pub mod listener;
pub mod socket;
pub mod stream;
pub mod systemd;
pub mod tls;
