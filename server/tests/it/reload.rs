//! SIGHUP: files are read again, errors change nothing, and only new connections are affected.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use atelier_testing::Certificates;
use atelier_testing::{Database, Server as Postgres, until};
use nix::sys::signal::Signal;
use tokio_rustls::rustls::HandshakeKind;
use tokio_rustls::rustls::version::TLS13;

use crate::catalogue::{Session, example, publish};
use crate::client::{Connection, get};
use crate::clients::catalogue;
use crate::database_failures::{SESSIONS, sessions};
use crate::server::{Server, command};
use crate::tls::{Files, converse, open, try_open};

/// Sends SIGHUP and waits for a line of the log.
fn hang_up(server: &Server, telling: &str) {
    let seen = server.log().matches(telling).count();
    server.signal(Signal::SIGHUP);
    until(telling, || server.log().matches(telling).count() > seen);
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Terminates the sessions of the server, and waits until all are replaced.
fn replace_sessions(server: &Server, database: &Database<'_>) {
    let reconnects = server.metric("atelier_database_reconnects_total");
    end_sessions(database);
    until("there are others", || {
        server.metric("atelier_database_reconnects_total") >= reconnects + 2 && server.is_ready()
    });
    until("all of them", || sessions(database) == SESSIONS);
}

fn end_sessions(database: &Database<'_>) {
    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'atelier-server'",
    );
}

#[test]
fn a_new_certificate_is_used_for_new_connections_and_an_invalid_one_is_not() {
    const READ: &str = "--tls-cert and --tls-key reloaded";
    let database = catalogue(10);
    let (files, new) = (Files::new(), Files::new());
    let server = files.server(&database.url(), &[]);
    let [old_client, new_client] = [&files, &new].map(|files| files.client(&[&TLS13]));
    let asks = |connection: &mut Connection| {
        assert_eq!(connection.request("GET", "/products/1", &[]).unwrap().status, 200);
    };
    let mut before = converse(&server, &old_client);
    asks(&mut before);

    // The same files: sessions can still be resumed.
    hang_up(&server, "--tls-cert has not changed");
    let mut resumed = open(&server, &old_client);
    assert_eq!(resumed.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    resumed.conn.complete_io(&mut resumed.sock).unwrap(); // takes further tickets

    for name in ["server.crt", "server.key"] {
        fs::copy(new.path(name), files.path(name)).unwrap();
    }
    hang_up(&server, READ);
    let mut after = converse(&server, &new_client);
    asks(&mut after);
    // Its ticket is refused: it gets the certificate, which it does not trust.
    assert!(try_open(&server, &old_client).is_err_and(|error| error.to_string().contains("certificate")));

    let key = fs::read(files.path("server.key")).unwrap();
    for wrong in [&b"no key"[..], &fs::read(Files::new().path("server.key")).unwrap()] {
        fs::write(files.path("server.key"), wrong).unwrap();
        hang_up(&server, "keeping the certificate and key");
        asks(&mut converse(&server, &new_client));
    }
    assert!(server.log().contains("server.key is not the key of"), "{}", server.log());
    fs::write(files.path("server.key"), key).unwrap();
    hang_up(&server, "--tls-cert has not changed");
    // Open connections are not affected.
    asks(&mut before);
    asks(&mut after);
}

#[test]
fn the_password_file_is_read_for_each_connection_and_may_disappear() {
    const KEPT: &str = "using the password that was read earlier: cannot use the password file";
    let postgres = Postgres::shared();
    let database = postgres.database();
    publish(&database, &example());
    postgres.create_role("reloaded", "first");
    postgres.execute("GRANT atelier_reader TO reloaded");
    let directory = tempfile::tempdir().unwrap();
    let passwords = directory.path().join("passwords");
    write(&passwords, "*:*:*:reloaded:first\n", 0o600);
    let url =
        format!("{}&passfile={}", database.url_of("reloaded", "").replace(":@", "@"), passwords.display());
    let server = Server::start(&url, &["--cache-bytes", "0"]);
    until("it is ready", || server.is_ready());

    postgres.execute("ALTER ROLE reloaded PASSWORD 'second'");
    write(&passwords, "*:*:*:reloaded:second\n", 0o600);
    replace_sessions(&server, &database);
    assert!(!server.log().contains(KEPT), "{}", server.log());

    write(&passwords, "*:*:*:reloaded:third\n", 0o644);
    replace_sessions(&server, &database);
    assert!(server.log().contains("it has world access"), "{}", server.log());
    hang_up(&server, "keeping the connection parameters: cannot use the password file");
    fs::remove_file(&passwords).unwrap();
    hang_up(&server, "No such file");
    replace_sessions(&server, &database);
    assert!(server.log().contains(KEPT), "{}", server.log());
    assert_eq!(get(server.public, "/products/1").status, 200);

    // The password has changed: the error says why it was refused, and that an old one was used.
    postgres.execute("ALTER ROLE reloaded PASSWORD 'third'");
    end_sessions(&database);
    until("both are said", || {
        server
            .log()
            .lines()
            .any(|line| line.contains("password authentication failed") && line.contains("No such file"))
    });
    write(&passwords, "*:*:*:reloaded:third\n", 0o600);
    until("it is ready again, by itself", || server.is_ready());
    hang_up(&server, "reloaded, for new connections to the database");
    replace_sessions(&server, &database);
}

#[test]
fn the_root_certificate_of_the_database_is_reloaded() {
    let postgres = Postgres::shared();
    let database = postgres.database();
    publish(&database, &example());
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root.crt");
    fs::copy(postgres.ca_certificate(), &root).unwrap();
    let url = format!("{}&sslrootcert={}", database.tls_url("verify-full"), root.display());
    let server = Server::start(&url, &["--cache-bytes", "0"]);
    until("it is ready", || server.is_ready());

    fs::write(&root, "no certificate").unwrap();
    hang_up(&server, "keeping the connection parameters: cannot use the root certificate");
    replace_sessions(&server, &database);

    fs::write(&root, Certificates::new().authority).unwrap();
    hang_up(&server, &format!("\"files\":\"{}\"", root.display()));
    assert!(server.is_ready(), "sessions that are open stay");
    end_sessions(&database);
    until("the authority is another one", || {
        !server.is_ready() && server.log().contains("invalid peer certificate")
    });
    fs::copy(postgres.ca_certificate(), &root).unwrap();
    hang_up(&server, "reloaded, for new connections to the database");
    until("it is ready again", || server.is_ready());
}

#[test]
fn sighup_does_not_end_a_server_that_is_starting_or_stopping() {
    let database = Postgres::shared().database();
    let mut server = Server::spawn(command("postgresql://reader@127.0.0.1:1/shop", &[]));
    hang_up(&server, "\"files\":\"none\"");
    assert!(server.runs());

    publish(&database, &example());
    let mut server = Server::start(&database.url(), &["--request-timeout=60s", "--shutdown-grace=60s"]);
    let locker = Session::open(&database);
    locker.execute("BEGIN; LOCK TABLE atelier.styles IN ACCESS EXCLUSIVE MODE");
    let mut waiting = Connection::open(server.public);
    waiting.send(b"GET /products/1/styles HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    until("it is in flight", || server.metric("atelier_http_requests_in_flight") == 1);
    hang_up(&server, "reloaded");
    server.signal(Signal::SIGTERM);
    until("it stops", || get(server.admin, "/readyz").text() == "not ready: stopping\n");
    hang_up(&server, "reloaded");
    assert!(server.runs());
    locker.execute("ROLLBACK");
    assert_eq!(waiting.receive(false).unwrap().status, 200);
    assert_eq!(server.wait().code(), Some(0));
}
