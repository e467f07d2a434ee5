//! SIGTERM and Ctrl-C: requests are answered, clients do not delay the end, and the process exits by itself.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use atelier_testing::{Server as Postgres, until};
use nix::sys::signal::Signal;

use crate::catalogue::{Session, example, generated, publish};
use crate::client::{Connection, get};
use crate::server::Server;

/// If a client pauses longer between two requests, its connection may be closed.
const PROMPT: Duration = Duration::from_millis(500);

/// Sends requests on one connection after the other until none can be opened. Returns the number of answers, and whether the
/// last one had `Connection: close`.
fn request_until_refused(server: &Server, is_stopping: &AtomicBool) -> (usize, bool) {
    let (mut answers, mut closed) = (0, false);
    while let Ok(mut connection) = Connection::try_open(server.public) {
        let mut last: Option<Instant> = None;
        loop {
            let sent = connection.send(b"GET /products/1/profile HTTP/1.1\r\nHost: test\r\n\r\n");
            let prompt = last.is_some_and(|last| last.elapsed() < PROMPT);
            match sent.and_then(|()| connection.receive(false)) {
                Ok(response) => {
                    assert_eq!(response.status, 200);
                    answers += 1;
                    last = Some(Instant::now());
                    closed = response.header("connection") == Some("close");
                    if closed {
                        assert!(connection.is_closed());
                        break;
                    }
                }
                Err(error) => {
                    // The kernel may accept a connection that the server does not accept any more.
                    let too_late = is_stopping.load(Ordering::SeqCst) && !prompt;
                    assert!(too_late, "a request is lost after {answers} answers: {error}");
                    break;
                }
            }
        }
    }
    (answers, closed)
}

#[test]
fn requests_in_flight_at_sigterm_are_answered() {
    let database = Postgres::shared().database();
    publish(&database, generated(50, 1).path());
    for arguments in [&["--shutdown-grace=60s"][..], &["--shutdown-grace=60s", "--cache-bytes=0"]] {
        let server = Server::start(&database.url(), arguments);
        let is_stopping = AtomicBool::new(false);
        let answers = thread::scope(|scope| {
            let clients: Vec<_> =
                (0..8).map(|_| scope.spawn(|| request_until_refused(&server, &is_stopping))).collect();
            let answered = || {
                server.metric(
                    "atelier_http_request_duration_seconds_count{route=\"/products/:product_id/profile\"}",
                )
            };
            until("clients send requests", || answered() > 200);
            is_stopping.store(true, Ordering::SeqCst);
            server.signal(Signal::SIGTERM);
            clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(answers.iter().all(|(answers, _)| *answers > 0), "{answers:?}");
        assert!(answers.iter().any(|(_, closed)| *closed), "{answers:?}");
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn a_request_that_waits_for_the_database_is_finished() {
    let database = Postgres::shared().database();
    publish(&database, &example());
    let server = Server::start(&database.url(), &["--request-timeout=60s", "--shutdown-grace=60s"]);
    let locker = Session::open(&database);
    locker.execute("BEGIN; LOCK TABLE atelier.styles IN ACCESS EXCLUSIVE MODE");
    let mut waiting = Connection::open(server.public);
    waiting.send(b"GET /products/1/styles HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    until("it is in flight", || server.metric("atelier_http_requests_in_flight") == 1);
    server.signal(Signal::SIGTERM);
    until("it is not ready", || get(server.admin, "/readyz").text() == "not ready: stopping\n");
    until("no connection is accepted", || Connection::try_open(server.public).is_err());
    locker.execute("ROLLBACK");
    let answer = waiting.receive(false).unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(waiting.is_closed());
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn idle_connections_do_not_delay_the_shutdown() {
    let database = Postgres::shared().database();
    publish(&database, &example());
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = Server::start(&database.url(), &["--shutdown-grace=24h"]);
        let mut idle: Vec<Connection> = (0..50).map(|_| Connection::open(server.public)).collect();
        for connection in idle.iter_mut().skip(10) {
            assert_eq!(connection.request("GET", "/products/1", &[]).unwrap().status, 200);
        }
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0));
        assert!(idle.iter_mut().all(Connection::is_closed));
    }
}

#[test]
fn clients_that_do_not_read_are_disconnected_after_the_grace_time() {
    let database = Postgres::shared().database();
    publish(&database, generated(1000, 1).path());
    let server = Server::start(&database.url(), &["--client-timeout=1h", "--shutdown-grace=1s"]);
    let mut slow = Connection::open(server.public);
    slow.send("GET /products?count=1000 HTTP/1.1\r\nHost: test\r\n\r\n".repeat(200).as_bytes()).unwrap();
    let mut half = Connection::open(server.public);
    half.send(b"GET /products HTTP/1.1\r\nHo").unwrap();
    // The first answers fit into the send queue, and then it is full.
    let mut before = 0;
    until("nothing more is answered", || {
        let answers = server.metric("atelier_cache_hits_total") + server.metric("atelier_cache_misses_total");
        thread::sleep(Duration::from_millis(100));
        std::mem::replace(&mut before, answers) == answers && answers > 0
    });
    server.signal(Signal::SIGTERM);
    let log = server.follow_log();
    assert_eq!(server.wait().code(), Some(0));
    until("it is logged", || log.lock().unwrap().contains("still open after --shutdown-grace"));
}

#[test]
fn it_stops_while_the_database_is_down() {
    let postgres = Postgres::start(&[]);
    let database = postgres.database();
    publish(&database, &example());
    let server = Server::start(&database.url(), &[]);
    let mut connection = Connection::open(server.public);
    assert_eq!(connection.request("GET", "/products/1", &[]).unwrap().status, 200);
    postgres.stop();
    until("it is not ready", || !server.is_ready());
    server.signal(Signal::SIGTERM);
    until("it is not ready, or has ended", || {
        let answer =
            Connection::try_open(server.admin).and_then(|mut admin| admin.request("GET", "/readyz", &[]));
        let gone = |error: io::Error| error.kind() != io::ErrorKind::TimedOut;
        answer.map_or_else(gone, |answer| answer.text().contains("stopping"))
    });
    assert_eq!(server.wait().code(), Some(0));
}
