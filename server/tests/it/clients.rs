//! Clients that are slow, wrong or many: each gets an answer if possible, and none disturbs the others.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use atelier_testing::{Database, Server as Postgres, until};
use socket2::{Domain, Protocol, Socket, Type};

use crate::catalogue::{Session, generated, publish};
use crate::client::{Connection, get};
use crate::server::Server;

const MANY: usize = 2000;

/// Generous: it only must not grow with what clients request.
const MEMORY: u64 = 300 << 20;

/// Longer than a connection stays awake between requests.
pub(crate) const PARKED: Duration = Duration::from_millis(1200);

pub(crate) fn catalogue(products: u32) -> Database<'static> {
    let database = Postgres::shared().database();
    publish(&database, generated(products, 1).path());
    database
}

/// Open connections of the API.
pub(crate) fn connections(server: &Server) -> u64 {
    server.metric("atelier_http_connections")
}

/// Whether the server has closed it. Does not wait.
pub(crate) fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    match stream.read(&mut [0; 512]) {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[test]
fn thousands_of_slow_senders_are_disconnected_and_do_not_delay_others() {
    rlimit::increase_nofile_limit(8192).unwrap();
    let database = catalogue(100);
    let server = Server::start(&database.url(), &["--client-timeout", "1s"]);
    let mut slow: Vec<TcpStream> = (0..MANY).map(|_| TcpStream::connect(server.public).unwrap()).collect();
    let request = b"GET /products/1 HTTP/1.1\r\nHost: test\r\nX-Slow: 1";
    let mut sent = 0;
    let mut id = 0;
    until("all of them are disconnected", || {
        // Never the end of the headers.
        let byte = request.get(sent).unwrap_or(&b'1');
        sent += 1;
        slow.retain(|mut stream| {
            stream.set_nonblocking(true).unwrap();
            stream.write_all(&[*byte]).is_ok() && !is_closed(stream)
        });
        id = id % 100 + 1;
        assert_eq!(get(server.public, &format!("/products/{id}")).status, 200);
        slow.is_empty()
    });
    assert!(sent > 1, "they were never connected");
    until("all connections are closed", || connections(&server) == 0);
    assert!(server.peak_memory() < MEMORY, "{} bytes", server.peak_memory());
}

/// A connection with a tiny receive buffer.
pub(crate) fn narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

#[test]
fn clients_that_do_not_read_are_disconnected_and_take_little_memory() {
    rlimit::increase_nofile_limit(8192).unwrap();
    let database = catalogue(1000);
    for cache in ["128MiB", "0"] {
        // Those whose answers fit into the send queue are idle.
        let arguments = ["--client-timeout", "1s", "--idle-timeout", "1s", "--cache-bytes", cache];
        let server = Server::start(&database.url(), &arguments);
        assert_eq!(get(server.public, "/products/1").status, 200);
        let slow: Vec<TcpStream> = (0..300)
            .map(|number| {
                let mut stream = narrow(server.public);
                let target = format!("/products?count={}", 1000 - number);
                let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").repeat(100);
                stream.write_all(request.as_bytes()).unwrap();
                stream
            })
            .collect();
        until("they are disconnected", || {
            // While there is room for bodies. If not, requests are refused immediately.
            let answer = get(server.public, "/products/1");
            assert!(answer.status == 200 || cache == "0" && answer.status == 503, "{answer:?}");
            connections(&server) == 0
        });
        drop(slow);
        until("all is as before", || get(server.public, "/products?count=5").status == 200);
        assert!(server.peak_memory() < MEMORY, "{} bytes", server.peak_memory());
    }
}

#[test]
fn idle_connections_are_closed() {
    let database = catalogue(10);
    let server = Server::start(&database.url(), &["--idle-timeout", "1s", "--client-timeout", "1s"]);
    let mut silent = Connection::open(server.public);
    let mut idle = Connection::open(server.public);
    assert_eq!(idle.request("GET", "/products/1", &[]).unwrap().status, 200);
    assert!(idle.is_closed() && silent.is_closed());
    until("all connections are closed", || connections(&server) == 0);
}

pub(crate) fn plain(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// What HTTP/1.1 allows on one connection.
pub(crate) fn assert_answers_in_order(open: &dyn Fn() -> Connection) {
    pipelined_requests_are_answered_in_order(open);
    a_request_may_come_in_pieces(open);
    a_half_closed_connection_still_gets_its_answers(open);
    a_body_is_not_parsed_as_a_request(open);
}

#[test]
fn answers_are_in_order() {
    let database = catalogue(100);
    let server = Server::start(&database.url(), &[]);
    assert_answers_in_order(&|| Connection::open(server.public));
}

#[test]
fn answers_are_in_order_with_many_connections() {
    rlimit::increase_nofile_limit(8192).unwrap();
    let database = catalogue(100);
    let server = Server::start(&database.url(), &["--client-timeout", "1h"]);
    // So many that connections are parked immediately.
    let crowd: Vec<Connection> = (0..700)
        .map(|_| {
            let mut connection = Connection::open(server.public);
            connection.send(b"GET /products/1 HT").unwrap();
            connection
        })
        .collect();
    until("all are there", || connections(&server) == crowd.len() as u64);
    assert_answers_in_order(&|| Connection::open(server.public));
    for mut connection in crowd {
        connection.send(b"TP/1.1\r\nHost: test\r\n\r\n").unwrap();
        assert_eq!(connection.receive(false).unwrap().status, 200);
    }
}

fn pipelined_requests_are_answered_in_order(open: &dyn Fn() -> Connection) {
    // Also more than hyper reads in one call, large requests before small ones.
    for padding in [[0, 0], [600, 300], [1200, 0]] {
        let padded = |id: usize| {
            let length = padding[id / 30 % 2];
            format!("GET /products/{id} HTTP/1.1\r\nHost: test\r\nX-Pad: {:x<length$}\r\n\r\n", "")
        };
        let mut connection = open();
        connection.send((1..=100).map(padded).collect::<String>().as_bytes()).unwrap();
        for id in 1..=100 {
            assert_eq!(connection.receive(false).unwrap().json()["id"], id, "{padding:?}");
        }
    }
}

fn a_request_may_come_in_pieces(open: &dyn Fn() -> Connection) {
    let [first, second, third] = ["/products/1", "/products/2", "/products/3"].map(plain);
    let whole = format!("{first}{second}{third}");
    let (begin, end) = (first.len() + second.len(), whole.len());
    for pause in [Duration::ZERO, PARKED] {
        // Between two requests, between two lines, and in the end of the headers.
        for cut in [begin, begin + third.find("Host").unwrap(), end - 1] {
            let mut connection = open();
            connection.send(&whole.as_bytes()[..cut]).unwrap();
            for id in 1..=2 {
                assert_eq!(connection.receive(false).unwrap().json()["id"], id);
            }
            thread::sleep(pause);
            connection.send(&whole.as_bytes()[cut..]).unwrap();
            assert_eq!(connection.receive(false).unwrap().json()["id"], 3, "cut at {cut}");
            assert_eq!(connection.request("GET", "/products/4", &[]).unwrap().json()["id"], 4);
        }
    }
}

fn a_half_closed_connection_still_gets_its_answers(open: &dyn Fn() -> Connection) {
    let mut connection = open();
    connection.send((plain("/products/1") + &plain("/products/2/styles")).as_bytes()).unwrap();
    connection.end().unwrap();
    assert_eq!(connection.receive(false).unwrap().json()["id"], 1);
    assert_eq!(connection.receive(false).unwrap().json()["product_id"], "2");
    assert!(connection.is_closed());
}

fn a_body_is_not_parsed_as_a_request(open: &dyn Fn() -> Connection) {
    // It looks like one.
    let body = plain("/products/9");
    for target in ["/products/1", "/products/1/related", "/nothing"] {
        for (cut, pause) in [
            (body.len(), Duration::ZERO),
            (0, Duration::ZERO),
            (10, Duration::ZERO),
            (0, PARKED),
            (10, PARKED),
        ] {
            let mut connection = open();
            let length = format!("Content-Length: {}", body.len());
            let head = format!("GET {target} HTTP/1.1\r\nHost: test\r\n{length}\r\n\r\n");
            connection.send((head + &body[..cut]).as_bytes()).unwrap();
            connection.receive(false).unwrap();
            thread::sleep(pause);
            // A server that does not read a body may close the connection after it.
            let rest = format!("{}{}", &body[cut..], plain("/products/2"));
            let next = connection.send(rest.as_bytes()).and_then(|()| connection.receive(false));
            assert!(
                next.is_err() || next.is_ok_and(|answer| answer.json()["id"] == 2),
                "{target}, cut at {cut}"
            );
        }
    }
}

#[test]
fn long_targets_and_headers_are_refused_and_the_connection_stays_open() {
    let database = catalogue(10);
    let server = Server::start(&database.url(), &[]);
    let mut connection = Connection::open(server.public);
    let long = format!("/products?page=1&x={}", "x".repeat(8 * 1024));
    let header = format!("X-Long: {}", "x".repeat(8 * 1024));
    for (target, headers, status) in
        [(&*long, &[][..], 414), ("/products", &[&*header, &header], 431), ("/products", &[&*header], 200)]
    {
        let answer = connection.request("GET", target, headers).unwrap();
        assert_eq!(answer.status, status);
        let kind = if status == 200 { "application/json; charset=utf-8" } else { "application/problem+json" };
        assert_eq!(answer.header("content-type"), Some(kind));
    }
    // So much that it is not read: refused, and the connection is closed.
    for (request, statuses) in [
        (plain(&format!("/products?x={}", "x".repeat(1 << 20))), [414, 431]),
        (plain("/products").replace("Host", &"x".repeat(1 << 20)), [431, 431]),
        (plain("/products").replace("Host", &"X-Many: 1\r\n".repeat(100_000)), [431, 431]),
    ] {
        let answer = converse(server.public, request.as_bytes());
        assert!(statuses.iter().any(|status| answer.starts_with(&format!("HTTP/1.1 {status} "))), "{answer}");
    }
    assert_eq!(get(server.public, "/products").status, 200);
}

/// Sends bytes, and reads until the server closes the connection.
fn converse(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // The server may close the connection before it has read all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_ne!(error.kind(), ErrorKind::WouldBlock, "it neither answers nor closes: {bytes:?}");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn arbitrary_bytes_do_not_disturb_the_server() {
    let database = catalogue(10);
    let mut server = Server::start(&database.url(), &["--client-timeout", "1s"]);
    let post =
        |headers: &str| format!("POST /products HTTP/1.1\r\nHost: test\r\n{headers}\r\n\r\n").into_bytes();
    let with = |headers: &str| format!("GET /products/1 HTTP/1.1\r\nHost: test\r\n{headers}").into_bytes();
    let hello = b"\x16\x03\x01\x00\xc4\x01\x00\x00\xc0\x03\x03".iter().copied().chain([7; 190]).collect();
    for (what, bytes, status) in [
        ("nothing", Vec::new(), None),
        ("zeroes", vec![0; 10_000], Some(400)),
        ("a TLS ClientHello", hello, Some(400)),
        ("HTTP/0.9", b"GET /products\r\n\r\n".to_vec(), Some(400)),
        ("HTTP/1.0", b"GET /products/1 HTTP/1.0\r\n\r\n".to_vec(), Some(200)),
        ("not quite HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(), Some(400)),
        ("a part of HTTP/2", b"PRI * HT".to_vec(), None),
        ("HTTP/3.0", b"GET /products/1 HTTP/3.0\r\n\r\n".to_vec(), Some(400)),
        ("lines without CR", b"GET /products/1 HTTP/1.1\nHost: test\n\n".to_vec(), Some(200)),
        ("empty lines first", b"\r\n\r\nGET /products/1 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Some(200)),
        ("no Host", b"GET /products/1 HTTP/1.1\r\n\r\n".to_vec(), Some(400)),
        ("an absolute target", b"GET http://a/products/1 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Some(200)),
        ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Some(404)),
        ("a target with bytes", b"GET /products/\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Some(400)),
        ("a header without name", with(": x\r\n\r\n"), Some(400)),
        ("a header with a zero", with("X: \0\r\n\r\n"), Some(400)),
        ("a length below zero", post("Content-Length: -1"), Some(400)),
        ("a length beyond all", post("Content-Length: 99999999999999999999999"), Some(400)),
        ("a length of most", post("Content-Length: 18446744073709551613"), Some(405)),
        ("two lengths", post("Content-Length: 1\r\nContent-Length: 2"), Some(400)),
        ("an unknown coding", post("Transfer-Encoding: zip"), Some(400)),
        (
            "a length and a coding",
            with("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            Some(200),
        ),
        ("a body", with("Content-Length: 5\r\n\r\nhello"), Some(200)),
        ("half of a body", with("Content-Length: 5\r\n\r\nhe"), Some(200)),
        ("a body in chunks", with("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), Some(200)),
        ("chunks that are none", with("Transfer-Encoding: chunked\r\n\r\nzz\r\n"), Some(200)),
        ("100-continue expected", with("Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"), Some(200)),
        ("an upgrade", with("Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"), Some(200)),
    ] {
        let answer = converse(server.public, &bytes);
        match status {
            Some(status) => {
                let expected = [format!("HTTP/1.1 {status} "), format!("HTTP/1.0 {status} ")];
                assert!(expected.iter().any(|start| answer.starts_with(start)), "{what}: {answer:?}");
            }
            None => assert_eq!(answer, "", "{what}"),
        }
        assert_eq!(get(server.public, "/products/1").status, 200, "after {what}");
    }
    assert!(server.runs());
    until("all connections are closed", || connections(&server) == 0);
}

#[test]
fn a_client_that_disconnects_does_not_cancel_a_shared_query() {
    let database = catalogue(10);
    let server = Server::start(&database.url(), &["--request-timeout", "60s"]);
    let locker = Session::open(&database);
    locker.execute("BEGIN; LOCK TABLE atelier.styles IN ACCESS EXCLUSIVE MODE");
    let in_flight = || server.metric("atelier_http_requests_in_flight");
    let send = || {
        let before = in_flight();
        let mut connection = Connection::open(server.public);
        connection.send(plain("/products/5/styles").as_bytes()).unwrap();
        until("it waits", || in_flight() > before);
        connection
    };
    let gone: Vec<Connection> = (0..20).map(|_| send()).collect();
    let mut stays = [send(), send()];
    let more: Vec<Connection> = (0..5).map(|_| send()).collect();
    for connection in gone.into_iter().chain(more) {
        // With a reset, as of a client that was killed.
        socket2::SockRef::from(connection.socket()).set_linger(Some(Duration::ZERO)).unwrap();
    }
    locker.execute("ROLLBACK");
    for connection in &mut stays {
        assert_eq!(connection.receive(false).unwrap().json()["product_id"], "5");
    }
    drop(stays);
    until("all are gone", || connections(&server) == 0);
}

#[test]
fn clients_may_disconnect_at_any_moment() {
    let database = catalogue(1000);
    let mut server = Server::start(&database.url(), &["--cache-bytes", "0"]);
    let request = plain("/products?count=1000");
    for cut in (0..request.len()).step_by(7).chain([request.len(); 10]) {
        let mut stream = narrow(server.public);
        stream.write_all(&request.as_bytes()[..cut]).unwrap();
        if cut == request.len() {
            // In the middle of the answer.
            let _ = stream.read_exact(&mut [0; 2000]);
        }
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    until("they are gone", || connections(&server) == 0);
    assert_eq!(get(server.public, "/products?count=1000").status, 200);
    until("their answers are let go", || server.metric("atelier_bodies_bytes") == 0);
    assert!(server.runs());
}

#[test]
fn at_the_connection_limit_the_longest_idle_connections_are_closed() {
    let database = catalogue(10);
    let server = Server::start(&database.url(), &["--max-connections", "4", "--threads", "1"]);
    let mut open: Vec<Connection> = (0..4).map(|_| Connection::open(server.public)).collect();
    for number in [3, 1, 0, 2] {
        assert_eq!(open[number].request("GET", "/products/1", &[]).unwrap().status, 200);
        thread::sleep(PARKED); // idle since then
    }
    for number in [3, 1] {
        let mut other = Connection::open(server.public);
        assert_eq!(other.request("GET", "/products/2", &[]).unwrap().status, 200);
        assert!(open[number].is_closed());
        open[number] = other;
    }
    assert!(!is_closed(open[0].socket()) && !is_closed(open[2].socket()));
    assert_eq!(server.metric(r#"atelier_limits_total{limit="connections"}"#), 2);
    until("it is logged", || server.log().contains("a limit is reached"));
}

#[test]
fn connections_beyond_the_limit_wait_if_none_is_idle() {
    let database = catalogue(10);
    let server = Server::start(&database.url(), &["--max-connections", "4"]);
    let locker = Session::open(&database);
    locker.execute("BEGIN; LOCK TABLE atelier.styles IN ACCESS EXCLUSIVE MODE");
    let mut open: Vec<Connection> = (1..=4)
        .map(|id| {
            let mut connection = Connection::open(server.public);
            connection.send(plain(&format!("/products/{id}/styles")).as_bytes()).unwrap();
            connection
        })
        .collect();
    until("all are there", || server.metric("atelier_http_requests_in_flight") == 4);
    let mut waiting = Connection::open(server.public);
    waiting.send(plain("/products/2").as_bytes()).unwrap();
    // It has nothing to read: not now, and not after any time.
    let mut nothing = waiting.socket();
    nothing.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(
        nothing.read(&mut [0; 1]).map_err(|error: io::Error| error.kind()),
        Err(ErrorKind::WouldBlock)
    );
    nothing.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    locker.execute("ROLLBACK");
    assert_eq!(waiting.receive(false).unwrap().json()["id"], 2);
    let answered = open.iter_mut().filter_map(|connection| connection.receive(false).ok());
    assert_eq!(answered.filter(|answer| answer.status == 200).count(), 4, "none was at rest");
}
