//! HTTP/2: the same answers, several at a time on one connection.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use atelier_testing::until;
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::http2::{Builder, SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::Signal;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::catalogue::Session;
use crate::client::{Connection, Response, connect, get, request};
use crate::clients::{PARKED, catalogue, connections};
use crate::fixture::{RESOURCES, serve};
use crate::server::Server;
use crate::tls::Files;

type Client = SendRequest<Empty<Bytes>>;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A connection of a client with prior knowledge of HTTP/2.
async fn open(address: SocketAddr) -> Client {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn send(client: &mut Client, method: &str, uri: &str, headers: &[(&str, &str)]) -> Response {
    client.ready().await.unwrap();
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let headers = head.headers.iter();
    Response {
        status: head.status.as_u16(),
        headers: headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect(),
        body: body.collect().await.unwrap().to_bytes().into(),
    }
}

#[test]
fn requests_are_answered_as_with_http1() {
    let served = serve(&[]);
    let public = served.server.public;
    runtime().block_on(async {
        let mut client = open(public).await;
        let others = ["/products/4", "/products/0", "/nowhere", "/", "/docs", "/openapi.json", "/products/"];
        for target in RESOURCES.iter().chain(&others) {
            for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
                let mut expected = request(public, method, target, &[]);
                let mut answer = send(&mut client, method, &format!("http://test{target}"), &[]).await;
                for answer in [&mut expected, &mut answer] {
                    answer.headers.retain(|(name, _)| name != "date" && name != "server-timing");
                    answer.headers.sort();
                }
                assert_eq!(answer, expected, "{method} {target}");
            }
        }
        let tag = get(public, "/products/1").header("etag").unwrap().to_owned();
        let answer = send(&mut client, "GET", "http://test/products/1", &[("if-none-match", &tag)]).await;
        assert_eq!(answer.status, 304);
        for (uri, status) in [("http://shop.example:80/products/1", 200), ("http://me@test/products/1", 400)]
        {
            assert_eq!(send(&mut client, "GET", uri, &[]).await.status, status, "{uri}");
        }
        for (host, status) in [("test", 200), ("other", 400)] {
            let answer = send(&mut client, "GET", "http://test/products/1", &[("host", host)]).await;
            assert_eq!(answer.status, status, "{host}");
        }
        let long = format!("http://test/products?x={}", "y".repeat(9000));
        assert_eq!(send(&mut client, "GET", &long, &[]).await.status, 414);
        let large = "y".repeat(17_000);
        assert_eq!(
            send(&mut client, "GET", "http://test/products", &[("x-large", &large)]).await.status,
            431
        );
        // A body that is not read does not block others.
        let answers =
            (1..=200).map(|id| {
                let mut client = client.clone();
                async move {
                    send(&mut client, "GET", &format!("http://test/products?page={id}"), &[]).await.status
                }
            });
        assert!(join_all(answers).await.into_iter().all(|status| status == 200));
    });
}

#[test]
fn alpn_selects_http2() {
    let database = catalogue(10);
    let files = Files::new();
    let server = files.server(&database.url(), &[]);
    let url = format!("https://localhost:{}/products/1", server.public.port());
    for (speaks, spoken) in [("--http2", "2"), ("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let curl = Command::new("curl")
            .args([speaks, "-sS", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "--cacert"])
            .arg(files.path("authority.crt"))
            .arg(&url)
            .output()
            .unwrap();
        let output =
            String::from_utf8_lossy(&curl.stdout).into_owned() + &String::from_utf8_lossy(&curl.stderr);
        assert_eq!(output, format!("{spoken} 200"), "{speaks}");
    }
}

#[test]
fn the_preface_may_come_in_pieces() {
    let database = catalogue(10);
    let server = Server::start(&database.url(), &["--client-timeout", "10s"]);
    let mut stream = connect(server.public).unwrap();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.write_all(b"\0\0\0\x04\0\0\0\0\0").unwrap(); // SETTINGS
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "SETTINGS");
}

#[test]
fn idle_connections_get_goaway() {
    let database = catalogue(10);
    let server = Server::start(&database.url(), &["--idle-timeout", "2s", "--client-timeout", "1s"]);
    runtime().block_on(async {
        let mut client = open(server.public).await;
        assert_eq!(send(&mut client, "GET", "http://test/products/1", &[]).await.status, 200);
        tokio::time::sleep(PARKED).await; // longer than the time for the first request
        assert_eq!(send(&mut client, "GET", "http://test/products/1", &[]).await.status, 200);
        // Idle ones end, also those without any request.
        let _silent = open(server.public).await;
        while connections(&server) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(client.ready().await.is_err());
    });
    let locker = Session::open(&database);
    locker.execute("BEGIN; LOCK TABLE atelier.styles IN ACCESS EXCLUSIVE MODE");
    let runtime = runtime();
    let (answer, mut client) = runtime.block_on(async {
        let mut client = open(server.public).await;
        let mut waiting = client.clone();
        let answer =
            tokio::spawn(
                async move { send(&mut waiting, "GET", "http://test/products/1/styles", &[]).await },
            );
        assert_eq!(send(&mut client, "GET", "http://test/products/2", &[]).await.status, 200);
        while server.metric("atelier_http_requests_in_flight") == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (answer, client)
    });
    server.signal(Signal::SIGTERM);
    until("it stops", || server.log().contains("stopping"));
    // It gets its answer, and then the connection ends.
    locker.execute("ROLLBACK");
    assert_eq!(runtime.block_on(answer).unwrap().status, 200);
    runtime.block_on(async {
        while client.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn cancelled_requests_release_their_memory() {
    let database = catalogue(10);
    let server = Server::start(&database.url(), &["--idle-timeout", "1s", "--max-connections", "1"]);
    let locker = Session::open(&database);
    locker.execute("BEGIN; LOCK TABLE atelier.styles IN ACCESS EXCLUSIVE MODE");
    runtime().block_on(async {
        let mut client = open(server.public).await;
        let request = Request::get("http://test/products/1/styles").body(Empty::new()).unwrap();
        let answer = tokio::time::timeout(Duration::from_millis(200), client.send_request(request)).await;
        assert!(answer.is_err(), "it waits");
        // The request is gone, and the connection is idle.
        while client.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    locker.execute("ROLLBACK");
    assert_eq!(get(server.public, "/products/1").status, 200);
}

#[test]
fn an_idle_client_gets_goaway_when_the_server_stops() {
    let database = catalogue(10);
    let server = Server::start(&database.url(), &[]);
    let mut stream = connect(server.public).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    until("it is served", || connections(&server) == 1);
    std::thread::sleep(PARKED);
    server.signal(Signal::SIGTERM);
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    let goaway = [7, 0, 0, 0, 0, 0]; // kind, no flags, of the connection
    assert!(received.windows(goaway.len()).any(|frame| frame == goaway), "{received:?}");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn clients_that_do_not_open_their_window_are_disconnected() {
    let database = catalogue(1000);
    let server = Server::start(&database.url(), &["--client-timeout", "1s"]);
    runtime().block_on(async {
        let stream = TcpStream::connect(server.public).await.unwrap();
        let mut builder = Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(10).initial_connection_window_size(65_535);
        let (mut client, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut answers = Vec::new();
        for _ in 0..50 {
            client.ready().await.unwrap();
            let request =
                Request::get("http://test/products?count=1000").body(Empty::<Bytes>::new()).unwrap();
            answers.push(client.send_request(request).await.unwrap());
        }
        while connections(&server) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for answer in answers {
            assert!(answer.into_body().collect().await.is_err());
        }
    });
    assert_eq!(get(server.public, "/products/1").status, 200);
    until("it is counted", || server.metric(r#"atelier_limits_total{limit="slow_clients"}"#) > 0);
    let _ = Connection::open(server.public);
}
