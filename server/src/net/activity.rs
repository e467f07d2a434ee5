//! What happens on one connection: noted as it happens, judged once in a while.
//!
//! Bytes are counted here too: what a connection holds of the server's memory and of the kernel's is in the account that
//! its worker keeps of all of them ([`Connections`]).

use std::cell::Cell;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Request};
use hyper::body::Body;

use crate::net::client::Client;
use crate::net::connections::Connections;
use crate::net::kernel;

/// How often a connection is looked at. A connection without a request for this long is parked.
pub const LOOK: Duration = Duration::from_millis(250);

/// A client that takes an answer takes at least this much of it in a `--client-timeout`.
const MIN_TAKEN_BYTES: u64 = 16 * 1024;

/// More than a request has as a rule. Only of what is read beyond it is it looked how much was of the request.
const USUAL_REQUEST_BYTES: usize = 8 * 1024;

/// What of a request may be in none of its parts.
const SPACES_BYTES: usize = 1024;

/// What is kept at the most of what an HTTP/2 client sends: parts of frames.
const MAX_FRAMES_BYTES: usize = 32 * 1024;

/// What the kernel has of an answer in any case, however much all connections hold.
const ENOUGH_TO_TAKE: usize = 16 * 1024;

/// What a connection of HTTP/2 takes, with all its tables and buffers: 9 kB were measured, with TLS.
const HTTP2_BYTES: usize = 16 * 1024;

/// What each of its requests takes, until its answer is taken, besides the body.
const STREAM_BYTES: usize = 4 * 1024;

/// Why a connection is closed whose client sends too little.
pub const UNFINISHED: &str = "its request did not come to an end";

/// A connection's notes.
pub struct Activity {
    /// What the queue for the database keeps of it.
    pub client: Rc<Client>,
    connections: Rc<Connections>,
    /// Requests being answered: none or one, with HTTP/2 several.
    answering: Cell<usize>,
    /// Answers of HTTP/2 that wait for the client to make room, and their bytes.
    sending: Cell<usize>,
    sending_bytes: Cell<usize>,
    opened: Instant,
    /// Bytes were read that no request has been made of yet.
    unparsed: Cell<bool>,
    /// Bytes are to be written that the socket does not take.
    unwritten: Cell<bool>,
    /// There was a request with a body. Only hyper knows what is left of it, so hyper is not put away any more: what
    /// comes would be taken for a request.
    had_body: Cell<bool>,
    /// It speaks HTTP/2, where what comes may be no request.
    multiplexed: Cell<bool>,
    /// Requests so far.
    requests: Cell<u64>,
    /// Bytes that the kernel has taken so far.
    written: Cell<u64>,
    last: Cell<Look>,
    /// The client's socket.
    socket: Cell<Option<RawFd>>,
    /// Since when it is parked.
    parked: Cell<Option<Instant>>,
    /// Since when a request is being received, known from the first look at it.
    receiving: Cell<Option<Instant>>,
    /// What it takes while nothing happens, in bytes.
    base: Cell<usize>,
    /// Bytes read that no request was made of.
    received: Cell<usize>,
    /// Bytes that the kernel has taken and the client has not, at the most.
    untaken: Cell<usize>,
    /// It gives way, with so many bytes: what the client has not taken is thrown away.
    gives_way: Cell<Option<usize>>,
}

/// What was seen at a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    state: State,
    requests: u64,
    /// Bytes written, and taken by the client, when it began, or when the client last took something.
    written: u64,
    taken: u64,
    /// How long it is in this state.
    since: Duration,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// All requests are answered.
    #[default]
    Idle,
    /// A request has begun and not ended.
    Receiving,
    /// The client has yet to take an answer.
    Sending,
    /// A request waits for its answer.
    Answering,
}

/// What becomes of a connection that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Somebody is at work.
    Busy,
    /// Nothing happens: it can be parked.
    Idle,
    /// Its client does not keep up.
    TooSlow(&'static str),
}

impl Activity {
    /// Of a connection in this account, which takes so many bytes while nothing happens.
    pub fn new(connections: &Rc<Connections>, base: usize) -> Activity {
        connections.hold(base);
        Activity {
            client: Rc::default(),
            connections: Rc::clone(connections),
            answering: Cell::default(),
            sending: Cell::default(),
            sending_bytes: Cell::default(),
            opened: Instant::now(),
            unparsed: Cell::default(),
            unwritten: Cell::default(),
            had_body: Cell::default(),
            multiplexed: Cell::default(),
            requests: Cell::default(),
            written: Cell::default(),
            last: Cell::default(),
            socket: Cell::default(),
            parked: Cell::default(),
            receiving: Cell::default(),
            base: Cell::new(base),
            received: Cell::default(),
            untaken: Cell::default(),
            gives_way: Cell::default(),
        }
    }

    /// The client's socket, as long as it is open.
    pub fn set_socket(&self, socket: Option<RawFd>) {
        self.socket.set(socket);
    }

    /// It takes so many bytes from now on while nothing happens.
    pub fn set_base(&self, bytes: usize) {
        self.change(&self.base, bytes);
    }

    /// Bytes have come on the socket.
    pub fn read(&self, bytes: usize) {
        let received = self.received.get() + bytes;
        let kept = if self.multiplexed.get() { received.min(MAX_FRAMES_BYTES) } else { received };
        self.change(&self.received, kept);
    }

    /// What has come is of use, and kept nowhere: a handshake is over.
    pub fn forget_received(&self) {
        self.change(&self.received, 0);
    }

    /// It speaks HTTP/2 from now on.
    pub fn multiplex(&self) {
        self.multiplexed.set(true);
        self.unparsed.set(false);
        self.count_streams();
    }

    /// What a connection of HTTP/2 takes with the requests of the moment.
    fn count_streams(&self) {
        if self.multiplexed.get() {
            let streams = self.answering.get() + self.sending.get();
            self.set_base(HTTP2_BYTES + streams * STREAM_BYTES + self.sending_bytes.get());
        }
    }

    /// Bytes have come that HTTP is made of.
    pub fn arrived(&self) {
        self.unparsed.set(!self.multiplexed.get());
    }

    /// The kernel has taken bytes.
    pub fn wrote(&self, bytes: usize) {
        self.written.set(self.written.get() + bytes as u64);
        self.change(&self.untaken, self.untaken.get() + bytes);
    }

    /// Whether bytes are to be written that the socket does not take.
    pub fn set_unwritten(&self, unwritten: bool) {
        self.unwritten.set(unwritten);
    }

    /// A request has come. It is being answered until what this returns is dropped, as it is too where the client takes it
    /// back.
    pub fn begin_answer<B: Body>(self: &Rc<Self>, request: &Request<B>) -> Answering {
        if !self.multiplexed.get() && !request.body().is_end_stream() {
            self.had_body.set(true);
        }
        self.answering.set(self.answering.get() + 1);
        self.count_streams();
        self.unparsed.set(false);
        self.receiving.set(None);
        if self.received.get() > 0 {
            self.change(&self.received, self.read_beyond(request));
        }
        self.requests.set(self.requests.get() + 1);
        Answering(Rc::clone(self))
    }

    /// Bytes that were read and are of no request yet, now that there is this one.
    fn read_beyond<B>(&self, request: &Request<B>) -> usize {
        let received = self.received.get();
        if received <= USUAL_REQUEST_BYTES || self.multiplexed.get() {
            return 0;
        }
        let line = request.method().as_str().len() + request.uri().to_string().len();
        let header =
            |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + ": \r\n".len();
        let beyond = received.saturating_sub(line + request.headers().iter().map(header).sum::<usize>());
        // The version, ends of lines, and spaces, of which some write more than others.
        if beyond < SPACES_BYTES { 0 } else { beyond }
    }

    fn end_answer(&self) {
        self.answering.set(self.answering.get() - 1);
        self.count_streams();
        // With HTTP/2 it may have been taken back, and nothing is written.
        if !self.multiplexed.get() {
            self.unwritten.set(true);
        }
    }

    /// An answer of so many bytes waits until the client makes room for it, as long as what this returns lives.
    pub fn begin_sending(self: &Rc<Self>, bytes: usize) -> Sending {
        self.sending.set(self.sending.get() + 1);
        self.sending_bytes.set(self.sending_bytes.get() + bytes);
        self.count_streams();
        Sending { activity: Rc::clone(self), bytes }
    }

    /// Whether all requests so far are answered, and there was one.
    pub fn is_through(&self) -> bool {
        self.requests.get() > 0 && self.is_at_rest()
    }

    /// Whether a request has begun, and nothing but more of it can help.
    pub fn is_unfinished(&self) -> bool {
        self.unparsed.get() && !self.had_body.get() && self.answering.get() == 0 && !self.unwritten.get()
    }

    fn is_at_rest(&self) -> bool {
        self.answering.get() == 0
            && self.sending.get() == 0
            && !self.unwritten.get()
            && !self.unparsed.get()
            && !self.had_body.get()
    }

    /// It is parked, with so many bytes of an unfinished request, or awake again.
    pub fn park(&self, unread: Option<usize>) {
        self.parked.set(unread.map(|_| Instant::now()));
        if let Some(unread) = unread {
            self.change(&self.received, unread);
        }
        if unread.is_some_and(|bytes| bytes > 0) && self.receiving.get().is_none() {
            self.receiving.set(Instant::now().checked_sub(self.last.get().since));
        }
    }

    /// It is parked, since then.
    #[cfg(test)]
    pub(crate) fn park_since(&self, since: Instant) {
        self.park(Some(0));
        self.parked.set(Some(since));
    }

    /// How long its unfinished request has been coming.
    pub fn received_for(&self) -> Duration {
        self.receiving.get().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Bytes of answers that the client has taken; what it has not is known anew.
    fn taken(&self) -> u64 {
        if self.untaken.get() > 0
            && let Some(socket) = self.socket.get()
        {
            self.change(&self.untaken, kernel::untaken(socket).min(self.untaken.get()));
        }
        self.written.get() - self.untaken.get() as u64
    }

    fn state(&self) -> State {
        if self.sending.get() > 0 {
            State::Sending
        } else if self.answering.get() > 0 {
            State::Answering
        } else if self.unwritten.get() || self.untaken.get() > 0 {
            State::Sending
        } else if self.unparsed.get() || self.had_body.get() {
            State::Receiving
        } else {
            State::Idle
        }
    }

    /// What it is doing, and for how long. As of the last look, unless it is parked or has never asked.
    pub fn state_since(&self, now: Instant) -> (State, Duration) {
        let state = self.state();
        let since = match (self.parked.get(), self.receiving.get()) {
            (Some(_), Some(receiving)) => receiving,
            (Some(parked), None) => parked,
            (None, _) if !self.has_asked() && state == State::Idle => self.opened,
            (None, _) => return (state, self.last.get().since),
        };
        (state, now.saturating_duration_since(since))
    }

    /// Whether there was a request.
    pub fn has_asked(&self) -> bool {
        self.requests.get() > 0
    }

    /// Whether the client has taken all that the kernel has for it.
    pub fn is_taken(&self) -> bool {
        self.taken() == self.written.get()
    }

    /// Judges what has happened since the last look, some time ago.
    pub fn look(&self, ago: Duration, patience: Duration) -> Verdict {
        let taken = self.taken();
        let state = self.state();
        let mut look = self.last.get();
        let as_before = look.state == state
            && match state {
                // What was written before is taken, or much of it. With HTTP/2 there may be more that has no room.
                State::Sending => {
                    let waits = taken < look.written || self.sending.get() > 0;
                    waits && taken - look.taken < MIN_TAKEN_BYTES
                }
                _ => look.requests == self.requests.get(),
            };
        if as_before {
            look.since += ago;
        } else {
            let written = self.written.get();
            look = Look { state, requests: self.requests.get(), written, taken, since: Duration::ZERO };
        }
        self.last.set(look);
        let late = look.since >= patience;
        match state {
            State::Idle if look.since >= LOOK => Verdict::Idle,
            State::Receiving if late || self.received_for() >= patience => Verdict::TooSlow(UNFINISHED),
            State::Receiving if look.since >= LOOK && self.is_unfinished() => Verdict::Idle,
            State::Sending if late => Verdict::TooSlow("it does not take its answer"),
            // The answer itself is in time: `respond` sees to that.
            _ => Verdict::Busy,
        }
    }

    /// Whether there was a request with a body.
    pub fn had_body(&self) -> bool {
        self.had_body.get()
    }

    /// Bytes that it holds.
    pub fn held(&self) -> usize {
        self.base.get() + 2 * self.received.get() + self.untaken.get()
    }

    /// The same, after asking the kernel.
    pub fn held_now(&self) -> usize {
        self.taken();
        self.held()
    }

    /// It is about to be closed, and what the client has not taken thrown away.
    pub fn give_way(&self) {
        if self.gives_way.get().is_none() {
            self.gives_way.set(Some(self.held()));
            self.connections.begin_closing(self.held());
        }
    }

    /// Whether it was told to give way.
    pub fn gives_way(&self) -> bool {
        self.gives_way.get().is_some()
    }

    /// Whether it reads no more for the moment, since others are to be closed before.
    pub fn waits_to_read(&self) -> bool {
        self.connections.is_closing_many()
    }

    /// Whether it writes no more for the moment: all together hold too much, and its client has enough to take.
    pub fn waits_to_write(&self) -> bool {
        self.connections.is_full()
            && self.untaken.get() > ENOUGH_TO_TAKE
            && !self.is_taken_but(ENOUGH_TO_TAKE)
    }

    fn is_taken_but(&self, bytes: usize) -> bool {
        self.written.get() - self.taken() <= bytes as u64
    }

    fn change(&self, count: &Cell<usize>, bytes: usize) {
        let before = self.held();
        count.set(bytes);
        if self.gives_way() {
            return;
        }
        let now = self.held();
        if now > before {
            self.connections.hold(now - before);
        } else {
            self.connections.release(before - now);
        }
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        match self.gives_way.get() {
            None => self.connections.release(self.held()),
            Some(held) => self.connections.end_closing(held),
        }
    }
}

/// A request that is being answered.
pub struct Answering(Rc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.end_answer();
    }
}

/// An answer of HTTP/2 that is on its way.
pub struct Sending {
    activity: Rc<Activity>,
    bytes: usize,
}

impl Drop for Sending {
    fn drop(&mut self) {
        let Activity { sending, sending_bytes, .. } = &*self.activity;
        sending.set(sending.get() - 1);
        sending_bytes.set(sending_bytes.get() - self.bytes);
        self.activity.count_streams();
    }
}

#[cfg(test)]
#[path = "activity/tests.rs"]
mod tests;
