//! Socket activation, as systemd does it: a shell passes the sockets.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use atelier_testing::until;
use nix::sys::signal::Signal;

use crate::client::{Connection, get};
use crate::clients::catalogue;
use crate::server::{NOWHERE, Server, command, refused};

/// They arrive as standard input and output, and become file descriptors 3 and 4.
const HAND_OVER: &str = r#"exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_PID=$$; exec "$0" "$@""#;

/// A server with `sockets`, at most two, and their names as in `LISTEN_FDNAMES`.
fn activated(database_url: &str, names: &str, sockets: Vec<OwnedFd>) -> Command {
    let server = command(database_url, &[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", HAND_OVER]).arg(server.get_program()).args(server.get_args());
    for (name, value) in server.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names);
    let mut sockets = sockets.into_iter().map(Stdio::from);
    let mut next = || sockets.next().unwrap_or_else(Stdio::null);
    shell.stdin(next()).stdout(next()).stderr(Stdio::piped());
    shell
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn a_restart_refuses_no_connection() {
    let database = catalogue(10);
    let (held, address) = listener();
    let start = || {
        let sockets = vec![held.try_clone().unwrap().into()];
        Server::spawn(activated(&database.url(), "api", sockets))
    };
    let (answers, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    // Each on a connection of its own.
    let send_requests = || {
        while !stop.load(Ordering::SeqCst) {
            let mut connection = Connection::open(address);
            let answer = connection.request("GET", "/products/1", &["Connection: close"]);
            assert_eq!(answer.map(|answer| answer.status).map_err(|error| error.to_string()), Ok(200));
            answers.fetch_add(1, Ordering::SeqCst);
        }
    };
    let mut server = start();
    assert_eq!(server.public, address);
    assert!(server.log().contains("using a socket of systemd instead of --listen"), "{}", server.log());
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(send_requests)).collect();
        let further = |more: usize| {
            let before = answers.load(Ordering::SeqCst);
            let lost = || clients.iter().any(|client| client.is_finished());
            until("they are answered", || lost() || answers.load(Ordering::SeqCst) >= before + more);
        };
        for _ in 0..3 {
            further(50);
            server.signal(Signal::SIGTERM);
            assert_eq!(server.wait().code(), Some(0));
            server = start();
        }
        further(50);
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().unwrap();
        }
    });
}

#[test]
fn sockets_are_told_apart_by_name_or_by_order() {
    let database = catalogue(10);
    for (names, api_comes_first) in [
        ("api:admin", true),
        ("admin:api", false),
        ("atelier.socket:atelier.socket", true),
        ("admin:unknown", false),
        ("", true),
    ] {
        let ((first, first_address), (second, second_address)) = (listener(), listener());
        let server = Server::spawn(activated(&database.url(), names, vec![first.into(), second.into()]));
        let (api, admin) = match api_comes_first {
            true => (first_address, second_address),
            false => (second_address, first_address),
        };
        assert_eq!((server.public, server.admin), (api, admin), "{names}");
        assert_eq!(get(api, "/products/1").status, 200, "{names}");
        assert_eq!(get(admin, "/livez").text(), "alive\n", "{names}");
    }
    // Only the admin port; the API is at --listen.
    let (admin, address) = listener();
    let server = Server::spawn(activated(&database.url(), "admin", vec![admin.into()]));
    assert_eq!(server.admin, address);
    assert_eq!(get(server.public, "/products/1").status, 200);
}

#[test]
fn the_file_of_a_unix_socket_is_only_removed_by_who_created_it() {
    let database = catalogue(10);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let held = UnixListener::bind(&path).unwrap();
    let server = Server::spawn(activated(&database.url(), "api", vec![held.into()]));
    assert_eq!(server.public, NOWHERE);
    assert!(server.log().contains(&format!("\"address\":\"unix:{}\"", path.display())), "{}", server.log());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(path.exists());
}

/// Messages about unusable sockets.
pub(crate) fn unusable() -> Vec<(&'static str, i32, String)> {
    let (listener, address) = listener();
    let connected = TcpStream::connect(address).unwrap();
    let udp = || OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let null = File::open("/dev/null").unwrap();
    let url = "postgresql://reader:secret@127.0.0.1:1/shop";
    let mut missing = activated(url, "", vec![listener.try_clone().unwrap().into()]);
    missing.env("LISTEN_FDS", "9");
    let mut number = activated(url, "", vec![]);
    number.env("LISTEN_FDS", "many");
    [
        ("a UDP socket", activated(url, "api", vec![udp()])),
        ("a file", activated(url, "", vec![null.into()])),
        ("a connection: Accept=yes", activated(url, "api", vec![connected.into()])),
        (
            "two of one name",
            activated(url, "api:api", vec![listener.try_clone().unwrap().into(), listener.into()]),
        ),
        ("fewer sockets than LISTEN_FDS", missing),
        ("no number", number),
    ]
    .into_iter()
    .map(|(situation, command)| {
        let (code, output) = refused(command);
        (situation, code, output)
    })
    .collect()
}

#[test]
fn unusable_sockets_are_refused() {
    for (situation, code, output) in unusable() {
        assert_eq!(code, 2, "{situation}: {output}");
        assert!(
            output.contains("LISTEN_FDS") && output.contains("FileDescriptorName=api"),
            "{situation}: {output}"
        );
    }
}

#[test]
fn sockets_of_another_process_are_not_used() {
    let database = catalogue(10);
    let mut command = command(&database.url(), &[]);
    command.envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "api")]);
    assert_eq!(get(Server::spawn(command).public, "/products/1").status, 200);
}
