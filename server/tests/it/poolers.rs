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
    let can_keep = Pooler::can_keep_statements();
    let forget = format!("{IGNORE}\n{}", if can_keep { "max_prepared_statements = 0" } else { "" });
    let keep = format!("{IGNORE}\nmax_prepared_statements = 100");
    for (mode, lines) in [("session", &forget)].into_iter().chain(can_keep.then_some(("transaction", &keep)))
    {
        let pooler = Pooler::start(&database, mode, lines);
        let server = Server::start(&pooler.url(), &["--cache-bytes", "0"]);
        for _ in 0..20 {
            assert_eq!(get(server.public, "/products/1/profile").status, 200, "{mode}");
        }
    }
    for mode in ["session", "transaction", "statement"] {
        for (lines, expected) in
            [("", "this is a connection pooler"), (&*forget, "does not keep prepared statements")]
        {
            if (mode, lines) == ("session", &*forget) {
                continue;
            }
            let pooler = Pooler::start(&database, mode, lines);
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
