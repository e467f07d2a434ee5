//! Connections through a pooler are refused before anything is written, and leave nothing in the pooler's sessions.

use std::process::Command;

use atelier_testing::{Database, Pooler, Server};

use crate::catalogue::example;
use crate::run::{Etl, etl};

const MODES: [&str; 3] = ["session", "transaction", "statement"];
const IGNORE: &str = "ignore_startup_parameters = options";

/// What another client of the pool sees. There are few sessions, so it gets one that was ours.
fn found(pooler: &Pooler) -> String {
    let query = "SELECT current_setting('search_path'), current_setting('statement_timeout'),
            current_setting('lock_timeout'), current_setting('maintenance_work_mem'),
            current_setting('client_connection_check_interval'), current_setting('tcp_user_timeout'),
            coalesce(current_setting('atelier.session', true), ''),
            (SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
             WHERE locktype = 'advisory' AND datname = current_database()),
            (SELECT count(*) FROM pg_prepared_statements),
            (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'atelier%'),
            (SELECT count(*) FROM pg_tables WHERE schemaname = 'public')";
    let psql = Command::new(Server::shared().bin().join("psql"))
        .args(["-X", "-At", "-d", &pooler.url(), "-c", query])
        .output()
        .unwrap();
    assert!(psql.status.success(), "{}\n{}", String::from_utf8_lossy(&psql.stderr), pooler.log());
    String::from_utf8(psql.stdout).unwrap()
}

fn commands<'a>(data: &'a str, url: &'a str) -> [Vec<&'a str>; 4] {
    [
        vec!["load", "--data", data, "--database-url", url],
        vec!["status", "--database-url", url],
        vec!["verify", "--database-url", url],
        vec!["rollback", "--database-url", url],
    ]
}

#[test]
fn every_pool_mode_is_refused_and_leaves_nothing_behind() {
    let server = Server::shared();
    let database = server.database();
    let data = example();
    let data = data.to_str().unwrap();
    for mode in MODES {
        for (lines, telling) in
            [("", "this is a connection pooler"), (IGNORE, "the connection goes through a pooler")]
        {
            // Two sessions, so that the next command and the other client would see what one command leaves behind.
            let pooler = Pooler::start(&database, mode, &format!("default_pool_size = 2\n{lines}"));
            let before = found(&pooler);
            let url = pooler.url();
            for command in commands(data, &url) {
                let run = etl(&command);
                assert_eq!(run.code, 4, "{mode} {lines}: {run:?}");
                assert!(run.stderr.contains(telling), "{mode} {lines}: {run:?}");
                assert!(
                    run.stderr.contains("use the address of PostgreSQL itself"),
                    "{mode} {lines}: {run:?}"
                );
                assert_eq!(found(&pooler), before, "{mode} {lines}: {command:?}");
            }
        }
    }
    assert_eq!(tables(&database), "0");
}

fn tables(database: &Database<'_>) -> String {
    database.query("SELECT count(*) FROM pg_tables WHERE schemaname LIKE 'atelier%'")[0][0].clone().unwrap()
}

/// Without a pooler, the sessions have our settings and those of the user.
#[test]
fn the_options_of_the_user_are_kept_and_limits_are_off() {
    let server = Server::start(&[("maintenance_work_mem", "300MB")]);
    let database = server.database();
    database.execute(
        "CREATE TABLE seen AS SELECT ''::text AS settings LIMIT 0;
         CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO public.seen SELECT concat_ws(' ', current_setting('maintenance_work_mem'),
                 current_setting('statement_timeout'), current_setting('atelier.of_user', true),
                 current_setting('search_path'));
         END $$;
         CREATE EVENT TRIGGER see ON ddl_command_end WHEN TAG IN ('CREATE INDEX', 'ALTER TABLE') EXECUTE FUNCTION see()",
    );
    let (name, data) = (database.name(), example());
    server.execute(&format!("ALTER DATABASE {name} SET statement_timeout = '1ms'"));
    let run = Etl::new(["load", "--data", data.to_str().unwrap(), "--max-rejects", "100%"])
        .env("PGHOST", server.dir().to_str().unwrap())
        .env("PGPORT", &server.port().to_string())
        .env("PGUSER", "postgres")
        .env("PGDATABASE", name)
        .env("PGOPTIONS", "-c atelier.of_user=yes")
        .run();
    server.execute(&format!("ALTER DATABASE {name} RESET statement_timeout"));
    assert_eq!(run.code, 0, "{run:?}");
    let seen = database.query("SELECT DISTINCT settings FROM seen WHERE settings NOT LIKE '%\"$user\"%'");
    assert_eq!(seen, [[Some("300MB 0 yes atelier_staging".to_owned())]]);
}
