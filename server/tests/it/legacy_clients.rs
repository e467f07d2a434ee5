//! Requests of clients that were written for the earlier API or generated.

use atelier_testing::Server as Postgres;

use crate::catalogue::{awkward, generated, publish};
use crate::client::{Response, get, request};
use crate::fixture::{RESOURCES, serve};
use crate::reference;
use crate::server::Server;

/// The parts of an answer that clients use.
fn read(answer: &Response) -> (u16, &[u8], Option<&str>, Option<&str>) {
    (answer.status, &answer.body, answer.header("link"), answer.header("x-total-count"))
}

#[test]
fn equivalent_paths_have_the_same_answer() {
    let served = serve(&[]);
    let same = [
        ("/products/", "/products"),
        ("/products/?count=3", "/products?count=3"),
        ("/products/?page=2&count=2", "/products?page=2&count=2"),
        ("/products/1/", "/products/1"),
        ("/products/1/styles/", "/products/1/styles"),
        ("/products/1/related/", "/products/1/related"),
        ("/products/1/profile/", "/products/1/profile"),
        ("/openapi.json/", "/openapi.json"),
        ("/docs/", "/docs"),
        ("/products/%31", "/products/1"),
        ("/%70roducts/%31/%73tyles", "/products/1/styles"),
        ("/products/%31/related%2F", "/products/1/nothing"),
        ("/products?ids=3&ids=1", "/products?ids=3,1"),
        ("/products?ids=3,8&ids=1&count=2", "/products?ids=3,8,1"),
        ("/products?count=1001", "/products?count=1000"),
    ];
    for (target, plain) in same {
        assert_eq!(read(&served.get(target, &[])), read(&served.get(plain, &[])), "{target}");
        let preflight = ["Origin: https://shop.example", "Access-Control-Request-Method: GET"];
        let status = |target| request(served.server.public, "OPTIONS", target, &preflight).status;
        assert_eq!(status(target), status(plain), "OPTIONS {target}");
    }
    // They share entries of the cache.
    let before = served.round_trips();
    for (target, _) in same {
        assert!([200, 404].contains(&served.get(target, &[]).status), "{target}");
    }
    assert_eq!(served.round_trips(), before);
}

#[test]
fn count_is_limited_to_a_thousand_and_links_lead_to_the_rest() {
    let database = Postgres::shared().database();
    publish(&database, generated(2500, 3).path());
    let server = Server::start(&database.url(), &[]);
    let first = get(server.public, "/products?count=1000");
    for count in ["1001", "1011", "5000", "2147483648", "18446744073709551616", "99999999999999999999999999"]
    {
        let answer = get(server.public, &format!("/products/?count={count}"));
        assert_eq!(read(&answer), read(&first), "{count}");
    }
    assert_eq!(first.json().as_array().unwrap().len(), 1000);
    assert_eq!(first.header("x-total-count"), Some("2500"));
    let link = "</products?page=1&count=1000>; rel=\"first\", </products?page=2&count=1000>; rel=\"next\", \
                </products?page=3&count=1000>; rel=\"last\"";
    assert_eq!(first.header("link"), Some(link));
    let last = get(server.public, "/products?page=3&count=5000");
    assert_eq!(last.json().as_array().unwrap().len(), 500);
}

#[test]
fn everything_public_is_below_the_base_path() {
    let plain = serve(&[]);
    let base = "/api/fec2/hr-xxx";
    let served = Server::start(&plain.database.url(), &["--base-path", base]);
    let below = |target: &str| get(served.public, &format!("{base}{target}"));
    let targets =
        ["/products?page=2&count=2", "/docs/start.js", "/page/main.js", "/openapi.json", "/docs", "/"];
    for target in RESOURCES.iter().copied().chain(targets) {
        let (answer, at_the_root) = (below(target), plain.get(target, &[]));
        assert_eq!(answer.status, 200, "{target}");
        let link = at_the_root.header("link").map(|link| link.replace("</", &format!("<{base}/")));
        assert_eq!(answer.header("link"), link.as_deref(), "{target}");
        if RESOURCES.contains(&target) {
            assert_eq!(answer.body, at_the_root.body, "{target}");
        }
        let outside = get(served.public, target);
        assert_eq!(outside.status, 404, "{target}");
        assert!(
            outside.text().contains(&format!("{base}/docs or {base}/openapi.json")),
            "{}",
            outside.text()
        );
        for (method, status) in [("OPTIONS", 204), ("POST", 405)] {
            let path = format!("{base}{target}");
            assert_eq!(request(served.public, method, &path, &[]).status, status, "{method} {path}");
            assert_eq!(request(served.public, method, target, &[]).status, 404, "{method} {target}");
        }
    }
    for (target, status) in [("", 200), ("/", 200), ("/products/", 200), ("x/products", 404)] {
        assert_eq!(below(target).status, status, "{target}");
    }
    // Linked files exist.
    for page in ["/", "/docs"] {
        let page = below(page);
        let links = page.text().split(['\"', '\'']).filter(|text| text.starts_with('/'));
        let links: Vec<&str> = links.collect();
        assert!(links.len() >= 5, "{links:?}");
        for link in links {
            assert_eq!(get(served.public, link).status, 200, "{link}");
        }
    }
    assert!(below("/docs/start.js").text().contains(&format!("url: \"{base}/openapi.json\"")));
    assert_eq!(below("/openapi.json").json()["servers"][0]["url"], base);
    // Not the admin port.
    assert_eq!(get(served.admin, "/readyz").status, 200);
    let without = Server::start(&plain.database.url(), &["--base-path", "/"]);
    assert_eq!(read(&get(without.public, "/products")), read(&plain.get("/products", &[])));
}

#[test]
fn compat_answers_a_style_without_photos_or_skus_like_the_earlier_api() {
    let data = awkward();
    let database = Postgres::shared().database();
    let load = publish(&database, data.path());
    let server = Server::start_with(&database.url(), &[("ATELIER_COMPAT", "yes")]);
    let mut compat = 0;
    for (id, product) in reference::read(data.path()) {
        let fetch = |document: &str| get(server.public, &format!("/products/{id}{document}"));
        let styles = fetch("/styles");
        assert_eq!(styles.text(), product.styles_document_compat());
        assert_eq!(fetch("/profile").text(), product.profile_compat());
        assert_eq!(fetch("").text(), product.document());
        assert_eq!(fetch("/related").text(), product.related_document());
        compat += usize::from(styles.text() != product.styles_document());
    }
    assert!(compat >= 2, "{compat}");
    assert!(get(server.public, "/products/77/styles").text().contains(
        r#""photos":[{"thumbnail_url":null,"url":null}],"skus":{"null":{"quantity":null,"size":null}}"#
    ));
    // A different answer has a different entity tag.
    let status = |tag: &str| {
        let tag = format!("If-None-Match: {tag}");
        request(server.public, "GET", "/products/77/styles", &[&tag]).status
    };
    assert_eq!(status(&format!("W/\"{load}\"")), 200);
    let tag = get(server.public, "/products/77/styles").header("etag").unwrap().to_owned();
    assert_eq!((status(&tag), status("*")), (304, 304));
}
