//! Listening sockets: a TCP port or a Unix socket, opened by the server or passed by systemd (`activation`).

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{net, os};

use atelier_base::error::{Error, Result};
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::net::address::Address;
use crate::net::stream::PlainStream;

/// Connections that the kernel keeps until they are accepted.
pub(crate) const BACKLOG: i32 = 4096;

/// After a connection could not be accepted, for instance because of too many open files.
pub(crate) const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The kernel's send queue, which takes twice as much memory. Typical answers fit in, and a client with a round trip of 50 ms
/// gets 2.5 MB a second.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// The kernel's receive queue, likewise.
const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;

/// Every user may connect, as to a port, and as with nginx: permissions of the directory restrict that. A proxy usually runs
/// as another user, and the umask of a service would exclude it.
const SOCKET_MODE: u32 = 0o666;

/// Before it belongs to the runtime.
pub(crate) enum ListeningSocket {
    Tcp(net::TcpListener),
    Unix(os::unix::net::UnixListener),
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            ListeningSocket::Tcp(listener) => listener.as_fd(),
            ListeningSocket::Unix(listener) => listener.as_fd(),
        }
    }
}

pub(crate) struct Listener {
    socket: AsyncListener,
    /// Of a Unix socket that the server has opened.
    file: Option<SocketFile>,
    /// systemd keeps it open and passes it to the next process.
    is_shared: bool,
}

enum AsyncListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Uses the socket that systemd has passed, or opens `address`, which is the value of `flag`.
    pub(crate) fn open(passed: Option<ListeningSocket>, address: &Address, flag: &str) -> Result<Listener> {
        let cannot = |error: io::Error, hint| {
            Error::usage(format!("cannot listen on {flag} {address}")).cause(error).hint(hint)
        };
        let opened = match (passed, address) {
            (Some(socket), _) => {
                let listener = Listener::new(socket, None, true)
                    .map_err(|error| cannot(error, "check its .socket unit"))?;
                tracing::info!(address = listener.address(), "using a socket of systemd instead of {flag}");
                return Ok(listener);
            }
            (None, Address::Tcp(address)) => {
                open_tcp(*address).and_then(|socket| Listener::new(ListeningSocket::Tcp(socket), None, false))
            }
            (None, Address::Unix(path)) => open_unix(path)
                .and_then(|(socket, file)| Listener::new(ListeningSocket::Unix(socket), Some(file), false)),
        };
        opened.map_err(|error| {
            let hint = match address {
                Address::Tcp(_) => tcp_hint(error.kind()),
                Address::Unix(_) => unix_hint(error.kind()),
            };
            cannot(error, hint)
        })
    }

    fn new(socket: ListeningSocket, file: Option<SocketFile>, is_shared: bool) -> io::Result<Listener> {
        let socket = match socket {
            ListeningSocket::Tcp(listener) => {
                // Connections inherit these. If it fails, they take more of the kernel's memory.
                let _ = SockRef::from(&listener).set_send_buffer_size(SEND_BUFFER_BYTES);
                let _ = SockRef::from(&listener).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
                listener.set_nonblocking(true)?;
                AsyncListener::Tcp(TcpListener::from_std(listener)?)
            }
            ListeningSocket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                AsyncListener::Unix(UnixListener::from_std(listener)?)
            }
        };
        Ok(Listener { socket, file, is_shared })
    }

    /// With the port that the kernel has chosen for port 0.
    pub(crate) fn address(&self) -> String {
        let address = match &self.socket {
            AsyncListener::Tcp(listener) => listener.local_addr().map(|address| address.to_string()),
            AsyncListener::Unix(listener) => {
                listener.local_addr().map(|address| match address.as_pathname() {
                    Some(path) => Address::Unix(path.into()).to_string(),
                    None => format!("{address:?}"),
                })
            }
        };
        address.unwrap_or_else(|error| error.to_string())
    }

    pub(crate) async fn accept(&self) -> io::Result<AcceptedSocket> {
        match &self.socket {
            AsyncListener::Tcp(listener) => listener.accept().await?.0.into_std().map(AcceptedSocket::Tcp),
            AsyncListener::Unix(listener) => listener.accept().await?.0.into_std().map(AcceptedSocket::Unix),
        }
    }

    /// Stops listening, and returns the connections in the backlog, which would be lost otherwise. The backlog of a socket of
    /// systemd is left to the next process.
    pub(crate) fn close(mut self) -> io::Result<impl Iterator<Item = AcceptedSocket>> {
        self.file = None; // no new client can connect
        let mut accept: Box<dyn FnMut() -> io::Result<AcceptedSocket>> = match self.socket {
            AsyncListener::Tcp(listener) => {
                let listener = listener.into_std()?;
                Box::new(move || {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    Ok(AcceptedSocket::Tcp(stream))
                })
            }
            AsyncListener::Unix(listener) => {
                let listener = listener.into_std()?;
                Box::new(move || {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    Ok(AcceptedSocket::Unix(stream))
                })
            }
        };
        Ok(std::iter::from_fn(move || if self.is_shared { None } else { accept().ok() }))
    }
}

/// An accepted connection, before it belongs to the runtime of a worker. It does not block.
pub(crate) enum AcceptedSocket {
    Tcp(net::TcpStream),
    Unix(os::unix::net::UnixStream),
}

impl AcceptedSocket {
    /// Registers it with the runtime of this thread.
    pub(crate) fn into_stream(self) -> io::Result<PlainStream> {
        match self {
            AcceptedSocket::Tcp(stream) => {
                // Answers are written as a whole.
                let _ = stream.set_nodelay(true);
                TcpStream::from_std(stream).map(PlainStream::Tcp)
            }
            AcceptedSocket::Unix(stream) => {
                // Unix sockets do not inherit this.
                let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES);
                UnixStream::from_std(stream).map(PlainStream::Unix)
            }
        }
    }
}

fn open_tcp(address: SocketAddr) -> io::Result<net::TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?; // a restart does not wait for connections of the old process
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn open_unix(path: &Path) -> io::Result<(os::unix::net::UnixListener, SocketFile)> {
    let address = SockAddr::unix(path)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_stale(path)? => {
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

/// Whether the socket belongs to a process that has ended.
fn is_stale(path: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is not a socket"));
    }
    let probe = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?; // a busy listener must not block us
    let connected = probe.connect(&SockAddr::unix(path)?);
    Ok(connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
}

/// Removes the file of a Unix socket when it is dropped.
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
        // Another process may have replaced it.
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
        ErrorKind::PermissionDenied => "ports below 1024 need privileges: choose another port",
        ErrorKind::AddrNotAvailable => "this machine has no such address: 0.0.0.0 means all that it has",
        _ => "choose another address",
    }
}

fn unix_hint(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AddrInUse => "another program listens there: stop it, or choose another path",
        ErrorKind::NotFound | ErrorKind::NotADirectory => "create its directory first",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "choose a directory that this user may write to; systemd creates one with RuntimeDirectory="
        }
        _ => "choose another path",
    }
}
