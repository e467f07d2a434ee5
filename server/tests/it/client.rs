//! An HTTP client that sends exactly the bytes that a test wants.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use tokio_rustls::rustls::{ClientConnection, StreamOwned};

/// Far longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case, in the order of arrival.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// A stream to the server, plain or with TLS.
pub(crate) trait Stream: Read + Write + Send {
    fn socket(&self) -> &TcpStream;

    /// Closes the sending side; answers can still be read.
    fn end(&mut self) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }

    fn end(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }

    fn end(&mut self) -> io::Result<()> {
        self.conn.send_close_notify();
        self.flush()?;
        self.sock.shutdown(Shutdown::Write)
    }
}

/// A keep-alive connection.
pub(crate) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Connection {
        Self::try_open(address).unwrap()
    }

    pub(crate) fn try_open(address: SocketAddr) -> io::Result<Connection> {
        Ok(Connection::over(Box::new(connect(address)?)))
    }

    /// On a stream that is open.
    pub(crate) fn over(stream: Box<dyn Stream>) -> Connection {
        Connection { stream: BufReader::new(stream) }
    }

    /// For everything that is not a request.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref().socket()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).and_then(|()| stream.flush())
    }

    /// Closes the sending side.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.stream.get_mut().end()
    }

    /// Reads one answer. With `head` it is one to HEAD and has no body.
    pub(crate) fn receive(&mut self, head: bool) -> io::Result<Response> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("no status line"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").ok_or_else(|| io::Error::other("no header"))?;
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut response = Response { status, headers, body: Vec::new() };
        if !head && !matches!(status, 204 | 304) {
            let length = response.header("content-length").and_then(|length| length.parse().ok());
            let length: usize = length.ok_or_else(|| io::Error::other("no content-length"))?;
            response.body = vec![0; length];
            self.stream.read_exact(&mut response.body)?;
        }
        Ok(response)
    }

    /// Waits for the server to close the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// Sends a request and reads its answer. `headers` are whole lines without their end.
    pub(crate) fn request(&mut self, method: &str, target: &str, headers: &[&str]) -> io::Result<Response> {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{headers}\r\n").as_bytes())?;
        self.receive(method == "HEAD")
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let ended = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(ended.to_owned())
    }
}

/// A socket with time-outs.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    Ok(stream)
}

/// One request on a connection of its own.
pub(crate) fn request(address: SocketAddr, method: &str, target: &str, headers: &[&str]) -> Response {
    let answer = Connection::open(address).request(method, target, headers);
    answer.unwrap_or_else(|error| panic!("{method} {target}: {error}"))
}

pub(crate) fn get(address: SocketAddr, target: &str) -> Response {
    request(address, "GET", target, &[])
}
