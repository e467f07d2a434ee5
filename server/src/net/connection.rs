//! One client's connection: hyper reads requests off it and writes answers, and once in a while somebody looks whether
//! the client keeps up.
//!
//! Between requests a connection of HTTP/1.1 is parked: hyper, with its buffers of 16 KiB, is put away, and only the
//! socket is kept, so that ten thousand idle clients cost little. A few hundred may rest a moment first, since the next
//! request comes soon as a rule; where there are more, each is parked as soon as its answer is written. A request that
//! does not come to its end is parked too, with the bytes that it has so far.
//!
//! With TLS, what is kept is the socket with the session's keys and a buffer of 4 KiB. HTTP/2 is never parked: what it
//! knows of a connection is spread over hyper's tables.
//!
//! A slow client holds no thread, only its connection, and that not for long: one timer a connection sees to the times
//! for sending headers and for taking an answer, and another one before it to that for shaking hands.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::http::respond::{MAX_HEADER_BYTES, respond};
use crate::http::route::MAX_TARGET_BYTES;
use crate::net::activity::{Activity, LOOK, UNFINISHED, Verdict};
use crate::net::http2;
use crate::net::socket::Socket;
use crate::net::stream::{Noted, Stream};
use crate::net::tls::Tls;
use crate::shared::Phase;
use crate::worker::Worker;

/// Connections of one worker that are not parked, from which on they are parked at once.
const CROWD: usize = 256;

/// What hyper takes for a connection of HTTP/1.1 that is not parked: two buffers of 8 KiB and what it has to remember.
const AWAKE_BYTES: usize = 20 * 1024;

/// What a parked connection takes: its task, and what the kernel knows of it.
pub const PARKED_BYTES: usize = 2 * 1024;

/// The same with TLS.
const PARKED_TLS_BYTES: usize = 16 * 1024;

/// Between two looks at a parked connection whose client has not taken all of its answer.
const LOOK_AT_PARKED: Duration = Duration::from_secs(1);

/// hyper's own limit lies behind ours, which answer with more than a status line.
const READ_BUFFER_BYTES: usize = 2 * (MAX_TARGET_BYTES + MAX_HEADER_BYTES);

/// Shakes hands, then serves the connection until it ends.
pub async fn serve_tls(worker: Rc<Worker>, tls: &Tls, stream: Noted, activity: Rc<Activity>) {
    activity.set_base(PARKED_TLS_BYTES);
    let mut phase = worker.shared.phase();
    let shaken = tokio::select! {
        shaken = timeout(worker.shared.config.client_timeout, tls.accept(stream)) => shaken,
        _ = phase.wait_for(|phase| *phase == Phase::Closing) => return,
    };
    match shaken {
        Ok(Ok(stream)) => {
            activity.forget_received();
            serve(worker, Box::new(stream), activity).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended before it was encrypted"),
        Err(_) => worker.close_slow(&activity, "its handshake did not come to an end"),
    }
}

/// Serves a connection until it ends.
pub async fn serve<S: Stream>(worker: Rc<Worker>, stream: S, activity: Rc<Activity>) {
    let config = &worker.shared.config;
    let parked_bytes = if config.tls.is_some() { PARKED_TLS_BYTES } else { PARKED_BYTES };
    let mut socket = Socket::new(stream, activity);
    let mut phase = worker.shared.phase();
    // Whoever connects has something to ask.
    let mut patience = config.client_timeout;
    let mut is_first = true;
    loop {
        if socket.unread.is_empty() || socket.activity.is_unfinished() {
            socket.activity.set_base(parked_bytes);
            socket.activity.park(Some(socket.unread.len()));
            let waited = wait(&worker, &mut socket, &mut phase, patience).await;
            socket.activity.park(None);
            match waited {
                Waited::Arrived => {}
                Waited::Ended => return socket.stream.say_goodbye(),
                Waited::Gone => return,
            }
        }
        if is_first {
            let begun = tokio::select! {
                begun = timeout(config.client_timeout, socket.begins_http2()) => begun,
                _ = phase.wait_for(|phase| *phase == Phase::Closing) => return,
            };
            match begun {
                // Boxed: other connections do not keep the room for it.
                Ok(Ok(true)) => return Box::pin(http2::serve(&worker, socket)).await,
                Ok(Ok(false)) => is_first = false,
                Ok(Err(_)) => return,
                Err(_) => return worker.close_slow(&socket.activity, UNFINISHED),
            }
        }
        tokio::select! {
            () = socket.turn() => {}
            _ = phase.wait_for(|phase| *phase == Phase::Closing) => return socket.stream.say_goodbye(),
        }
        socket.activity.set_base(AWAKE_BYTES);
        // Boxed: a parked connection does not keep the room for it.
        match Box::pin(converse(&worker, socket)).await {
            Some(idle) => socket = idle,
            None => return,
        }
        patience = match socket.activity.is_unfinished() {
            true => config.client_timeout.saturating_sub(socket.activity.received_for()),
            false => config.idle_timeout,
        };
    }
}

/// How the wait on a parked connection ended.
enum Waited {
    Arrived,
    Ended,
    Gone,
}

/// Waits until more comes on a parked connection.
async fn wait<S: Stream>(
    worker: &Worker,
    socket: &mut Socket<S>,
    phase: &mut watch::Receiver<Phase>,
    patience: Duration,
) -> Waited {
    let begin = Instant::now();
    let Socket { stream, activity, .. } = socket;
    loop {
        let left = patience.saturating_sub(begin.elapsed());
        // In a crowd it may have been parked with an answer still on its way.
        let nap = if activity.is_taken() { left } else { left.min(LOOK_AT_PARKED) };
        tokio::select! {
            arrived = stream.arrival() => {
                return if arrived.is_err() { Waited::Gone } else { Waited::Arrived };
            }
            () = sleep(nap) => {}
            _ = phase.wait_for(|phase| *phase == Phase::Closing) => return Waited::Ended,
        }
        if let Verdict::TooSlow(why) = activity.look(nap, worker.shared.config.client_timeout) {
            worker.close_slow(activity, why);
            return Waited::Gone;
        }
        if begin.elapsed() >= patience {
            return Waited::Ended;
        }
    }
}

/// Answers requests until there are no more for a while, then gives the socket back; nothing if it is closed.
async fn converse<S: Stream>(worker: &Rc<Worker>, socket: Socket<S>) -> Option<Socket<S>> {
    let activity = Rc::clone(&socket.activity);
    let service = {
        let activity = Rc::clone(&activity);
        let worker = Rc::clone(worker);
        service_fn(move |request: Request<Incoming>| {
            let answering = activity.begin_answer(&request);
            let (activity, worker) = (Rc::clone(&activity), Rc::clone(&worker));
            async move {
                let _answering = answering;
                Ok::<_, Infallible>(respond(&worker, &activity.client, request).await)
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
        let crowded = poll_fn(|_| {
            let has_nothing_to_do = activity.is_through() || activity.is_unfinished();
            match worker.awake.get() > CROWD && has_nothing_to_do {
                true => Poll::Ready(()),
                false => Poll::Pending, // asked again whenever something has happened on the connection
            }
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
            () = sleep(LOOK) => activity.look(LOOK, worker.shared.config.client_timeout),
        };
        match verdict {
            Verdict::Busy => {}
            Verdict::TooSlow(why) => {
                worker.close_slow(&activity, why);
                return None;
            }
            Verdict::Idle => {
                let parts = connection.into_parts();
                let mut socket = parts.io.into_inner();
                // Requests, or a part of one, that have come with those before them: what hyper has taken, and what it
                // has not yet. Copied, so that they keep no more room than they need.
                socket.unread = match (parts.read_buf.is_empty(), socket.unread.is_empty()) {
                    (true, _) => socket.unread,
                    (false, true) => Bytes::copy_from_slice(&parts.read_buf),
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
