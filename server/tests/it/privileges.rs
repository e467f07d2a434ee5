//! A role with privileges of its own can read the next load too, and the previous one.

use atelier_testing::{Server as Postgres, until};

use crate::catalogue::{example, generated, publish_keeping, roll_back};
use crate::client::get;
use crate::server::Server;

#[test]
fn a_role_with_own_privileges_keeps_them_through_loads_and_a_rollback() {
    let postgres = Postgres::shared();
    let database = postgres.database();
    publish_keeping(&database, &example());
    postgres.create_role("privileges_webapp", "secret");
    database.execute(
        "GRANT USAGE ON SCHEMA atelier TO privileges_webapp; GRANT SELECT ON ALL TABLES IN SCHEMA atelier TO privileges_webapp",
    );
    let url = database.url_of("privileges_webapp", "secret");
    let server = Server::start(&url, &[]);
    let serves = |load: &str| {
        let tag = format!("W/\"{load}\"");
        until("the load is served", || get(server.public, "/products").header("etag") == Some(&tag));
        // A server that starts now prepares every statement.
        let other = Server::start(&url, &[]);
        until("both are ready", || server.is_ready() && other.is_ready());
    };
    let first = publish_keeping(&database, generated(20, 1).path());
    serves(&first);
    let second = publish_keeping(&database, generated(30, 2).path());
    serves(&second);
    roll_back(&database);
    serves(&first);
}
