//! What `Server` promises.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use atelier_testing::{Rows, Server, until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::Uid;

fn value(rows: &Rows) -> &str {
    rows[0][0].as_deref().unwrap()
}

#[test]
fn databases_are_separate_and_are_dropped() {
    let server = Server::shared();
    let (one, two) = (server.database(), server.database());
    one.execute("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, NULL), (2, 'x')");
    assert_eq!(
        one.query("SELECT * FROM t ORDER BY a"),
        [vec![Some("1".to_owned()), None], vec![Some("2".to_owned()), Some("x".to_owned())]]
    );
    assert_eq!(value(&two.query("SELECT count(*) FROM pg_tables WHERE tablename = 't'")), "0");

    let dropped = one.name().to_owned();
    drop(one);
    assert_eq!(
        value(&two.query(&format!("SELECT count(*) FROM pg_database WHERE datname = '{dropped}'"))),
        "0"
    );
}

#[tokio::test]
async fn queries_run_within_a_runtime() {
    assert_eq!(value(&Server::shared().database().query("SELECT 1 + 1")), "2");
}

#[test]
fn every_url_connects() {
    let server = Server::shared();
    let database = server.database();
    server.create_role("test_reader", "secret");
    let psql = |url: &str, sql: &str| {
        let mut psql = Command::new(server.bin().join("psql"));
        psql.args(["-X", "-At", "-d", url, "-c", sql]).env("PGSSLROOTCERT", server.ca_certificate());
        let output = psql.output().unwrap();
        assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let how = "SELECT coalesce(host(inet_client_addr()), 'socket') || ' ' || current_user || ' ' || ssl
               FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(psql(&database.url(), how), "socket postgres false");
    assert_eq!(psql(&database.tcp_url(), how), "127.0.0.1 postgres false");
    assert_eq!(psql(&database.url_of("test_reader", "secret"), how), "127.0.0.1 test_reader false");
    assert_eq!(psql(&database.tls_url("verify-full"), how), "127.0.0.1 postgres true");
}

#[test]
fn a_server_stops_crashes_and_starts_again() {
    let server = Server::start(&[("work_mem", "1234kB")]);
    let (dir, port) = (server.dir().to_owned(), server.port());
    let database = server.database();
    assert_eq!(value(&database.query("SHOW work_mem")), "1234kB");
    database.execute("CREATE TABLE t AS SELECT 1 AS a");

    server.stop();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    server.start_again();
    assert_eq!(value(&database.query("INSERT INTO t VALUES (2); SELECT count(*) FROM t")), "2");

    server.kill();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    server.start_again();
    assert_eq!(value(&database.query("SELECT count(*) FROM t")), "2");
    let log = std::fs::read_to_string(server.log()).unwrap();
    assert!(log.contains("not properly shut down"), "{log}");

    drop(database);
    drop(server);
    assert!(!dir.exists());
}

/// Mounts, which needs root.
#[test]
fn a_server_can_be_on_a_small_file_system() {
    if !Uid::effective().is_root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    mount(Some("tmpfs"), parent.path(), Some("tmpfs"), MsFlags::empty(), Some("size=200m")).unwrap();
    let server = Server::start_in(parent.path(), &[]);
    assert!(parent.path().join("data/base").is_dir());
    assert_eq!(value(&server.database().query("SELECT 1")), "1");
    drop(server);
    assert!(!parent.path().join("data").exists());
    umount2(parent.path(), MntFlags::empty()).unwrap();
}

#[test]
fn nothing_is_left_when_the_tests_are_killed() {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_hold-server"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut dir = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut dir).unwrap();
    let dir = PathBuf::from(dir.trim_end());
    let postmaster = std::fs::read_to_string(dir.join("data/postmaster.pid")).unwrap();
    let process = Path::new("/proc").join(postmaster.lines().next().unwrap());
    assert!(process.exists());

    holder.kill().unwrap();
    holder.wait().unwrap();
    // A process that was not waited for stays in /proc without a working directory.
    until("all of it is removed", || !dir.exists() && process.join("cwd").read_link().is_err());
}
