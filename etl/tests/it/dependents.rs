//! Objects of others that depend on the published tables: announced before they are dropped, or refused if rows would be
//! lost.

use atelier_testing::{Database, Server};
use serde_json::Value;

use crate::catalogue::{example, load};
use crate::failures::gate::{Gate, Place};
use crate::published::one;
use crate::run::{Etl, etl};

const LOAD: [&str; 3] = ["--max-rejects", "50%", "--force"];
const LOAD_AND_KEEP: [&str; 4] = ["--max-rejects", "50%", "--force", "--keep-previous"];

/// The SQL that creates it, its name in warnings, and a query whether it still exists.
const CASES: [(&str, &str, &str); 17] = [
    (
        "CREATE MATERIALIZED VIEW public.sizes AS SELECT size FROM atelier.skus; CREATE INDEX ON public.sizes (size)",
        "materialized view public.sizes",
        "SELECT to_regclass('public.sizes') IS NOT NULL",
    ),
    (
        "CREATE VIEW public.whole AS SELECT s FROM atelier.skus s",
        "view public.whole",
        "SELECT to_regclass('public.whole') IS NOT NULL",
    ),
    (
        "CREATE TABLE public.orders (product int REFERENCES atelier.product)",
        "foreign key orders_product_fkey on public.orders",
        "SELECT EXISTS (SELECT FROM pg_constraint WHERE conname = 'orders_product_fkey')",
    ),
    (
        "CREATE PUBLICATION dependents_some FOR TABLE atelier.product",
        "table atelier.product in publication dependents_some",
        "SELECT EXISTS (SELECT FROM pg_publication_rel)",
    ),
    (
        "CREATE FUNCTION public.count_all() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM atelier.styles; END",
        "function public.count_all()",
        "SELECT to_regproc('public.count_all') IS NOT NULL",
    ),
    (
        "CREATE FUNCTION public.name_of(atelier.product) RETURNS text LANGUAGE sql AS 'SELECT $1.name'",
        "function public.name_of(atelier.product)",
        "SELECT to_regproc('public.name_of') IS NOT NULL",
    ),
    (
        "CREATE INDEX by_size ON atelier.skus (size)",
        "index atelier.by_size",
        "SELECT to_regclass('atelier.by_size') IS NOT NULL",
    ),
    (
        "ALTER TABLE atelier.photos ADD CONSTRAINT sound CHECK (id > 0)",
        "constraint sound on atelier.photos",
        "SELECT EXISTS (SELECT FROM pg_constraint WHERE conname = 'sound')",
    ),
    (
        "CREATE STATISTICS atelier.both ON id, style_id FROM atelier.skus",
        "statistics object atelier.\"both\"",
        "SELECT EXISTS (SELECT FROM pg_statistic_ext)",
    ),
    (
        "CREATE RULE none AS ON DELETE TO atelier.load DO INSTEAD NOTHING",
        "rule \"none\" on atelier.load",
        "SELECT EXISTS (SELECT FROM pg_rewrite WHERE rulename = 'none')",
    ),
    (
        "CREATE TRIGGER same BEFORE UPDATE ON atelier.load FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "trigger same on atelier.load",
        "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'same')",
    ),
    (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA atelier GRANT SELECT ON TABLES TO PUBLIC",
        "default privileges for role postgres in schema atelier on tables",
        "SELECT EXISTS (SELECT FROM pg_default_acl)",
    ),
    (
        "ALTER TABLE atelier.skus ALTER quantity SET DEFAULT 0",
        "default value for atelier.skus.quantity",
        "SELECT EXISTS (SELECT FROM pg_attrdef WHERE adrelid = 'atelier.skus'::regclass)",
    ),
    (
        "ALTER TABLE atelier.styles REPLICA IDENTITY FULL",
        "replica identity of atelier.styles",
        "SELECT relreplident = 'f' FROM pg_class WHERE oid = 'atelier.styles'::regclass",
    ),
    (
        "ALTER TABLE atelier.styles SET (autovacuum_enabled = true)",
        "storage parameters of atelier.styles",
        "SELECT 'autovacuum_enabled=true' = ANY(reloptions) FROM pg_class WHERE oid = 'atelier.styles'::regclass",
    ),
    (
        "ALTER TABLE atelier.related ALTER id SET STATISTICS 7",
        "settings of column id of atelier.related",
        "SELECT coalesce(attstattarget, -1) = 7 FROM pg_attribute WHERE attrelid = 'atelier.related'::regclass AND attname = 'id'",
    ),
    (
        "CREATE TABLE public.guarded (id int);
         CREATE POLICY known ON public.guarded USING (id IN (SELECT id FROM atelier.product))",
        "policy known on public.guarded",
        "SELECT EXISTS (SELECT FROM pg_policy WHERE polname = 'known')",
    ),
];

fn published() -> Database<'static> {
    let database = Server::shared().database();
    load(&database, &example(), &LOAD).succeeded();
    database
}

fn warnings(report: &Value) -> Vec<String> {
    serde_json::from_value(report["warnings"].clone()).unwrap()
}

#[test]
fn each_is_announced_once_on_the_terminal_and_in_the_report() {
    let database = published();
    for (make, _, there) in CASES {
        database.execute(make);
        assert_eq!(one(&database, there), "t", "{make}");
    }
    // As PostgreSQL itself does since its minor versions of November 2026.
    database.execute(
        "UPDATE pg_attribute SET attoptions = '{pg_attver=1}' WHERE attrelid = 'atelier.product'::regclass AND attnum > 0",
    );
    let done = load(&database, &example(), &LOAD).succeeded();
    let expected =
        |name: &str| format!("{name}: dropped with the replaced catalogue; create it again after the load");
    let mut names: Vec<String> = CASES.iter().map(|(_, name, _)| expected(name)).collect();
    let mut found = warnings(&done.report);
    names.sort();
    found.sort();
    assert_eq!(found, names);
    for ((_, name, there), warning) in CASES.iter().map(|case| (case, expected(case.1))) {
        assert_eq!(one(&database, there), "f", "{name}");
        assert_eq!(done.run.stdout.matches(&warning).count(), 1, "{}", done.run.stdout);
    }
    // Before the summary, so before anything was done.
    assert!(done.run.stdout.find("dropped with").unwrap() < done.run.stdout.find("rows read").unwrap());
    let again = load(&database, &example(), &LOAD).succeeded();
    assert_eq!(warnings(&again.report), [""; 0]);
    assert_eq!(one(&database, "SELECT to_regclass('public.orders') IS NOT NULL"), "t");
}

#[test]
fn dependents_of_a_kept_catalogue_are_announced_again_when_it_is_dropped() {
    let database = published();
    database.execute("CREATE MATERIALIZED VIEW public.sizes AS SELECT size FROM atelier.skus");
    let name = "materialized view public.sizes";
    let kept = format!(
        "{name}: stays with the replaced catalogue, now atelier_previous, and will be dropped with it"
    );
    let done = load(&database, &example(), &LOAD_AND_KEEP).succeeded();
    assert_eq!(warnings(&done.report), std::slice::from_ref(&kept));
    // After a rollback it depends on the published catalogue again.
    let rollback = || etl(["rollback", "--database-url", &database.url()]).stdout;
    assert!(!rollback().contains("warning"));
    assert!(rollback().ends_with(&format!("warning: {kept}\n")));

    let done = load(&database, &example(), &LOAD_AND_KEEP).succeeded();
    let gone = format!("{name}: dropped with the previous catalogue, atelier_previous");
    assert_eq!(warnings(&done.report), [gone]);
    assert_eq!(one(&database, "SELECT to_regclass('public.sizes')"), "∅");
}

#[test]
fn dependents_created_during_the_load_are_announced_too() {
    let database = published();
    let gate = Gate::close(&database, Place::Index);
    let (out, url) = (tempfile::tempdir().unwrap(), database.url());
    let report = out.path().join("report.json");
    let running =
        Etl::new([&["load", "--database-url", &url, "--jobs", "1"], &LOAD[..], &["--data"]].concat())
            .arg(example())
            .arg("--report")
            .arg(&report)
            .spawn();
    gate.wait();
    database.execute("CREATE MATERIALIZED VIEW public.sizes AS SELECT size FROM atelier.skus");
    drop(gate);
    let run = running.finish();
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.stdout.matches("materialized view public.sizes: dropped").count(), 1, "{}", run.stdout);
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(warnings(&report).len(), 1, "{report}");
}

/// By an earlier load that was killed or could not drop it.
#[test]
fn dependents_of_a_schema_that_was_left_behind_are_announced() {
    let database = published();
    database.execute(
        "CREATE SCHEMA atelier_staging; CREATE TABLE atelier_staging.load (LIKE atelier.load);
         CREATE VIEW public.staged AS SELECT load_id FROM atelier_staging.load",
    );
    let done = load(&database, &example(), &["--max-rejects", "50%"]).succeeded();
    assert_eq!(done.report["unchanged"], true);
    let named =
        "view public.staged: dropped with the schema atelier_staging, which an earlier load left behind";
    assert_eq!(warnings(&done.report), [named]);
    assert_eq!(done.run.stdout.matches(named).count(), 1);
}

#[test]
fn rows_of_others_are_not_dropped() {
    for (make, name, remedy) in [
        (
            "CREATE TABLE public.more () INHERITS (atelier.features); INSERT INTO public.more VALUES (1, 1, 'f', 'v')",
            "table public.more",
            "ALTER TABLE public.more NO INHERIT atelier.features",
        ),
        (
            "CREATE TABLE public.seen (id int, product atelier.product); INSERT INTO public.seen VALUES (1, NULL)",
            "table column public.seen.product",
            "ALTER TABLE public.seen DROP COLUMN product",
        ),
    ] {
        let database = published();
        database.execute(make);
        let id = one(&database, "SELECT load_id FROM atelier.load");
        let done = load(&database, &example(), &LOAD);
        let what = format!("{name} depends on the schema atelier and would lose rows with it");
        assert!(done.run.code == 4 && done.run.stderr.contains(&what), "{:?}", done.run);
        assert_eq!(one(&database, "SELECT load_id FROM atelier.load"), id);

        // One that is created later prevents publishing.
        database.execute(remedy);
        let gate = Gate::close(&database, Place::Index);
        let url = database.url();
        let running =
            Etl::new([&["load", "--database-url", &url, "--jobs", "1"], &LOAD[..], &["--data"]].concat())
                .arg(example())
                .spawn();
        gate.wait();
        database.execute(&make.replace("public.", "public.other_"));
        drop(gate);
        let run = running.finish();
        assert!(run.code == 4 && run.stderr.contains(&what.replace("public.", "public.other_")), "{run:?}");
        assert_eq!(one(&database, "SELECT load_id FROM atelier.load"), id);
    }
}

/// Dependents of a replaced view stay. A rule on it is dropped if it names one of our tables itself.
#[test]
fn dependents_of_a_replaced_view() {
    let database = published();
    database.execute(
        "CREATE SCHEMA x; CREATE VIEW x.v AS SELECT id, size FROM atelier.skus;
         CREATE MATERIALIZED VIEW x.m AS SELECT size FROM x.v;
         CREATE VIEW x.n AS SELECT count(*) FROM x.m;
         CREATE FUNCTION x.f() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM x.v; END;
         CREATE RULE r AS ON INSERT TO x.v DO INSTEAD INSERT INTO atelier.load (load_id) VALUES (NULL);
         CREATE RULE s AS ON DELETE TO x.v DO INSTEAD NOTHING",
    );
    let rule = "rule r on x.v: dropped with the replaced catalogue; create it again after the load";
    let done = load(&database, &example(), &LOAD).succeeded();
    assert_eq!(warnings(&done.report), [rule]);
    assert_eq!(done.run.stdout.matches(rule).count(), 1, "{}", done.run.stdout);
    let there = "SELECT string_agg(name, ' ' ORDER BY name) FROM (
                     SELECT relname::text AS name FROM pg_class WHERE relnamespace = 'x'::regnamespace
                     UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'x'::regnamespace
                     UNION ALL SELECT rulename FROM pg_rewrite WHERE ev_class = 'x.v'::regclass AND ev_type <> '1') x";
    assert_eq!(one(&database, there), "f m n s v");
    assert_eq!(one(&database, "SELECT x.f() = count(*) FROM atelier.skus"), "t");

    // If it cannot be replaced, it is dropped with its dependents.
    database.execute(
        "CREATE VIEW x.whole AS SELECT s FROM atelier.skus s; CREATE MATERIALIZED VIEW x.part AS SELECT (s).id FROM x.whole",
    );
    let done = load(&database, &example(), &LOAD).succeeded();
    let mut named = warnings(&done.report);
    named.sort();
    let gone =
        |what: &str| format!("{what}: dropped with the replaced catalogue; create it again after the load");
    assert_eq!(named, [gone("materialized view x.part"), gone("view x.whole")]);
    assert_eq!(one(&database, there), "f m n s v");
}
