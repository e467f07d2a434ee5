//! What clients see of a load: it is published atomically, readable and compact.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use atelier_base::tables::TABLES;
use atelier_sample::Defects;
use atelier_testing::{Database, Server};
use tokio_postgres::{Client, NoTls};

use crate::catalogue::{Done, example, generated, load};
use crate::run::etl;

pub(crate) fn one(database: &Database<'_>, sql: &str) -> String {
    database.query(sql)[0][0].clone().unwrap_or("∅".into())
}

/// What a reader must see consistently: the id of the load and its number of products and photos.
pub(crate) type Seen = (String, i64, i64);

pub(crate) fn seen(done: &Done) -> Seen {
    let loaded = |table: &str| done.report["tables"][table]["loaded"].as_i64().unwrap();
    (done.report["load_id"].as_str().unwrap().to_owned(), loaded("product"), loaded("photos"))
}

/// Reads repeatedly until `stop` and once more after it. Returns the different results in order.
fn read_on(url: &str, stop: &AtomicBool, read: impl AsyncFn(&Client) -> Seen) -> Vec<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut all: Vec<Seen> = Vec::new();
        loop {
            let last = stop.load(Ordering::SeqCst);
            let now = read(&client).await;
            if all.last() != Some(&now) {
                all.push(now);
            }
            if last {
                break;
            }
        }
        drop(client);
        connection.await.unwrap().unwrap();
        all
    })
}

async fn in_one_statement(client: &Client) -> Seen {
    let query = "SELECT l.load_id::text, (SELECT count(*) FROM atelier.product), (SELECT count(*) FROM atelier.photos)
                 FROM atelier.load l";
    let row = client.query_one(query, &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

async fn in_one_transaction(client: &Client) -> Seen {
    client.batch_execute("BEGIN").await.unwrap();
    let load = client.query_one("SELECT load_id::text FROM atelier.load", &[]).await.unwrap();
    // Not to wait for anything: it makes it likely that a load is published between the two.
    tokio::time::sleep(Duration::from_millis(30)).await;
    let products = client.query_one("SELECT count(*) FROM atelier.product", &[]).await.unwrap();
    let photos = client.query_one("SELECT count(*) FROM atelier.photos", &[]).await.unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    (load.get(0), products.get(0), photos.get(0))
}

/// Publishes while readers run. `publish` returns what was published, in order, after `first`. No reader may have seen
/// parts of two loads, or another order.
pub(crate) fn expect_consistent_reads(
    database: &Database<'_>,
    first: Seen,
    publish: impl FnOnce() -> Vec<Seen>,
) {
    let stop = AtomicBool::new(false);
    let url = database.url();
    let (published, read) = thread::scope(|scope| {
        let readers = [
            scope.spawn(|| read_on(&url, &stop, in_one_statement)),
            scope.spawn(|| read_on(&url, &stop, in_one_transaction)),
        ];
        // The readers must end even if it panics.
        let published = catch_unwind(AssertUnwindSafe(publish));
        stop.store(true, Ordering::SeqCst);
        let published = published.unwrap_or_else(|panic| resume_unwind(panic));
        let published = [vec![first], published].concat();
        (published, readers.map(|reader| reader.join().unwrap()))
    });
    for seen in read {
        // A slow reader may miss a load, but never sees an older one again, and sees the last one.
        let mut later = published.iter();
        assert!(seen.iter().all(|now| later.any(|load| load == now)), "{seen:?} of {published:?}");
        assert!(seen.len() > 1 && seen.last() == published.last(), "{seen:?} of {published:?}");
    }
}

#[test]
fn readers_see_one_load_or_the_next_but_never_both() {
    let (small, _) = generated(50, Defects::None);
    let (large, _) = generated(70, Defects::None);
    let database = Server::shared().database();
    let first = seen(&load(&database, small.path(), &[]).succeeded());
    expect_consistent_reads(&database, first, || {
        let catalogues = [&large, &small, &large, &small];
        catalogues.map(|catalogue| seen(&load(&database, catalogue.path(), &[]).succeeded())).into()
    });
}

#[test]
fn the_previous_load_is_kept_on_request_and_dropped_by_the_next() {
    let (catalogue, _) = generated(20, Defects::None);
    let database = Server::shared().database();
    let schemas = || {
        one(
            &database,
            "SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname LIKE 'atelier%'",
        )
    };
    let kept = || one(&database, "SELECT load_id FROM atelier_previous.load");
    let status = || {
        let status = etl(["status", "--database-url", &database.url()]);
        assert_eq!(status.code, 0, "{}", status.stderr);
        status.stdout
    };
    assert!(status().starts_with("no load is published"), "{}", status());

    let first = load(&database, catalogue.path(), &["--keep-previous"]).succeeded();
    assert_eq!(schemas(), "atelier");
    let again = ["--keep-previous", "--force"];
    let second = load(&database, catalogue.path(), &again).succeeded();
    assert_eq!((schemas(), kept()), ("atelier atelier_previous".into(), seen(&first).0));
    assert!(status().contains("previous  kept, as the schema atelier_previous\n"), "{}", status());
    let third = load(&database, catalogue.path(), &again).succeeded();
    assert_eq!((schemas(), kept()), ("atelier atelier_previous".into(), seen(&second).0));

    let fourth = load(&database, &example(), &["--max-rejects", "50%"]).succeeded();
    assert_eq!(schemas(), "atelier");
    assert!(seen(&fourth).0 > seen(&third).0, "ids of loads rise with time");
    let status = status();
    let lines: Vec<&str> = status.lines().collect();
    assert_eq!(lines[0], format!("load      {}", seen(&fourth).0));
    assert!(lines[1].starts_with("finished  2") && lines[1].contains(" by atelier-etl "), "{}", lines[1]);
    let rows: Vec<String> = lines[3..9]
        .iter()
        .map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        rows,
        ["product 15 4", "features 9 3", "styles 10 3", "photos 12 3", "skus 12 4", "related 10 2"]
    );
    assert!(lines[9].starts_with("total              68        19 "), "{}", lines[9]);
    assert_eq!(lines[10..], ["previous  not kept"]);
}

#[test]
fn the_table_load_describes_the_load() {
    let database = Server::shared().database();
    let done = load(&database, &example(), &["--max-rejects", "50%"]).succeeded();
    let row = database.query(
        "SELECT load_id, version, finished_at >= started_at AND finished_at BETWEEN now() - interval '5 min' AND now(),
                tables->'photos'->>'content_digest', tables->'photos'->'repaired'->>'unterminated_quote',
                (SELECT count(*) FROM jsonb_object_keys(tables))
         FROM atelier.load",
    );
    let digest = done.report["tables"]["photos"]["content_digest"].as_str().unwrap();
    let expected = [&*seen(&done).0, env!("CARGO_PKG_VERSION"), "t", digest, "4", "6"];
    assert_eq!(row, [expected.map(|value| Some(value.to_owned())).to_vec()]);
}

#[test]
fn the_reader_may_read_and_nothing_else() {
    let database = Server::shared().database();
    load(&database, &example(), &["--max-rejects", "50%"]).succeeded();
    for table in TABLES.iter().map(|table| table.name).chain(["load"]) {
        let rows = one(&database, &format!("SET ROLE atelier_reader; SELECT count(*) FROM atelier.{table}"));
        assert!(rows != "0", "{table}");
        let privileges = one(
            &database,
            &format!(
                "SELECT string_agg(kind, ' ') FROM unnest('{{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}}'::text[]) kind
                 WHERE has_table_privilege('atelier_reader', 'atelier.{table}', kind)"
            ),
        );
        assert_eq!(privileges, "SELECT", "{table}");
    }
    assert_eq!(one(&database, "SELECT has_schema_privilege('atelier_reader', 'atelier', 'CREATE')"), "f");
    assert_eq!(one(&database, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'atelier_reader'"), "f");
}

#[test]
fn tables_are_frozen_analyzed_and_indexed() {
    let (catalogue, _) = generated(300, Defects::None);
    let database = Server::shared().database();
    load(&database, catalogue.path(), &[]).succeeded();
    // Its extension is not installed everywhere.
    let visibility = "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_visibility'";
    let visibility = one(&database, visibility) == "1";
    if visibility {
        database.execute("CREATE EXTENSION pg_visibility");
    }
    for table in &TABLES {
        let name = table.name;
        // Since PostgreSQL 16, COPY extends a table by many pages at a time, and leaves unused ones at the end.
        let pages = database.query(&format!(
            "SELECT relallvisible = (SELECT max((ctid::text::point)[0]) + 1 FROM atelier.{name}),
                    relpages - relallvisible < 64, pg_relation_size(oid) = relpages * 8192::bigint,
                    reltuples = (SELECT count(*) FROM atelier.{name}), relpersistence
             FROM pg_class WHERE oid = 'atelier.{name}'::regclass"
        ));
        assert_eq!(pages, [["t", "t", "t", "t", "p"].map(|value| Some(value.to_owned())).to_vec()], "{name}");
        if visibility {
            let thawed = one(
                &database,
                &format!(
                    "SELECT count(*) FROM pg_class, pg_visibility_map(oid)
                     WHERE oid = 'atelier.{name}'::regclass AND blkno < relallvisible AND NOT all_frozen"
                ),
            );
            assert_eq!(thawed, "0", "{name}");
            assert_eq!(
                one(&database, &format!("SELECT count(*) FROM pg_check_frozen('atelier.{name}')")),
                "0",
                "{name}"
            );
        }
        let analyzed = one(
            &database,
            &format!("SELECT count(*) FROM pg_stats WHERE schemaname = 'atelier' AND tablename = '{name}'"),
        );
        assert_eq!(analyzed, (table.columns.len() + usize::from(table.ranked)).to_string(), "{name}");
        let usable = one(
            &database,
            &format!(
                "SELECT count(*) FROM pg_index WHERE indrelid = 'atelier.{name}'::regclass AND indisvalid AND indisready AND indislive"
            ),
        );
        assert_eq!(usable, if table.ranked { "2" } else { "1" }, "{name}");
    }
}

/// A dump may take an hour: neither it nor the load is cancelled.
#[test]
fn a_long_reader_does_not_prevent_publishing() {
    beside_a_reader_of("atelier", &[], &["still read the old catalogue", "an old one could not be dropped"]);
}

/// A dump of the database reads the previous catalogue too.
#[test]
fn nor_does_a_long_reader_of_the_previous_catalogue() {
    for keep in [&["--keep-previous"][..], &[]] {
        beside_a_reader_of("atelier_previous", keep, &["an old one could not be dropped"]);
    }
}

fn beside_a_reader_of(schema: &str, keep: &[&str], telling: &[&str]) {
    let (first, _) = generated(50, Defects::None);
    let (second, _) = generated(70, Defects::None);
    let database = Server::shared().database();
    load(&database, second.path(), &[]).succeeded();
    load(&database, first.path(), &["--keep-previous"]).succeeded();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let reader = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("BEGIN; SELECT count(*) FROM {schema}.styles")).await.unwrap();
        client
    });

    let done = load(&database, second.path(), keep).succeeded();
    let warnings = done.report["warnings"].as_array().unwrap();
    assert!(!warnings.iter().any(|warning| warning.as_str().unwrap().contains("as it was")), "{warnings:?}");
    for (warning, telling) in warnings.iter().zip(telling) {
        assert!(warning.as_str().unwrap().contains(*telling), "{warning}");
    }
    assert_eq!(warnings.len(), telling.len(), "{warnings:?}");
    assert_eq!(one(&database, "SELECT count(*) FROM atelier.product"), "70");

    runtime.block_on(reader.batch_execute("COMMIT")).unwrap();
    let done = load(&database, first.path(), &[]).succeeded();
    assert!(done.report["warnings"].as_array().unwrap().is_empty());
    assert_eq!(one(&database, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'atelier\\_%'"), "0");
}
