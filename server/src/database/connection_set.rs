//! The open connections of one worker, and which of them the next batch is sent on. No I/O.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::catalogue::query_kind::{QueryKind, QueryKinds};
use crate::database::connection::PooledConnection;
use crate::database::queue::{Capacity, Queue};

/// How long requests wait for a reconnection when the last connection is lost.
pub(crate) const RECONNECT_GRACE: Duration = Duration::from_millis(250);

/// Spare connections are closed when none was blocked for this long.
const SPARE_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// More connections than kinds are never blocked at the same time.
const MAX_SPARES: usize = QueryKind::COUNT;

pub(crate) struct ConnectionSet {
    open: RefCell<Vec<Rc<PooledConnection>>>,
    /// When the last connection was lost, if there is none.
    lost_at: Cell<Option<Instant>>,
    /// Kinds whose latest batch was slow.
    slow: Cell<QueryKinds>,
    /// When a connection was blocked most recently.
    blocked_at: Cell<Option<Instant>>,
}

impl ConnectionSet {
    pub(crate) fn new() -> ConnectionSet {
        ConnectionSet {
            open: RefCell::default(),
            lost_at: Cell::new(Some(Instant::now())),
            slow: Cell::default(),
            blocked_at: Cell::default(),
        }
    }

    /// Returns whether there was none before.
    pub(crate) fn add(&self, connection: &Rc<PooledConnection>) -> bool {
        self.open.borrow_mut().push(Rc::clone(connection));
        self.lost_at.take().is_some()
    }

    /// Returns whether it was the last one.
    pub(crate) fn remove(&self, connection: &PooledConnection) -> bool {
        let mut open = self.open.borrow_mut();
        let before = open.len();
        open.retain(|other| !std::ptr::eq(&raw const **other, connection));
        let was_last = open.is_empty() && before > 0;
        if was_last {
            self.lost_at.set(Some(Instant::now()));
        }
        was_last
    }

    /// Whether there has been no connection for [`RECONNECT_GRACE`].
    pub(crate) fn is_disconnected(&self) -> bool {
        self.lost_at.get().is_some_and(|since| since.elapsed() >= RECONNECT_GRACE)
    }

    /// A batch of this kind blocks its connection.
    pub(crate) fn record_slow(&self, kind: QueryKind) {
        self.blocked_at.set(Some(Instant::now()));
        self.slow.set(self.slow.get().with(kind));
    }

    /// A batch of this kind has ended without blocking its connection.
    pub(crate) fn record_fast(&self, kind: QueryKind) {
        self.slow.set(self.slow.get().without(kind));
    }

    /// Whether a connection is blocked, or was not long ago.
    pub(crate) fn needs_spares(&self) -> bool {
        let is_blocked = || self.open.borrow().iter().any(|connection| connection.is_blocked());
        self.blocked_at.get().is_some_and(|last| last.elapsed() < SPARE_IDLE_TIMEOUT || is_blocked())
    }

    /// Of the usual or of the spare connections the one with the fewest batches, and what can be sent on it. Kinds that are
    /// slow go to spare connections and all others to usual ones, as long as there are both.
    pub(crate) fn least_busy(&self, is_spare: bool) -> Option<(Rc<PooledConnection>, Capacity)> {
        let open = self.open.borrow();
        let free = || open.iter().filter(|connection| !connection.is_blocked());
        let connection =
            free().filter(|other| other.is_spare == is_spare).min_by_key(|other| other.batches())?;
        let slow = self.slow.get();
        let elsewhere = match is_spare {
            false if free().any(|other| other.is_spare && other.batches() == 0) => slow,
            true if free().any(|other| !other.is_spare) => slow.complement(),
            _ => QueryKinds::EMPTY,
        };
        let capacity = Capacity {
            batches: connection.batches(),
            excluded: elsewhere.union(self.waiting_for_slow()),
            // Once a connection was blocked, no kind is sent behind another: it might have to be sent twice.
            only_behind: connection.first_kind().filter(|_| self.needs_spares()),
        };
        Some((Rc::clone(connection), capacity))
    }

    /// Slow kinds that are in flight: one batch of each at a time shows whether the kind is still slow.
    fn waiting_for_slow(&self) -> QueryKinds {
        let slow = self.slow.get();
        if slow.is_empty() {
            return slow;
        }
        let open = self.open.borrow();
        let in_flight = open.iter().map(|connection| connection.kinds());
        slow.intersection(in_flight.fold(QueryKinds::EMPTY, QueryKinds::union))
    }

    /// Whether all connections are blocked while a request waits that could be sent.
    pub(crate) fn needs_another_spare(&self, waiting: &Queue) -> bool {
        let open = self.open.borrow();
        !open.is_empty()
            && open.iter().all(|connection| connection.is_blocked())
            && open.iter().filter(|connection| connection.is_spare).count() < MAX_SPARES
            && waiting.has_other_than(self.waiting_for_slow())
    }
}
