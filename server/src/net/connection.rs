//! One client's connection: hyper reads requests from it and writes answers, and at intervals the client is checked.
//!
//! Between requests a connection of HTTP/1.1 is parked: hyper and its buffers of 16 KiB are dropped, and only the socket is
//! kept. A parked connection takes a tenth of the memory of one that is awake: the whole process takes 57 MB with 10,000 idle
//! clients (`docs/benchmarks.md`). If they were awake, their connections alone would take some 200 MB, as computed from
//! [`AWAKE_BYTES`]. Up to a few hundred connections are not parked immediately, since the next request often follows soon. A
//! connection with an incomplete request is parked too, with the bytes that it has so far.
//!
//! With TLS, the keys of the session and a buffer of 4 KiB are kept too. HTTP/2 is never parked: its state is spread over
//! hyper's tables.
//!
//! A slow client occupies no thread, only its connection, and that for a limited time: one timer a connection limits the time
//! to send headers and to read an answer, and another one before it the time for the TLS handshake.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::http::respond::MAX_HEADER_BYTES;
use crate::http::route::MAX_TARGET_BYTES;
use crate::life::Phase;
use crate::net::activity::{Activity, CHECK_INTERVAL, INCOMPLETE_REQUEST, Verdict};
use crate::net::http_io::HttpIo;
use crate::net::http2;
use crate::net::service::service;
use crate::net::stream::{ClientStream, TrackedStream};
use crate::net::tls::Tls;
use crate::worker::Worker;

/// If more connections of a worker are awake, each is parked as soon as its answer is written.
const MAX_AWAKE: usize = 256;

/// A connection of HTTP/1.1 that is awake: two buffers of hyper of 8 KiB each, and its state.
const AWAKE_BYTES: usize = 20 * 1024;

/// A parked connection: its task, and the socket in the kernel.
pub(crate) const PARKED_BYTES: usize = 2 * 1024;

const PARKED_TLS_BYTES: usize = 16 * 1024;

/// How often a parked connection is checked whose client has not acknowledged all of its answer.
const PARKED_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The limit of hyper is higher than ours, which answer with a body.
const READ_BUFFER_BYTES: usize = 2 * (MAX_TARGET_BYTES + MAX_HEADER_BYTES);

/// Performs the TLS handshake, then serves the connection until it ends.
pub(crate) async fn serve_tls(worker: Rc<Worker>, tls: &Tls, stream: TrackedStream, activity: Rc<Activity>) {
    activity.memory.set_base(PARKED_TLS_BYTES);
    let mut phase = worker.shared.life.phase();
    let handshake = tokio::select! {
        handshake = timeout(worker.shared.config.client_timeout, tls.accept(stream)) => handshake,
        () = closing(&mut phase) => return,
    };
    match handshake {
        Ok(Ok(stream)) => {
            activity.end_handshake();
            serve(worker, Box::new(stream), activity).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended during the TLS handshake"),
        Err(_) => worker.connections.record_slow(&activity, "the TLS handshake is incomplete"),
    }
}

/// Serves a connection until it ends.
pub(crate) async fn serve<S: ClientStream>(worker: Rc<Worker>, stream: S, activity: Rc<Activity>) {
    let config = &worker.shared.config;
    let parked_bytes = if config.tls.is_some() { PARKED_TLS_BYTES } else { PARKED_BYTES };
    let mut io = HttpIo::new(stream, activity);
    let mut phase = worker.shared.life.phase();
    // The first request is expected soon.
    let mut idle_timeout = config.client_timeout;
    let mut is_first = true;
    loop {
        if io.unread.is_empty() || io.activity.is_incomplete() {
            io.activity.memory.set_base(parked_bytes);
            io.activity.park(io.unread.len());
            let parked = wait_parked(&worker, &mut io, &mut phase, idle_timeout).await;
            io.activity.unpark();
            match parked {
                Parked::Readable => {}
                Parked::Close => return io.stream.announce_close(),
                Parked::Broken => return,
            }
        }
        if is_first {
            let is_http2 = tokio::select! {
                is_http2 = timeout(config.client_timeout, io.is_http2()) => is_http2,
                () = closing(&mut phase) => return,
            };
            match is_http2 {
                // Boxed: other connections do not reserve the space for it.
                Ok(Ok(true)) => return Box::pin(http2::serve(&worker, io)).await,
                Ok(Ok(false)) => is_first = false,
                Ok(Err(_)) => return,
                Err(_) => return worker.connections.record_slow(&io.activity, INCOMPLETE_REQUEST),
            }
        }
        tokio::select! {
            () = io.pause() => {}
            () = closing(&mut phase) => return io.stream.announce_close(),
        }
        io.activity.memory.set_base(AWAKE_BYTES);
        // Boxed: a parked connection does not reserve the space for it.
        match Box::pin(serve_awake(&worker, io)).await {
            Some(idle) => io = idle,
            None => return,
        }
        idle_timeout = match io.activity.is_incomplete() {
            true => config.client_timeout.saturating_sub(io.activity.receiving_for()),
            false => config.idle_timeout,
        };
    }
}

/// Waits until connections without a request are closed.
async fn closing(phase: &mut watch::Receiver<Phase>) {
    let _ = phase.wait_for(|phase| *phase == Phase::Closing).await;
}

enum Parked {
    Readable,
    Close,
    /// Reading has failed, or the client is too slow.
    Broken,
}

/// Waits on a parked connection until the client sends more.
async fn wait_parked<S: ClientStream>(
    worker: &Worker,
    io: &mut HttpIo<S>,
    phase: &mut watch::Receiver<Phase>,
    idle_timeout: Duration,
) -> Parked {
    let begin = Instant::now();
    let HttpIo { stream, activity, .. } = io;
    loop {
        let left = idle_timeout.saturating_sub(begin.elapsed());
        // With many connections it may have been parked before all of its answer was sent.
        let interval = if activity.is_all_acknowledged() { left } else { left.min(PARKED_CHECK_INTERVAL) };
        tokio::select! {
            readable = stream.readable() => {
                return if readable.is_err() { Parked::Broken } else { Parked::Readable };
            }
            () = sleep(interval) => {}
            () = closing(phase) => return Parked::Close,
        }
        if let Verdict::TooSlow(why) = activity.check(interval, worker.shared.config.client_timeout) {
            worker.connections.record_slow(activity, why);
            return Parked::Broken;
        }
        if begin.elapsed() >= idle_timeout {
            return Parked::Close;
        }
    }
}

/// Answers requests until the connection can be parked, and returns it; `None` if it is closed.
async fn serve_awake<S: ClientStream>(worker: &Rc<Worker>, io: HttpIo<S>) -> Option<HttpIo<S>> {
    let activity = Rc::clone(&io.activity);
    let service = service(Rc::clone(worker), Rc::clone(&activity), |_, finished| finished.response);
    let mut http = http1::Builder::new();
    // A client may close its side after the last request and still read the answer.
    // Not `pipeline_flush`: it holds answers back as long as part of a further request is there.
    http.half_close(true).max_buf_size(READ_BUFFER_BYTES).header_read_timeout(None);
    let mut connection = http.serve_connection(TokioIo::new(io), service);
    let _awake = AwakeGuard::new(worker);
    loop {
        let can_be_parked_early = poll_fn(|_| {
            let has_nothing_to_do = activity.is_answered() || activity.is_incomplete();
            match worker.awake.get() > MAX_AWAKE && has_nothing_to_do {
                true => Poll::Ready(()),
                false => Poll::Pending, // polled again after every event of the connection
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
            () = can_be_parked_early => Verdict::Idle,
            () = sleep(CHECK_INTERVAL) => activity.check(CHECK_INTERVAL, worker.shared.config.client_timeout),
        };
        match verdict {
            Verdict::Busy => {}
            Verdict::TooSlow(why) => {
                worker.connections.record_slow(&activity, why);
                return None;
            }
            Verdict::Idle => {
                let parts = connection.into_parts();
                let mut io = parts.io.into_inner();
                // Bytes of further requests: those that hyper has read, and those that it has not. Copied, so that they
                // take no more memory than necessary.
                io.unread = match (parts.read_buf.is_empty(), io.unread.is_empty()) {
                    (true, _) => io.unread,
                    (false, true) => Bytes::copy_from_slice(&parts.read_buf),
                    (false, false) => [parts.read_buf, io.unread].concat().into(),
                };
                return Some(io);
            }
        }
    }
}

/// Counts a connection as awake.
struct AwakeGuard<'w>(&'w Cell<usize>);

impl AwakeGuard<'_> {
    fn new(worker: &Worker) -> AwakeGuard<'_> {
        worker.awake.set(worker.awake.get() + 1);
        AwakeGuard(&worker.awake)
    }
}

impl Drop for AwakeGuard<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
