//! Every message of the program, provoked one by one and listed in `messages.txt`. `UPDATE_EXPECT=1 cargo test -p
//! atelier-server --test it messages` writes that file; read it before you commit it. Problems for clients are in
//! `openapi.json`.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;

use atelier_testing::{Messages, unlisted};
use atelier_testing::{Server as Postgres, until};
use expect_test::expect_file;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::activation;
use crate::catalogue::{example, publish};
use crate::server::{Server, command, refused, refuses};

const ABOUT: &str = "\
Every message of atelier-server: the command, its output, its exit code. Written by messages.rs.
Names in capitals replace values that differ from run to run.";

/// Messages that are not provoked here, as in the source, and why or where they are.
const NOT_HERE: &[(&str, &str)] = &[
    ("cannot set up TLS", "a bug"),
    ("a connection to the database was lost", "database_failures.rs"),
    ("waiting for the database: it does not answer", "needs a database that accepts and never answers"),
    ("a connection pooler discards the settings of our sessions, such as statement_timeout", "poolers.rs"),
    ("the pooler in front of {database} does not keep prepared statements", "poolers.rs"),
    ("a connection was lost after it was accepted", "needs a client that disconnects at that moment"),
    ("cannot prepare statements in {database}", "needs a session that ends at that moment"),
    ("{database} takes too long to prepare statements", "needs a database that stalls at that moment"),
    ("cannot read the ids of the products", "needs a locked table, or a session that ends at that moment"),
    ("cannot accept a connection", "clients.rs, with too many open files"),
    ("cannot accept a connection on the admin port", "needs too many open files"),
    ("cannot catch signals", "needs a limit, and root has none"),
    ("cannot start", "needs a limit, and root has none"),
    ("cannot start as many --threads", "needs a limit, and root has none"),
    ("closing connections that are still open after --shutdown-grace", "shutdown.rs"),
    ("time-out", "database_failures.rs"),
    ("a limit is reached", "fairness.rs"),
    ("the database cannot answer", "fairness.rs"),
    ("cannot encode a body", "a bug"),
    ("using the password that was read earlier: {error:#}", "reload.rs"),
    ("SIGHUP: keeping the certificate and key: {error:#}", "reload.rs"),
    ("SIGHUP: keeping the connection parameters: {error:#}", "reload.rs"),
    ("cannot notify systemd", "needs systemd to be gone"),
];

#[test]
fn every_message() {
    let mut messages = Messages::new(ABOUT);
    command_line(&mut messages);
    databases(&mut messages);
    log(&mut messages);
    expect_file!["messages.txt"].assert_eq(messages.text());

    let mut missing = unlisted(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), messages.text());
    let mut explained: Vec<&str> = NOT_HERE.iter().map(|(message, _)| *message).collect();
    missing.sort();
    explained.sort();
    assert_eq!(missing, explained, "neither provoked nor listed in NOT_HERE, or listed without need");
}

fn command_line(messages: &mut Messages) {
    messages.section("The command line");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    messages.name(&taken, "TAKEN:PORT");
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("taken.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    messages.name(directory.path().display(), "/DIRECTORY");
    messages.name("x".repeat(107), "LONG");
    let url = "postgresql://reader:secret@127.0.0.1:1/shop";
    for arguments in [
        &["--no-such-flag"][..],
        &["argument"],
        &["--listen", "here"],
        &["--threads", "0"],
        &["--db-connections", "0"],
        &["--cache-bytes", "much"],
        &["--max-connections", "0"],
        &["--request-timeout", "5"],
        &["--request-timeout", "0s"],
        &["--cors-origin", ""],
        &["--log-format", "xml"],
        &["--base-path", "shop/"],
        &["--database-url", ""],
        &["--database-url", "mysql://reader:secret@db/shop"],
        &["--threads", "4", "--db-connections", "2"],
        &["--listen", &taken],
        &["--admin-listen", &taken],
        &["--listen", "192.0.2.1:80"],
        &["--listen", "/run/api.sock"],
        &["--listen", "unix:api.sock"],
        &["--listen", &format!("unix:/{}", "x".repeat(107))],
        &["--listen", "unix:/nowhere/api.sock"],
        &["--listen", "unix:/etc/passwd"],
        &["--admin-listen", &format!("unix:{}", socket.display())],
        &["--max-connections", "1000000"],
        &["--tls-cert", "server.crt"],
        &["--tls-key", "server.key"],
        &["--tls-cert", "missing.crt", "--tls-key", "server.key"],
        &["--tls-cert", "server.crt", "--tls-key", "server.crt"],
        &["--tls-cert", "ca.crt", "--tls-key", "server.key"],
    ] {
        let mut command = command(url, arguments);
        // The directory with the certificates.
        command.current_dir(Postgres::shared().dir());
        let (code, output) = refused(command);
        let quoted = arguments.iter().map(|argument| if argument.is_empty() { "\"\"" } else { argument });
        messages.add(&format!("atelier-server {}", quoted.collect::<Vec<_>>().join(" ")), code, &output);
    }
    for (situation, code, output) in activation::unusable() {
        messages.add(&format!("LISTEN_FDS=… atelier-server    # {situation}"), code, &output);
    }
    let mut nameless = command("", &[]);
    nameless.env_remove("DATABASE_URL");
    let (code, output) = refused(nameless);
    messages.add("atelier-server    # without DATABASE_URL", code, &output);
    let mut loud = command(url, &[]);
    loud.env("RUST_LOG", "atelier_server=loud");
    let (code, output) = refused(loud);
    messages.add("RUST_LOG=atelier_server=loud atelier-server", code, &output);
}

fn databases(messages: &mut Messages) {
    messages.section("The database");
    let postgres = Postgres::shared();
    let database = postgres.database();
    messages.name(format!("{}/.s.PGSQL.{}", postgres.dir().display(), postgres.port()), "SOCKET");
    messages.name(format!("127.0.0.1:{}", postgres.port()), "HOST:PORT");
    postgres.create_role("messages_reader", "secret");
    let reader = database.url_of("messages_reader", "secret");
    let mut refused = |situation: &str, url: &str| {
        let (code, output) = refuses(url, &[]);
        // Without log lines, of which there may be one for each thread.
        let output: Vec<&str> = output.lines().filter(|line| !line.starts_with('{')).collect();
        messages.add(&format!("atelier-server    # {situation}"), code, &output.join("\n"));
    };
    refused("a wrong password", &database.url_of("messages_reader", "wrong"));
    refused("no such database", &reader.replace(database.name(), "no_such"));
    refused("an empty database", &database.url());
    publish(&database, &example());
    refused("a user without privileges", &reader);
    database.execute("ALTER TABLE atelier.photos DROP COLUMN thumbnail_url");
    refused("a catalogue of another version", &database.url());
}

/// Lines of the log, except those that appear at unpredictable moments.
fn log(messages: &mut Messages) {
    messages.section("The log");
    let postgres = Postgres::shared();
    let database = postgres.database();
    publish(&database, &example());
    let server = Server::start(&database.url(), &[]);
    until("it is ready", || server.is_ready());
    database.execute("DELETE FROM atelier.load");
    until("it notices that the load is gone", || server.log().contains("no load is published"));
    messages.name(server.public, "HOST:PORT");
    messages.name(server.admin, "HOST:PORT");
    let log = server.follow_log();
    server.signal(Signal::SIGTERM);
    let code = server.wait().code().unwrap();
    until("the end is logged", || log.lock().unwrap().contains("\"stopped\""));
    messages.add(
        "atelier-server    # the load is taken away, then SIGTERM",
        code,
        &lines(&log.lock().unwrap()),
    );

    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    messages.name(unused, "HOST:PORT");
    let server = Server::start(&format!("postgresql://reader@{unused}/shop"), &[]);
    messages.name(server.public, "HOST:PORT");
    messages.name(server.admin, "HOST:PORT");
    let waiting = lines(&server.log()).lines().find(|line| line.contains("waiting")).unwrap().to_owned();
    server.signal(Signal::SIGTERM);
    let code = server.wait().code().unwrap();
    messages.add("atelier-server    # the database is down", code, &waiting);
}

/// The JSON log as text, without times.
fn lines(log: &str) -> String {
    let line = |line: &str| {
        let fields: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let text = |name: &str| fields[name].as_str().unwrap_or_default();
        let rest =
            fields.iter().filter(|(name, _)| !["timestamp", "level", "message"].contains(&name.as_str()));
        let rest: String =
            rest.map(|(name, value)| format!(" {name}={}", value.to_string().trim_matches('"'))).collect();
        format!("{} {}{rest}\n", text("level"), text("message"))
    };
    log.lines().map(line).collect()
}
