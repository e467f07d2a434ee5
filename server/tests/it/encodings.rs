//! Bodies in every encoding, and content negotiation.

use std::io::Read as _;

use atelier_testing::Server as Postgres;

use crate::catalogue::{generated, publish};
use crate::client::{get, request};
use crate::reference;
use crate::server::Server;

pub(crate) fn decode(coding: &str, body: &[u8]) -> Vec<u8> {
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
fn bodies_have_the_encoding_that_the_client_prefers_and_the_same_content() {
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
