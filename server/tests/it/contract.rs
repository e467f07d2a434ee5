//! All answers of whole catalogues, compared with the CSV files.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;

use atelier_testing::Server as Postgres;

use crate::catalogue::{awkward, generated, publish};
use crate::client::{Connection, Response, get};
use crate::reference::{self, Catalogue, Product};
use crate::server::Server;

const DOCUMENTS: [&str; 4] = ["", "/styles", "/related", "/profile"];

fn document(product: &Product, document: &str) -> String {
    match document {
        "" => product.document(),
        "/styles" => product.styles_document(),
        "/related" => product.related_document(),
        _ => product.profile(),
    }
}

/// Sends requests and compares the answers.
struct Checker {
    connection: Connection,
    etag: String,
}

impl Checker {
    fn new(server: SocketAddr, load: &str) -> Checker {
        Checker { connection: Connection::open(server), etag: format!("W/\"{load}\"") }
    }

    fn check(&mut self, target: &str, expected: &str) -> Response {
        let answer = self.connection.request("GET", target, &[]).unwrap();
        assert_eq!(answer.text(), expected, "GET {target}");
        let headers = (answer.status, answer.header("content-type"), answer.header("etag"));
        assert_eq!(
            headers,
            (200, Some("application/json; charset=utf-8"), Some(self.etag.as_str())),
            "GET {target}"
        );
        answer
    }

    /// All four documents of all products, and of adjacent ids that do not exist.
    fn check_documents(&mut self, catalogue: &Catalogue) {
        for (id, product) in catalogue {
            for kind in DOCUMENTS {
                self.check(&format!("/products/{id}{kind}"), &document(product, kind));
            }
        }
        for id in gaps(catalogue) {
            for kind in DOCUMENTS {
                let target = format!("/products/{id}{kind}");
                let answer = self.connection.request("GET", &target, &[]).unwrap();
                assert_eq!((answer.status, answer.header("etag")), (404, None), "GET {target}");
                assert_eq!(answer.json()["detail"], format!("no product has the id {id}"));
            }
        }
    }

    /// Every page of `count` products, and pages past the end.
    fn check_pages(&mut self, catalogue: &Catalogue, count: usize) {
        let products: Vec<&Product> = catalogue.values().collect();
        let last = products.len().div_ceil(count);
        for page in (1..=last + 2).chain([200_000, 2_147_483_647]) {
            let begin = products.len().min((page - 1).saturating_mul(count));
            let on_it = &products[begin..products.len().min(begin + count)];
            let expected = reference::list(on_it.iter().copied());
            let answer = self.check(&format!("/products?page={page}&count={count}"), &expected);
            let link = |rel, page| format!("</products?page={page}&count={count}>; rel=\"{rel}\"");
            let mut links = vec![link("first", 1)];
            links.extend((page > 1).then(|| link("prev", last.min(page - 1))));
            links.extend((page < last).then(|| link("next", page + 1)));
            links.push(link("last", last));
            assert_eq!(answer.header("link"), Some(links.join(", ").as_str()), "page {page} by {count}");
            assert_eq!(answer.header("x-total-count"), Some(products.len().to_string().as_str()));
        }
        self.check(&format!("/products?count={count}"), &reference::list(products.into_iter().take(count)));
    }

    fn check_ids(&mut self, catalogue: &Catalogue, ids: &[i32]) {
        let expected = reference::list(ids.iter().filter_map(|id| catalogue.get(id)));
        let list = ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
        let answer = self.check(&format!("/products?ids={list}"), &expected);
        assert_eq!((answer.header("link"), answer.header("x-total-count")), (None, None));
        self.check(&format!("/products?count=1&ids={}", list.replace(',', "%2C")), &expected);
    }

    fn check_all(&mut self, catalogue: &Catalogue) {
        self.check_documents(catalogue);
        for count in [1, 2, 5, 7, catalogue.len() - 1, catalogue.len(), catalogue.len() + 1, 1000] {
            self.check_pages(catalogue, count);
        }
        self.check("/products", &reference::list(catalogue.values().take(5)));
        self.check("/products?page=2", &reference::list(catalogue.values().skip(5).take(5)));
        let up: Vec<i32> = catalogue.keys().copied().take(100).collect();
        let down: Vec<i32> = catalogue.keys().rev().copied().take(100).collect();
        self.check_ids(catalogue, &up);
        self.check_ids(catalogue, &down);
        for id in catalogue.keys().take(10) {
            self.check_ids(catalogue, &[*id]);
        }
        let (first, last) = (up[0], down[0]);
        let unknown = gaps(catalogue);
        self.check_ids(catalogue, &[last, unknown[0], first, last, first, first]);
        self.check_ids(catalogue, &unknown[..1]);
        self.check_ids(catalogue, &[first; 100]);
        self.check_ids(catalogue, &unknown.into_iter().chain(down).take(100).collect::<Vec<_>>());
    }
}

/// Ids adjacent to those of products that no product has.
fn gaps(catalogue: &Catalogue) -> Vec<i32> {
    let near = catalogue.keys().flat_map(|id| [id.wrapping_sub(1), id.wrapping_add(1)]);
    let gaps: BTreeSet<i32> = near.filter(|id| *id > 0 && !catalogue.contains_key(id)).collect();
    gaps.into_iter().collect()
}

/// Everything twice, the second time from the cache, if there is one.
fn assert_matches(data: &Path, arguments: &[&str]) {
    let catalogue = reference::read(data);
    let database = Postgres::shared().database();
    let load = publish(&database, data);
    let server = Server::start(&database.url(), arguments);
    let mut checker = Checker::new(server.public, &load);
    checker.check_all(&catalogue);
    checker.check_all(&catalogue);
}

#[test]
fn answers_match_a_generated_catalogue() {
    assert_matches(generated(250, 7).path(), &[]);
}

#[test]
fn answers_match_a_generated_catalogue_without_a_cache() {
    assert_matches(generated(120, 8).path(), &["--cache-bytes", "0"]);
}

#[test]
fn answers_match_an_awkward_catalogue() {
    assert_matches(awkward().path(), &[]);
}

#[test]
fn answers_match_an_awkward_catalogue_without_a_cache() {
    assert_matches(awkward().path(), &["--cache-bytes", "0"]);
}

#[test]
fn batched_requests_each_get_their_own_answer() {
    let data = generated(200, 9);
    let catalogue = reference::read(data.path());
    let database = Postgres::shared().database();
    let load = publish(&database, data.path());
    let server = Server::start(&database.url(), &["--cache-bytes", "0", "--db-connections", "2"]);
    thread::scope(|scope| {
        for client in 0..16 {
            let (catalogue, load, address) = (&catalogue, &load, server.public);
            scope.spawn(move || {
                let mut checker = Checker::new(address, load);
                for step in 0..catalogue.len() {
                    // Each in an order of its own, documents in turn, so that the same kind is requested at the same time.
                    let (id, product) =
                        catalogue.iter().nth((step * (2 * client + 1)) % catalogue.len()).unwrap();
                    let kind = DOCUMENTS[(step / 8) % DOCUMENTS.len()];
                    checker.check(&format!("/products/{id}{kind}"), &document(product, kind));
                }
            });
        }
    });
    let metrics = get(server.admin, "/metrics");
    let count = |name: &str| -> u64 {
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    };
    let (requests, statements) =
        (count("atelier_database_requests_total "), count("atelier_database_round_trips_total "));
    assert!(requests >= 16 * 200, "{requests}");
    assert!(statements < requests, "{statements} statements for {requests} requests: none was shared");
}

#[test]
fn the_awkward_catalogue_covers_all_cases() {
    let data = awkward();
    let catalogue = reference::read(data.path());
    assert_eq!(catalogue.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 8, 77, i32::MAX]);
    // Expectations that are written by hand.
    assert_eq!(
        catalogue[&77].styles_document(),
        r#"{"product_id":"77","results":[{"style_id":100,"name":"Bare","original_price":"1.00","sale_price":null,"default?":false,"photos":[],"skus":{}}]}"#
    );
    assert_eq!(
        catalogue[&2].profile(),
        r#"{"product":{"id":2,"name":"Nothing else","slogan":"hangs on it","description":", commas, ","category":"  spaces  ","default_price":"9999999999.99","features":[]},"styles":[],"related":[]}"#
    );
    assert_eq!(catalogue[&1].related_document(), "[2147483647,8,2,8,1,77]");
    assert!(catalogue[&1].document().contains(
        r#""features":[{"feature":"null","value":"null"},{"feature":"Null","value":null},{"feature":"Quoted \"feature\"","value":"a \"value\" \\"}]"#
    ));
    assert!(catalogue[&1].styles[&5].default_style);
}
