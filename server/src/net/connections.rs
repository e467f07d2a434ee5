//! The client connections of one worker. If there are too many, or they hold too much memory, some are closed.
//!
//! Idle connections are closed first, those that have been idle longest before the others; then those with incomplete
//! requests; then those that do not read their answers.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::net::activity::{Activity, State};
use crate::net::memory::MemoryBudget;
use crate::telemetry::limits::{Limit, Limits};

/// Connections that hold less are not closed to reclaim memory.
const MIN_RECLAIM_BYTES: usize = 8 * 1024;

/// A request that waits for its answer may hold this much.
const ANSWERING_BYTES: usize = 64 * 1024;

/// A client that has read nothing for this long is closed before others.
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// A connection that was idle for less may have a request that is not read yet.
const MIN_IDLE: Duration = Duration::from_secs(1);

pub(crate) struct Connections {
    open: RefCell<BTreeMap<u64, OpenConnection>>,
    next_id: Cell<u64>,
    budget: Rc<MemoryBudget>,
    limits: &'static Limits,
}

struct OpenConnection {
    activity: Rc<Activity>,
    task: Option<AbortHandle>,
}

/// A connection is open until this is dropped.
pub(crate) struct Registration {
    connections: Rc<Connections>,
    pub(crate) id: u64,
    pub(crate) activity: Rc<Activity>,
}

impl Connections {
    /// `max_bytes` is for all connections together.
    pub(crate) fn new(max_bytes: usize, limits: &'static Limits) -> Rc<Connections> {
        let budget = Rc::new(MemoryBudget::new(max_bytes));
        let connections = Rc::new(Connections {
            open: RefCell::default(),
            next_id: Cell::default(),
            budget: Rc::clone(&budget),
            limits,
        });
        let weak: Weak<Connections> = Rc::downgrade(&connections);
        budget.on_exceeded(move || {
            if let Some(connections) = weak.upgrade() {
                connections.reclaim();
            }
        });
        connections
    }

    /// `base` is the memory that the connection takes without buffered data.
    pub(crate) fn open(self: &Rc<Self>, base: usize) -> Registration {
        let activity = Rc::new(Activity::new(&self.budget, base));
        let id = self.next_id.replace(self.next_id.get() + 1);
        self.open.borrow_mut().insert(id, OpenConnection { activity: Rc::clone(&activity), task: None });
        Registration { connections: Rc::clone(self), id, activity }
    }

    /// Closing the connection will abort this task.
    pub(crate) fn set_task(&self, id: u64, task: AbortHandle) {
        if let Some(open) = self.open.borrow_mut().get_mut(&id) {
            open.task = Some(task);
        }
    }

    /// Closes up to `count` idle connections, to make room for new ones. Returns how many it closed.
    pub(crate) fn close_idle(&self, count: usize) -> usize {
        let open = self.open.borrow();
        let mut candidates = candidates(&open, |activity, state| match state {
            State::Idle => true,
            State::Receiving => activity.is_incomplete(),
            State::Sending | State::Answering => false,
        });
        candidates.retain(|(_, Reverse(duration), _)| *duration >= MIN_IDLE);
        candidates.truncate(count);
        for (_, _, open) in &candidates {
            self.close(open, Limit::Connections);
        }
        candidates.len()
    }

    /// A client is too slow. The caller closes its connection.
    pub(crate) fn record_slow(&self, activity: &Activity, why: &'static str) {
        activity.memory.begin_closing();
        // A client that has sent a body may not know that its connection is not used for further requests.
        if !activity.had_body() {
            self.limits.record(Limit::SlowClients);
        }
        tracing::debug!(why, "a connection is closed");
    }

    /// Finds out how much memory is really held. If it is too much, closes connections until there is some headroom. Clients
    /// that do read their answers are only closed if the limit is exceeded by half.
    fn reclaim(&self) {
        let open = self.open.borrow();
        for open in open.values() {
            open.activity.refresh_memory();
        }
        if !self.budget.is_exceeded() {
            return;
        }
        let candidates = candidates(&open, |activity, state| {
            let min = if state == State::Answering { ANSWERING_BYTES } else { MIN_RECLAIM_BYTES };
            activity.memory.held() >= min
        });
        for (state, Reverse(duration), open) in candidates {
            if state == State::Idle && duration < MIN_IDLE {
                continue;
            }
            let limit = self.budget.limit();
            let is_reading = state == State::Sending && duration < STALLED_AFTER;
            let target = if is_reading { limit + limit / 2 } else { limit - self.budget.headroom() };
            if self.budget.held() <= target {
                break;
            }
            let limit = match state {
                State::Receiving => Limit::IncompleteRequests,
                State::Sending => Limit::UnreadAnswers,
                State::Idle | State::Answering => Limit::ConnectionBytes,
            };
            self.close(open, limit);
        }
    }

    fn close(&self, open: &OpenConnection, limit: Limit) {
        open.activity.memory.begin_closing();
        if let Some(task) = &open.task {
            task.abort();
        }
        self.limits.record(limit);
    }
}

/// Connections that can be closed, in the order in which they are, with their state and for how long they have been in it.
fn candidates(
    open: &BTreeMap<u64, OpenConnection>,
    can_close: impl Fn(&Activity, State) -> bool,
) -> Vec<(State, Reverse<Duration>, &OpenConnection)> {
    let now = Instant::now();
    let mut candidates: Vec<_> = open
        .values()
        .filter(|open| !open.activity.memory.is_closing())
        .filter_map(|open| {
            let (state, duration) = open.activity.state_for(now);
            can_close(&open.activity, state).then_some((state, Reverse(duration), open))
        })
        .collect();
    candidates.sort_by_key(|(state, duration, _)| (*state, *duration));
    candidates
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.activity.set_socket(None);
        self.connections.open.borrow_mut().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const KIB: usize = 1024;

    fn connections(max_bytes: usize) -> (Rc<Connections>, &'static Limits) {
        let limits = Box::leak(Box::new(Limits::default()));
        (Connections::new(max_bytes, limits), limits)
    }

    fn closing(open: &[Registration]) -> Vec<usize> {
        (0..open.len()).filter(|number| open[*number].activity.memory.is_closing()).collect()
    }

    #[test]
    fn the_connection_that_was_idle_longest_is_closed_and_none_with_a_request() {
        let (connections, limits) = connections(usize::MAX);
        let open: Vec<Registration> = (0..4).map(|_| connections.open(KIB)).collect();
        for (number, ago) in [(2, 3), (0, 2), (3, 1), (1, 3)] {
            open[number].activity.park_since(Instant::now() - Duration::from_secs(ago));
        }
        open[1].activity.unpark();
        let _answering = open[1].activity.begin_answer(&Request::new(String::new()));
        for (number, expected) in [vec![2], vec![0, 2], vec![0, 2, 3], vec![0, 2, 3]].iter().enumerate() {
            assert_eq!(connections.close_idle(1), usize::from(number < 3));
            assert_eq!(closing(&open), *expected);
        }
        assert_eq!(limits.times(Limit::Connections), 3);
    }

    #[test]
    fn memory_is_bounded_and_released() {
        let (connections, limits) = connections(400 * KIB);
        let open: Vec<Registration> = (0..10).map(|_| connections.open(2 * KIB)).collect();
        let idle = &open[0].activity;
        idle.memory.set_base(64 * KIB);
        idle.park_since(Instant::now() - MIN_IDLE);
        open[1].activity.park_since(Instant::now() - MIN_IDLE); // holds too little to be closed
        for open in &open[2..] {
            open.activity.record_unparsed();
            open.activity.record_read(20 * KIB);
            open.activity.park(20 * KIB);
        }
        assert_eq!(closing(&open), [0], "idle ones before all others");
        for open in &open[2..] {
            open.activity.record_read(20 * KIB);
        }
        let held = || connections.budget.held();
        assert!(held() <= 400 * KIB, "{}", held());
        assert!(closing(&open).starts_with(&[0, 2, 3]) && !closing(&open).contains(&9), "the slowest first");
        assert!(limits.times(Limit::IncompleteRequests) >= 3);
        drop(open);
        assert_eq!(held(), 0);
    }
}
