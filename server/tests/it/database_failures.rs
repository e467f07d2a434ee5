//! A database that is down, terminates sessions, hangs, or loses its catalogue: the server answers what it can, the rest with
//! 503, and recovers by itself.

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atelier_testing::{Database, Server as Postgres, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::catalogue::{Session, example, generated, publish};
use crate::client::{Connection, Response, get};
use crate::server::Server;
use crate::traffic::with_traffic;

pub(crate) const PRODUCTS: u32 = 200;

/// Selects the sessions of the server in a database.
const OF_SERVER: &str =
    "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'atelier-server'";

/// One for each of the harness's two threads, and the one that watches for new loads.
pub(crate) const SESSIONS: usize = 3;

pub(crate) fn sessions(database: &Database<'_>) -> usize {
    database.query(&format!("SELECT pid {OF_SERVER}")).len()
}

pub(crate) fn product(number: u32) -> String {
    format!("/products/{}", number % PRODUCTS + 1)
}

/// A 503 as documented, with `Retry-After` and a reason.
fn unavailable(response: &Response) -> Result<String, String> {
    let json = response.header("content-type") == Some("application/problem+json");
    if response.status != 503 || !json || response.header("retry-after") != Some("1") {
        return Err(format!("{response:?}"));
    }
    Ok(response.json()["detail"].as_str().unwrap().to_owned())
}

/// What every answer must be while the database fails.
pub(crate) fn answered_or_unavailable(_: &str, response: &Response) -> Result<(), String> {
    if response.status == 200 { Ok(()) } else { unavailable(response).map(drop) }
}

/// Waits until all threads of the server are connected again: they get client connections in turn.
pub(crate) fn until_served(server: &Server) {
    static FRESH: AtomicU32 = AtomicU32::new(1);
    let fresh = || format!("/products?page={}&count=999", FRESH.fetch_add(1, Ordering::Relaxed));
    until("the database is queried again", || {
        (0..8).all(|_| get(server.public, &fresh()).status == 200) && server.is_ready()
    });
}

#[test]
fn the_server_recovers_when_the_database_stops_or_crashes() {
    let postgres = Postgres::start(&[]);
    let database = postgres.database();
    publish(&database, generated(PRODUCTS, 1).path());
    let mut server = Server::start(&database.url(), &[]);
    let cached = get(server.public, "/products/1/styles");
    let mut fresh = 0;
    for end in [Postgres::stop, Postgres::kill] {
        let target = |number| format!("/products?page={}&count=1", number + 1);
        let mut during = |traffic: &crate::traffic::Traffic| {
            traffic.wait_for(20, 200);
            end(&postgres);
            until("it is not ready", || !server.is_ready());
            for _ in 0..20 {
                assert_eq!(get(server.public, "/products/1/styles").body, cached.body);
                fresh += 1;
                let answer = get(server.public, &format!("/products?ids={fresh}"));
                // Not because of a time-out: the answer comes soon.
                assert_eq!(unavailable(&answer).unwrap(), "the database cannot be reached at the moment");
            }
            traffic.wait_for(20, 503);
            postgres.start_again();
            until_served(&server);
            fresh += 1;
            traffic.wait_for(20, 200);
        };
        let seen = with_traffic(server.public, target, answered_or_unavailable, |traffic| during(traffic));
        assert!(seen.errors.is_empty() && seen.slowest < Duration::from_secs(30), "{seen:?}");
        for _ in 0..50 {
            fresh += 1;
            assert_eq!(get(server.public, &format!("/products?ids={fresh}")).status, 200);
        }
        assert!(server.runs());
    }
    // One of its processes crashes: PostgreSQL terminates all sessions and restarts.
    let seen = with_traffic(
        server.public,
        |number| format!("/products?page={}&count=2", number + 1),
        answered_or_unavailable,
        |traffic| {
            traffic.wait_for(20, 200);
            drop(Stopped::signal(&database, Signal::SIGKILL));
            until("all sessions are gone", || !server.is_ready());
            until_served(&server);
            traffic.wait_for(20, 200);
        },
    );
    assert!(seen.errors.is_empty(), "{seen:?}");
    assert!(server.metric("atelier_database_reconnects_total") >= 3);
}

/// Terminates sessions of the server, and waits until they are replaced: a request whose session is terminated twice may be
/// refused.
fn end_sessions(database: &Database<'_>, server: &Server, which: &str) {
    let list = || database.query(&format!("SELECT pid {OF_SERVER}"));
    until("all sessions are there", || list().len() == SESSIONS);
    let ended = database.query(&format!("SELECT pid, pg_terminate_backend(pid) {OF_SERVER} {which}"));
    until("others are there", || {
        let now = list();
        now.len() == SESSIONS && now.iter().all(|row| ended.iter().all(|ended| ended[0] != row[0]))
    });
    until_served(server);
}

#[test]
fn terminated_sessions_fail_no_request() {
    let database = Postgres::shared().database();
    publish(&database, generated(PRODUCTS, 1).path());
    let server = Server::start(&database.url(), &["--cache-bytes", "0"]);
    // The one that was used last is busy, or will be soon.
    for which in ["ORDER BY query_start DESC LIMIT 1", ""] {
        let seen = with_traffic(server.public, product, answered_or_unavailable, |traffic| {
            for _ in 0..5 {
                end_sessions(&database, &server, which);
                traffic.wait_for(20, 200);
            }
        });
        assert!(seen.errors.is_empty(), "{seen:?}");
        // On a machine so busy that reconnecting takes longer than a quarter of a second, it is 503.
        let (answered, refused) = (seen.statuses[&200], seen.statuses.get(&503).copied().unwrap_or_default());
        assert!(
            refused == 0 || seen.slowest > Duration::from_millis(200) && refused * 10 < answered,
            "{seen:?}"
        );
    }
}

/// Stopped processes, which continue when this is dropped.
struct Stopped(Vec<Pid>);

impl Stopped {
    fn stop(database: &Database<'_>) -> Stopped {
        Self::signal(database, Signal::SIGSTOP)
    }

    fn signal(database: &Database<'_>, signal: Signal) -> Stopped {
        let pids = database.query(&format!("SELECT pid {OF_SERVER}"));
        let pids: Vec<Pid> =
            pids.iter().map(|row| Pid::from_raw(row[0].as_ref().unwrap().parse().unwrap())).collect();
        for pid in &pids {
            kill(*pid, signal).unwrap();
        }
        Stopped(pids)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill(*pid, Signal::SIGCONT);
        }
    }
}

#[test]
fn connections_to_a_hung_database_are_replaced() {
    let postgres = Postgres::start(&[]);
    let database = postgres.database();
    publish(&database, generated(PRODUCTS, 1).path());
    let server = Server::start(&database.url(), &["--request-timeout", "1s"]);
    until_served(&server);
    let cached = get(server.public, "/products/1");
    let hanging = Stopped::stop(&database);
    let answer = get(server.public, "/products/2");
    assert_eq!(unavailable(&answer).unwrap(), "the answer took too long");
    assert_eq!(get(server.public, "/products/1").body, cached.body);
    until("it is not ready", || !server.is_ready());
    // The hung sessions are replaced.
    until("it is answered again", || {
        (3..40).all(|id| get(server.public, &format!("/products/{id}")).status == 200) && server.is_ready()
    });
    drop(hanging);
    until("the sessions that hung have ended", || sessions(&database) == SESSIONS);
    assert_eq!(get(server.public, "/products/2").status, 200);

    // Not even a new connection is answered.
    let postmaster = fs::read_to_string(postgres.dir().join("data/postmaster.pid")).unwrap();
    let postmaster = Pid::from_raw(postmaster.lines().next().unwrap().parse().unwrap());
    let mut hanging = Stopped::stop(&database);
    kill(postmaster, Signal::SIGSTOP).unwrap();
    hanging.0.push(postmaster);
    until("it is not ready", || !server.is_ready());
    for id in 50..54 {
        unavailable(&get(server.public, &format!("/products/{id}"))).unwrap();
    }
    assert_eq!(get(server.public, "/products/1").body, cached.body);
    drop(hanging);
    until_served(&server);
}

#[test]
fn a_hung_connection_gets_no_further_batch() {
    let database = Postgres::shared().database();
    publish(&database, generated(PRODUCTS, 1).path());
    let server = Server::start(&database.url(), &["--request-timeout", "3s", "--threads", "1"]);
    until_served(&server);
    let hanging = Stopped::stop(&database);
    // Its client disconnects first. Another request arrives before the connection is replaced, and waits.
    let answer = get(server.public, "/products/1");
    assert_eq!(unavailable(&answer).unwrap(), "the answer took too long");
    answered_or_unavailable("", &get(server.public, "/products/2")).unwrap();
    assert_eq!(server.metric("atelier_database_errors_total"), 1, "the second was not sent there");
    drop(hanging);
}

#[test]
fn the_server_waits_for_free_database_connections() {
    let postgres = Postgres::start(&[("max_connections", "5"), ("superuser_reserved_connections", "0")]);
    let database = postgres.database();
    publish(&database, generated(PRODUCTS, 1).path());
    let others: Vec<Session> = (0..5).map(|_| Session::open(&database)).collect();
    let server = Server::start(&database.url(), &["--threads", "1"]);
    unavailable(&get(server.public, "/products/1")).unwrap();
    drop(others);
    until_served(&server);
}

#[test]
fn requests_beyond_the_queue_are_refused_immediately() {
    const CLIENTS: usize = 100;
    let postgres = Postgres::start(&[]);
    let database = postgres.database();
    publish(&database, generated(PRODUCTS, 1).path());
    // No cache, since with one, requests for the same answer share a query.
    let arguments = ["--request-timeout", "2s", "--cache-bytes", "0", "--threads", "1"];
    let server = Server::start(&database.url(), &arguments);
    until_served(&server);
    let hanging = Stopped::stop(&database);
    let mut connections: Vec<Connection> = (0..CLIENTS).map(|_| Connection::open(server.public)).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        let request = format!("GET /products?page={}&count=1000 HTTP/1.1\r\nHost: test\r\n\r\n", number + 1);
        connection.send(request.as_bytes()).unwrap();
    }
    let reasons: Vec<String> = (connections.iter_mut())
        .filter_map(|connection| {
            let answer = connection.receive(false).unwrap();
            // Requests that waited until the sessions were replaced.
            (answer.status != 200).then(|| unavailable(&answer).unwrap())
        })
        .collect();
    let full = reasons.iter().filter(|reason| reason.contains("more requests than it can answer")).count();
    assert!(full > 0 && full < CLIENTS, "{full} of {} 503s", reasons.len());
    assert_eq!(server.metric(r#"atelier_limits_total{limit="waiting_requests"}"#), full as u64);
    drop(hanging);
    until_served(&server);
    assert!(
        connections
            .iter_mut()
            .all(|connection| { connection.request("GET", "/products/4", &[]).unwrap().status == 200 })
    );
}

#[test]
fn a_slow_statement_is_cancelled_and_others_are_answered() {
    let database = Postgres::shared().database();
    publish(&database, generated(PRODUCTS, 1).path());
    let server = Server::start(&database.url(), &["--request-timeout", "1s"]);
    until_served(&server);
    let locker = Session::open(&database);
    locker.execute("BEGIN; LOCK TABLE atelier.styles IN ACCESS EXCLUSIVE MODE");
    let slow = get(server.public, "/products/1/styles");
    assert_eq!(unavailable(&slow).unwrap(), "the answer took too long");
    assert_eq!(get(server.public, "/products/1").status, 200);
    assert!(server.is_ready());
    locker.execute("ROLLBACK");
    until("it is answered", || get(server.public, "/products/1/styles").status == 200);
}

#[test]
fn the_server_waits_for_a_database_that_is_down_at_the_start() {
    let postgres = Postgres::start(&[]);
    let (database, empty) = (postgres.database(), postgres.database());
    publish(&database, generated(PRODUCTS, 1).path());
    postgres.stop();
    let server = Server::start(&database.tcp_url(), &[]);
    let of_nothing = Server::start(&empty.tcp_url(), &[]);
    let stopped = Server::start(&database.tcp_url(), &[]);
    for server in [&server, &of_nothing] {
        let answer = get(server.public, "/products/1");
        assert_eq!(unavailable(&answer).unwrap(), "the database cannot be reached at the moment");
        assert_eq!(get(server.admin, "/livez").status, 200);
        assert_eq!(get(server.admin, "/readyz").status, 503);
    }
    stopped.signal(Signal::SIGTERM);
    assert_eq!(stopped.wait().code(), Some(0));
    assert!(server.log().contains("waiting for the database"), "{}", server.log());
    postgres.start_again();
    until_served(&server);
    // As if it had been up at the start.
    assert_eq!(of_nothing.wait().code(), Some(4));
}

#[test]
fn a_database_that_never_answers_does_not_delay_the_start() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = format!("postgresql://reader@127.0.0.1:{port}/shop?sslmode=disable&connect_timeout=3600");
    let server = Server::start(&url, &[]);
    let answer = get(server.public, "/products/1");
    assert_eq!(unavailable(&answer).unwrap(), "the database cannot be reached at the moment");
    assert!(!server.is_ready());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_catalogue_may_be_dropped_and_loaded_again() {
    let database = Postgres::shared().database();
    database.execute(include_str!("../../../schema.sql"));
    let mut server = Server::start(&database.url(), &[]);
    assert_eq!(get(server.admin, "/readyz").text(), "not ready: no load is published\n");
    let answer = get(server.public, "/products/1");
    assert_eq!(unavailable(&answer).unwrap(), "no catalogue is published yet");

    let first = publish(&database, &example());
    until_served(&server);
    assert_eq!(get(server.public, "/products?page=1").status, 200);
    database.execute("DROP SCHEMA atelier CASCADE");
    until("it is not ready", || !server.is_ready());
    assert_eq!(get(server.public, "/products?page=1").status, 200, "it is cached");
    unavailable(&get(server.public, "/products?page=2")).unwrap();

    let second = publish(&database, &example());
    until("the new load is served", || {
        get(server.public, "/products?page=1").header("etag") == Some(&format!("W/\"{second}\""))
    });
    until_served(&server);
    assert_ne!(first, second);
    assert!(server.runs());
}
