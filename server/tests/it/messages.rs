//! Every message of the program, provoked one by one and listed in `messages.txt`: what went wrong, where, and what to
//! do. `UPDATE_EXPECT=1 cargo test -p atelier-server --test it messages` writes that file anew, to be read before it is
//! kept. What clients are told is in `openapi.json`.

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
Every message of atelier-server: the command, what it said, its exit code. Written by messages.rs, which says how.
Names in capitals stand for what differs from run to run.";

/// What is not provoked here, and why: as it stands in the source.
const NOT_HERE: &[(&str, &str)] = &[
    ("TLS cannot be set up", "a fault of the program"),
    ("a connection to the database was lost", "database_trouble.rs"),
    ("it is silent", "database_trouble.rs"),
    ("waiting for the database: it is silent", "takes a database that accepts and says nothing"),
    ("a connection pooler in between loses our settings, statement_timeout for one", "poolers.rs"),
    ("the connection pooler before {database} keeps no prepared statements", "poolers.rs"),
    ("a connection was accepted and lost", "a client that is gone within the moment"),
    ("cannot prepare statements in {database}", "a session that ends at just that moment"),
    (
        "{database} takes too long to prepare statements",
        "takes a database that comes to a stop at just that moment",
    ),
    (
        "cannot read which products there are",
        "a table that is locked, or a session that ends at just that moment",
    ),
    ("cannot accept a connection", "clients.rs, for want of open files"),
    ("cannot accept a connection on the admin port", "for want of open files"),
    ("cannot catch signals", "limits, which do not hold for root"),
    ("cannot start", "limits, which do not hold for root"),
    ("cannot start as many --threads", "limits, which do not hold for root"),
    ("a limit is reached", "fairness.rs"),
    ("the database cannot answer", "fairness.rs"),
    ("cannot encode a body", "a fault of the program"),
    ("using the password that was read before: {trouble:#}", "reload.rs"),
    ("SIGHUP: certificate and key stay as they were: {error:#}", "reload.rs"),
    ("SIGHUP: the database's connection parameters stay as they were: {error:#}", "reload.rs"),
    ("cannot tell the service manager", "takes a service manager that is gone"),
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
    assert_eq!(missing, explained, "neither provoked nor explained, or explained in vain");
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
        // Where certificates are.
        command.current_dir(Postgres::shared().dir());
        let (code, said) = refused(command);
        let quoted = arguments.iter().map(|argument| if argument.is_empty() { "\"\"" } else { argument });
        messages.add(&format!("atelier-server {}", quoted.collect::<Vec<_>>().join(" ")), code, &said);
    }
    for (situation, code, said) in activation::unusable() {
        messages.add(&format!("LISTEN_FDS=… atelier-server    # {situation}"), code, &said);
    }
    let mut nameless = command("", &[]);
    nameless.env_remove("DATABASE_URL");
    let (code, said) = refused(nameless);
    messages.add("atelier-server    # without DATABASE_URL", code, &said);
    let mut loud = command(url, &[]);
    loud.env("RUST_LOG", "atelier_server=loud");
    let (code, said) = refused(loud);
    messages.add("RUST_LOG=atelier_server=loud atelier-server", code, &said);
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
        let (code, said) = refuses(url, &[]);
        // The log has said it before, once a thread or not yet.
        let said: Vec<&str> = said.lines().filter(|line| !line.starts_with('{')).collect();
        messages.add(&format!("atelier-server    # {situation}"), code, &said.join("\n"));
    };
    refused("a wrong password", &database.url_of("messages_reader", "wrong"));
    refused("no such database", &reader.replace(database.name(), "no_such"));
    refused("an empty database", &database.url());
    publish(&database, &example());
    refused("a user without rights", &reader);
    database.execute("ALTER TABLE atelier.photos DROP COLUMN thumbnail_url");
    refused("a catalogue of another version", &database.url());
}

/// Lines of the log, which goes on while the server runs; those that a test cannot tell the moment of are not here.
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

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    messages.name(nobody, "HOST:PORT");
    let server = Server::start(&format!("postgresql://reader@{nobody}/shop"), &[]);
    messages.name(server.public, "HOST:PORT");
    messages.name(server.admin, "HOST:PORT");
    let waiting = lines(&server.log()).lines().find(|line| line.contains("waiting")).unwrap().to_owned();
    server.signal(Signal::SIGTERM);
    let code = server.wait().code().unwrap();
    messages.add("atelier-server    # nobody listens there yet", code, &waiting);
}

/// A log for programs as one for people, without the time.
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
