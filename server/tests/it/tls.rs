//! The API with TLS: the same answers, and clients that are slow or wrong during the handshake.

use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use atelier_testing::Certificates;
use atelier_testing::until;
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::client::{Connection, connect};
use crate::clients::{PARKED, assert_answers_in_order, catalogue, connections, is_closed, narrow, plain};
use crate::server::{Server, refuses};

pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A server's certificate and key, as files.
pub(crate) struct Files {
    directory: TempDir,
    authority: CertificateDer<'static>,
}

impl Files {
    pub(crate) fn new() -> Files {
        let certificates = Certificates::new();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("server.crt"), &certificates.certificate).unwrap();
        fs::write(directory.path().join("server.key"), &certificates.key).unwrap();
        fs::write(directory.path().join("authority.crt"), &certificates.authority).unwrap();
        let authority = CertificateDer::from_pem_slice(certificates.authority.as_bytes()).unwrap();
        Files { directory, authority }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// Starts a server with them.
    pub(crate) fn server(&self, database_url: &str, arguments: &[&str]) -> Server {
        let [certificate, key] = ["crt", "key"].map(|kind| flag(kind, &self.path(&format!("server.{kind}"))));
        Server::start(database_url, &[&[&*certificate, &*key], arguments].concat())
    }

    /// A client that trusts the authority and speaks these versions, best first.
    pub(crate) fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

/// `--tls-cert` or `--tls-key`.
fn flag(kind: &str, path: &Path) -> String {
    format!("--tls-{}={}", if kind == "crt" { "cert" } else { kind }, path.display())
}

fn hello(client: &Arc<ClientConfig>, name: &'static str) -> ClientConnection {
    ClientConnection::new(Arc::clone(client), ServerName::try_from(name).unwrap()).unwrap()
}

/// An open connection after the handshake.
pub(crate) fn open(server: &Server, client: &Arc<ClientConfig>) -> TlsStream {
    try_open(server, client).unwrap()
}

pub(crate) fn try_open(server: &Server, client: &Arc<ClientConfig>) -> io::Result<TlsStream> {
    let mut stream = TlsStream::new(hello(client, "localhost"), connect(server.public)?);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

pub(crate) fn converse(server: &Server, client: &Arc<ClientConfig>) -> Connection {
    Connection::over(Box::new(open(server, client)))
}

#[test]
fn requests_are_answered_as_without_tls() {
    let database = catalogue(1000);
    let files = Files::new();
    let server = files.server(&database.url(), &[]);
    let plain = Server::start(&database.url(), &[]);
    for version in [&TLS12, &TLS13] {
        let client = files.client(&[version]);
        let mut connection = converse(&server, &client);
        for target in ["/products/1", "/products?count=1000", "/products/99999", "/products/1/styles"] {
            let mut expected = Connection::open(plain.public).request("GET", target, &[]).unwrap();
            let mut answer = connection.request("GET", target, &[]).unwrap();
            for answer in [&mut expected, &mut answer] {
                answer.headers.retain(|(name, _)| name != "date" && name != "server-timing");
            }
            assert_eq!(answer, expected, "{version:?} {target}");
        }
        let stream = open(&server, &client);
        assert_eq!(stream.conn.protocol_version(), Some(version.version));
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]), "the best that both know");
    }
    // The admin port has no TLS.
    assert!(server.is_ready());
}

#[test]
fn answers_are_in_order() {
    let database = catalogue(100);
    let files = Files::new();
    let server = files.server(&database.url(), &[]);
    for version in [&TLS12, &TLS13] {
        let client = files.client(&[version]);
        assert_answers_in_order(&|| converse(&server, &client));
    }
}

#[test]
fn answers_are_in_order_with_many_connections() {
    let database = catalogue(100);
    let files = Files::new();
    let server = files.server(&database.url(), &["--client-timeout", "1h"]);
    let client = files.client(&[&TLS13]);
    // So many that connections are parked immediately.
    let crowd: Vec<Connection> = (0..700)
        .map(|_| {
            let mut connection = converse(&server, &client);
            connection.send(b"GET /products/1 HT").unwrap();
            connection
        })
        .collect();
    assert_answers_in_order(&|| converse(&server, &client));
    for mut connection in crowd {
        connection.send(b"TP/1.1\r\nHost: test\r\n\r\n").unwrap();
        assert_eq!(connection.receive(false).unwrap().status, 200);
    }
}

#[test]
fn a_parked_connection_can_be_used_again() {
    let database = catalogue(10);
    let files = Files::new();
    let server = files.server(&database.url(), &[]);
    for version in [&TLS12, &TLS13] {
        let mut stream = open(&server, &files.client(&[version]));
        for id in 1..=3 {
            thread::sleep(PARKED);
            // The request comes with other records of TLS 1.3.
            if *version == TLS13 {
                stream.conn.refresh_traffic_keys().unwrap();
            }
            stream.write_all(plain(&format!("/products/{id}")).as_bytes()).unwrap();
            let mut answer = [0; 15];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
            // The rest of it.
            let mut rest = Vec::new();
            while !rest.ends_with(b"}") {
                let mut some = [0; 4096];
                let length = stream.read(&mut some).unwrap();
                assert_ne!(length, 0);
                rest.extend(&some[..length]);
            }
        }
    }
}

#[test]
fn a_returning_client_resumes_its_session() {
    let database = catalogue(10);
    let files = Files::new();
    let server = files.server(&database.url(), &[]);
    for version in [&TLS12, &TLS13] {
        let client = files.client(&[version]);
        let kinds = [(), ()].map(|()| {
            let mut stream = open(&server, &client);
            // The ticket arrives with the first answer at the latest.
            stream.write_all(plain("/products/1").as_bytes()).unwrap();
            assert_ne!(stream.read(&mut [0; 100]).unwrap(), 0);
            stream.conn.handshake_kind()
        });
        assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)], "{version:?}");
    }
}

#[test]
fn idle_connections_are_closed_with_close_notify() {
    let database = catalogue(10);
    let files = Files::new();
    let server = files.server(&database.url(), &["--idle-timeout", "1s", "--client-timeout", "1s"]);
    let client = files.client(&[&TLS13]);
    // rustls reports an end without close_notify as an error.
    let [mut idle, mut silent] = [(); 2].map(|()| converse(&server, &client));
    assert_eq!(idle.request("GET", "/products/1", &[]).unwrap().status, 200);
    assert!(idle.is_closed() && silent.is_closed());
    until("all connections are closed", || connections(&server) == 0);
}

#[test]
fn clients_that_do_not_finish_the_handshake_are_disconnected() {
    let database = catalogue(10);
    let files = Files::new();
    let server = files.server(&database.url(), &["--client-timeout", "1s"]);
    let client = files.client(&[&TLS13]);
    let mut first = Vec::new();
    hello(&client, "localhost").write_tls(&mut first).unwrap();
    // Many bytes first, then one at a time.
    let mut slow: Vec<(usize, TcpStream)> = (0..300)
        .map(|number| {
            let begin = [0, 5, first.len() - 1, first.len()][number % 4];
            let mut stream = connect(server.public).unwrap();
            stream.write_all(&first[..begin]).unwrap();
            (begin, stream)
        })
        .collect();
    let mut silent = converse(&server, &client);
    until("all of them are disconnected", || {
        assert_eq!(converse(&server, &client).request("GET", "/products/1", &[]).unwrap().status, 200);
        slow.retain_mut(|(sent, stream)| {
            // After their ClientHello they wait, without reading the server's answer.
            if *sent == first.len() {
                return !is_reset(stream);
            }
            // Never all of it.
            if *sent + 1 < first.len() {
                *sent += 1;
                stream.write_all(&[first[*sent - 1]]).is_ok() && !is_closed(stream)
            } else {
                !is_closed(stream)
            }
        });
        slow.is_empty()
    });
    assert!(silent.is_closed(), "a client that sends nothing after its handshake");
    until("all connections are closed", || connections(&server) == 0);
}

/// Whether the server has closed the connection, although unread bytes come first. Does not wait.
fn is_reset(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn an_incomplete_tls_record_does_not_keep_a_connection_open() {
    let database = catalogue(10);
    let files = Files::new();
    let server = files.server(&database.url(), &["--idle-timeout", "1s"]);
    let mut stream = open(&server, &files.client(&[&TLS13]));
    stream.write_all(plain("/products/1").as_bytes()).unwrap();
    assert_ne!(stream.read(&mut [0; 4096]).unwrap(), 0);
    // The header of a record of 16,384 bytes, and then one byte at a time, for minutes.
    let mut socket = stream.sock;
    socket.write_all(b"\x17\x03\x03\x40\x00").unwrap();
    until("it is disconnected", || socket.write_all(&[0]).is_err() || is_reset(&socket));
}

#[test]
fn clients_that_do_not_read_are_disconnected() {
    let database = catalogue(1000);
    let files = Files::new();
    let server = files.server(&database.url(), &["--client-timeout", "1s", "--idle-timeout", "1s"]);
    let client = files.client(&[&TLS13]);
    let slow: Vec<TlsStream> = (0..50)
        .map(|_| {
            let mut stream = TlsStream::new(hello(&client, "localhost"), narrow(server.public));
            stream.write_all(plain("/products?count=1000").repeat(100).as_bytes()).unwrap();
            stream.flush().unwrap();
            stream
        })
        .collect();
    until("they are disconnected", || connections(&server) == 0);
    drop(slow);
    assert_eq!(converse(&server, &client).request("GET", "/products/1", &[]).unwrap().status, 200);
}

#[test]
fn arbitrary_bytes_do_not_disturb_the_server() {
    let database = catalogue(10);
    let files = Files::new();
    let mut server = files.server(&database.url(), &["--client-timeout", "1s"]);
    let client = files.client(&[&TLS13]);
    let mut hello_and_more = Vec::new();
    hello(&client, "localhost").write_tls(&mut hello_and_more).unwrap();
    hello_and_more.extend([0x17; 5000]);
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("plain HTTP", plain("/products/1").into_bytes()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
        ("zeroes", vec![0; 10_000]),
        ("a record that is too long", b"\x16\x03\x01\xff\xff".iter().copied().chain([1; 70_000]).collect()),
        ("a record that is no hello", b"\x16\x03\x01\x00\x04\x01\x00\x00\x00".to_vec()),
        ("a hello and more", hello_and_more),
    ] {
        let mut stream = connect(server.public).unwrap();
        let _ = stream.write_all(&bytes); // it may be closed before it has read all
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "it is not closed after {what}");
        }
        assert!(!answer.starts_with(b"HTTP"), "{what}: {}", String::from_utf8_lossy(&answer));
        assert_eq!(
            converse(&server, &client).request("GET", "/products/1", &[]).unwrap().status,
            200,
            "{what}"
        );
    }
    // Neither another name nor an old version.
    let mut wrong = TlsStream::new(hello(&client, "other.example"), connect(server.public).unwrap());
    let refused: io::Result<()> = wrong.write_all(b"GET");
    assert!(refused.is_err_and(|error| error.to_string().contains("certificate")));
    drop(wrong);
    assert!(server.runs());
    until("all connections are closed", || connections(&server) == 0);
}

#[test]
fn it_stops_with_open_connections() {
    let database = catalogue(10);
    let files = Files::new();
    let server = files.server(&database.url(), &["--client-timeout", "1h", "--shutdown-grace", "1h"]);
    let client = files.client(&[&TLS13]);
    let mut idle = converse(&server, &client);
    assert_eq!(idle.request("GET", "/products/1", &[]).unwrap().status, 200);
    let silent = connect(server.public).unwrap();
    until("both are there", || connections(&server) == 2);
    server.signal(Signal::SIGTERM);
    assert!(idle.is_closed());
    assert!(server.wait().success());
    drop(silent);
}

#[test]
fn unusable_certificates_are_refused() {
    let files = Files::new();
    let other = Files::new();
    let [certificate, key] = ["server.crt", "server.key"].map(|name| files.path(name));
    let [text, key_text] = [&certificate, &key].map(|path| fs::read(path).unwrap());
    let broken = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let missing = files.path("missing");
    for (certificate, key, expected) in [
        (
            Some(&certificate),
            None,
            ["--tls-cert is given without --tls-key", "pass the certificate's private key"],
        ),
        (None, Some(&key), ["--tls-key is given without --tls-cert", "pass the key's certificate"]),
        (Some(&missing), Some(&key), ["cannot use --tls-cert", "No such file"]),
        (Some(&certificate), Some(&missing), ["cannot use --tls-key", "No such file"]),
        (Some(&key), Some(&key), ["cannot use --tls-cert", "it contains no certificate"]),
        (Some(&certificate), Some(&certificate), ["cannot use --tls-key", "it contains no private key"]),
        (
            Some(&files.write("empty", b"")),
            Some(&key),
            ["cannot use --tls-cert", "it contains no certificate"],
        ),
        (Some(&files.write("broken", broken)), Some(&key), ["cannot use --tls-cert", "caused by: "]),
        (
            Some(&files.write("cut", &text[..text.len() / 2])),
            Some(&key),
            ["cannot use --tls-cert", "caused by: "],
        ),
        (
            Some(&certificate),
            Some(&files.write("cut.key", &key_text[..key_text.len() / 2])),
            ["cannot use --tls-key", "caused by: "],
        ),
        (
            Some(&certificate),
            Some(&other.path("server.key")),
            ["is not the key of --tls-cert", "matching pair"],
        ),
    ] {
        let arguments = [("crt", certificate), ("key", key)];
        let arguments: Vec<String> =
            arguments.iter().filter_map(|(kind, path)| Some(flag(kind, path.as_ref()?))).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (code, output) = refuses("postgresql://reader:secret@127.0.0.1/shop", &arguments);
        assert_eq!(code, 2, "{arguments:?}: {output}");
        for expected in expected.iter().chain(&["hint: "]) {
            assert!(output.contains(expected), "{expected} is not in: {output}");
        }
    }
}
