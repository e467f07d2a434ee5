//! What `connection` needs of the way to a client, be it plain TCP or TLS over it.

use std::future::Future;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::activity::Activity;

/// A way to a client, on which HTTP is spoken.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Waits until bytes of HTTP can be read, or the client has said its last. Takes nothing away.
    fn arrival(&mut self) -> impl Future<Output = io::Result<()>>;

    /// Says that nothing more comes, where there is a word for it, and does not wait for it to be heard.
    fn say_goodbye(&mut self);
}

/// Plain TCP. What it reads and writes is noted.
pub struct Tcp {
    stream: TcpStream,
    activity: Rc<Activity>,
}

impl Tcp {
    /// The client's socket.
    pub fn new(stream: TcpStream, activity: &Rc<Activity>) -> Tcp {
        activity.set_socket(Some(stream.as_raw_fd()));
        Tcp { stream, activity: Rc::clone(activity) }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let bytes = ready!(written)?;
        self.activity.wrote(bytes);
        Poll::Ready(Ok(bytes))
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        // Else the kernel keeps for minutes what the client does not take.
        if self.activity.gives_way() && !self.activity.is_taken() {
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
        self.activity.set_socket(None);
    }
}

impl Stream for Tcp {
    async fn arrival(&mut self) -> io::Result<()> {
        self.stream.readable().await
    }

    fn say_goodbye(&mut self) {} // the end of the socket says it
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.activity.read(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
