//! One client's connection: hyper reads requests off it and writes answers, and once in a while somebody looks whether
//! the client keeps up.
//!
//! Between requests a connection is parked: hyper, with its buffers of 16 KiB, is put away, and only the socket is
//! kept, so that ten thousand idle clients cost little. A few hundred may rest a moment first, since the next request
//! comes soon as a rule; where there are more, each is parked as soon as its answer is written.
//!
//! With TLS, what is kept is the socket with the session's keys and a buffer of 4 KiB.
//!
//! A slow client holds no thread, only its connection, and that not for long: one timer a connection sees to the times
//! for sending headers and for taking an answer, and another one before it to that for shaking hands.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, timeout};

use crate::respond::{MAX_HEADER_BYTES, respond};
use crate::route::MAX_TARGET_BYTES;
use crate::shared::Phase;
use crate::stream::{Plain, Stream};
use crate::tls::Tls;
use crate::worker::Worker;

/// How often a connection is looked at. A connection without a request for this long is parked.
const LOOK: Duration = Duration::from_millis(250);

/// Connections of one worker that are not parked, from which on they are parked at once. Each takes some 20 KiB.
const CROWD: usize = 256;

/// A client that takes an answer takes at least this much of it in a `--client-timeout`.
const MIN_TAKEN_BYTES: u64 = 16 * 1024;

/// hyper's own limit lies behind ours, which answer with more than a status line.
const READ_BUFFER_BYTES: usize = 2 * (MAX_TARGET_BYTES + MAX_HEADER_BYTES);

/// Shakes hands, then serves the connection until it ends.
pub async fn serve_tls(worker: Rc<Worker>, tls: &Tls, stream: Plain) {
    let mut phase = worker.shared.phase();
    let shaken = tokio::select! {
        shaken = timeout(worker.shared.config.client_timeout, tls.accept(stream)) => shaken,
        _ = phase.wait_for(|phase| *phase == Phase::Closing) => return,
    };
    match shaken {
        Ok(Ok(stream)) => serve(worker, Box::new(stream)).await,
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended before it was encrypted"),
        Err(_) => tracing::debug!(why = "its handshake did not come to an end", "a connection is closed"),
    }
}

/// Serves a connection until it ends.
pub async fn serve<S: Stream>(worker: Rc<Worker>, stream: S) {
    let config = &worker.shared.config;
    let mut socket = Socket { stream, unread: Bytes::new(), activity: Rc::default() };
    let mut phase = worker.shared.phase();
    // Whoever connects has something to ask.
    let mut patience = config.client_timeout;
    loop {
        if socket.unread.is_empty() {
            let closing = phase.wait_for(|phase| *phase == Phase::Closing);
            let arrived = tokio::select! {
                arrived = socket.stream.arrival() => if arrived.is_err() { return } else { true },
                () = sleep(patience) => false,
                _ = closing => false,
            };
            if !arrived {
                return socket.stream.say_goodbye();
            }
        }
        // Boxed: a parked connection does not keep the room for it.
        match Box::pin(converse(&worker, socket)).await {
            Some(idle) => socket = idle,
            None => return,
        }
        patience = config.idle_timeout;
    }
}

/// Answers requests until there are no more for a while, then gives the socket back; nothing if it is closed.
async fn converse<S: Stream>(worker: &Rc<Worker>, socket: Socket<S>) -> Option<Socket<S>> {
    let activity = Rc::clone(&socket.activity);
    let service = {
        let activity = Rc::clone(&activity);
        let worker = Rc::clone(worker);
        service_fn(move |request: Request<Incoming>| {
            activity.begin_answer(!request.body().is_end_stream());
            let (activity, worker) = (Rc::clone(&activity), Rc::clone(&worker));
            async move {
                let response = respond(&worker, request).await;
                activity.end_answer();
                Ok::<_, Infallible>(response)
            }
        })
    };
    let mut http = http1::Builder::new();
    // A client may close its side behind the last request and still wants the answer.
    // Not `pipeline_flush`: it keeps answers back as long as a part of a further request is there.
    http.half_close(true).max_buf_size(READ_BUFFER_BYTES).header_read_timeout(None);
    let mut connection = http.serve_connection(TokioIo::new(socket), service);
    let _awake = Awake::count(worker);
    loop {
        let crowded = poll_fn(|_| match worker.awake.get() > CROWD && activity.is_through() {
            true => Poll::Ready(()),
            false => Poll::Pending, // asked again whenever something has happened on the connection
        });
        let verdict = tokio::select! {
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                return None;
            }
            () = crowded => Verdict::Idle,
            () = sleep(LOOK) => activity.look(worker.shared.config.client_timeout),
        };
        match verdict {
            Verdict::Busy => {}
            Verdict::TooSlow(why) => {
                tracing::debug!(why, "a connection is closed");
                return None;
            }
            Verdict::Idle => {
                let parts = connection.into_parts();
                let mut socket = parts.io.into_inner();
                // Requests, or a part of one, that have come with those before them: what hyper has taken, and what it
                // has not yet. An empty rest must not keep a buffer alive.
                socket.unread = match (parts.read_buf.is_empty(), socket.unread.is_empty()) {
                    (true, _) => socket.unread,
                    (false, true) => parts.read_buf,
                    (false, false) => [parts.read_buf, socket.unread].concat().into(),
                };
                return Some(socket);
            }
        }
    }
}

/// Counts a connection that is not parked, as long as it lives.
struct Awake<'w>(&'w Cell<usize>);

impl Awake<'_> {
    fn count(worker: &Worker) -> Awake<'_> {
        worker.awake.set(worker.awake.get() + 1);
        Awake(&worker.awake)
    }
}

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What happens on a connection, written down as it happens and judged once in a while.
#[derive(Default)]
struct Activity {
    /// Requests being answered: none or one.
    answering: Cell<bool>,
    /// Bytes were read that no request has been made of yet.
    unparsed: Cell<bool>,
    /// Bytes are to be written that the socket does not take.
    unwritten: Cell<bool>,
    /// There was a request with a body. Only hyper knows what is left of it, so hyper is not put away any more: what
    /// comes would be taken for a request.
    had_body: Cell<bool>,
    /// Requests so far.
    requests: Cell<u64>,
    /// Bytes that the socket has taken so far.
    written: Cell<u64>,
    last: Cell<Look>,
}

/// What was seen at a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    state: State,
    requests: u64,
    /// Bytes written before this state, or before its latest piece of `--client-timeout`.
    written: u64,
    /// How long it is in this state.
    since: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Receiving,
    Answering,
    Sending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Busy,
    Idle,
    TooSlow(&'static str),
}

impl Activity {
    fn begin_answer(&self, has_body: bool) {
        if has_body {
            self.had_body.set(true);
        }
        self.answering.set(true);
        self.unparsed.set(false);
        self.requests.set(self.requests.get() + 1);
    }

    fn end_answer(&self) {
        self.answering.set(false);
        self.unwritten.set(true);
    }

    /// Whether all requests so far are answered, and there was one.
    fn is_through(&self) -> bool {
        self.requests.get() > 0 && self.state() == State::Idle
    }

    fn state(&self) -> State {
        if self.answering.get() {
            State::Answering
        } else if self.unwritten.get() {
            State::Sending
        } else if self.unparsed.get() || self.had_body.get() {
            State::Receiving
        } else {
            State::Idle
        }
    }

    /// Called every [`LOOK`].
    fn look(&self, patience: Duration) -> Verdict {
        let state = self.state();
        let mut look = self.last.get();
        if look.state == state && look.requests == self.requests.get() {
            look.since += LOOK;
        } else {
            look = Look {
                state,
                requests: self.requests.get(),
                written: self.written.get(),
                since: Duration::ZERO,
            };
        }
        let late = look.since >= patience;
        let verdict = match state {
            State::Idle if look.since >= LOOK => Verdict::Idle,
            State::Receiving if late => Verdict::TooSlow("its request did not come to an end"),
            State::Sending if late && self.written.get() - look.written < MIN_TAKEN_BYTES => {
                Verdict::TooSlow("it does not take its answer")
            }
            // The answer itself is in time: `respond` sees to that.
            _ => Verdict::Busy,
        };
        if late {
            look = Look { written: self.written.get(), since: Duration::ZERO, ..look };
        }
        self.last.set(look);
        verdict
    }
}

/// The way to a client, which takes notes of what hyper does with it.
struct Socket<S> {
    stream: S,
    /// Read before, to be read again.
    unread: Bytes,
    activity: Rc<Activity>,
}

impl<S: Stream> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.unread.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        } else {
            let length = self.unread.len().min(buf.remaining());
            buf.put_slice(&self.unread.split_to(length));
        }
        if buf.filled().len() > before {
            self.activity.unparsed.set(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // Hyper flushes when all it has is written: what is written until then may be a part.
        self.activity.unwritten.set(true);
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.activity.written.set(self.stream.written());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.unwritten.set(true);
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.activity.written.set(self.stream.written());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.activity.written.set(self.stream.written());
        ready!(flushed)?;
        self.activity.unwritten.set(false);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks until the verdict is not `Busy`, or two minutes have passed on the connection's clock.
    fn verdict(activity: &Activity) -> (Verdict, Duration) {
        let mut passed = Duration::ZERO;
        while passed < Duration::from_secs(120) {
            passed += LOOK;
            let verdict = activity.look(Duration::from_secs(10));
            if verdict != Verdict::Busy {
                return (verdict, passed);
            }
        }
        (Verdict::Busy, passed)
    }

    #[test]
    fn clients_that_do_not_keep_up_are_found_and_others_left_alone() {
        let activity = Activity::default();
        assert_eq!(verdict(&activity).0, Verdict::Idle);

        activity.unparsed.set(true);
        let (slow, after) = verdict(&activity);
        assert!(matches!(slow, Verdict::TooSlow(_)), "{slow:?}");
        assert!(after >= Duration::from_secs(10) && after < Duration::from_secs(11), "{after:?}");

        // However long an answer takes: that is not the client's fault.
        activity.begin_answer(false);
        assert_eq!(verdict(&activity).0, Verdict::Busy);

        // It takes its answer in small pieces, but it takes it.
        activity.end_answer();
        for _ in 0..20 {
            activity.written.set(activity.written.get() + MIN_TAKEN_BYTES);
            for _ in 0..40 {
                assert_eq!(activity.look(Duration::from_secs(10)), Verdict::Busy);
            }
        }
        let (slow, _) = verdict(&activity);
        assert!(matches!(slow, Verdict::TooSlow(_)), "{slow:?}");
    }

    #[test]
    fn a_connection_between_two_requests_is_not_parked_at_once() {
        let activity = Activity::default();
        for _ in 0..10 {
            activity.begin_answer(false);
            activity.end_answer();
            activity.unwritten.set(false);
            assert_eq!(activity.look(Duration::from_secs(10)), Verdict::Busy);
        }
        assert_eq!(activity.look(Duration::from_secs(10)), Verdict::Idle);
    }
}
