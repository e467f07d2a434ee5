//! The metrics of requests, and which requests do not reach PostgreSQL: cache hits, and those that share a query.

use std::sync::Mutex;
use std::thread;

use atelier_testing::until;

use crate::client::request;
use crate::encodings::decode;
use crate::fixture::{RESOURCES, Served, serve};

#[test]
fn requests_are_counted_by_route_and_status() {
    let served = serve(&[]);
    let requests = |route: &str, status: u16| {
        served.count("atelier_http_requests_total", &format!("route=\"{route}\",status=\"{status}\""))
    };
    let tag = format!("If-None-Match: W/\"{}\"", served.load);
    for (target, route) in RESOURCES.into_iter().zip([
        "/products",
        "/products?ids",
        "/products/:product_id",
        "/products/:product_id/styles",
        "/products/:product_id/related",
        "/products/:product_id/profile",
    ]) {
        served.get(target, &[]);
        served.get(target, &[]);
        served.get(target, &[&tag]);
        assert_eq!((requests(route, 200), requests(route, 304)), (2, 1), "{route}");
        let timed =
            served.count("atelier_http_request_duration_seconds_count", &format!("route=\"{route}\""));
        assert_eq!(timed, 3, "{route}");
    }
    for target in ["/products/4", "/products/abc", "/nowhere"] {
        served.get(target, &[]);
    }
    request(served.server.public, "POST", "/products", &[]);
    request(served.server.public, "OPTIONS", "/products", &[]);
    assert_eq!(requests("/products/:product_id", 404), 1);
    assert_eq!((requests("refused", 400), requests("refused", 404), requests("refused", 405)), (1, 1, 1));
    assert_eq!(requests("OPTIONS", 204), 1);
    for (accept, content_type, line) in [
        (
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "# EOF",
        ),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", "# TYPE atelier_http_requests_total counter"),
    ] {
        let metrics = request(served.server.admin, "GET", "/metrics", &[&format!("Accept: {accept}")]);
        assert_eq!(metrics.header("content-type"), Some(content_type));
        let load = format!("atelier_load{{load_id=\"{}\"}} 1", served.load);
        for line in [line, &load] {
            assert!(
                metrics.text().lines().any(|found| found == line),
                "{line} is not in\n{}",
                metrics.text()
            );
        }
    }
}

#[test]
fn hits_and_misses_are_counted() {
    let served = serve(&[]);
    let counts = || {
        (
            served.count("atelier_cache_hits_total", ""),
            served.count("atelier_cache_misses_total", ""),
            served.round_trips(),
        )
    };
    assert_eq!(counts(), (0, 0, 0));
    served.get("/products/1", &[]);
    assert_eq!(counts(), (0, 1, 1));
    served.get("/products/1", &[]);
    assert_eq!(counts(), (1, 1, 1));
    // That a product does not exist is cached too.
    served.get("/products/4", &[]);
    served.get("/products/4", &[]);
    assert_eq!(counts(), (2, 2, 2));
    served.get("/products/1/profile", &["Accept-Encoding: gzip"]);
    served.get("/products/1/profile", &["Accept-Encoding: br"]);
    served.get("/products/1/profile", &[]);
    assert_eq!(counts(), (4, 3, 3), "one statement for all codings");
    assert!(served.count("atelier_cache_bytes", "") > 0);

    let without = serve(&["--cache-bytes", "0"]);
    for _ in 0..3 {
        without.get("/products/1", &[]);
    }
    assert_eq!(without.count("atelier_cache_hits_total", ""), 0);
    assert_eq!(without.round_trips(), 3);
    assert_eq!(without.count("atelier_cache_bytes", ""), 0);
}

/// Sends requests while the products are locked, and unlocks them when all requests wait.
fn request_concurrently(served: &Served, clients: usize, ask: impl Fn(usize) + Sync) {
    let database = &served.database;
    database.execute("CREATE TABLE public.go ()");
    thread::scope(|scope| {
        scope.spawn(|| {
            // For at most a minute, so that a failing test ends.
            database.execute(
                "DO $$ BEGIN
                     LOCK TABLE atelier.product;
                     FOR step IN 1..6000 LOOP
                         EXIT WHEN EXISTS (SELECT FROM public.go);
                         PERFORM pg_sleep(0.01);
                     END LOOP;
                 END $$",
            );
        });
        until("the table is locked", || {
            let locks = "SELECT 1 FROM pg_locks WHERE relation = 'atelier.product'::regclass AND granted
                AND mode = 'AccessExclusiveLock'";
            !database.query(locks).is_empty()
        });
        for client in 0..clients {
            let ask = &ask;
            scope.spawn(move || ask(client));
        }
        until("all requests wait", || served.count("atelier_http_requests_in_flight", "") == clients as u64);
        database.execute("INSERT INTO public.go DEFAULT VALUES");
    });
}

#[test]
fn concurrent_requests_for_one_answer_share_a_statement() {
    let served = serve(&["--request-timeout", "1m"]);
    let answers = Mutex::new(Vec::new());
    request_concurrently(&served, 64, |_| {
        let answer = served.get("/products/1/profile", &["Accept-Encoding: gzip"]);
        answers.lock().unwrap().push((answer.status, answer.body));
    });
    assert_eq!(served.round_trips(), 1);
    let answers = answers.into_inner().unwrap();
    let expected = served.get("/products/1/profile", &[]).body;
    assert_eq!(answers.len(), 64);
    for (status, body) in answers {
        assert_eq!((status, decode("gzip", &body)), (200, expected.clone()));
    }
}

#[test]
fn concurrent_requests_for_different_products_are_batched() {
    let served = serve(&["--cache-bytes", "0", "--request-timeout", "1m"]);
    request_concurrently(&served, 64, |client| {
        let id = [1, 2, 3, 4, 8, 77][client % 6];
        let answer = served.get(&format!("/products/{id}"), &[]);
        if id == 4 {
            assert_eq!(answer.status, 404);
        } else {
            assert_eq!((answer.status, &answer.json()["id"]), (200, &id.into()));
        }
    });
    assert_eq!(served.count("atelier_database_requests_total", ""), 64);
    assert!(served.round_trips() < 32, "{} statements", served.round_trips());
}
