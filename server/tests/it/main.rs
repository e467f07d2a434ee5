//! Integration tests of the server: the real program, on real sockets and a real PostgreSQL, with catalogues that the
//! real loader has loaded.

mod catalogue;
mod client;
mod contract;
mod reference;
mod server;
mod smoke;
