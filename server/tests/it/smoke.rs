//! From CSV files to answers.

use atelier_testing::Server as Postgres;

use crate::catalogue::{example, publish};
use crate::client::{get, request};
use crate::server::Server;

#[test]
fn a_loaded_catalogue_is_served() {
    let database = Postgres::shared().database();
    let load = publish(&database, &example());
    let server = Server::start(&database.url(), &[]);
    assert_eq!(get(server.admin, "/livez").status, 200);
    assert_eq!(get(server.admin, "/readyz").text(), "ready\n");
    let page = get(server.public, "/products");
    assert_eq!((page.status, page.header("etag")), (200, Some(format!("W/\"{load}\"").as_str())));
    let tag = format!("If-None-Match: W/\"{load}\"");
    assert_eq!(request(server.public, "GET", "/products", &[&tag]).status, 304);
    assert!(get(server.admin, "/metrics").text().contains(&load));
}
