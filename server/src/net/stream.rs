//! What `connection` needs of the way to a client, be it a plain socket or TLS over it.

use std::future::Future;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};

use crate::net::activity::Activity;

/// A way to a client, on which HTTP is spoken.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Waits until bytes of HTTP can be read, or the client has said its last. Takes nothing away.
    fn arrival(&mut self) -> impl Future<Output = io::Result<()>>;

    /// Says that nothing more comes, where there is a word for it, and does not wait for it to be heard.
    fn say_goodbye(&mut self);
}

/// A socket.
pub enum Plain {
    /// From this machine or another.
    Tcp(TcpStream),
    /// From this machine.
    Unix(UnixStream),
}

/// The same for either: which one it is, is a branch that a processor foresees.
macro_rules! either {
    ($socket:expr, $stream:ident => $result:expr) => {
        match $socket {
            Plain::Tcp($stream) => $result,
            Plain::Unix($stream) => $result,
        }
    };
}

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Plain {
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

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, stream => stream.as_fd())
    }
}

/// A client's socket. What it reads and writes is noted.
pub struct Noted {
    socket: Plain,
    activity: Rc<Activity>,
    pause: Option<Pin<Box<Sleep>>>,
}

/// How long nothing is written where clients have enough to take.
const PAUSE: Duration = Duration::from_millis(10);

impl Noted {
    /// Takes notes from now on.
    pub fn new(socket: Plain, activity: &Rc<Activity>) -> Noted {
        activity.set_socket(Some(socket.as_fd().as_raw_fd()));
        Noted { socket, activity: Rc::clone(activity), pause: None }
    }

    /// Until more may be written.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.pause.is_some() || self.activity.waits_to_write() {
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(PAUSE)));
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let bytes = ready!(written)?;
        self.activity.wrote(bytes);
        Poll::Ready(Ok(bytes))
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        // Else the kernel keeps for minutes what the client does not take.
        if self.activity.gives_way() && !self.activity.is_taken() {
            let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
        }
        self.activity.set_socket(None);
    }
}

impl Stream for Noted {
    async fn arrival(&mut self) -> io::Result<()> {
        either!(&self.socket, stream => stream.readable().await)
    }

    fn say_goodbye(&mut self) {} // the end of the socket says it
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        self.activity.read(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Noted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_pause(cx));
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_pause(cx));
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.note(written)
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
