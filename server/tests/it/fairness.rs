//! Requests that are blocked or expensive only delay others of the same kind.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use atelier_testing::{Database, Server as Postgres, until};

use crate::catalogue::{Session, generated, publish};
use crate::client::{Connection, get};
use crate::database_failures::{PRODUCTS, SESSIONS, sessions, until_served};
use crate::server::Server;
use crate::traffic::Stop;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Each of another kind, and the tables that it reads.
const KINDS: [(&str, &[&str]); 6] = [
    ("/products?page={}&count=2", &["product"]),
    ("/products?ids={}", &["product"]),
    ("/products/{}", &["product", "features"]),
    ("/products/{}/styles", &["product", "styles", "photos", "skus"]),
    ("/products/{}/related", &["product", "related"]),
    ("/products/{}/profile", &["product", "features", "styles", "photos", "skus", "related"]),
];

/// A target that was not requested before.
fn fresh(pattern: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    pattern.replace("{}", &(NEXT.fetch_add(1, Ordering::Relaxed) % PRODUCTS + 1).to_string())
}

/// Sends requests while `during` runs, on enough connections that batches are pipelined.
fn with_requests<T>(server: &Server, patterns: &[&str], during: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for pattern in patterns.iter().flat_map(|pattern| [pattern; 20]) {
            scope.spawn(|| {
                let mut connection = Connection::open(server.public);
                while !stop.load(Ordering::SeqCst) {
                    let answer = connection.request("GET", &fresh(pattern), &[]).unwrap();
                    assert!([200, 503].contains(&answer.status), "{answer:?}");
                }
            });
        }
        let _stop = Stop(&stop);
        during()
    })
}

#[test]
fn a_locked_table_only_delays_requests_that_read_it() {
    let database = Postgres::shared().database();
    publish(&database, generated(PRODUCTS, 1).path());
    let server = Server::start(
        &database.url(),
        &["--cache-bytes", "0", "--request-timeout", &format!("{}s", TIMEOUT.as_secs())],
    );
    until_served(&server);
    for table in ["styles", "photos", "skus", "features", "related"] {
        let (blocked, free): (Vec<_>, Vec<_>) = KINDS.iter().partition(|(_, tables)| tables.contains(&table));
        let blocked: Vec<&str> = blocked.iter().map(|(pattern, _)| *pattern).collect();
        let locker = Session::open(&database);
        locker.execute(&format!("BEGIN; LOCK TABLE atelier.{table} IN ACCESS EXCLUSIVE MODE"));
        with_requests(&server, &blocked, || {
            until("requests wait", || !waiting_for_locks(&database).is_empty());
            // Longer than one of their statements takes, so that others follow.
            let begin = Instant::now();
            let mut slowest = Duration::ZERO;
            while begin.elapsed() < TIMEOUT + TIMEOUT / 2 {
                for (pattern, _) in &free {
                    let sent = Instant::now();
                    let answer = get(server.public, &fresh(pattern));
                    assert_eq!(answer.status, 200, "{pattern} with {table} locked: {answer:?}");
                    slowest = slowest.max(sent.elapsed());
                }
            }
            assert!(slowest < TIMEOUT / 2, "{table}: {slowest:?}");
            println!("{table} is locked: the slowest other answer took {slowest:?}");
            assert!(server.is_ready(), "{table}");
            // Each of the two threads has one for each kind that waits, one for the others, and a spare one.
            let most = SESSIONS + 2 * (blocked.len() + 1);
            let open = sessions(&database);
            assert!(open <= most, "{table}: {open}");
            locker.execute("ROLLBACK");
        });
        for (pattern, _) in KINDS {
            until("all requests are answered", || get(server.public, &fresh(pattern)).status == 200);
        }
    }
    assert!(server.metric("atelier_database_blocked_total") > 0);
    until("spare connections are closed", || sessions(&database) == SESSIONS);
    until_served(&server);
}

fn waiting_for_locks(database: &Database<'_>) -> Vec<Vec<Option<String>>> {
    database.query("SELECT pid FROM pg_locks WHERE NOT granted AND relation IS NOT NULL")
}

#[test]
fn large_pages_do_not_starve_other_requests() {
    const GREEDY: usize = 100;
    let database = Postgres::shared().database();
    publish(&database, generated(2000, 1).path());
    let server = Server::start(&database.url(), &["--cache-bytes", "0", "--threads", "1"]);
    until_served(&server);
    let stop = AtomicBool::new(false);
    let pages = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..GREEDY {
            scope.spawn(|| {
                let mut connection = Connection::open(server.public);
                while !stop.load(Ordering::SeqCst) {
                    let page = pages.fetch_add(1, Ordering::Relaxed) % 2 + 1;
                    let answer = connection.request("GET", &format!("/products?page={page}&count=1000"), &[]);
                    match answer.unwrap().status {
                        200 => {}
                        503 => thread::sleep(Duration::from_millis(100)), // less than Retry-After
                        status => panic!("{status}"),
                    }
                }
            });
        }
        let _stop = Stop(&stop);
        until("requests are refused", || {
            server.metric(r#"atelier_limits_total{limit="waiting_requests"}"#) > 0
        });
        let mut connection = Connection::open(server.public);
        for id in 1..=50 {
            for path in ["", "/styles", "/related"] {
                let answer = connection.request("GET", &format!("/products/{id}{path}"), &[]).unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        }
    });
    assert!(server.log().contains("a limit is reached"), "{}", server.log());
}

#[test]
fn the_server_is_ready_when_every_query_can_be_run() {
    let postgres = Postgres::shared();
    let database = postgres.database();
    publish(&database, generated(PRODUCTS, 1).path());
    postgres.create_role("fairness_reader", "secret");
    database.execute("GRANT atelier_reader TO fairness_reader");
    let server = Server::start(&database.url_of("fairness_reader", "secret"), &["--cache-bytes", "0"]);
    until_served(&server);
    for (harm, repair, routes) in [
        (
            "ALTER TABLE atelier.skus RENAME TO gone",
            "ALTER TABLE atelier.gone RENAME TO skus",
            "/products/:product_id/styles /products/:product_id/profile",
        ),
        (
            "CREATE TABLE public.kept AS TABLE atelier.related; DROP TABLE atelier.related CASCADE",
            "CREATE TABLE atelier.related AS TABLE public.kept; GRANT SELECT ON atelier.related TO atelier_reader",
            "/products/:product_id/related /products/:product_id/profile",
        ),
        (
            "ALTER TABLE atelier.photos RENAME COLUMN url TO address",
            "ALTER TABLE atelier.photos RENAME COLUMN address TO url",
            "/products/:product_id/styles /products/:product_id/profile",
        ),
        (
            "REVOKE SELECT ON atelier.features FROM atelier_reader",
            "GRANT SELECT ON atelier.features TO atelier_reader",
            "/products/:product_id /products/:product_id/profile",
        ),
    ] {
        database.execute(harm);
        until("it is not ready", || !server.is_ready());
        assert_eq!(
            get(server.admin, "/readyz").text(),
            format!("not ready: the database cannot answer {routes}\n"),
            "{harm}"
        );
        assert_eq!(get(server.public, "/products?page=1&count=2").status, 200, "{harm}");
        database.execute(repair);
        until("it is ready again", || server.is_ready());
        for (pattern, _) in KINDS {
            assert_eq!(get(server.public, &fresh(pattern)).status, 200, "{repair}: {pattern}");
        }
    }
}
