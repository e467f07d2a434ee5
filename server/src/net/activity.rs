//! What happens on one connection: recorded as it happens, and checked at intervals.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Request};
use hyper::body::Body;

use crate::database::flow::Flow;
use crate::net::kernel;
use crate::net::memory::{ConnectionMemory, MemoryBudget};

/// How often a connection is checked. One without a request for this long is parked.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// A client that reads its answer reads at least this much in a `--client-timeout`.
const MIN_READ_BYTES: u64 = 16 * 1024;

/// More than most requests have. Only beyond this is the size of a request computed.
const TYPICAL_REQUEST_BYTES: usize = 8 * 1024;

/// White space, line ends and the version, which are in none of a request's parts.
const SYNTAX_BYTES: usize = 1024;

/// At most this much of what an HTTP/2 client sends is buffered: parts of frames.
const MAX_FRAME_BYTES: usize = 32 * 1024;

/// The kernel may have this much of an answer, even if all connections together hold too much.
const MIN_SEND_QUEUE_BYTES: usize = 16 * 1024;

/// An HTTP/2 connection with all its tables and buffers: 9 kB were measured, with TLS.
const HTTP2_BYTES: usize = 16 * 1024;

/// A request of HTTP/2 until its answer is sent, besides the body.
const STREAM_BYTES: usize = 4 * 1024;

/// Why a connection is closed.
pub(crate) const INCOMPLETE_REQUEST: &str = "the request is incomplete";
const UNREAD_ANSWER: &str = "the client does not read its answer";

pub(crate) struct Activity {
    /// What the queue for the database knows of this connection.
    pub(crate) flow: Rc<Flow>,
    pub(crate) memory: ConnectionMemory,
    /// Requests being answered: at most one, except with HTTP/2.
    answering: Cell<usize>,
    /// Answers of HTTP/2 for which the client has no room yet, and their bytes.
    sending: Cell<usize>,
    sending_bytes: Cell<usize>,
    opened: Instant,
    /// Bytes were read that hyper has not made a request of yet.
    unparsed: Cell<bool>,
    /// Bytes are to be written that the socket does not accept.
    unwritten: Cell<bool>,
    /// A request had a body. Only hyper knows how much of it is still to come, and without hyper it would be taken for a
    /// request: so such a connection is never parked.
    had_body: Cell<bool>,
    /// HTTP/2: bytes that arrive need not be a request.
    is_http2: Cell<bool>,
    requests: Cell<u64>,
    /// Bytes that the kernel has accepted so far.
    written: Cell<u64>,
    last_check: Cell<Check>,
    /// While it is open.
    socket: Cell<Option<RawFd>>,
    parked_at: Cell<Option<Instant>>,
    /// When an incomplete request began, as of the first check after that.
    receiving_since: Cell<Option<Instant>>,
}

/// The result of the last check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Check {
    state: State,
    /// How long it has been in this state.
    duration: Duration,
    requests: u64,
    /// When the state began, or the client last acknowledged something: bytes that were written and acknowledged by then.
    written: u64,
    acknowledged: u64,
}

/// In the order in which connections are closed if they hold too much memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// All requests are answered.
    #[default]
    Idle,
    /// A request is incomplete.
    Receiving,
    /// The client has not read all of an answer.
    Sending,
    /// A request waits for its answer.
    Answering,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Busy,
    /// It can be parked.
    Idle,
    /// It is to be closed, for this reason.
    TooSlow(&'static str),
}

impl Activity {
    /// `base` is the memory that the connection takes without buffered data.
    pub(crate) fn new(budget: &Rc<MemoryBudget>, base: usize) -> Activity {
        Activity {
            flow: Rc::default(),
            memory: ConnectionMemory::new(budget, base),
            answering: Cell::default(),
            sending: Cell::default(),
            sending_bytes: Cell::default(),
            opened: Instant::now(),
            unparsed: Cell::default(),
            unwritten: Cell::default(),
            had_body: Cell::default(),
            is_http2: Cell::default(),
            requests: Cell::default(),
            written: Cell::default(),
            last_check: Cell::default(),
            socket: Cell::default(),
            parked_at: Cell::default(),
            receiving_since: Cell::default(),
        }
    }

    /// `None` once it is closed.
    pub(crate) fn set_socket(&self, socket: Option<RawFd>) {
        self.socket.set(socket);
    }

    /// Bytes were read from the socket.
    pub(crate) fn record_read(&self, bytes: usize) {
        let received = self.memory.received() + bytes;
        self.memory.set_received(if self.is_http2.get() { received.min(MAX_FRAME_BYTES) } else { received });
    }

    /// What was read so far was the TLS handshake.
    pub(crate) fn end_handshake(&self) {
        self.memory.set_received(0);
    }

    pub(crate) fn begin_http2(&self) {
        self.is_http2.set(true);
        self.unparsed.set(false);
        self.update_http2_memory();
    }

    fn update_http2_memory(&self) {
        if self.is_http2.get() {
            let streams = self.answering.get() + self.sending.get();
            self.memory.set_base(HTTP2_BYTES + streams * STREAM_BYTES + self.sending_bytes.get());
        }
    }

    /// hyper has read bytes.
    pub(crate) fn record_unparsed(&self) {
        self.unparsed.set(!self.is_http2.get());
    }

    /// The kernel has accepted bytes.
    pub(crate) fn record_write(&self, bytes: usize) {
        self.written.set(self.written.get() + bytes as u64);
        self.memory.set_send_queue(self.memory.send_queue() + bytes);
    }

    pub(crate) fn set_unwritten(&self, unwritten: bool) {
        self.unwritten.set(unwritten);
    }

    /// A request has arrived. It is being answered until the guard is dropped, also if the client cancels it.
    pub(crate) fn begin_answer<B: Body>(self: &Rc<Self>, request: &Request<B>) -> Answering {
        if !self.is_http2.get() && !request.body().is_end_stream() {
            self.had_body.set(true);
        }
        self.answering.set(self.answering.get() + 1);
        self.update_http2_memory();
        self.unparsed.set(false);
        self.receiving_since.set(None);
        if self.memory.received() > 0 {
            self.memory.set_received(self.received_beyond(request));
        }
        self.requests.set(self.requests.get() + 1);
        Answering(Rc::clone(self))
    }

    /// Bytes that were read and do not belong to this request.
    fn received_beyond<B>(&self, request: &Request<B>) -> usize {
        let received = self.memory.received();
        if received <= TYPICAL_REQUEST_BYTES || self.is_http2.get() {
            return 0;
        }
        let line = request.method().as_str().len() + request.uri().to_string().len();
        let header =
            |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + ": \r\n".len();
        let beyond = received.saturating_sub(line + request.headers().iter().map(header).sum::<usize>());
        if beyond < SYNTAX_BYTES { 0 } else { beyond }
    }

    fn end_answer(&self) {
        self.answering.set(self.answering.get() - 1);
        self.update_http2_memory();
        // With HTTP/2 the request may have been cancelled, and nothing is written.
        if !self.is_http2.get() {
            self.unwritten.set(true);
        }
    }

    /// An answer of HTTP/2 waits until the client has room for it, as long as the guard lives.
    pub(crate) fn begin_sending(self: &Rc<Self>, bytes: usize) -> Sending {
        self.sending.set(self.sending.get() + 1);
        self.sending_bytes.set(self.sending_bytes.get() + bytes);
        self.update_http2_memory();
        Sending { activity: Rc::clone(self), bytes }
    }

    /// Whether there were requests and all of them are answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.had_request()
            && self.answering.get() == 0
            && self.sending.get() == 0
            && !self.unwritten.get()
            && !self.unparsed.get()
            && !self.had_body.get()
    }

    /// Whether a request has begun, and nothing happens until more of it arrives.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.unparsed.get() && !self.had_body.get() && self.answering.get() == 0 && !self.unwritten.get()
    }

    /// It is parked, with so many bytes of an incomplete request.
    pub(crate) fn park(&self, unread: usize) {
        self.parked_at.set(Some(Instant::now()));
        self.memory.set_received(unread);
        if unread > 0 && self.receiving_since.get().is_none() {
            self.receiving_since.set(Instant::now().checked_sub(self.last_check.get().duration));
        }
    }

    pub(crate) fn unpark(&self) {
        self.parked_at.set(None);
    }

    #[cfg(test)]
    pub(crate) fn park_since(&self, since: Instant) {
        self.park(0);
        self.parked_at.set(Some(since));
    }

    /// How long ago the incomplete request began.
    pub(crate) fn receiving_for(&self) -> Duration {
        self.receiving_since.get().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Asks the kernel how many bytes the client has acknowledged so far.
    fn acknowledged(&self) -> u64 {
        if self.memory.send_queue() > 0
            && let Some(socket) = self.socket.get()
        {
            self.memory.set_send_queue(kernel::send_queue_bytes(socket).min(self.memory.send_queue()));
        }
        self.written.get() - self.memory.send_queue() as u64
    }

    /// Whether the client has acknowledged everything that was written.
    pub(crate) fn is_all_acknowledged(&self) -> bool {
        self.acknowledged() == self.written.get()
    }

    /// Asks the kernel, so that the memory account is right.
    pub(crate) fn refresh_memory(&self) {
        self.acknowledged();
    }

    fn state(&self) -> State {
        if self.sending.get() > 0 {
            State::Sending
        } else if self.answering.get() > 0 {
            State::Answering
        } else if self.unwritten.get() || self.memory.send_queue() > 0 {
            State::Sending
        } else if self.unparsed.get() || self.had_body.get() {
            State::Receiving
        } else {
            State::Idle
        }
    }

    /// Its state, and for how long. The latter as of the last check, unless it is parked or there was no request yet.
    pub(crate) fn state_for(&self, now: Instant) -> (State, Duration) {
        let state = self.state();
        let since = match (self.parked_at.get(), self.receiving_since.get()) {
            (Some(_), Some(receiving)) => receiving,
            (Some(parked), None) => parked,
            (None, _) if !self.had_request() && state == State::Idle => self.opened,
            (None, _) => return (state, self.last_check.get().duration),
        };
        (state, now.saturating_duration_since(since))
    }

    pub(crate) fn had_request(&self) -> bool {
        self.requests.get() > 0
    }

    pub(crate) fn had_body(&self) -> bool {
        self.had_body.get()
    }

    /// Compares with the last check, which was `elapsed` ago. `timeout` is how long a client may take.
    pub(crate) fn check(&self, elapsed: Duration, timeout: Duration) -> Verdict {
        let acknowledged = self.acknowledged();
        let state = self.state();
        let mut check = self.last_check.get();
        let is_unchanged = check.state == state
            && match state {
                // Unless all that was written by then is acknowledged, or much of it. With HTTP/2 there may be more that
                // is not written yet.
                State::Sending => {
                    let is_waiting = acknowledged < check.written || self.sending.get() > 0;
                    is_waiting && acknowledged - check.acknowledged < MIN_READ_BYTES
                }
                _ => check.requests == self.requests.get(),
            };
        if is_unchanged {
            check.duration += elapsed;
        } else {
            let (requests, written) = (self.requests.get(), self.written.get());
            check = Check { state, duration: Duration::ZERO, requests, written, acknowledged };
        }
        self.last_check.set(check);
        let is_late = check.duration >= timeout;
        match state {
            State::Idle if check.duration >= CHECK_INTERVAL => Verdict::Idle,
            State::Receiving if is_late || self.receiving_for() >= timeout => {
                Verdict::TooSlow(INCOMPLETE_REQUEST)
            }
            State::Receiving if check.duration >= CHECK_INTERVAL && self.is_incomplete() => Verdict::Idle,
            State::Sending if is_late => Verdict::TooSlow(UNREAD_ANSWER),
            // An answer has a time-out of its own, in `http::answer`.
            _ => Verdict::Busy,
        }
    }

    /// Whether to read no more until closing connections are gone.
    pub(crate) fn must_delay_reads(&self) -> bool {
        self.memory.budget().is_closing_much()
    }

    /// Whether to write no more: all connections together hold too much, and this client has enough to read.
    pub(crate) fn must_delay_writes(&self) -> bool {
        self.memory.budget().is_exceeded()
            && self.memory.send_queue() > MIN_SEND_QUEUE_BYTES
            && self.written.get() - self.acknowledged() > MIN_SEND_QUEUE_BYTES as u64
    }
}

/// A request that is being answered.
pub(crate) struct Answering(Rc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.end_answer();
    }
}

/// An answer of HTTP/2 that is being sent.
pub(crate) struct Sending {
    activity: Rc<Activity>,
    bytes: usize,
}

impl Drop for Sending {
    fn drop(&mut self) {
        let Activity { sending, sending_bytes, .. } = &*self.activity;
        sending.set(sending.get() - 1);
        sending_bytes.set(sending_bytes.get() - self.bytes);
        self.activity.update_http2_memory();
    }
}

#[cfg(test)]
mod tests;
