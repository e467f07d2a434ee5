//! For a test that kills it: starts a server, prints its directory, and waits for the end of its standard input.

#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use std::io::{Read as _, stdin};

use atelier_testing::Server;

fn main() {
    println!("{}", Server::shared().dir().display());
    stdin().read_to_end(&mut Vec::new()).unwrap();
}
