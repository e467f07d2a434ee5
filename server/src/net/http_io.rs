//! What hyper reads from and writes to: a stream to a client, with what happens on it recorded.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::net::activity::Activity;
use crate::net::stream::ClientStream;

/// The first bytes of an HTTP/2 client with prior knowledge (RFC 9113, section 3.4). No request of HTTP/1.1 begins like this.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long nothing is read from a client after its second refused request in a row, doubled with each further one. It got
/// a `Retry-After` of a second. If it repeated requests without a pause, the server would spend its time on refusing.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
const MAX_REFUSED_PAUSE: Duration = Duration::from_millis(250);

/// How long nothing is read while other connections are being closed for their memory.
const CLOSING_PAUSE: Duration = Duration::from_millis(1);

pub(crate) struct HttpIo<S> {
    pub(crate) stream: S,
    /// Was read from the stream, and is read again.
    pub(crate) unread: Bytes,
    pub(crate) activity: Rc<Activity>,
    /// The number of refused requests in a row for which it has paused.
    refused: u32,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S: ClientStream> HttpIo<S> {
    pub(crate) fn new(stream: S, activity: Rc<Activity>) -> HttpIo<S> {
        HttpIo { stream, unread: Bytes::new(), activity, refused: 0, pause: None }
    }

    /// Waits until the client may send more.
    pub(crate) async fn pause(&mut self) {
        poll_fn(|cx| self.poll_pause(cx)).await;
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let refused = self.activity.flow.refused();
        if self.refused != refused {
            self.refused = refused;
            self.pause = (refused > 1)
                .then(|| Box::pin(sleep(MAX_REFUSED_PAUSE.min(REFUSED_PAUSE * (1 << (refused - 2).min(8))))));
        }
        if self.pause.is_none() && self.activity.must_delay_reads() {
            self.pause = Some(Box::pin(sleep(CLOSING_PAUSE)));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    /// Whether the client begins with the preface of HTTP/2. Reads no more than that, and it is read again.
    pub(crate) async fn is_http2(&mut self) -> io::Result<bool> {
        let mut begin = [0; PREFACE.len()];
        let mut length = 0;
        while length < begin.len() && PREFACE.starts_with(&begin[..length]) {
            match self.stream.read(&mut begin[length..]).await? {
                0 => break,
                more => length += more,
            }
        }
        self.unread = Bytes::copy_from_slice(&begin[..length]);
        Ok(begin == PREFACE)
    }
}

impl<S: ClientStream> AsyncRead for HttpIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_pause(cx));
        let before = buf.filled().len();
        if self.unread.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        } else {
            let length = self.unread.len().min(buf.remaining());
            buf.put_slice(&self.unread[..length]);
            self.unread.advance(length);
            if self.unread.is_empty() {
                self.unread = Bytes::new(); // frees the buffer
            }
        }
        if buf.filled().len() > before {
            self.activity.record_unparsed();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: ClientStream> AsyncWrite for HttpIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // Until hyper flushes, there may be more to write.
        self.activity.set_unwritten(true);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.set_unwritten(true);
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.activity.set_unwritten(false);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
