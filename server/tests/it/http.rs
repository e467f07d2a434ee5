//! What HTTP promises around the bodies: methods, validators, codings, refusals, and what is counted of it all.

use std::io::Read as _;
use std::sync::Mutex;
use std::thread;

use atelier_base::testing::{Database, Server as Postgres, until};

use crate::catalogue::{awkward, example, generated, publish};
use crate::client::{Connection, Response, get, request};
use crate::reference;
use crate::server::Server;

const RESOURCES: [&str; 6] = [
    "/products",
    "/products?ids=3,1",
    "/products/1",
    "/products/1/styles",
    "/products/1/related",
    "/products/1/profile",
];

/// The awkward catalogue and a server of it. The database goes last.
struct Served {
    server: Server,
    load: String,
    database: Database<'static>,
}

fn serve(arguments: &[&str]) -> Served {
    let database = Postgres::shared().database();
    let load = publish(&database, awkward().path());
    Served { server: Server::start(&database.url(), arguments), load, database }
}

impl Served {
    fn get(&self, target: &str, headers: &[&str]) -> Response {
        request(self.server.public, "GET", target, headers)
    }

    /// What the metrics say, summed over the labels that contain `label`.
    fn count(&self, name: &str, label: &str) -> u64 {
        let metrics = get(self.server.admin, "/metrics");
        let lines = metrics.text().lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, labels) = series.split_once('{').unwrap_or((series, ""));
            (found == name && labels.contains(label)).then(|| value.parse::<u64>().unwrap())
        });
        let found: Vec<u64> = lines.collect();
        assert!(!found.is_empty(), "no {name} with {label} in\n{}", metrics.text());
        found.iter().sum()
    }

    fn round_trips(&self) -> u64 {
        self.count("atelier_database_round_trips_total", "")
    }
}

/// What stays the same from one answer to the next.
fn lasting(response: &Response) -> Vec<(String, String)> {
    let mut headers = response.headers.clone();
    headers.retain(|(name, _)| name != "date");
    headers
}

fn assert_problem(what: &str, answer: &Response, status: u16, title: &str, detail: &str) {
    assert_eq!(answer.status, status, "{what}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{what}: a page may read why");
    let begin = format!(r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":""#);
    assert!(answer.text().starts_with(&begin), "{what}: {}", answer.text());
    let said = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(said.contains(detail), "{what}: {said}");
    for inside in ["atelier", "relation", "column", "SELECT", "postgres", "SQL", "permission"] {
        assert!(!said.contains(inside), "{what} says what is inside: {said}");
    }
}

#[test]
fn head_is_get_without_a_body() {
    let served = serve(&[]);
    let mut connection = Connection::open(served.server.public);
    let targets = RESOURCES.iter().copied().chain([
        "/products/4",
        "/products?page=0",
        "/nowhere",
        "/openapi.json",
        "/docs",
        "/",
    ]);
    for target in targets {
        for accept in ["Accept-Encoding: identity", "Accept-Encoding: gzip"] {
            connection.request("GET", target, &[accept]).unwrap(); // into the cache
            let got = connection.request("GET", target, &[accept]).unwrap();
            let head = connection.request("HEAD", target, &[accept]).unwrap();
            assert_eq!(head.status, got.status, "{target}");
            assert_eq!(lasting(&head), lasting(&got), "{target}");
            assert_eq!(head.header("content-length"), Some(got.body.len().to_string().as_str()), "{target}");
        }
    }
    // The same connection is still in step.
    assert_eq!(connection.request("GET", "/products/2/related", &[]).unwrap().text(), "[]");
}

#[test]
fn options_and_cors_let_pages_of_other_sites_ask() {
    let served = serve(&[]);
    let preflight = [
        "Origin: https://shop.example",
        "Access-Control-Request-Method: GET",
        "Access-Control-Request-Headers: If-None-Match",
    ];
    for target in RESOURCES.iter().copied().chain(["*", "/openapi.json", "/docs", "/", "/products/4"]) {
        let mut connection = Connection::open(served.server.public);
        let answer = connection.request("OPTIONS", target, &preflight).unwrap();
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{target}");
        for (name, value) in [
            ("allow", "GET, HEAD, OPTIONS"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", "GET, HEAD, OPTIONS"),
            ("access-control-allow-headers", "*"),
            ("access-control-max-age", "86400"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{target}: {name}");
        }
        assert_eq!(answer.header("content-length"), None, "RFC 9110, section 8.6");
        assert_eq!(connection.request("GET", "/products/2/related", &[]).unwrap().text(), "[]");
    }
    let answer = served.get("/products", &["Origin: https://shop.example"]);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in ["ETag", "Link", "X-Total-Count"] {
        assert!(exposed.split(", ").any(|known| known == name), "{name} is not in {exposed}");
    }
}

#[test]
fn headers_are_what_the_command_line_says() {
    let served = serve(&["--cors-origin", "https://shop.example", "--cache-control", "private, max-age=5"]);
    let tag = format!("If-None-Match: W/\"{}\"", served.load);
    for (method, target, headers) in [
        ("GET", "/products", &[][..]),
        ("GET", "/products/1", &[tag.as_str()]),
        ("HEAD", "/products/1/styles", &[]),
    ] {
        let answer = request(served.server.public, method, target, headers);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"), "{target}");
        assert_eq!(answer.header("cache-control"), Some("private, max-age=5"), "{target}");
    }
    let refusal = served.get("/nowhere", &[]);
    assert_eq!(refusal.header("access-control-allow-origin"), Some("https://shop.example"));
}

#[test]
fn answers_say_how_long_they_hold_and_where_the_time_went() {
    let served = serve(&[]);
    for target in RESOURCES {
        let first = served.get(target, &[]);
        let again = served.get(target, &[]);
        for answer in [&first, &again] {
            assert_eq!(answer.header("etag"), Some(format!("W/\"{}\"", served.load).as_str()));
            assert_eq!(
                answer.header("cache-control"),
                Some("public, max-age=60, stale-while-revalidate=600, stale-if-error=86400")
            );
            assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
            assert!(answer.header("date").is_some());
        }
        let timing = first.header("server-timing").unwrap();
        let mut metrics = timing.split(", ");
        assert_eq!(metrics.next(), Some("cache;desc=miss"), "{target}");
        for name in ["db;dur=", "render;dur="] {
            let value = metrics.next().and_then(|metric| metric.strip_prefix(name)).unwrap();
            assert!(value.parse::<f64>().unwrap() >= 0.0, "{timing}");
        }
        assert_eq!(metrics.next(), None);
        assert_eq!(again.header("server-timing"), Some("cache;desc=hit"), "{target}");
    }
}

#[test]
fn what_a_client_has_already_is_not_sent_again_nor_looked_up() {
    let served = serve(&[]);
    let load = &served.load;
    let before = served.round_trips();
    let mut connection = Connection::open(served.server.public);
    for target in RESOURCES {
        for tags in [
            format!("W/\"{load}\""),
            format!("\"{load}\""),
            format!("\"one\", W/\"two, three\",W/\"{load}\" , \"four\""),
        ] {
            for method in ["GET", "HEAD"] {
                let tags = format!("If-None-Match: {tags}");
                let answer = connection.request(method, target, &[&tags, "Accept-Encoding: gzip"]).unwrap();
                assert_eq!((answer.status, answer.body.len()), (304, 0), "{target} {tags}");
                for (name, value) in [
                    ("etag", format!("W/\"{load}\"").as_str()),
                    ("cache-control", "public, max-age=60, stale-while-revalidate=600, stale-if-error=86400"),
                    ("vary", "Accept-Encoding"),
                    ("access-control-allow-origin", "*"),
                ] {
                    assert_eq!(answer.header(name), Some(value), "{target} {tags}");
                }
                // RFC 9110, section 15.4.5: nothing about a body that is not there.
                for name in ["content-length", "content-type", "content-encoding"] {
                    assert_eq!(answer.header(name), None, "{target} {tags}");
                }
            }
        }
    }
    let two_lines = ["If-None-Match: \"other\"", &format!("If-None-Match: \"{load}\"")];
    assert_eq!(connection.request("GET", "/products", &two_lines).unwrap().status, 304);
    assert_eq!(served.round_trips(), before, "a 304 asks nothing of the database");

    for tags in ["\"other\"", "W/\"\"", load, "", "W/*"] {
        let answer = connection.request("GET", "/products/1", &[&format!("If-None-Match: {tags}")]).unwrap();
        assert_eq!(answer.status, 200, "{tags}");
    }
    assert_eq!(served.round_trips(), before + 1);

    // Whether there is such a product at all, the database knows.
    let any = ["If-None-Match: *"];
    assert_eq!(connection.request("GET", "/products/1/styles", &any).unwrap().status, 304);
    assert_eq!(connection.request("GET", "/products/2147483646/styles", &any).unwrap().status, 404);
}

#[test]
fn a_new_load_has_a_new_tag() {
    let served = serve(&[]);
    let first = served.get("/products/1", &[]);
    let tag = format!("If-None-Match: {}", first.header("etag").unwrap());
    let load = publish(&served.database, &example());
    assert_ne!(load, served.load);
    until("the new load is served", || served.get("/products/1", &[&tag]).status == 200);
    let second = served.get("/products/1", &[&tag]);
    assert_eq!(second.header("etag"), Some(format!("W/\"{load}\"").as_str()));
    assert_ne!(second.body, first.body);
}

fn decode(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut decoded).unwrap(),
        "br" => brotli::Decompressor::new(body, 4096).read_to_end(&mut decoded).unwrap(),
        "zstd" => zstd::Decoder::new(body).unwrap().read_to_end(&mut decoded).unwrap(),
        _ => panic!("{coding}"),
    };
    decoded
}

#[test]
fn bodies_are_compressed_as_the_client_likes_and_hold_the_same() {
    let data = generated(500, 3);
    let database = Postgres::shared().database();
    publish(&database, data.path());
    let catalogue = reference::read(data.path());
    let (largest, _) = catalogue.iter().max_by_key(|(_, product)| product.profile().len()).unwrap();
    let profile = format!("/products/{largest}/profile");
    for arguments in [&[][..], &["--cache-bytes", "0"]] {
        let server = Server::start(&database.url(), arguments);
        let pages = ["/products?count=500", "/products?count=20&page=2"];
        let large = [profile.as_str(), "/openapi.json", "/docs/swagger-ui.css", "/page/page.css"];
        let large = pages.into_iter().chain(large);
        for target in large {
            let plain = get(server.public, target);
            assert!(plain.body.len() > 1024, "{target} is small");
            assert_eq!(plain.header("content-encoding"), None, "{target}");
            for coding in ["gzip", "br", "zstd"] {
                for accept in
                    [coding.to_owned(), format!("identity;q=0.1, {coding}"), format!("x-new, {coding};q=0.5")]
                {
                    let header = format!("Accept-Encoding: {accept}");
                    let coded = request(server.public, "GET", target, &[&header]);
                    assert_eq!(coded.status, 200);
                    assert_eq!(coded.header("content-encoding"), Some(coding), "{target} {accept}");
                    assert_eq!(coded.header("vary"), Some("Accept-Encoding"), "{target}");
                    assert_eq!(coded.header("etag"), plain.header("etag"), "{target}");
                    assert_eq!(coded.header("content-type"), plain.header("content-type"), "{target}");
                    assert!(coded.body.len() < plain.body.len() / 2, "{target} {coding}");
                    assert!(
                        decode(coding, &coded.body) == plain.body,
                        "{target} {coding} holds something else"
                    );
                }
            }
            for accept in ["identity", "gzip;q=0", "deflate", "*;q=0"] {
                let same = request(server.public, "GET", target, &[&format!("Accept-Encoding: {accept}")]);
                assert_eq!((same.header("content-encoding"), &same.body), (None, &plain.body), "{accept}");
            }
        }
        for small in ["/products/3/related", "/products?count=1", "/products/0", "/products/999999"] {
            let answer = request(server.public, "GET", small, &["Accept-Encoding: gzip, br, zstd"]);
            assert!(answer.body.len() < 1024, "{small}");
            assert_eq!(answer.header("content-encoding"), None, "{small}");
            answer.json();
        }
    }
}

#[test]
fn refusals_say_why() {
    let served = serve(&[]);
    let ask =
        |method: &str, target: &str, headers: &[&str]| request(served.server.public, method, target, headers);
    let get = |target: &str| ask("GET", target, &[]);
    let ids = vec!["1"; 101].join(",");
    let many = format!("/products?ids={ids}");
    for (target, detail) in [
        ("/products/0", "product_id"),
        ("/products/2147483648/styles", "from 1 to 2147483647"),
        ("/products/abc/related", "product_id"),
        ("/products/-1/profile", "product_id"),
        ("/products/1%20", "product_id"),
        ("/products?page=0", "page"),
        ("/products?page=2147483648", "page"),
        ("/products?count=0", "from 1 to 1000"),
        ("/products?count=1001", "count"),
        ("/products?count=", "count"),
        ("/products?ids=", "ids"),
        ("/products?ids=1,,2", "ids"),
        (&many, "1 to 100"),
        ("/products?page=1&page=2", "page is given twice"),
    ] {
        assert_problem(target, &get(target), 400, "Bad Request", detail);
    }
    for target in [
        "/product",
        "/products/",
        "/products/1/",
        "/products/1/reviews",
        "/docs/nothing",
        "/openapi",
        "/metrics",
        "/livez",
    ] {
        assert_problem(target, &get(target), 404, "Not Found", "nothing at this path");
    }
    for target in ["/products/4", "/products/4/styles", "/products/4/related", "/products/4/profile"] {
        assert_problem(target, &get(target), 404, "Not Found", "no product has the id 4");
        assert_problem(target, &get(target), 404, "Not Found", "no product has the id 4"); // from the cache
    }
    for target in RESOURCES.iter().chain(&["/openapi.json", "/docs", "/", "/products/4", "/products/abc"]) {
        for method in ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"] {
            let answer = ask(method, target, &[]);
            assert_problem(target, &answer, 405, "Method Not Allowed", method);
            assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"), "{method} {target}");
        }
    }
    let target = |bytes: usize| format!("/products?x={}", "y".repeat(bytes - "/products?x=".len()));
    assert_eq!(get(&target(8192)).status, 200);
    assert_problem("a long target", &get(&target(8193)), 414, "URI Too Long", "8192 bytes");
    assert_problem("a longer target", &get(&target(16_000)), 414, "URI Too Long", "8192 bytes");
    let large = |bytes: usize| format!("X-Large: {}", "y".repeat(bytes));
    assert_eq!(ask("GET", "/products", &[&large(15_000)]).status, 200);
    for bytes in [16_384, 24_000] {
        let answer = ask("GET", "/products", &[&large(bytes)]);
        assert_problem("large headers", &answer, 431, "Request Header Fields Too Large", "16384 bytes");
    }
    // An unknown parameter is no reason to refuse.
    assert_eq!(get("/products?colour=red&page=1&sort=").status, 200);
    assert_eq!(get("/products/1?page=0").status, 200);
}

/// What hyper cannot read is refused before anybody could write a problem, but it is refused.
#[test]
fn what_is_no_request_gets_an_answer_too() {
    let served = serve(&[]);
    let header_lines: String = (0..101).map(|number| format!("X-{number}: y\r\n")).collect();
    for (request, status) in [
        (format!("GET /products HTTP/1.1\r\nHost: test\r\n{header_lines}\r\n"), 431),
        ("no request\r\n\r\n".to_owned(), 400),
        ("GET /products HTTP/1.1\r\nHost test\r\n\r\n".to_owned(), 400),
    ] {
        let mut connection = Connection::open(served.server.public);
        connection.send(request.as_bytes()).unwrap();
        let answer = connection.receive(false).unwrap_or_else(|error| panic!("{request}: {error}"));
        assert_eq!(answer.status, status, "{request}");
        assert!(connection.is_closed());
    }
}

#[test]
fn a_connection_survives_a_refusal() {
    let served = serve(&[]);
    let mut connection = Connection::open(served.server.public);
    let long = format!("/products/{}", "1".repeat(9000));
    let large = format!("X-Large: {}", "y".repeat(20_000));
    for (method, target, headers, status) in [
        ("GET", "/nowhere", &[][..], 404),
        ("GET", "/products/0", &[], 400),
        ("DELETE", "/products/1", &[], 405),
        ("GET", &long, &[], 414),
        ("GET", "/products", &[large.as_str()], 431),
        ("GET", "/products/1", &[], 200),
    ] {
        assert_eq!(connection.request(method, target, headers).unwrap().status, status);
    }
}

#[test]
fn what_goes_wrong_behind_the_server_is_not_told() {
    let served = serve(&[]);
    let cached = served.get("/products/1", &[]);
    served.database.execute("ALTER TABLE atelier.product RENAME TO gone");
    for target in ["/products", "/products?ids=2", "/products/2", "/products/2/styles", "/products/2/profile"]
    {
        let answer = served.get(target, &[]);
        assert_problem(target, &answer, 503, "Service Unavailable", "");
        assert_eq!(answer.header("retry-after"), Some("1"), "{target}");
    }
    assert_eq!(served.get("/products/1", &[]).body, cached.body, "what is cached is still served");
    assert!(
        served.server.log().contains("gone") || served.server.log().contains("does not exist"),
        "the log says"
    );
    served.database.execute("ALTER TABLE atelier.gone RENAME TO product");
    until("it has recovered", || served.get("/products/2", &[]).status == 200);

    served.database.execute("DELETE FROM atelier.load");
    until("no load is published", || served.get("/products/1", &[]).status == 503);
    let answer = served.get("/products/1", &[]);
    assert_problem("without a load", &answer, 503, "Service Unavailable", "");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let ready = get(served.server.admin, "/readyz");
    assert_eq!((ready.status, ready.text()), (503, "not ready: no load is published\n"));
    assert_eq!(get(served.server.admin, "/livez").status, 200);
}

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
    let metrics = get(served.server.admin, "/metrics");
    assert_eq!(
        metrics.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(metrics.text().contains(&format!("atelier_load{{load_id=\"{}\"}} 1\n", served.load)));
    assert!(metrics.text().ends_with("# EOF\n"));
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
    // That there is no such product is worth keeping too.
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

/// Has many clients ask while the products are locked, and lets go of these when all requests wait.
fn ask_at_once(served: &Served, clients: usize, ask: impl Fn(usize) + Sync) {
    let database = &served.database;
    database.execute("CREATE TABLE public.go ()");
    thread::scope(|scope| {
        scope.spawn(|| {
            // For a minute at most, or a test that fails would never end.
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
fn many_who_ask_for_the_same_at_once_cost_one_statement() {
    let served = serve(&["--request-timeout", "1m"]);
    let answers = Mutex::new(Vec::new());
    ask_at_once(&served, 64, |_| {
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
fn those_who_wait_for_different_products_share_statements() {
    let served = serve(&["--cache-bytes", "0", "--request-timeout", "1m"]);
    ask_at_once(&served, 64, |client| {
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

#[test]
fn the_admin_port_answers_what_it_should_and_nothing_else() {
    let served = serve(&[]);
    let admin = served.server.admin;
    for (target, body) in [("/livez", "alive\n"), ("/readyz", "ready\n")] {
        let answer = get(admin, target);
        assert_eq!((answer.status, answer.text()), (200, body));
        assert_eq!(request(admin, "HEAD", target, &[]).status, 200);
        let refusal = request(admin, "POST", target, &[]);
        assert_eq!((refusal.status, refusal.header("allow")), (405, Some("GET, HEAD")));
    }
    for target in ["/", "/products", "/products/1", "/metrics/", "/docs"] {
        assert_eq!(get(admin, target).status, 404, "{target}");
    }
}
