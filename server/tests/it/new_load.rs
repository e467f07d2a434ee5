//! New loads that are published while clients send requests: each answer is from the load in its `ETag`, and none fails.

use std::collections::HashMap;
use std::sync::Mutex;

use atelier_testing::{Server as Postgres, until};

use crate::catalogue::{generated, publish};
use crate::client::{Response, get, request};
use crate::server::Server;
use crate::traffic::with_traffic;

/// Products of the two catalogues. Their texts differ, since their seeds do.
const PRODUCTS: [u32; 2] = [60, 80];
const REQUESTED_PRODUCTS: u32 = 30;
const LOADS: usize = 6;

fn targets() -> Vec<String> {
    let documents = ["", "/styles", "/profile", "/related"];
    let of_products =
        (1..=REQUESTED_PRODUCTS).flat_map(|id| documents.map(|document| format!("/products/{id}{document}")));
    let pages = (1..=5).map(|page| format!("/products?page={page}&count=7"));
    let ids = (1..=5).map(|id| format!("/products?ids={},{id},{}", id + 20, id + 10));
    of_products.chain(pages).chain(ids).collect()
}

/// What must be the same in all answers of a catalogue.
fn content(response: &Response) -> (String, Option<String>) {
    (response.text().to_owned(), response.header("x-total-count").map(str::to_owned))
}

#[test]
fn each_answer_is_from_one_load() {
    let database = Postgres::shared().database();
    let catalogues = [generated(PRODUCTS[0], 1), generated(PRODUCTS[1], 2)];
    let first = publish(&database, catalogues[0].path());
    // A request that waits while a load is published is answered after that.
    let slow = "--request-timeout=60s";
    let servers = [
        Server::start(&database.url(), &[slow]),
        Server::start(&database.url(), &[slow, "--cache-bytes", "0"]),
    ];
    let server = &servers[1];
    let serves = |server: &Server, load: &str| {
        let tag = format!("W/\"{load}\"");
        until("the new load is served", || get(server.public, "/products").header("etag") == Some(&tag));
    };

    // The answers of each catalogue, without concurrent requests.
    let mut expected: HashMap<String, Vec<(String, Option<String>)>> = HashMap::new();
    let second = publish(&database, catalogues[1].path());
    let mut published: HashMap<String, usize> = HashMap::from([(first.clone(), 0), (second.clone(), 1)]);
    serves(server, &second);
    let of_second: Vec<_> = targets().iter().map(|target| content(&get(server.public, target))).collect();
    let again = publish(&database, catalogues[0].path());
    published.insert(again.clone(), 0);
    serves(server, &again);
    for (target, second) in targets().into_iter().zip(of_second) {
        let first = content(&get(server.public, &target));
        // A product without styles has none in both.
        if first != second {
            expected.insert(target, vec![first, second]);
        }
    }
    assert!(expected.len() > 3 * REQUESTED_PRODUCTS as usize, "{}", expected.len());
    assert!(
        expected["/products?page=1&count=7"]
            .iter()
            .zip(PRODUCTS)
            .all(|(content, products)| { content.1.as_deref() == Some(&products.to_string()) })
    );

    // The load of an answer may not be known here yet: it is checked at the end.
    let seen: Mutex<Vec<(String, String, usize)>> = Mutex::default();
    let requested: Vec<&String> = expected.keys().collect();
    let check = |target: &str, response: &Response| {
        let tag = response.header("etag").ok_or("no ETag")?;
        let load = tag.strip_prefix("W/\"").and_then(|tag| tag.strip_suffix('"')).ok_or("no tag")?;
        let content = content(response);
        let of = expected[target].iter().position(|expected| *expected == content);
        let of = of.ok_or_else(|| format!("a mixed answer: {content:?}"))?;
        seen.lock().unwrap().push((target.to_owned(), load.to_owned(), of));
        Ok(())
    };
    let target = |number: u32| requested[number as usize % requested.len()].clone();
    let published = Mutex::new(published);
    let publish_all = |traffic: &crate::traffic::Traffic| {
        let mut before = again.clone();
        for number in 0..LOADS {
            let of = (number + 1) % 2;
            let load = publish(&database, catalogues[of].path());
            published.lock().unwrap().insert(load.clone(), of);
            for server in &servers {
                serves(server, &load);
                // An answer from the database may be of the new load a moment before all know of it.
                let tag = format!("If-None-Match: W/\"{before}\"");
                until("the old tag is of no more use", || {
                    request(server.public, "GET", "/products/1", &[&tag]).status == 200
                });
                let tag = format!("If-None-Match: W/\"{load}\"");
                assert_eq!(request(server.public, "GET", "/products/1", &[&tag]).status, 304);
            }
            traffic.wait_for(50, 200);
            before = load;
        }
    };
    let [cached, uncached] = &servers;
    let results = std::thread::scope(|scope| {
        // Both concurrently. Loads are published while the first has traffic; the second has traffic until then.
        let (ended, end) = std::sync::mpsc::channel::<()>();
        let other = scope.spawn(|| {
            with_traffic(uncached.public, target, check, move |_| {
                let _ = end.recv(); // or its sender is gone
            })
        });
        let first = with_traffic(cached.public, target, check, |traffic| publish_all(traffic));
        drop(ended);
        [first, other.join().unwrap()]
    });
    for traffic in results {
        assert!(traffic.errors.is_empty() && traffic.statuses.len() == 1, "{traffic:?}");
    }
    let (seen, published) = (seen.into_inner().unwrap(), published.into_inner().unwrap());
    for (target, load, of) in &seen {
        assert_eq!(published.get(load), Some(of), "{target} with the tag of {load}");
    }
    let loads: std::collections::HashSet<&String> = seen.iter().map(|(_, load, _)| load).collect();
    assert!(loads.len() > LOADS, "{loads:?}");
}
