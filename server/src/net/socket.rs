//! What hyper reads from and writes to: the way to a client, with notes of what happens on it.

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
use crate::net::stream::Stream;

/// What an HTTP/2 client that knows whom it talks to begins with: RFC 9113, section 3.4. No request of HTTP/1.1 does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long nothing is read from a client whose requests are refused one behind the other, since the server is full: from
/// the second, doubled up to the second of these. It was told to come back in a second. One that asks again without a
/// pause would have the server refuse in place of answering.
const PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// How long nothing is read while connections that have to give way are being closed.
const OTHERS_FIRST: Duration = Duration::from_millis(1);

/// The way to a client.
pub struct Socket<S> {
    /// Plain, or with TLS.
    pub stream: S,
    /// Read before, to be read again.
    pub unread: Bytes,
    /// What happens on it.
    pub activity: Rc<Activity>,
    /// Of its latest requests, those refused one behind the other that it has paused for.
    refused: u32,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S: Stream> Socket<S> {
    /// Nothing was read from it yet.
    pub fn new(stream: S, activity: Rc<Activity>) -> Socket<S> {
        Socket { stream, unread: Bytes::new(), activity, refused: 0, pause: None }
    }

    /// Waits until more is read from it: its pause is over, and nobody has to be closed before.
    pub async fn turn(&mut self) {
        poll_fn(|cx| self.poll_pause(cx)).await;
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let refused = self.activity.client.refused();
        if self.refused != refused {
            self.refused = refused;
            self.pause =
                (refused > 1).then(|| Box::pin(sleep(MAX_PAUSE.min(PAUSE * (1 << (refused - 2).min(8))))));
        }
        if self.pause.is_none() && self.activity.waits_to_read() {
            self.pause = Some(Box::pin(sleep(OTHERS_FIRST)));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    /// Whether the client begins as those of HTTP/2 do. Reads no more than it takes to know, to be read again.
    pub async fn begins_http2(&mut self) -> io::Result<bool> {
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

impl<S: Stream> AsyncRead for Socket<S> {
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
                self.unread = Bytes::new(); // an empty rest must not keep a buffer alive
            }
        }
        if buf.filled().len() > before {
            self.activity.arrived();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // Hyper flushes when all it has is written: what is written until then may be a part.
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
