//! Bytes from and to clients: sockets, connections, and the memory that they take.

pub(crate) mod accept;
pub(crate) mod activation;
pub(crate) mod activity;
pub(crate) mod address;
pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod http2;
pub(crate) mod http_io;
pub(crate) mod kernel;
pub(crate) mod listener;
pub(crate) mod memory;
pub(crate) mod service;
pub(crate) mod stream;
pub(crate) mod systemd;
pub(crate) mod tls;
