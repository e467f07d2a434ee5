//! Clients that make the server hold much memory: bytes are bounded, not only connections.

use std::io::Write as _;
use std::net::TcpStream;

use atelier_testing::until;

use crate::client::{Connection, get};
use crate::clients::{catalogue, connections, is_closed, narrow, plain};
use crate::server::Server;

/// Connections, and so 64 MiB of memory for them.
const FEW: [&str; 2] = ["--max-connections", "4000"];

fn limit(server: &Server, limit: &str) -> u64 {
    server.metric(&format!("atelier_limits_total{{limit=\"{limit}\"}}"))
}

#[test]
fn connections_with_incomplete_requests_are_closed_to_reclaim_memory() {
    rlimit::increase_nofile_limit(8192).unwrap();
    let database = catalogue(100);
    let server = Server::start(&database.url(), &[&FEW[..], &["--client-timeout", "1h"]].concat());
    let begin = format!("GET /products/1 HTTP/1.1\r\nHost: test\r\nX-Long: {:y<20000}", "");
    let mut unfinished: Vec<Connection> = Vec::new();
    // Half as many again as there is memory for.
    for number in 0..2400 {
        let mut connection = Connection::open(server.public);
        connection.send(begin.as_bytes()).unwrap();
        unfinished.push(connection);
        if number % 10 == 0 {
            assert_eq!(get(server.public, &format!("/products/{}", number % 100 + 1)).status, 200);
        }
    }
    assert!(limit(&server, "unfinished_requests") > 0);
    let resident = server.peak_memory() >> 20;
    println!("2,400 unfinished requests of 20 kB: {resident} MiB at the most");
    let mut last = unfinished.pop().unwrap();
    last.send(b"\r\n\r\n").unwrap();
    assert_eq!(last.receive(false).unwrap().status, 431, "the latest are still served");
    let closed = unfinished.iter().filter(|connection| is_closed(connection.socket())).count();
    assert!(closed > 400 && closed < 1600, "{closed} were closed");
    drop((unfinished, last));
    until("all are gone", || connections(&server) == 0);
}

#[test]
fn connections_with_unread_answers_are_closed_to_reclaim_memory() {
    rlimit::increase_nofile_limit(8192).unwrap();
    let database = catalogue(1000);
    let server = Server::start(&database.url(), &[&FEW[..], &["--client-timeout", "1h"]].concat());
    let mut slow: Vec<TcpStream> = (0..600).map(|_| narrow(server.public)).collect();
    for stream in &mut slow {
        stream.write_all(plain("/products?count=1000").repeat(20).as_bytes()).unwrap();
    }
    until("some are closed", || limit(&server, "untaken_answers") > 0);
    assert_eq!(get(server.public, "/products/1").status, 200);
    let closed = slow.iter().filter(|stream| is_closed(stream)).count();
    assert!(closed < slow.len(), "not all of them");
    drop(slow);
    until("all are gone", || connections(&server) == 0);
}

#[test]
fn the_admin_port_has_a_connection_limit_of_its_own() {
    let database = catalogue(10);
    let server = Server::start(&database.url(), &["--max-connections", "4"]);
    let mut open: Vec<Connection> = (0..200).map(|_| Connection::open(server.admin)).collect();
    assert!(server.is_ready());
    assert_eq!(get(server.public, "/products/1").status, 200);
    until("the first are closed", || limit(&server, "admin_connections") > 100);
    assert!(open[0].is_closed());
    assert_eq!(open.pop().unwrap().request("GET", "/livez", &[]).unwrap().status, 200);
}
