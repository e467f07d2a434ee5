//! Errors as clients see them: they have a reason and no internal details.

use atelier_testing::until;

use crate::client::{Connection, Response, get, request};
use crate::fixture::{RESOURCES, serve};

fn assert_problem(what: &str, answer: &Response, status: u16, title: &str, detail: &str) {
    assert_eq!(answer.status, status, "{what}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{what}: a page may read why");
    let begin = format!(r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":""#);
    assert!(answer.text().starts_with(&begin), "{what}: {}", answer.text());
    let actual = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(actual.contains(detail), "{what}: {actual}");
    for inside in ["atelier", "relation", "column", "SELECT", "postgres", "SQL", "permission"] {
        assert!(!actual.contains(inside), "{what} has internal details: {actual}");
    }
}

#[test]
fn problems_have_a_reason() {
    let served = serve(&[]);
    let send =
        |method: &str, target: &str, headers: &[&str]| request(served.server.public, method, target, headers);
    let get = |target: &str| send("GET", target, &[]);
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
        ("/products?count=0", "count must be a number from 1 on; above 1000 it is 1000"),
        ("/products?count=*", "count"),
        ("/products?count=", "count"),
        ("/products?ids=", "ids"),
        ("/products?ids=1,,2", "ids"),
        ("/products?ids=1&ids=", "ids"),
        ("/products/%", "a % in the path"),
        ("/nowhere%zz", "two hexadecimal digits"),
        ("/products/1%2Fstyles", "product_id"),
        (&many, "1 to 100"),
        ("/products?page=1&page=2", "page is given twice"),
    ] {
        assert_problem(target, &get(target), 400, "Bad Request", detail);
    }
    for target in [
        "/product",
        "/products//",
        "/products/1//",
        "/products%2F1",
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
            let answer = send(method, target, &[]);
            assert_problem(target, &answer, 405, "Method Not Allowed", method);
            assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"), "{method} {target}");
        }
    }
    let target = |bytes: usize| format!("/products?x={}", "y".repeat(bytes - "/products?x=".len()));
    assert_eq!(get(&target(8192)).status, 200);
    assert_problem("a long target", &get(&target(8193)), 414, "URI Too Long", "8192 bytes");
    assert_problem("a longer target", &get(&target(16_000)), 414, "URI Too Long", "8192 bytes");
    let large = |bytes: usize| format!("X-Large: {}", "y".repeat(bytes));
    assert_eq!(send("GET", "/products", &[&large(15_000)]).status, 200);
    for bytes in [16_384, 24_000] {
        let answer = send("GET", "/products", &[&large(bytes)]);
        assert_problem("large headers", &answer, 431, "Request Header Fields Too Large", "16384 bytes");
    }
    // An unknown parameter is no reason to refuse.
    assert_eq!(get("/products?colour=red&page=1&sort=").status, 200);
    assert_eq!(get("/products/1?page=0").status, 200);
}

#[test]
fn a_request_must_have_a_valid_host() {
    let served = serve(&[]);
    let send = |version: &str, headers: &str| {
        let mut connection = Connection::open(served.server.public);
        connection.send(format!("GET /products/1 HTTP/{version}\r\n{headers}\r\n").as_bytes()).unwrap();
        connection.receive(false).unwrap()
    };
    for host in ["", "shop.example", "shop.example:3000", "[::1]:3000"] {
        assert_eq!(send("1.1", &format!("Host: {host}\r\n")).status, 200, "{host}");
    }
    assert_eq!(send("1.0", "").status, 200);
    for host in ["shop example", "<script>", "a/b", "user@shop.example", "shop.example:80x", "[::1", "a\\b"] {
        for version in ["1.1", "1.0"] {
            let answer = send(version, &format!("Host: {host}\r\n"));
            assert_problem(host, &answer, 400, "Bad Request", "Host must be");
        }
    }
    for (version, headers) in
        [("1.1", ""), ("1.1", "Host: a\r\nHost: a\r\n"), ("1.0", "Host: a\r\nHost: b\r\n")]
    {
        assert_problem(headers, &send(version, headers), 400, "Bad Request", "one header Host");
    }
}

/// hyper refuses what it cannot parse, without a problem as the body.
#[test]
fn malformed_requests_get_an_answer() {
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
fn a_connection_stays_open_after_a_problem() {
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
fn errors_of_the_database_are_not_shown_to_clients() {
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
        "the cause is logged"
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
