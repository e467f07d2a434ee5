//! Objects of others in the loader's schemas: refused by the preflight, with their names and a hint.

use std::fs;

use atelier_testing::{Database, Server, until};

use super::gate::{Gate, Place};
use super::{Shop, example, load, schemas};
use crate::run::{Etl, etl};

/// The SQL of a hint, run as an administrator would.
fn paste(database: &Database<'_>, said: &str, before: &str) {
    let hint = said.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {said}")).1;
    database.execute(hint.split("; or ").next().unwrap().trim());
}

#[test]
fn a_schema_that_is_no_catalogue() {
    for name in ["atelier", "atelier_staging", "atelier_previous", "atelier_discarded", "atelier_next"] {
        for what in ["", "CREATE TABLE {}.load (x int); CREATE TABLE {}.precious AS SELECT 1 AS id"] {
            let database = Server::shared().database();
            database.execute(&format!("CREATE SCHEMA {name}; {}", what.replace("{}", name)));
            let refused = format!("the schema {name} is not a catalogue of atelier-etl");
            let run = load(&database.url(), &example()).run();
            run.failed(4, &[&refused, "it belongs to \"postgres\"", "or use another database"]);
            etl(["rollback", "--database-url", &database.url()]).failed(4, &[&refused]);
            let status = etl(["status", "--database-url", &database.url()]);
            assert_eq!(status.code, 0, "{status:?}");
            assert!(status.stdout.starts_with("no load is published in"), "{}", status.stdout);
            assert!(!status.stdout.contains("a load is running"), "{}", status.stdout);
            let not_ours = format!("schema    the schema {name} is not a catalogue of atelier-etl");
            assert!(status.stdout.contains(&not_ours), "{}", status.stdout);

            paste(&database, &run.stderr, "or an administrator: ");
            if !what.is_empty() {
                let id = database.query(&format!("SELECT id FROM {name}_of_postgres.precious"));
                assert_eq!(id[0][0].as_deref(), Some("1"));
            }
            let run = load(&database.url(), &example()).run();
            assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
        }
    }
}

#[test]
fn objects_of_others_in_a_catalogue() {
    let server = Server::shared();
    for (make, named) in [
        ("CREATE TABLE {}.extra (x int)", "table {}.extra of \"postgres\""),
        ("CREATE VIEW {}.\"V v\" AS SELECT 1 AS x", "view {}.\"V v\" of"),
        (
            "CREATE MATERIALIZED VIEW {}.m AS SELECT id FROM {}.load, (SELECT 1 AS id) x",
            "materialized view {}.m of",
        ),
        ("CREATE SEQUENCE {}.s", "sequence {}.s of"),
        ("CREATE FUNCTION {}.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'", "function {}.f(integer) of"),
        ("CREATE PROCEDURE {}.p() LANGUAGE sql AS 'SELECT 1'", "procedure {}.p() of"),
        ("CREATE AGGREGATE {}.a(int) (sfunc = int4pl, stype = int)", "aggregate {}.a(integer) of"),
        ("CREATE TYPE {}.e AS ENUM ('x')", "type {}.e of"),
        ("CREATE TYPE {}.c AS (x int)", "type {}.c of"),
        ("CREATE DOMAIN {}.d AS int", "type {}.d of"),
        ("CREATE OPERATOR {}.@@@ (rightarg = int, function = int4up)", "operator {}.@@@(NONE,integer) of"),
        ("CREATE COLLATION {}.o FROM \"C\"", "collation {}.o of"),
        ("CREATE TEXT SEARCH CONFIGURATION {}.t (COPY = english)", "text search configuration {}.t of"),
        ("ALTER TABLE {}.load ADD COLUMN note text", "column note of table {}.load"),
    ] {
        for schema in ["atelier", "atelier_staging", "atelier_previous"] {
            let mut shop = Shop::new(server);
            if schema != "atelier" {
                shop.database.execute(&format!(
                    "CREATE SCHEMA {schema}; CREATE TABLE {schema}.load (LIKE atelier.load)"
                ));
            }
            shop.database.execute(&make.replace("{}", schema));
            let what = format!(
                "the schema {schema} contains objects that atelier-etl did not create: {}",
                named.replace("{}", schema)
            );
            let run = shop.load(&example()).run();
            run.failed(4, &[&what, "a load replaces the schema", "ALTER "]);
            shop.is_served_as_before();
            etl(["rollback", "--database-url", &shop.database.url()]).failed(4, &[&what]);
            paste(&shop.database, &run.stderr, "or an administrator: ");
            shop.loads();
            if schema != "atelier" {
                break;
            }
        }
    }
}

#[test]
fn a_table_of_another_owner() {
    let server = Server::shared();
    let shop = Shop::new(server);
    server.create_role("foreign_owner", "secret");
    let name = shop.database.name();
    shop.database.execute(&format!(
        "GRANT CREATE ON DATABASE {name} TO foreign_owner; ALTER SCHEMA atelier OWNER TO foreign_owner"
    ));
    let url = shop.database.url_of("foreign_owner", "secret");
    for _ in 0..2 {
        let run = load(&url, &example()).run();
        run.failed(
            4,
            &[
                "the schema atelier contains objects that atelier-etl did not create: table atelier.",
                "of \"postgres\"",
            ],
        );
        shop.is_untouched();
        paste(&shop.database, &run.stderr, "or an administrator: ");
    }
    let run = load(&url, &example()).run();
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
}

/// What a killed load left behind is the loader's, and so is a catalogue made by `schema.sql`.
#[test]
fn own_objects_are_recognized() {
    let shop = Shop::new(Server::shared());
    let schema = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../schema.sql")).unwrap();
    for made in ["atelier_staging", "atelier_discarded", "atelier_previous"] {
        shop.database.execute(&schema.replace("atelier;", &format!("{made};")));
    }
    shop.database.execute(
        "DROP TABLE atelier_staging.skus, atelier_staging.related; ALTER TABLE atelier_staging.styles DROP CONSTRAINT styles_pkey",
    );
    assert_eq!(schemas(&shop.database), "atelier atelier_discarded atelier_previous atelier_staging");
    let run = shop.load(&example()).run();
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert_eq!(schemas(&shop.database), "atelier");
}

/// The SQL of each hint is run, with names that need quotes, until the load is published.
#[test]
fn hints_can_be_pasted() {
    let server = Server::start(&[]);
    let (database, user) = ("q\"t; DROP", "we\"ird; U");
    server.execute(&format!("CREATE DATABASE \"{}\"", database.replace('"', "\"\"")));
    server.execute(&format!(
        "CREATE ROLE \"{}\" LOGIN PASSWORD 'secret' CONNECTION LIMIT 2; CREATE ROLE \"Group\"",
        user.replace('"', "\"\"")
    ));
    server.execute("CREATE ROLE atelier_reader");
    let url = |user: &str, password: &str| {
        let port = server.port();
        format!(
            "host=127.0.0.1 port={port} sslmode=disable user='{user}' password={password} dbname='{database}'"
        )
    };
    let psql = |sql: &str| {
        let url = format!(
            "host={} port={} user=postgres dbname='{database}'",
            server.dir().display(),
            server.port()
        );
        let psql = std::process::Command::new(server.bin().join("psql"))
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &url, "-c", sql])
            .output()
            .unwrap();
        assert!(psql.status.success(), "{sql}: {}", String::from_utf8_lossy(&psql.stderr));
    };
    let schema = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../schema.sql")).unwrap();
    psql(&schema);
    psql("ALTER SCHEMA atelier OWNER TO \"Group\"");
    let mut pasted = Vec::new();
    let url = url(user, "secret");
    let published = loop {
        let run = load(&url, &example()).env("ATELIER_JOBS", "1").run();
        if run.code == 0 {
            break run;
        }
        let sql = run.stderr.split_once("administrator: ").unwrap_or_else(|| panic!("{run:?}")).1.to_owned();
        assert!(pasted.len() < 10 && !pasted.contains(&sql), "{run:?}");
        psql(&sql);
        pasted.push(sql);
    };
    assert_eq!(published.stderr, "", "{published:?}");
    // The privileges to create and to be the owner, five tables of seven and then two, the connections.
    assert_eq!(pasted.len(), 5, "{pasted:?}");

    server.execute("CREATE ROLE \"read\"\"er\" LOGIN PASSWORD 'secret'");
    let reader = url.replace(user, "read\"er");
    let run = etl(["status", "--database-url", &reader]);
    run.failed(4, &["GRANT atelier_reader TO \"read\"\"er\""]);
    psql(run.stderr.split_once("administrator: ").unwrap().1.split("; or ").next().unwrap());
    assert_eq!(etl(["status", "--database-url", &reader]).code, 0);
}

/// Nothing of it is dropped, and nothing is published.
#[test]
fn objects_created_during_a_load() {
    let secret = "CREATE TABLE atelier.product (secret text); INSERT INTO atelier.product VALUES ('kept')";
    for (is_first, make, what, kept) in [
        (
            true,
            format!("CREATE SCHEMA atelier; {secret}"),
            "the schema atelier is not a catalogue of atelier-etl",
            "SELECT secret FROM atelier.product",
        ),
        (
            false,
            "ALTER TABLE atelier.product ADD note text; UPDATE atelier.product SET note = 'kept'".to_owned(),
            "the schema atelier contains objects that atelier-etl did not create: column note of table atelier.product",
            "SELECT DISTINCT note FROM atelier.product",
        ),
        (
            false,
            "CREATE TABLE atelier.mine AS SELECT 'kept' AS word".to_owned(),
            "the schema atelier contains objects that atelier-etl did not create: table atelier.mine of \"postgres\"",
            "SELECT word FROM atelier.mine",
        ),
    ] {
        let database = Server::shared().database();
        if !is_first {
            let run = load(&database.url(), &example()).run();
            assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
        }
        let gate = Gate::close(&database, Place::Index);
        let running = load(&database.url(), &example()).spawn();
        gate.wait();
        gate.lift();
        database.execute(&make);
        drop(gate);
        running.finish().failed(4, &[what, "as "]);
        assert_eq!(database.query(kept)[0][0].as_deref(), Some("kept"));
        assert_eq!(schemas(&database), "atelier");
    }
}

#[test]
fn objects_created_while_a_rollback_waits() {
    let shop = Shop::new(Server::shared());
    let run = shop.load(&example()).arg("--keep-previous").run();
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    let id = || shop.database.query("SELECT load_id FROM atelier.load");
    let before = id();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let reader = runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&shop.database.url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute("BEGIN; SELECT FROM atelier.product").await.unwrap();
        client
    });
    let running = Etl::new(["rollback", "--database-url", &shop.database.url()]).spawn();
    until("the rollback waits for the reader", || {
        let waiting =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'atelier.product'::regclass";
        shop.database.query(waiting)[0][0].as_deref() == Some("1")
    });
    shop.database.execute("CREATE TABLE atelier.mine (x int)");
    runtime.block_on(reader.batch_execute("COMMIT")).unwrap();
    let run = running.finish();
    run.failed(
        4,
        &["the schema atelier contains objects that atelier-etl did not create: table atelier.mine"],
    );
    assert_eq!((id(), schemas(&shop.database)), (before, "atelier atelier_previous".to_owned()));
}
