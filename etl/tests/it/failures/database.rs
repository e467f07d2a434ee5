//! Databases that cannot be reached, refuse the connection, or are unsuitable for a catalogue.

use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use atelier_testing::{Server, until};
use nix::sys::signal::Signal;

use super::gate::{Gate, Place};
use super::{Shop, example, generated, load, schemas};
use crate::run::{Etl, etl};

/// In every password here, and in nothing else.
const SECRET: &str = "s3cret-of-the-tests";

/// Accepts a connection, if one comes in time.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let mut accepted = None;
    until("it tries to connect", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    accepted.unwrap().0
}

#[test]
fn urls_that_cannot_be_read() {
    let data = example().display().to_string();
    let run = Etl::new(["load", "--data", &data]).run();
    run.failed(2, &["no database given", "--database-url postgresql://", "DATABASE_URL"]);

    for (url, telling) in [
        ("postgresql://ann:s3cret-of-the-tests@db:port/shop", "port must be a number"),
        ("mysql://ann:s3cret-of-the-tests@db/shop", "not a postgresql:// URL"),
        ("host=db sslmode=always password=s3cret-of-the-tests", "sslmode must be one of"),
        ("host=db password='s3cret-of-the-tests", "a quoted value is not terminated"),
        ("postgresql://ann:s3cret-of-the-tests@db/shop?sslrootcert=%zz", "hexadecimal"),
        ("postgresql://ann:a@s3cret-of-the-tests@db/shop", "one @ too many"),
    ] {
        let run = load(url, &example()).run();
        run.failed(2, &["cannot read the database URL", telling, "write --database-url"]);
        assert!(!run.stderr.contains(SECRET), "{}", run.stderr);
    }
    let run = load("host=db sslrootcert=/no/such.pem sslmode=verify-ca", &example()).run();
    run.failed(2, &["cannot use the root certificate /no/such.pem", "No such file", "sslrootcert"]);
}

#[test]
fn nothing_listens() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let run = load(&format!("postgresql://ann:{SECRET}@127.0.0.1:{free}/shop"), &example()).run();
    let what = format!("cannot connect to database \"shop\" at 127.0.0.1:{free} as ann");
    run.failed(4, &[&what, "Connection refused", "check that PostgreSQL runs there", "--wait"]);
    assert!(!run.stderr.contains(SECRET), "{}", run.stderr);

    let run = load("host=/no/such/place dbname=shop user=ann", &example()).run();
    run.failed(
        4,
        &["at /no/such/place/.s.PGSQL.5432 as ann", "No such file", "check that PostgreSQL runs there"],
    );

    let run = load("postgresql://ann@no-such-host.invalid/shop", &example()).run();
    run.failed(4, &["at no-such-host.invalid:5432 as ann", "check that PostgreSQL runs there"]);
}

/// Something listens but does not answer: a stopped process, or a firewall that drops packets.
#[test]
fn nothing_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let loads = ["disable", "require"].map(|sslmode| {
        let url = format!("postgresql://ann@127.0.0.1:{port}/shop?connect_timeout=1&sslmode={sslmode}");
        load(&url, &example()).spawn()
    });
    for load in loads {
        let what = format!("cannot connect to database \"shop\" at 127.0.0.1:{port}");
        load.finish().failed(4, &[&what, "no answer within 2 s", "firewall"]);
    }
}

#[test]
fn refusals_name_who_and_where() {
    let server = Server::shared();
    let mut shop = Shop::new(server);
    let (port, name) = (server.port(), shop.database.name().to_owned());
    server.create_role("failures_visitor", SECRET);
    let visitor = shop.database.url_of("failures_visitor", SECRET);
    let cases: [(String, &[&str]); 6] = [
        (
            shop.database.url_of("failures_visitor", "wr0ng"),
            &["as failures_visitor", "password authentication failed", "check the password"],
        ),
        (
            format!("postgresql://failures_visitor@127.0.0.1:{port}/{name}?sslmode=disable"),
            &["as failures_visitor", "set a password in --database-url, in PGPASSWORD"],
        ),
        (
            shop.database.url_of("failures_nobody", SECRET),
            &["as failures_nobody", "password authentication failed"],
        ),
        (
            visitor.replace(&name, "failures_no_such"),
            &["database \"failures_no_such\"", "does not exist", "createdb"],
        ),
        (
            visitor.clone(),
            &[
                "user \"failures_visitor\" may not create schemas",
                "GRANT CREATE ON DATABASE",
                "as an administrator",
            ],
        ),
        (
            format!("{visitor}&options=-cdefault_transaction_read_only%3Don"),
            &["user \"failures_visitor\" may not create schemas"],
        ),
    ];
    for (url, telling) in cases {
        let run = load(&url, &example()).run();
        run.failed(4, telling);
        for secret in [SECRET, "wr0ng"] {
            assert!(!run.stderr.contains(secret) && !run.stdout.contains(secret), "{run:?}");
        }
        shop.is_untouched();
    }
    // The privilege to create schemas is not one on another owner's catalogue.
    shop.database.execute(&format!("GRANT CREATE ON DATABASE {name} TO failures_visitor"));
    let run = load(&visitor, &example()).run();
    run.failed(
        4,
        &[
            "the schema atelier belongs to \"postgres\", not to \"failures_visitor\"",
            "OWNER TO \"failures_visitor\"",
        ],
    );
    shop.is_untouched();
    shop.loads();
}

/// With a password that is not in the URL, and that no message shows.
#[test]
fn the_right_to_create_schemas_is_enough() {
    let server = Server::shared();
    let database = server.database();
    server.create_role("failures_loader", SECRET);
    database.execute(&format!("GRANT CREATE ON DATABASE {} TO failures_loader", database.name()));
    let url = database.url_of("failures_loader", "").replace(":@", "@");
    let directory = tempfile::tempdir().unwrap();
    let passfile = directory.path().join("pgpass");
    let line = format!("# the loader's\n127.0.0.1:{}:*:failures_loader:{SECRET}\n", server.port());
    fs::write(&passfile, line).unwrap();
    fs::set_permissions(&passfile, Permissions::from_mode(0o600)).unwrap();
    for (name, value) in [("PGPASSWORD", SECRET), ("PGPASSFILE", passfile.to_str().unwrap())] {
        let run = load(&url, &example()).env(name, value).run();
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
        assert!(!run.stdout.contains(SECRET), "{}", run.stdout);
    }
    assert_eq!(schemas(&database), "atelier");
}

#[test]
fn a_password_file_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let passfile = directory.path().join("pgpass");
    let refused = |why: &str| {
        let run = load("postgresql://ann@127.0.0.1:1/shop", &example())
            .env("PGPASSFILE", passfile.to_str().unwrap())
            .run();
        run.failed(2, &["cannot use the password file", "pgpass", why]);
        assert!(!run.stderr.contains(SECRET), "{run:?}");
    };
    refused("No such file");
    fs::write(&passfile, format!("*:*:*:*:{SECRET}")).unwrap();
    fs::set_permissions(&passfile, Permissions::from_mode(0o644)).unwrap();
    refused("hint: chmod 600 ");
}

#[test]
fn a_schema_of_another_program() {
    let database = Server::shared().database();
    database.execute("CREATE SCHEMA atelier; CREATE TABLE atelier.paintings AS SELECT 1 AS id");
    let run = load(&database.url(), &example()).run();
    run.failed(
        4,
        &["the schema atelier is not a catalogue of atelier-etl", "ALTER SCHEMA atelier RENAME TO"],
    );
    assert_eq!(database.query("SELECT id FROM atelier.paintings")[0][0].as_deref(), Some("1"));
    assert_eq!(schemas(&database), "atelier");
    database.execute("ALTER SCHEMA atelier RENAME TO paintings");
    assert_eq!(load(&database.url(), &example()).run().code, 0);
}

#[test]
fn a_database_in_another_encoding() {
    let server = Server::shared();
    server.execute("CREATE DATABASE failures_latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    let url = server.database().url();
    let (start, rest) = url.split_once("test_").unwrap();
    let url = format!("{start}failures_latin{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let run = load(&url, &example()).run();
    server.execute("DROP DATABASE failures_latin");
    run.failed(4, &["the encoding of database \"failures_latin\" is LATIN1, not UTF8", "ENCODING 'UTF8'"]);
}

#[test]
fn a_read_only_database() {
    let mut shop = Shop::new(Server::shared());
    let name = shop.database.name().to_owned();
    shop.database.execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    shop.load(&example()).run().failed(4, &["read-only transaction", "SQLSTATE 25006"]);
    shop.is_untouched();
    shop.database.execute(&format!("SET transaction_read_only = off; ALTER DATABASE {name} RESET ALL"));
    shop.loads();
}

#[test]
fn time_limits_of_the_database_do_not_apply_to_a_load() {
    let database = Server::shared().database();
    let limits = "name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')";
    for limit in database.query(&format!("SELECT name FROM pg_settings WHERE {limits}")) {
        let limit = limit[0].as_deref().unwrap();
        database.execute(&format!("ALTER DATABASE {} SET {limit} = '1h'", database.name()));
    }
    database.execute(&format!(
        "CREATE SCHEMA limits; CREATE TABLE limits.seen (name text, setting text);
         CREATE FUNCTION limits.see() RETURNS event_trigger LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO limits.seen SELECT name, setting FROM pg_settings WHERE {limits}; END $$;
         CREATE EVENT TRIGGER limits ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION limits.see()"
    ));
    let run = load(&database.url(), &example()).run();
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    let seen = database.query("SELECT DISTINCT setting FROM limits.seen");
    assert_eq!(seen, [[Some("0".to_owned())]]);
}

#[test]
fn every_kind_of_connection_can_load() {
    let server = Server::shared();
    let database = server.database();
    let (dir, port, name) = (server.dir().display(), server.port(), database.name());
    let certificate = server.ca_certificate().display().to_string();
    for url in [
        database.tcp_url(),
        database.tls_url("prefer"),
        database.tls_url("require"),
        format!("{}&sslrootcert={certificate}", database.tls_url("verify-ca"))
            .replace("localhost", "127.0.0.1"),
        format!("{}&sslrootcert={certificate}", database.tls_url("verify-full")),
        format!("host={dir} port={port} user=postgres dbname={name}"),
        format!("host='{dir}' port = {port} user=postgres dbname='{name}' sslmode=verify-full"),
    ] {
        let run = load(&url, &example()).run();
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{url}: {run:?}");
    }
    assert_eq!(schemas(&database), "atelier");
}

#[test]
fn a_server_with_the_wrong_certificate() {
    let server = Server::shared();
    let mut shop = Shop::new(server);
    // Without the authority of the tests, only those of the system are trusted.
    let url = shop.database.tls_url("verify-full");
    let run = load(&url, &example()).env("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt").run();
    if run.code == 2 {
        run.failed(2, &["this system has no root certificates", "sslrootcert=FILE"]);
    } else {
        run.failed(4, &["cannot connect to", "certificate", "sslrootcert"]);
    }
    shop.is_untouched();
    // The right authority, but a certificate for another name.
    let certificate = server.ca_certificate().display().to_string();
    let url = format!("{url}&sslrootcert={certificate}").replace("@localhost", "@127.0.0.2");
    let run = load(&url, &example()).run();
    run.failed(4, &["cannot connect to"]);
    shop.is_untouched();
    shop.loads();
}

#[test]
fn a_second_load_is_refused_and_the_first_continues() {
    let shop = Shop::new(Server::shared());
    let data = generated(200);
    let gate = Gate::close(&shop.database, Place::Index);
    let first = shop.load(data.path()).spawn();
    gate.wait();
    let second = shop.load(&example()).run();
    second.failed(
        4,
        &[
            "another load or rollback of this database is running, from this host, since 20",
            "(backend ",
            "wait until",
        ],
    );
    shop.is_served_as_before();
    drop(gate);
    let first = first.finish();
    assert_eq!((first.code, first.stderr.as_str()), (0, ""), "{first:?}");
    assert_eq!(shop.database.query("SELECT count(*) FROM atelier.product")[0][0].as_deref(), Some("200"));
    assert_eq!(schemas(&shop.database), "atelier");
}

#[test]
fn a_load_can_wait_for_a_database_to_start() {
    let server = Server::start(&[]);
    let mut shop = Shop::new(&server);
    server.stop();
    // At first another program accepts and closes connections there, as proxies of containers do.
    let early = TcpListener::bind(("127.0.0.1", server.port())).unwrap();
    let load = load(&shop.database.tcp_url(), &example()).arg("--wait=60").spawn();
    for _ in 0..2 {
        drop(accept(&early));
    }
    drop(early);
    server.start_again();
    let run = load.finish();
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert_ne!(super::published(&shop.database), shop.published);
    shop.loads();

    // It does not wait after a refusal: no run may take that long.
    let url = shop.database.url_of("postgres", "wr0ng");
    super::load(&url, &example()).arg("--wait=3600").run().failed(4, &["password authentication failed"]);
}

#[test]
fn waiting_ends_in_time_and_can_be_interrupted() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgresql://ann@{}/shop?sslmode=disable", nobody.local_addr().unwrap());
    let waiting = load(&url, &example()).arg("--wait=60").spawn();
    // Kept open, so that it waits for an answer. At its second attempt its signal handlers are surely installed.
    drop(accept(&nobody));
    let _connection = accept(&nobody);
    waiting.signal(Signal::SIGINT);
    waiting.finish().failed(130, &["interrupted"]);

    drop(nobody);
    let begin = Instant::now();
    load(&url, &example()).arg("--wait=1").run().failed(4, &["cannot connect to", "Connection refused"]);
    assert!(begin.elapsed() >= Duration::from_secs(1), "it waited {:?}", begin.elapsed());
}

#[test]
fn status_fails_with_the_same_messages() {
    etl(["status"]).failed(2, &["no database given"]);
    let run = etl(["status", "--database-url", "postgresql://ann@127.0.0.1:1/shop"]);
    run.failed(4, &["cannot connect to database \"shop\" at 127.0.0.1:1 as ann"]);
}
