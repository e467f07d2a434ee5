//! A start that fails: the exit code, and a message with the cause and a hint.

use std::net::TcpListener;

use atelier_testing::Server as Postgres;

use crate::catalogue::{example, publish};
use crate::server::refuses;

const SCHEMA: &str = include_str!("../../../schema.sql");

/// Runs the program. Its output must contain all of `expected`, and no secret.
fn refused(url: &str, arguments: &[&str], code: i32, expected: &[&str]) {
    let (exit, output) = refuses(url, arguments);
    assert_eq!(exit, code, "{arguments:?}: {output}");
    for expected in expected {
        assert!(output.contains(expected), "{expected} is not in: {output}");
    }
    assert!(!output.contains("secret"), "{output}");
}

#[test]
fn a_database_without_a_catalogue_is_refused() {
    let postgres = Postgres::shared();
    for (sql, expected) in [
        (String::new(), ["there is no catalogue in", "atelier-etl load"]),
        (format!("{SCHEMA}; DROP TABLE skus"), ["there is no catalogue in", "atelier-etl load"]),
        (format!("{SCHEMA}; DROP TABLE load"), ["there is no catalogue in", "atelier-etl load"]),
        (
            format!("{SCHEMA}; ALTER TABLE photos DROP COLUMN thumbnail_url"),
            ["no catalogue of this version", "load it again"],
        ),
    ] {
        let database = postgres.database();
        database.execute(&sql);
        refused(&database.url(), &[], 4, &[expected[0], expected[1], database.name(), "caused by: "]);
    }
}

#[test]
fn a_database_that_refuses_the_connection_is_named() {
    let postgres = Postgres::shared();
    let database = postgres.database();
    publish(&database, &example());
    postgres.create_role("start_no_privileges", "secret");
    let url = database.url_of("start_no_privileges", "secret");
    let name = database.name();
    refused(&url, &[], 4, &["may not read the catalogue", name, "GRANT atelier_reader"]);
    let wrong = database.url_of("start_no_privileges", "other");
    refused(&wrong, &[], 4, &["cannot connect", name, "check the password"]);
    let missing = url.replace(name, "no_such_database");
    refused(&missing, &[], 4, &["cannot connect", "no_such_database", "createdb"]);
    // The certificate is signed by an authority that this machine does not know.
    refused(&database.tls_url("verify-full"), &[], 4, &["cannot connect", name, "sslrootcert"]);
}

#[test]
fn an_invalid_command_line_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let url = "postgresql://reader:secret@127.0.0.1/shop";
    for (url, arguments, expected) in [
        ("", &[][..], "--database-url"),
        ("mysql://reader:secret@db/shop", &[], "--database-url"),
        ("postgresql://reader:secret@db:port/shop", &[], "--database-url"),
        (url, &["--listen", &taken], "--listen"),
        (url, &["--listen", &taken], "another program listens there"),
        (url, &["--admin-listen", &taken], "--admin-listen"),
        (url, &["--listen", "192.0.2.1:80"], "--listen"),
        (url, &["--listen", "here"], "--listen"),
        (url, &["--cache-bytes", "much"], "--cache-bytes"),
        (url, &["--request-timeout", "0s"], "--request-timeout"),
        (url, &["--threads", "4", "--db-connections", "2"], "--db-connections"),
        (url, &["--max-connections", "1000000"], "--max-connections"),
        (url, &["--no-such-flag"], "--no-such-flag"),
        (url, &["argument"], "argument"),
    ] {
        refused(url, arguments, 2, &[expected]);
    }
}
