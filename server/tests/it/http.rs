//! HTTP apart from bodies: methods, CORS, headers and conditional requests.

use atelier_testing::until;

use crate::catalogue::{example, publish};
use crate::client::{Connection, Response, request};
use crate::fixture::{RESOURCES, serve};

/// Headers that do not vary between answers.
fn lasting(response: &Response) -> Vec<(String, String)> {
    let mut headers = response.headers.clone();
    headers.retain(|(name, _)| name != "date");
    headers
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
    // The connection can still be used.
    assert_eq!(connection.request("GET", "/products/2/related", &[]).unwrap().text(), "[]");
}

#[test]
fn cors_allows_requests_from_other_origins() {
    let served = serve(&[]);
    let preflight = [
        "Origin: https://shop.example",
        "Access-Control-Request-Method: GET",
        "Access-Control-Request-Headers: authorization,if-none-match",
    ];
    for target in RESOURCES.iter().copied().chain([
        "*",
        "/openapi.json",
        "/docs",
        "/",
        "/products/4",
        "/products/",
        "/products/1/styles/",
    ]) {
        let mut connection = Connection::open(served.server.public);
        let answer = connection.request("OPTIONS", target, &preflight).unwrap();
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{target}");
        for (name, value) in [
            ("allow", "GET, HEAD, OPTIONS"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", "GET, HEAD, OPTIONS"),
            ("access-control-max-age", "86400"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{target}: {name}");
        }
        // `*` is everything but `Authorization`, which has to be named.
        let headers = answer.header("access-control-allow-headers").unwrap().to_ascii_lowercase();
        for name in ["*", "authorization", "if-none-match", "content-type"] {
            assert!(headers.split(", ").any(|known| known == name), "{name} is not in {headers}");
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
fn the_command_line_sets_headers() {
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
fn answers_have_cache_control_and_server_timing() {
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
fn conditional_requests_are_answered_without_a_query() {
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
    assert_eq!(served.round_trips(), before, "a 304 needs no query");

    for tags in ["\"other\"", "W/\"\"", load, "", "W/*"] {
        let answer = connection.request("GET", "/products/1", &[&format!("If-None-Match: {tags}")]).unwrap();
        assert_eq!(answer.status, 200, "{tags}");
    }
    assert_eq!(served.round_trips(), before + 1);

    // RFC 9110, section 13.2.1: a condition is evaluated if the answer without it would be 200.
    for tags in ["*".to_owned(), format!("W/\"{load}\"")] {
        let tags = format!("If-None-Match: {tags}");
        let mut status =
            |method: &str, target: &str| connection.request(method, target, &[&tags]).unwrap().status;
        assert_eq!([status("GET", "/products/1/styles"), status("HEAD", "/products?page=999")], [304; 2]);
        for document in ["", "/styles", "/related", "/profile"] {
            for product in ["2147483646", "4"] {
                assert_eq!(status("GET", &format!("/products/{product}{document}")), 404, "{document}");
            }
        }
        assert_eq!([status("GET", "/products?count=0"), status("GET", "/nowhere")], [400, 404]);
        assert_eq!(status("POST", "/products/1"), 405);
    }
}

#[test]
fn a_new_load_has_a_new_entity_tag() {
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
