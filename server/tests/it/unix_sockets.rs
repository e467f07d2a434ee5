//! The API and the admin port at Unix sockets, tested with curl.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use atelier_testing::Certificates;
use atelier_testing::until;
use nix::sys::signal::Signal;

use crate::client::get;
use crate::clients::catalogue;
use crate::server::{NOWHERE, Server, refuses};

/// The body that curl got, and the status.
fn curl(socket: &Path, url: &str, options: &[&str]) -> (String, String) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}"])
        .arg("--unix-socket")
        .arg(socket)
        .args(options)
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .expect("curl is installed");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    (body.to_owned(), status.to_owned())
}

fn address(flag: &str, path: &Path) -> String {
    format!("--{flag}=unix:{}", path.display())
}

#[test]
fn both_ports_can_be_unix_sockets() {
    let database = catalogue(1000);
    let directory = tempfile::tempdir().unwrap();
    let [api, admin] = ["api.sock", "admin.sock"].map(|name| directory.path().join(name));
    let arguments = [address("listen", &api), address("admin-listen", &admin)];
    let server = Server::start(&database.url(), &[&arguments[0], &arguments[1]]);
    assert_eq!((server.public, server.admin), (NOWHERE, NOWHERE));
    assert!(server.log().contains(&format!("\"address\":\"unix:{}\"", api.display())), "{}", server.log());
    assert!(server.log().contains(&format!("\"admin\":\"unix:{}\"", admin.display())), "{}", server.log());

    let at_port = Server::start(&database.url(), &[]);
    for target in ["/products/1", "/products?count=1000", "/products/99999", "/"] {
        let expected = get(at_port.public, target);
        let (body, status) = curl(&api, &format!("http://api{target}"), &[]);
        assert_eq!((&*body, status), (expected.text(), expected.status.to_string()), "{target}");
    }
    until("it is ready", || curl(&admin, "http://admin/readyz", &[]).1 == "200");
    assert!(curl(&admin, "http://admin/metrics", &[]).0.contains("atelier_http_connections"));

    for path in [&api, &admin] {
        let metadata = fs::metadata(path).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.mode() & 0o777, 0o666, "a proxy is another user");
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(!api.exists() && !admin.exists());
}

#[test]
fn a_unix_socket_can_have_tls() {
    let database = catalogue(10);
    let certificates = Certificates::new();
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let authority = write("ca.crt", &certificates.authority);
    let certificate = write("server.crt", &certificates.certificate);
    let key = write("server.key", &certificates.key);
    let api = directory.path().join("api.sock");
    let arguments = ["--tls-cert", &certificate, "--tls-key", &key, &address("listen", &api)];
    let _server = Server::start(&database.url(), &arguments);
    let (body, status) = curl(&api, "https://localhost/products/1", &["--cacert", &authority]);
    assert_eq!(status, "200", "{body}");
}

#[test]
fn only_a_stale_socket_is_replaced() {
    let database = catalogue(10);
    let directory = tempfile::tempdir().unwrap();
    let api = directory.path().join("api.sock");
    let listen = address("listen", &api);
    let server = Server::start(&database.url(), &[&listen]);
    let (code, output) = refuses(&database.url(), &[&listen]);
    assert_eq!(code, 2, "{output}");
    assert!(output.contains("another program listens there"), "{output}");
    assert_eq!(curl(&api, "http://api/products/1", &[]).1, "200", "the first one is not disturbed");

    server.signal(Signal::SIGKILL);
    server.wait();
    assert!(api.exists());
    let server = Server::start(&database.url(), &[&listen]);
    assert_eq!(curl(&api, "http://api/products/1", &[]).1, "200");

    // Another process has replaced it: the server must not remove it.
    fs::remove_file(&api).unwrap();
    let _other = UnixListener::bind(&api).unwrap();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(api.exists());

    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    let (code, output) = refuses(&database.url(), &[&address("listen", &file)]);
    assert_eq!(code, 2, "{output}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    // A start that fails for another reason leaves none.
    let (code, output) = refuses(
        &database.url_of("nobody", "wrong"),
        &[&address("listen", &directory.path().join("new.sock"))],
    );
    assert_eq!(code, 4, "{output}");
    assert!(!directory.path().join("new.sock").exists());
}
