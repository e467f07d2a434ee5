//! `verify` finds a single changed character among all rows, and nothing else.

use std::fs;
use std::process::Command;

use atelier_base::tables::TABLES;
use atelier_sample::Defects;
use atelier_testing::{Database, Server, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls};

use crate::catalogue::{example, generated, load};
use crate::published::{one, seen};
use crate::run::{Etl, Run, Running, etl};

/// A run of `verify` and its report; null if there is none.
fn verify(url: &str, more: &[&str]) -> (Run, Value) {
    let place = tempfile::tempdir().unwrap();
    let report = place.path().join("report.json");
    let fixed = ["verify", "--database-url", url, "--report", report.to_str().unwrap()];
    let run = etl(fixed.iter().chain(more));
    let report = fs::read(report).ok().and_then(|json| serde_json::from_slice(&json).ok());
    (run, report.unwrap_or_default())
}

#[track_caller]
fn expect_equal(database: &Database<'_>) {
    let (run, report) = verify(&database.url(), &[]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert_eq!(report["equal"], true);
}

#[test]
fn published_rows_equal_loaded_rows() {
    let database = Server::shared().database();
    let (heavy, _) = generated(2_000, Defects::Heavy);
    // Rows of every kind: nulls, prices from 0 to the largest, quotes, no rows at all.
    for (data, jobs) in [(example(), "1"), (heavy.path().to_owned(), "2"), (example(), "6")] {
        let loaded = load(&database, &data, &["--max-rejects", "50%"]).succeeded();
        let (run, report) = verify(&database.url(), &["--jobs", jobs]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
        let id = seen(&loaded).0;
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert_eq!(lines.len(), 10, "{}", run.stdout);
        assert_eq!(lines[8], format!("the published rows are those of load {id}"));
        assert_eq!(run.stdout.matches(" equal ").count(), 7, "{}", run.stdout);
        assert_eq!(report["command"], "verify");
        assert_eq!((&report["load_id"], &report["equal"]), (&Value::from(id), &Value::from(true)));
        for (table, digest) in TABLES.iter().zip(loaded.of_tables("content_digest")) {
            let (found, name) = (&report["tables"][table.name], table.name);
            assert_eq!((&found["content_digest"], &found["published_digest"]), (&digest, &digest), "{name}");
            let rows = &loaded.report["tables"][name]["loaded"];
            assert_eq!((&found["loaded"], &found["published"]), (rows, rows), "{name}");
            assert_eq!(found["equal"], true, "{name}");
        }
    }
}

#[test]
fn one_change_among_all_rows_is_found() {
    let (catalogue, _) = generated(1_000, Defects::None);
    let database = Server::shared().database();
    load(&database, catalogue.path(), &[]).succeeded();
    expect_equal(&database);
    // Statement, the tables that it changes, and the message about them.
    let same_number = "published rows are not those that were loaded";
    let changes = [
        ("UPDATE atelier.photos SET url = overlay(url placing '~' from 30 for 1) WHERE id = 2500", vec!["photos"], same_number),
        ("UPDATE atelier.product SET description = description || ' ' WHERE id = 999", vec!["product"], same_number),
        ("UPDATE atelier.product SET default_price = default_price + 0.01 WHERE id = 7", vec!["product"], same_number),
        ("UPDATE atelier.product SET position = 1 WHERE position = 0; UPDATE atelier.product SET position = 1001 WHERE position = 500", vec!["product"], same_number),
        ("UPDATE atelier.features SET value = '' WHERE ctid = (SELECT ctid FROM atelier.features WHERE value IS NULL LIMIT 1)", vec!["features"], same_number),
        ("UPDATE atelier.styles SET default_style = NOT default_style WHERE id = 11", vec!["styles"], same_number),
        ("DELETE FROM atelier.skus WHERE id = 100", vec!["skus"], "are published"),
        ("ALTER TABLE atelier.related DROP CONSTRAINT related_pkey; INSERT INTO atelier.related SELECT * FROM atelier.related WHERE id = 50", vec!["related"], "are published"),
        // Two values are swapped.
        ("UPDATE atelier.skus a SET quantity = b.quantity FROM atelier.skus b
          WHERE (a.id, b.id) IN (SELECT * FROM (VALUES (20, 21), (21, 20)) v) AND a.quantity <> b.quantity", vec!["skus"], same_number),
        // The same number of rows, one replaced by another.
        ("ALTER TABLE atelier.features DROP CONSTRAINT features_pkey; DELETE FROM atelier.features WHERE id = 30;
          INSERT INTO atelier.features SELECT * FROM atelier.features WHERE id = 31", vec!["features"], same_number),
        ("DELETE FROM atelier.photos WHERE id = 9; TRUNCATE atelier.related", vec!["photos", "related"], "are published"),
    ];
    for (change, tables, expected) in changes {
        load(&database, catalogue.path(), &["--force"]).succeeded();
        // With equal quantities, the swap would change nothing.
        if change.contains("(20, 21)") {
            assert_eq!(
                one(&database, "SELECT count(DISTINCT quantity) FROM atelier.skus WHERE id IN (20, 21)"),
                "2"
            );
        }
        database.execute(change);
        let (run, report) = verify(&database.url(), &[]);
        assert_eq!(run.code, 5, "{change}: {run:?}");
        assert_eq!(report["equal"], false, "{change}");
        for table in TABLES.iter().map(|table| table.name) {
            let differs = tables.contains(&table);
            assert_eq!(report["tables"][table]["equal"], !differs, "{change}: {table}");
            assert_eq!(run.stderr.contains(&format!("{table}: ")), differs, "{change}: {}", run.stderr);
        }
        assert!(
            run.stderr.contains(expected) && run.stderr.contains("\n  hint: "),
            "{change}: {}",
            run.stderr
        );
        assert_eq!(run.stdout.matches("DIFFERS").count(), tables.len() + 1, "{}", run.stdout);
        assert!(!run.stdout.contains("what is published is"), "{}", run.stdout);
    }
}

#[test]
fn one_changed_character_among_millions_of_rows_is_found() {
    let (catalogue, _) = generated(80_000, Defects::None);
    let database = Server::shared().database();
    let loaded = load(&database, catalogue.path(), &[]).succeeded();
    let rows: u64 = loaded.of_tables("loaded").iter().map(|rows| rows.as_u64().unwrap()).sum();
    assert!(rows > 2_000_000, "{rows}");
    // The table with the most rows, and that with the most bytes.
    for (table, column, id) in [("skus", "size", 654_321), ("photos", "url", 321_098)] {
        let at = format!("FROM atelier.{table} WHERE id = {id}");
        let before = one(&database, &format!("SELECT {column} {at}"));
        let set = |value: &str| {
            database.execute(&format!("UPDATE atelier.{table} SET {column} = '{value}' WHERE id = {id}"));
        };
        let (but_one, last) = before.split_at(before.len() - 1);
        set(&format!("{but_one}{}", if last == "~" { "-" } else { "~" }));
        let (run, report) = verify(&database.url(), &[]);
        assert_eq!(run.code, 5, "{run:?}");
        for other in TABLES.iter().map(|table| table.name) {
            assert_eq!(report["tables"][other]["equal"], other != table, "{table}: {other}");
        }
        assert!(run.stderr.contains(&format!("{table}: the ")), "{}", run.stderr);
        set(&before);
        expect_equal(&database);
    }
}

/// The physical order of the rows does not matter.
#[test]
fn rewriting_a_table_changes_nothing() {
    let (catalogue, _) = generated(300, Defects::None);
    let database = Server::shared().database();
    load(&database, catalogue.path(), &[]).succeeded();
    database.execute("CLUSTER atelier.skus USING skus_pkey");
    database.execute("UPDATE atelier.product SET name = name");
    database.execute("VACUUM FULL atelier.product");
    expect_equal(&database);
}

/// Also in a read-only database.
#[test]
fn a_restored_dump_equals_what_was_loaded() {
    let server = Server::shared();
    let (database, restored) = (server.database(), server.database());
    let (heavy, _) = generated(500, Defects::Heavy);
    load(&database, heavy.path(), &["--max-rejects", "50%"]).succeeded();
    let program = |name: &str, database: &Database<'_>| {
        let mut command = Command::new(server.bin().join(name));
        command.arg("-d").arg(database.url());
        command
    };
    let dump = program("pg_dump", &database).args(["-n", "atelier"]).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, dump.stdout).unwrap();
    let psql = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"];
    let restore = program("psql", &restored).args(psql).arg(file.path()).output().unwrap();
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));
    restored.execute(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", restored.name()));
    expect_equal(&restored);
}

#[test]
fn a_catalogue_can_be_verified_after_a_rollback() {
    let (catalogue, _) = generated(50, Defects::None);
    let database = Server::shared().database();
    let first = load(&database, catalogue.path(), &[]).succeeded();
    load(&database, &example(), &["--max-rejects", "50%", "--keep-previous"]).succeeded();
    assert_eq!(etl(["rollback", "--database-url", &database.url()]).code, 0);
    let (run, report) = verify(&database.url(), &[]);
    assert_eq!((run.code, &report["load_id"]), (0, &first.report["load_id"]), "{run:?}");
}

#[test]
fn the_privileges_of_a_reader_are_enough() {
    let server = Server::shared();
    let database = server.database();
    load(&database, &example(), &["--max-rejects", "50%"]).succeeded();
    server.create_role("verify_reader", "s3cret");
    let url = database.url_of("verify_reader", "s3cret");
    for run in [verify(&url, &[]).0, etl(["status", "--database-url", &url])] {
        assert_eq!(run.code, 4, "{run:?}");
        let hint = "hint: as an administrator: GRANT atelier_reader TO \"verify_reader\"";
        assert!(run.stderr.contains(hint) && !run.stderr.contains("CREATE"), "{}", run.stderr);
    }
    database.execute("GRANT atelier_reader TO verify_reader");
    let (run, _) = verify(&database.url_of("verify_reader", "s3cret"), &[]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
}

#[test]
fn a_verification_that_is_impossible_says_why() {
    let database = Server::shared().database();
    let failed = |code: i32, expected: &[&str]| {
        let (run, _) = verify(&database.url(), &[]);
        assert_eq!(run.code, code, "{run:?}");
        assert!(expected.iter().all(|text| run.stderr.contains(text)), "{expected:?}: {}", run.stderr);
    };
    failed(4, &["no load is published in database", "load a catalogue with atelier-etl load"]);
    load(&database, &example(), &["--max-rejects", "50%"]).succeeded();
    let damages = [
        ("tables #- '{skus,content_digest}'", "did not record what it loaded into skus"),
        ("tables #- '{skus,loaded}'", "did not record what it loaded into skus"),
        ("'{\"skus\": 1e400}'", "did not record what it loaded into"),
    ];
    for (damage, expected) in damages {
        database.execute(&format!("UPDATE atelier.load SET tables = {damage}"));
        failed(4, &[expected, "load the files again"]);
        load(&database, &example(), &["--max-rejects", "50%", "--force"]).succeeded();
    }
    database.execute("ALTER TABLE atelier.skus RENAME COLUMN size TO sizes");
    failed(5, &["skus: not the table that was loaded", "size"]);
    database.execute("DROP TABLE atelier.skus");
    failed(5, &["skus: not the table that was loaded", "does not exist"]);
    let run = etl(["verify", "--database-url", &database.url(), "--jobs", "0"]);
    assert!(run.code == 2 && run.stderr.contains("give a number from 1 to 64"), "{run:?}");
}

/// A session that locks a table against readers until it commits, and the runtime that polls it.
fn hold(database: &Database<'_>, table: &str) -> (Runtime, Client) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let lock = format!("BEGIN; LOCK TABLE atelier.{table} IN ACCESS EXCLUSIVE MODE");
        client.batch_execute(&lock).await.unwrap();
        client
    });
    (runtime, client)
}

/// A verification that is waiting for `table`.
fn waiting_for(database: &Database<'_>, table: &str) -> Running {
    let verify = Etl::new(["verify", "--database-url", &database.url()]).spawn();
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
         AND query LIKE 'COPY atelier.{table} %' AND wait_event_type = 'Lock'"
    );
    until("verify waits for the table", || one(database, &waiting) == "1");
    verify
}

#[test]
fn it_can_be_interrupted() {
    let database = Server::shared().database();
    load(&database, &example(), &["--max-rejects", "50%"]).succeeded();
    let _held = hold(&database, "photos");
    let verify = waiting_for(&database, "photos");
    verify.signal(Signal::SIGINT);
    let run = verify.finish();
    assert_eq!((run.code, run.stderr.as_str()), (130, "atelier-etl: interrupted\n"), "{run:?}");
}

/// Then the tables that were read are of two loads.
#[test]
fn a_load_that_is_published_during_a_verification_is_noticed() {
    let (catalogue, _) = generated(50, Defects::None);
    let database = Server::shared().database();
    let first = seen(&load(&database, catalogue.path(), &[]).succeeded()).0;
    let second = load(&database, &example(), &["--max-rejects", "50%", "--keep-previous"]).succeeded();
    let second = seen(&second).0;
    // Blocks the last table until the other load is published.
    let (runtime, holder) = hold(&database, "styles");
    let verify = waiting_for(&database, "styles");
    let exchange = "ALTER SCHEMA atelier RENAME TO atelier_next;
                    ALTER SCHEMA atelier_previous RENAME TO atelier;
                    ALTER SCHEMA atelier_next RENAME TO atelier_previous; COMMIT";
    runtime.block_on(holder.batch_execute(exchange)).unwrap();
    let run = verify.finish();
    assert_eq!(run.code, 4, "{run:?}");
    let what = format!("load {first} was published while load {second} was read back");
    assert!(run.stderr.contains(&what) && run.stderr.contains("hint: verify again"), "{}", run.stderr);
}
