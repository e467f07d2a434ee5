//! Where clients come in: a TCP port or a Unix socket, which the server opens or systemd hands over (`activation`).

use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{net, os};

use atelier_base::error::{Error, Result};
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::net::stream::Plain;

/// Connections that the kernel holds for us while we accept others.
pub(crate) const BACKLOG: i32 = 4096;

/// What the kernel keeps of an answer that a client does not take, at the most: it takes twice as much memory. Answers of
/// a usual size fit in, and a client that is 50 ms away gets 2.5 MB a second.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// What it keeps of requests that we do not read yet, likewise.
const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;

/// Linux has room for one more, which is the zero behind it.
const MAX_PATH_BYTES: usize = 107;

/// Everybody may connect, as to a port and as with nginx: who is to be kept out is so by the rights of the directory. A
/// proxy is another user as a rule, and the umask of a service lets nobody in.
const SOCKET_MODE: u32 = 0o666;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address of this machine and a port.
    Tcp(SocketAddr),
    /// The file of a Unix socket, its whole path.
    Unix(PathBuf),
}

/// As nginx and gunicorn write it: `127.0.0.1:3000`, `[::1]:3000` or `unix:/run/atelier-server/api.sock`.
impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        match text.strip_prefix("unix:") {
            None => text.parse().map(Address::Tcp).map_err(|error| {
                format!("{error}: write 127.0.0.1:3000, [::1]:3000 or unix:/run/atelier-server/api.sock")
            }),
            Some(path) if !path.starts_with('/') => {
                Err("a Unix socket takes its whole path: write unix:/run/atelier-server/api.sock".to_owned())
            }
            Some(path) if path.len() > MAX_PATH_BYTES => Err(format!(
                "the path of a Unix socket has at most {MAX_PATH_BYTES} bytes, and this one {}",
                path.len()
            )),
            Some(path) => Ok(Address::Unix(path.into())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that listens.
pub enum Socket {
    /// At a port.
    Tcp(net::TcpListener),
    /// At a file.
    Unix(os::unix::net::UnixListener),
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(listener) => listener.as_fd(),
            Socket::Unix(listener) => listener.as_fd(),
        }
    }
}

/// The same, to accept connections at.
pub struct Listener {
    kind: Kind,
    /// Of a Unix socket that we have made.
    file: Option<SocketFile>,
    /// systemd holds it too, and hands it over to the next process.
    is_shared: bool,
}

enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Takes the socket that was handed over, else opens one at `address`; `flag` is the one that names it.
    pub fn open(handed_over: Option<Socket>, address: &Address, flag: &str) -> Result<Listener> {
        let cannot = |error: io::Error, hint| {
            Error::usage(format!("cannot listen on {flag} {address}")).cause(error).hint(hint)
        };
        let opened = match (handed_over, address) {
            (Some(socket), _) => {
                let listener = Listener::new(socket, None, true)
                    .map_err(|error| cannot(error, "see what its .socket unit says of it"))?;
                tracing::info!(
                    address = listener.address(),
                    "systemd hands over a socket in place of {flag}"
                );
                return Ok(listener);
            }
            (None, Address::Tcp(address)) => {
                open_tcp(*address).and_then(|socket| Listener::new(Socket::Tcp(socket), None, false))
            }
            (None, Address::Unix(path)) => open_unix(path)
                .and_then(|(socket, file)| Listener::new(Socket::Unix(socket), Some(file), false)),
        };
        opened.map_err(|error| {
            let hint = match address {
                Address::Tcp(_) => tcp_hint(error.kind()),
                Address::Unix(_) => unix_hint(error.kind()),
            };
            cannot(error, hint)
        })
    }

    fn new(socket: Socket, file: Option<SocketFile>, is_shared: bool) -> io::Result<Listener> {
        let kind = match socket {
            Socket::Tcp(listener) => {
                // Connections inherit them. Where that fails, they take more of the kernel's memory.
                let _ = SockRef::from(&listener).set_send_buffer_size(SEND_BUFFER_BYTES);
                let _ = SockRef::from(&listener).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
                listener.set_nonblocking(true)?;
                Kind::Tcp(TcpListener::from_std(listener)?)
            }
            Socket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Kind::Unix(UnixListener::from_std(listener)?)
            }
        };
        Ok(Listener { kind, file, is_shared })
    }

    /// Where it really listens: port 0 asks for any.
    pub fn address(&self) -> String {
        let address = match &self.kind {
            Kind::Tcp(listener) => listener.local_addr().map(|address| address.to_string()),
            Kind::Unix(listener) => listener.local_addr().map(|address| match address.as_pathname() {
                Some(path) => Address::Unix(path.into()).to_string(),
                None => format!("{address:?}"),
            }),
        };
        address.unwrap_or_else(|error| error.to_string())
    }

    /// Waits for a connection.
    pub async fn accept(&self) -> io::Result<Incoming> {
        match &self.kind {
            Kind::Tcp(listener) => listener.accept().await?.0.into_std().map(Incoming::Tcp),
            Kind::Unix(listener) => listener.accept().await?.0.into_std().map(Incoming::Unix),
        }
    }

    /// Ends it, and gives the connections that the kernel has accepted already, one after the other: they would be lost
    /// with it. Those of a socket that systemd holds wait in it for the next process.
    pub fn close(mut self) -> io::Result<impl Iterator<Item = Incoming>> {
        self.file = None; // nobody finds it any more
        let mut accept: Box<dyn FnMut() -> io::Result<Incoming>> = match self.kind {
            Kind::Tcp(listener) => {
                let listener = listener.into_std()?;
                Box::new(move || {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    Ok(Incoming::Tcp(stream))
                })
            }
            Kind::Unix(listener) => {
                let listener = listener.into_std()?;
                Box::new(move || {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    Ok(Incoming::Unix(stream))
                })
            }
        };
        Ok(std::iter::from_fn(move || if self.is_shared { None } else { accept().ok() }))
    }
}

/// A connection that was accepted, on its way to the thread that serves it. Reading from it does not block.
pub enum Incoming {
    /// From this machine or another.
    Tcp(net::TcpStream),
    /// From this machine.
    Unix(os::unix::net::UnixStream),
}

impl Incoming {
    /// Makes it one of the thread's runtime.
    pub fn open(self) -> io::Result<Plain> {
        match self {
            Incoming::Tcp(stream) => {
                // Answers are written whole: there is nothing to wait for.
                let _ = stream.set_nodelay(true);
                TcpStream::from_std(stream).map(Plain::Tcp)
            }
            Incoming::Unix(stream) => {
                // These inherit nothing.
                let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES);
                UnixStream::from_std(stream).map(Plain::Unix)
            }
        }
    }
}

fn open_tcp(address: SocketAddr) -> io::Result<net::TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?; // a restart does not wait for connections of the process before
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn open_unix(path: &Path) -> io::Result<(os::unix::net::UnixListener, SocketFile)> {
    let address = SockAddr::unix(path)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_left_over(path)? => {
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    let file = SocketFile::at(path)?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

/// Whether the socket there is of a process that has died: nobody listens.
fn is_left_over(path: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    let probe = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?; // a busy listener may keep us waiting
    let connected = probe.connect(&SockAddr::unix(path)?);
    Ok(connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
}

/// The file of a Unix socket of ours, removed with it.
struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<SocketFile> {
        Ok(SocketFile { path: path.to_owned(), id: id(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have put its own there meanwhile.
        if id(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode.
fn id(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn tcp_hint(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AddrInUse => "another program listens there: stop it, or choose another port",
        ErrorKind::PermissionDenied => "ports below 1024 take rights: choose one above",
        ErrorKind::AddrNotAvailable => "this machine has no such address: 0.0.0.0 stands for all it has",
        _ => "choose another address",
    }
}

fn unix_hint(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AddrInUse => "another program listens there: stop it, or choose another path",
        ErrorKind::NotFound | ErrorKind::NotADirectory => "make its directory first",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "choose a directory that this user may write to; systemd makes one with RuntimeDirectory="
        }
        _ => "choose another path",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_shown_as_it_is_written() {
        let longest = format!("unix:/{}", "x".repeat(MAX_PATH_BYTES - 1));
        for text in ["127.0.0.1:3000", "[::1]:0", "unix:/run/api.sock", &longest] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let too_long = format!("{longest}x");
        for text in
            ["", "3000", "localhost:3000", "/run/api.sock", "unix:api.sock", "unix:", "unix:@api", &too_long]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
