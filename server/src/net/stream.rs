//! Streams to clients: plain sockets, with or without TLS.

use std::future::Future;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt as _;
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

use crate::net::activity::Activity;

/// A stream that carries HTTP.
pub(crate) trait ClientStream: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Waits until bytes of HTTP can be read, or the client has closed its side. Reads nothing.
    fn readable(&mut self) -> impl Future<Output = io::Result<()>>;

    /// Announces the end where the protocol can: the close_notify of TLS. Does not wait.
    fn announce_close(&mut self);
}

pub(crate) enum PlainStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Instead of dynamic dispatch: a branch, which the processor predicts well.
macro_rules! either {
    ($socket:expr, $stream:ident => $result:expr) => {
        match $socket {
            PlainStream::Tcp($stream) => $result,
            PlainStream::Unix($stream) => $result,
        }
    };
}

impl AsyncRead for PlainStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(&mut *self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&mut *self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        either!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl AsFd for PlainStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, stream => stream.as_fd())
    }
}

/// A client's socket. What it reads and writes is recorded.
pub(crate) struct TrackedStream {
    socket: PlainStream,
    activity: Rc<Activity>,
    pause: Option<Pin<Box<Sleep>>>,
}

/// How long nothing is written while connections hold too much memory.
const WRITE_PAUSE: Duration = Duration::from_millis(10);

impl TrackedStream {
    pub(crate) fn new(socket: PlainStream, activity: &Rc<Activity>) -> TrackedStream {
        activity.set_socket(Some(socket.as_fd().as_raw_fd()));
        TrackedStream { socket, activity: Rc::clone(activity), pause: None }
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.pause.is_some() || self.activity.must_delay_writes() {
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(WRITE_PAUSE)));
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    fn record(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let bytes = ready!(written)?;
        self.activity.record_write(bytes);
        Poll::Ready(Ok(bytes))
    }
}

impl Drop for TrackedStream {
    fn drop(&mut self) {
        // Otherwise the kernel would keep for minutes what the client does not read.
        if self.activity.memory.is_closing() && !self.activity.is_all_acknowledged() {
            let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
        }
        self.activity.set_socket(None);
    }
}

impl ClientStream for TrackedStream {
    async fn readable(&mut self) -> io::Result<()> {
        either!(&self.socket, stream => stream.readable().await)
    }

    fn announce_close(&mut self) {}
}

impl AsyncRead for TrackedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        self.activity.record_read(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TrackedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_pause(cx));
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.record(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_pause(cx));
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.record(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Boxed, since it takes a kilobyte and is moved whenever the connection is parked.
impl ClientStream for Box<TlsStream<TrackedStream>> {
    /// A readable socket is not enough: what has arrived may be part of a record, or a record without HTTP.
    async fn readable(&mut self) -> io::Result<()> {
        self.fill_buf().await.map(|_| ())
    }

    /// Without it, the client could not tell the end from a connection that an attacker has cut.
    fn announce_close(&mut self) {
        let _ = self.shutdown().now_or_never();
    }
}
