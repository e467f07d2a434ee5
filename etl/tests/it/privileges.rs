//! Loads and rollbacks keep the owner, privileges, policies, comments and views of the published catalogue.

use atelier_base::tables::TABLES;
use atelier_testing::{Database, Rows, Server, until};

use crate::catalogue::{example, load};
use crate::failures::gate::{Gate, Place};
use crate::failures::schemas;
use crate::published::one;
use crate::run::{Etl, Run, etl};

const LOAD: [&str; 3] = ["--max-rejects", "50%", "--force"];
const LOAD_AND_KEEP: [&str; 4] = ["--max-rejects", "50%", "--force", "--keep-previous"];

/// The owners of the schema and its tables, and all privileges on them and their columns except those of the owner and of
/// atelier_reader.
fn privileges(database: &Database<'_>) -> Rows {
    database.query(
        "SELECT 'schema' AS object, nspowner::regrole::text AS owner, a.grantee::regrole::text, a.privilege_type, a.is_grantable
         FROM pg_namespace LEFT JOIN LATERAL aclexplode(nspacl) a ON a.grantee NOT IN (nspowner, coalesce(to_regrole('atelier_reader'), 0))
         WHERE nspname = 'atelier'
         UNION ALL
         SELECT relname, relowner::regrole::text, a.grantee::regrole::text, a.privilege_type, a.is_grantable
         FROM pg_class LEFT JOIN LATERAL aclexplode(relacl) a ON a.grantee NOT IN (relowner, coalesce(to_regrole('atelier_reader'), 0))
         WHERE relnamespace = 'atelier'::regnamespace AND relkind = 'r'
         UNION ALL
         SELECT c.relname || '.' || attname, NULL, a.grantee::regrole::text, a.privilege_type, a.is_grantable
         FROM pg_class c JOIN pg_attribute ON attrelid = c.oid CROSS JOIN aclexplode(attacl) a
         WHERE relnamespace = 'atelier'::regnamespace ORDER BY 1, 2, 3, 4, 5",
    )
}

fn rollback(url: &str) -> Run {
    let run = etl(["rollback", "--database-url", url]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    run
}

fn warnings(report: &serde_json::Value) -> usize {
    report["warnings"].as_array().unwrap().len()
}

#[test]
fn privileges_of_others_are_kept() {
    let database = Server::shared().database();
    load(&database, &example(), &LOAD).succeeded();
    database.execute(
        "CREATE ROLE privileges_web; CREATE ROLE privileges_admin; CREATE ROLE \"privileges \"\"odd\"\"\";
         GRANT USAGE ON SCHEMA atelier TO privileges_web, privileges_admin WITH GRANT OPTION;
         GRANT SELECT ON ALL TABLES IN SCHEMA atelier TO privileges_web;
         GRANT SELECT, UPDATE ON atelier.product TO privileges_admin WITH GRANT OPTION;
         GRANT SELECT (id), UPDATE (size) ON atelier.skus TO \"privileges \"\"odd\"\"\";
         GRANT REFERENCES (id) ON atelier.styles TO privileges_admin WITH GRANT OPTION;
         GRANT SELECT ON atelier.load TO PUBLIC;
         SET ROLE privileges_admin; GRANT SELECT ON atelier.product TO \"privileges \"\"odd\"\"\"",
    );
    let before = privileges(&database);
    assert!(before.len() > 15, "{before:?}");
    for arguments in [&LOAD[..], &LOAD_AND_KEEP, &LOAD_AND_KEEP] {
        let done = load(&database, &example(), arguments).succeeded();
        assert_eq!(privileges(&database), before);
        assert_eq!(warnings(&done.report), 0, "{}", done.report);
    }
    rollback(&database.url());
    assert_eq!(privileges(&database), before);
    database.execute(
        "DROP OWNED BY privileges_web, privileges_admin, \"privileges \"\"odd\"\"\";
         DROP ROLE privileges_web, privileges_admin, \"privileges \"\"odd\"\"\"",
    );
}

#[test]
fn privileges_granted_during_a_load_are_kept() {
    let database = Server::shared().database();
    load(&database, &example(), &LOAD).succeeded();
    let gate = Gate::close(&database, Place::Index);
    let url = database.url();
    let running = Etl::new([
        "load",
        "--database-url",
        &url,
        "--max-rejects",
        "50%",
        "--force",
        "--jobs",
        "1",
        "--data",
    ])
    .arg(example())
    .spawn();
    gate.wait();
    database.execute("CREATE ROLE privileges_late; GRANT SELECT ON atelier.product TO privileges_late");
    drop(gate);
    assert_eq!(running.finish().code, 0);
    assert_eq!(
        one(&database, "SELECT has_table_privilege('privileges_late', 'atelier.product', 'SELECT')"),
        "t"
    );
    database.execute("DROP OWNED BY privileges_late; DROP ROLE privileges_late");
}

/// Privileges that were revoked or granted since the previous catalogue was published.
#[test]
fn a_rollback_keeps_the_current_privileges() {
    let database = Server::shared().database();
    load(&database, &example(), &LOAD).succeeded();
    database.execute(
        "CREATE ROLE privileges_gone; CREATE ROLE privileges_grantor; CREATE ROLE privileges_new;
         GRANT USAGE ON SCHEMA atelier TO privileges_gone, privileges_grantor;
         GRANT SELECT ON atelier.product TO privileges_grantor WITH GRANT OPTION;
         GRANT SELECT (id) ON atelier.skus TO privileges_gone;
         SET ROLE privileges_grantor; GRANT SELECT ON atelier.product TO privileges_gone",
    );
    load(&database, &example(), &LOAD_AND_KEEP).succeeded();
    database.execute(
        "REVOKE ALL ON SCHEMA atelier FROM privileges_gone; REVOKE ALL ON atelier.product, atelier.skus FROM privileges_gone;
         REVOKE ALL ON atelier.styles, atelier.load FROM atelier_reader;
         GRANT SELECT ON atelier.related TO privileges_new",
    );
    let now = privileges(&database);
    rollback(&database.url());
    assert_eq!(privileges(&database), now);
    let may = |role: &str, table: &str| {
        one(&database, &format!("SELECT has_table_privilege('{role}', 'atelier.{table}', 'SELECT')"))
    };
    assert_eq!(may("privileges_gone", "product"), "f");
    assert_eq!(may("privileges_new", "related"), "t");
    assert_eq!((may("atelier_reader", "styles"), may("atelier_reader", "skus")), ("f".into(), "t".into()));
    // A load grants to atelier_reader again.
    load(&database, &example(), &LOAD).succeeded();
    assert_eq!(may("atelier_reader", "styles"), "t");
    database.execute(
        "DROP OWNED BY privileges_gone, privileges_grantor, privileges_new; DROP ROLE privileges_gone, privileges_grantor, privileges_new",
    );
}

#[test]
fn all_members_of_the_owning_role_can_load() {
    let server = Server::shared();
    let database = server.database();
    let name = database.name();
    for member in ["privileges_ann", "privileges_bob"] {
        server.create_role(member, "secret");
    }
    database.execute(&format!(
        "CREATE ROLE privileges_owners; GRANT privileges_owners TO privileges_ann, privileges_bob;
         GRANT CREATE ON DATABASE {name} TO privileges_ann, privileges_bob"
    ));
    let url = |member: &str| database.url_of(member, "secret");
    let as_member = |member: &str, more: &[&str]| {
        let url = url(member);
        let run = Etl::new([&["load", "--database-url", &url], &LOAD[..], more].concat())
            .arg("--data")
            .arg(example())
            .run();
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{member}: {run:?}");
    };
    as_member("privileges_ann", &[]);
    database.execute(
        "ALTER SCHEMA atelier OWNER TO privileges_owners;
         DO $$ DECLARE t text; BEGIN
             FOR t IN SELECT relname FROM pg_class WHERE relnamespace = 'atelier'::regnamespace AND relkind = 'r'
             LOOP EXECUTE format('ALTER TABLE atelier.%I OWNER TO privileges_owners', t); END LOOP;
         END $$",
    );
    let owned = privileges(&database);
    let owners = |schema: &str| {
        one(
            &database,
            &format!(
                "SELECT string_agg(DISTINCT pg_get_userbyid(o), ' ') FROM (
                     SELECT relowner AS o FROM pg_class WHERE relnamespace = '{schema}'::regnamespace
                     UNION SELECT nspowner FROM pg_namespace WHERE nspname = '{schema}') owners"
            ),
        )
    };
    as_member("privileges_bob", &[]);
    as_member("privileges_ann", &["--keep-previous"]);
    as_member("privileges_bob", &["--keep-previous"]);
    rollback(&url("privileges_ann"));
    assert_eq!(
        (owners("atelier"), owners("atelier_previous")),
        ("privileges_owners".into(), "privileges_owners".into())
    );
    // A load by an administrator keeps the owner too.
    load(&database, &example(), &LOAD).succeeded();
    assert_eq!(privileges(&database), owned);

    // What a load of one member leaves behind, another can drop.
    let gate = Gate::close(&database, Place::Index);
    let running =
        Etl::new([&["load", "--database-url", &url("privileges_ann")], &LOAD[..], &["--data"]].concat())
            .arg(example())
            .spawn();
    gate.wait();
    running.signal(nix::sys::signal::Signal::SIGKILL);
    running.finish();
    assert_eq!(schemas(&database), "atelier atelier_staging");
    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name LIKE 'atelier-etl%'",
    );
    drop(gate);
    as_member("privileges_bob", &[]);
    assert_eq!((owners("atelier"), schemas(&database)), ("privileges_owners".into(), "atelier".into()));
}

#[test]
fn views_read_the_new_tables_and_keep_their_privileges() {
    let database = Server::shared().database();
    load(&database, &example(), &LOAD).succeeded();
    database.execute(
        "CREATE ROLE privileges_reporter; CREATE SCHEMA reports;
         CREATE VIEW reports.\"of \"\"load\"\"\" WITH (security_barrier) AS SELECT load_id AS id FROM atelier.load;
         CREATE VIEW reports.joined AS SELECT concat(name, slogan) AS words FROM atelier.product;
         CREATE VIEW reports.both (a, b) AS SELECT p.id, l.id FROM atelier.product p, reports.\"of \"\"load\"\"\" l;
         CREATE VIEW reports.names AS SELECT id, name FROM atelier.product WHERE id < 3 WITH LOCAL CHECK OPTION;
         GRANT SELECT ON reports.both TO privileges_reporter; COMMENT ON VIEW reports.both IS 'both'",
    );
    // Its argument types match better than those of PostgreSQL's own function.
    database.execute(
        "CREATE FUNCTION public.concat(text, text) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'",
    );
    let views = || {
        database.query(
            "SELECT c.oid, relname, reloptions, relacl, obj_description(c.oid), pg_get_viewdef(c.oid)
             FROM pg_class c WHERE relnamespace = 'reports'::regnamespace AND relkind = 'v' ORDER BY 2",
        )
    };
    let (before, of_view) = (views(), || one(&database, "SELECT DISTINCT b FROM reports.both"));
    for arguments in [&LOAD[..], &LOAD_AND_KEEP] {
        let done = load(&database, &example(), arguments).succeeded();
        assert_eq!(of_view(), done.report["load_id"]);
        assert_eq!(warnings(&done.report), 0, "{}", done.report);
    }
    let kept = one(&database, "SELECT load_id FROM atelier_previous.load");
    rollback(&database.url());
    assert_eq!(of_view(), kept);
    assert_eq!(views(), before);
    database.execute("DROP OWNED BY privileges_reporter; DROP ROLE privileges_reporter");
}

#[test]
fn policies_and_comments_are_kept() {
    let database = Server::shared().database();
    load(&database, &example(), &LOAD_AND_KEEP).succeeded();
    database.execute(
        "CREATE ROLE privileges_tenant; GRANT USAGE ON SCHEMA atelier TO privileges_tenant;
         GRANT SELECT ON ALL TABLES IN SCHEMA atelier TO privileges_tenant;
         ALTER TABLE atelier.product ENABLE ROW LEVEL SECURITY;
         CREATE POLICY \"one \"\"row\"\"\" ON atelier.product FOR SELECT TO privileges_tenant
             USING (id = (SELECT min(product_id) FROM atelier.styles));
         CREATE POLICY never ON atelier.product AS RESTRICTIVE FOR INSERT TO PUBLIC WITH CHECK (false);
         ALTER TABLE atelier.skus ENABLE ROW LEVEL SECURITY; ALTER TABLE atelier.skus FORCE ROW LEVEL SECURITY;
         COMMENT ON SCHEMA atelier IS 'it''s the catalogue'; COMMENT ON TABLE atelier.skus IS E'two\\nlines';
         COMMENT ON COLUMN atelier.skus.size IS 'a \"size\"';
         COMMENT ON CONSTRAINT skus_pkey ON atelier.skus IS 'a constraint'; COMMENT ON INDEX atelier.skus_pkey IS 'an index';
         COMMENT ON POLICY \"one \"\"row\"\"\" ON atelier.product IS 'a policy'",
    );
    let state = || {
        database.query(
            "SELECT relname, relrowsecurity, relforcerowsecurity, obj_description(oid), col_description(oid, 3),
                    obj_description(relnamespace, 'pg_namespace')
             FROM pg_class WHERE relnamespace = 'atelier'::regnamespace AND relkind = 'r' ORDER BY 1;
             SELECT policyname, tablename, permissive, roles, cmd, qual, with_check FROM pg_policies
             WHERE schemaname = 'atelier' ORDER BY 1;
             SELECT obj_description(c.oid, 'pg_constraint'), obj_description(conindid, 'pg_class'),
                    (SELECT obj_description(oid, 'pg_policy') FROM pg_policy WHERE polname LIKE 'one%'
                     AND polrelid = 'atelier.product'::regclass)
             FROM pg_constraint c WHERE conrelid = 'atelier.skus'::regclass AND contype = 'p'",
        )
    };
    let before = state();
    assert_eq!(before.len(), TABLES.len() + 4);
    assert!(before.last().unwrap().iter().all(Option::is_some), "{before:?}");
    for arguments in [&LOAD[..], &LOAD_AND_KEEP] {
        let done = load(&database, &example(), arguments).succeeded();
        assert_eq!(state(), before);
        assert_eq!(warnings(&done.report), 0, "{}", done.report);
        assert_eq!(one(&database, "SET ROLE privileges_tenant; SELECT count(*) FROM atelier.product"), "1");
    }
    // Meanwhile the previous one has other policies.
    database.execute(
        "CREATE POLICY old ON atelier_previous.product FOR SELECT TO privileges_tenant USING (true);
         ALTER TABLE atelier_previous.load ENABLE ROW LEVEL SECURITY",
    );
    rollback(&database.url());
    assert_eq!(state(), before);
    database.execute("DROP OWNED BY privileges_tenant; DROP ROLE privileges_tenant");
}

/// A dump reads views too. Publishing does not wait for it, and replaces the view when it has ended.
#[test]
fn a_view_that_is_being_read_is_replaced_later() {
    let database = Server::shared().database();
    load(&database, &example(), &LOAD).succeeded();
    database.execute("CREATE VIEW public.now AS SELECT load_id FROM atelier.load");
    let before = one(&database, "SELECT load_id FROM public.now");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let reader = runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute("BEGIN; SELECT load_id FROM public.now").await.unwrap();
        client
    });
    let url = database.url();
    let running =
        Etl::new([&["load", "--database-url", &url], &LOAD[..], &["--data"]].concat()).arg(example()).spawn();
    until("the load is published", || one(&database, "SELECT load_id FROM atelier.load") != before);
    runtime.block_on(reader.batch_execute("COMMIT")).unwrap();
    let run = running.finish();
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert!(!run.stdout.contains("view public.now"), "{}", run.stdout);
    assert_eq!(
        one(&database, "SELECT load_id FROM public.now"),
        one(&database, "SELECT load_id FROM atelier.load")
    );
}

/// Names that PostgreSQL folds or splits if they are not quoted. Folded, one is the name of another role.
#[test]
fn the_owner_of_a_first_load_is_its_user_whatever_the_name() {
    let server = Server::shared();
    let create = |name: &str| {
        server.execute(&format!(
            "CREATE ROLE \"{}\" LOGIN PASSWORD 'secret' IN ROLE privileges_named",
            name.replace('"', "\"\"")
        ));
    };
    server.execute("CREATE ROLE privileges_named");
    create("privileges_loader");
    for name in ["Privileges_Loader", "Privileges.Smith@x", "privileges lo\"ader; drop"] {
        create(name);
        let database = server.database();
        database.execute(&format!("GRANT CREATE ON DATABASE {} TO privileges_named", database.name()));
        let url = format!(
            "host=127.0.0.1 port={} sslmode=disable user='{name}' password=secret dbname={}",
            server.port(),
            database.name()
        );
        let run = Etl::new([&["load", "--database-url", &url], &LOAD[..], &["--data"]].concat())
            .arg(example())
            .run();
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
        let owners = "SELECT string_agg(DISTINCT pg_get_userbyid(o), ' ') FROM (
                          SELECT relowner AS o FROM pg_class WHERE relnamespace = 'atelier'::regnamespace
                          UNION SELECT nspowner FROM pg_namespace WHERE nspname = 'atelier') owners";
        assert_eq!(one(&database, owners), name);
    }
}

/// It is not dropped while it is being read: the next load announces it and drops it with the catalogue that it reads.
#[test]
fn a_view_that_is_read_for_long_stays_with_the_old_catalogue() {
    let database = Server::shared().database();
    load(&database, &example(), &LOAD).succeeded();
    database.execute(
        "CREATE VIEW public.now AS SELECT load_id FROM atelier.load;
         CREATE VIEW public.other AS SELECT load_id FROM atelier.load",
    );
    let before = one(&database, "SELECT load_id FROM public.now");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let reader = runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute("BEGIN; SELECT load_id FROM public.now").await.unwrap();
        client
    });
    let done = load(&database, &example(), &LOAD).succeeded();
    let warnings = done.report["warnings"].to_string();
    for telling in ["view public.now: still reads the replaced catalogue", "a view still reads the old one"] {
        assert_eq!(done.run.stdout.matches(telling).count(), 1, "{}", done.run.stdout);
        assert!(warnings.contains(telling), "{warnings}");
    }
    assert!(!done.run.stdout.contains("public.other"), "{}", done.run.stdout);
    runtime.block_on(reader.batch_execute("COMMIT")).unwrap();
    assert_eq!(one(&database, "SELECT load_id FROM public.now"), before);
    assert_eq!(one(&database, "SELECT load_id FROM public.other"), done.report["load_id"]);

    let done = load(&database, &example(), &LOAD).succeeded();
    let gone = "view public.now: dropped with the schema atelier_staging, which an earlier load left behind";
    assert!(done.run.stdout.contains(gone), "{}", done.run.stdout);
    assert_eq!(one(&database, "SELECT to_regclass('public.now')"), "∅");
    assert_eq!(schemas(&database), "atelier");
}
