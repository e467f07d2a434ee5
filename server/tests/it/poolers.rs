//! A connection pooler between the server and PostgreSQL.

use atelier_testing::{Pooler, Server as Postgres};

use crate::catalogue::{example, publish};
use crate::client::get;
use crate::server::{Server, refuses};

const IGNORE: &str = "ignore_startup_parameters = options";

#[test]
fn only_poolers_that_keep_prepared_statements_are_accepted() {
    let postgres = Postgres::shared();
    let database = postgres.database();
    publish(&database, &example());
    for mode in ["session", "transaction", "statement"] {
        for (lines, expected) in
            [("", "this is a connection pooler"), (IGNORE, "does not keep prepared statements")]
        {
            let pooler = Pooler::start(&database, mode, lines);
            if (mode, lines) == ("session", IGNORE) {
                let server = Server::start(&pooler.url(), &["--cache-bytes", "0"]);
                for _ in 0..20 {
                    assert_eq!(get(server.public, "/products/1/profile").status, 200);
                }
                continue;
            }
            let (code, output) = refuses(&pooler.url(), &[]);
            assert_eq!(code, 4, "{mode} {lines}: {output}");
            assert!(
                output.contains(expected) && output.contains("PostgreSQL itself"),
                "{mode} {lines}: {output}"
            );
            let left = database.query(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'atelier-server'
                 AND datname = current_database() AND state <> 'idle'",
            );
            assert_eq!(left[0][0].as_deref(), Some("0"), "{mode} {lines}");
        }
    }
}
