//! What `connection` needs of the way to a client, be it a plain socket or TLS over it.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A way to a client, on which HTTP is spoken.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Waits until bytes of HTTP can be read, or the client has said its last. Takes nothing away.
    fn arrival(&mut self) -> impl Future<Output = io::Result<()>>;

    /// Bytes that the kernel has taken. What waits in buffers of ours does not count: the client has yet to take it.
    fn written(&self) -> u64;

    /// Says that nothing more comes, where there is a word for it, and does not wait for it to be heard.
    fn say_goodbye(&mut self);
}

/// A socket, without TLS.
pub struct Plain {
    socket: Socket,
    written: u64,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The same for either: which one it is, is a branch that a processor foresees.
macro_rules! either {
    ($socket:expr, $stream:ident => $result:expr) => {
        match $socket {
            Socket::Tcp($stream) => $result,
            Socket::Unix($stream) => $result,
        }
    };
}

impl From<TcpStream> for Plain {
    fn from(stream: TcpStream) -> Plain {
        Plain { socket: Socket::Tcp(stream), written: 0 }
    }
}

impl From<UnixStream> for Plain {
    fn from(stream: UnixStream) -> Plain {
        Plain { socket: Socket::Unix(stream), written: 0 }
    }
}

impl Plain {
    fn count(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let bytes = ready!(written)?;
        self.written += bytes as u64;
        Poll::Ready(Ok(bytes))
    }
}

impl Stream for Plain {
    async fn arrival(&mut self) -> io::Result<()> {
        either!(&self.socket, stream => stream.readable().await)
    }

    fn written(&self) -> u64 {
        self.written
    }

    fn say_goodbye(&mut self) {} // the end of the socket says it
}

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(&mut self.socket, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = either!(&mut self.socket, stream => Pin::new(stream).poll_write(cx, buf));
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = either!(&mut self.socket, stream => Pin::new(stream).poll_write_vectored(cx, bufs));
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        either!(&self.socket, stream => stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.socket, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.socket, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
