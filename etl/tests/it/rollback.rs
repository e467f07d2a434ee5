//! Rollbacks: what readers see, and that nothing is lost.

use atelier_base::tables::TABLES;
use atelier_sample::Defects;
use atelier_testing::{Database, Server};

use crate::catalogue::{example, generated, load};
use crate::published::{expect_consistent_reads, one, seen};
use crate::run::{Run, etl};

fn rollback(database: &Database<'_>) -> Run {
    let run = etl(["rollback", "--database-url", &database.url()]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    run
}

#[test]
fn readers_see_one_load_or_the_other_but_never_both() {
    let (small, _) = generated(50, Defects::None);
    let (large, _) = generated(70, Defects::None);
    let database = Server::shared().database();
    let older = seen(&load(&database, small.path(), &[]).succeeded());
    let newer = seen(&load(&database, large.path(), &["--keep-previous"]).succeeded());
    expect_consistent_reads(&database, newer.clone(), || {
        let published = [&older, &newer].repeat(4);
        published.iter().for_each(|load| assert!(rollback(&database).stdout.contains(&load.0)));
        published.into_iter().cloned().collect()
    });
}

#[test]
fn the_two_catalogues_are_swapped_completely() {
    let (catalogue, _) = generated(20, Defects::None);
    let database = Server::shared().database();
    let older = seen(&load(&database, catalogue.path(), &[]).succeeded()).0;
    let accepting = ["--max-rejects", "50%", "--keep-previous"];
    let newer = seen(&load(&database, &example(), &accepting).succeeded()).0;
    let kept = || one(&database, "SELECT load_id FROM atelier_previous.load");
    let finished = |schema: &str| {
        let at = "to_char(finished_at, 'YYYY-MM-DD HH24:MI:SS TZ')";
        one(&database, &format!("SELECT {at} FROM {schema}.load"))
    };
    for (back, replaced, products) in [(&older, &newer, "20"), (&newer, &older, "15")] {
        let said = rollback(&database).stdout;
        let expected = format!(
            "load {back} is published again\n  finished {}\n\
             load {replaced} is kept as atelier_previous\n  finished {}; roll back again to return to it\n",
            finished("atelier"),
            finished("atelier_previous")
        );
        assert_eq!(said, expected);
        assert_eq!(
            (one(&database, "SELECT load_id FROM atelier.load"), kept()),
            (back.clone(), replaced.clone())
        );
        assert_eq!(one(&database, "SELECT count(*) FROM atelier.product"), products);
        let status = etl(["status", "--database-url", &database.url()]).stdout;
        assert!(status.starts_with(&format!("load      {back}\n")), "{status}");
        assert!(status.contains("previous  kept"), "{status}");
        // As atelier_reader, and with the indexes that the load built.
        for table in TABLES.iter().map(|table| table.name).chain(["load"]) {
            let rows =
                one(&database, &format!("SET ROLE atelier_reader; SELECT count(*) FROM atelier.{table}"));
            assert_ne!(rows, "0", "{table}");
        }
        let indexes = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'atelier'";
        assert_eq!(one(&database, indexes), "8");
    }
    let schemas =
        "SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname LIKE 'atelier%'";
    assert_eq!(one(&database, schemas), "atelier atelier_previous");
}
