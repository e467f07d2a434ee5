//! The client connections of one worker: what they hold together, and which of them give way when that is too much.
//!
//! Counted are bytes, not connections: buffers, requests that have not ended, and answers that clients have not taken,
//! those in the kernel too. First those give way that are idle, the one idle longest before all others; then those whose
//! requests do not end; then those whose answers are not taken.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::net::activity::{Activity, State};
use crate::telemetry::limits::{Limit, Limits};

/// Connections that hold less are not closed for the memory they would give back.
const WORTH_BYTES: usize = 8 * 1024;

/// A request that waits for its answer holds this much without any fault of its client's.
const ANSWERING_BYTES: usize = 64 * 1024;

/// A client that takes nothing of its answer for so long gives way before others.
const STALLED: Duration = Duration::from_secs(2);

/// Whoever has been idle for less may be about to ask: its request may be on its way, or here and not read.
const MIN_IDLE: Duration = Duration::from_secs(1);

/// The connections of one worker.
pub struct Connections {
    open: RefCell<BTreeMap<u64, Open>>,
    opened: Cell<u64>,
    /// What they hold together, in bytes. An upper bound: what clients have taken shows when somebody asks the kernel.
    held: Cell<usize>,
    /// What those hold that give way and are not closed yet.
    closing: Cell<usize>,
    limit: usize,
    /// When so much is held, it is looked which of it is true, and who gives way.
    relieve_at: Cell<usize>,
    limits: &'static Limits,
}

struct Open {
    activity: Rc<Activity>,
    task: Option<AbortHandle>,
}

/// A connection's place among the others, as long as it is open.
pub struct Place {
    connections: Rc<Connections>,
    number: u64,
    /// Its notes.
    pub activity: Rc<Activity>,
}

impl Connections {
    /// None yet, and at most so many bytes.
    pub fn new(limit: usize, limits: &'static Limits) -> Rc<Connections> {
        Rc::new(Connections {
            open: RefCell::default(),
            opened: Cell::default(),
            held: Cell::default(),
            closing: Cell::default(),
            limit,
            relieve_at: Cell::new(limit),
            limits,
        })
    }

    /// One more, which takes so many bytes while nothing happens.
    pub fn open(self: &Rc<Self>, base: usize) -> Place {
        let activity = Rc::new(Activity::new(self, base));
        let number = self.opened.replace(self.opened.get() + 1);
        self.open.borrow_mut().insert(number, Open { activity: Rc::clone(&activity), task: None });
        Place { connections: Rc::clone(self), number, activity }
    }

    /// What ends the connection at this place.
    pub fn ends_with(&self, number: u64, task: AbortHandle) {
        if let Some(open) = self.open.borrow_mut().get_mut(&number) {
            open.task = Some(task);
        }
    }

    /// So many bytes more are held.
    pub(crate) fn hold(&self, bytes: usize) {
        self.held.set(self.held.get() + bytes);
        if self.held.get() > self.relieve_at.get() {
            self.relieve();
        }
    }

    /// So many bytes less.
    pub(crate) fn release(&self, bytes: usize) {
        self.held.set(self.held.get().saturating_sub(bytes));
        if self.relieve_at.get() > self.limit {
            let lower = self.limit.max(self.held.get() + self.room());
            self.relieve_at.set(lower.min(self.relieve_at.get()));
        }
    }

    /// What is made free when there is too much.
    fn room(&self) -> usize {
        self.limit / 8
    }

    /// Whether they hold as much as they may.
    pub fn is_full(&self) -> bool {
        self.held.get() > self.limit
    }

    /// So many bytes are held by one that gives way, until it is closed.
    pub(crate) fn begin_closing(&self, bytes: usize) {
        self.release(bytes);
        self.closing.set(self.closing.get() + bytes);
    }

    /// It is closed.
    pub(crate) fn end_closing(&self, bytes: usize) {
        self.closing.set(self.closing.get().saturating_sub(bytes));
    }

    /// Whether so much is held by connections that are about to be closed that others read no more before they are.
    pub fn is_closing_many(&self) -> bool {
        self.closing.get() > self.room()
    }

    /// Has up to `count` connections give way to others. Says how many do.
    pub fn give_way(&self, count: usize) -> usize {
        let open = self.open.borrow();
        let mut candidates = in_order(&open, |activity, state| match state {
            State::Idle => true,
            State::Receiving => activity.is_unfinished(),
            State::Sending | State::Answering => false,
        });
        candidates.retain(|(_, Reverse(since), _)| *since >= MIN_IDLE);
        candidates.truncate(count);
        for (_, _, open) in &candidates {
            self.close(open, Limit::Connections);
        }
        candidates.len()
    }

    /// Finds out what is really held. If it is too much, connections give way until there is some room again. Whose answers
    /// are being taken is spared, unless it is much too much.
    fn relieve(&self) {
        self.relieve_at.set(usize::MAX); // what is held changes meanwhile
        let open = self.open.borrow();
        for open in open.values() {
            open.activity.held_now();
        }
        if self.is_full() {
            let candidates = in_order(&open, |activity, state| {
                activity.held() >= if state == State::Answering { ANSWERING_BYTES } else { WORTH_BYTES }
            });
            for (state, Reverse(since), open) in candidates {
                if state == State::Idle && since < MIN_IDLE {
                    continue;
                }
                let takes = state == State::Sending && since < STALLED;
                let enough = if takes { self.limit + self.limit / 2 } else { self.limit - self.room() };
                if self.held.get() <= enough {
                    break;
                }
                let limit = match state {
                    State::Receiving => Limit::UnfinishedRequests,
                    State::Sending => Limit::UntakenAnswers,
                    State::Idle | State::Answering => Limit::ConnectionBytes,
                };
                self.close(open, limit);
            }
        }
        self.relieve_at.set(self.limit.max(self.held.get() + self.room()));
    }

    fn close(&self, open: &Open, limit: Limit) {
        open.activity.give_way();
        if let Some(task) = &open.task {
            task.abort();
        }
        self.limits.bite(limit);
    }
}

/// Those that may give way, the first one first.
fn in_order(
    open: &BTreeMap<u64, Open>,
    may: impl Fn(&Activity, State) -> bool,
) -> Vec<(State, Reverse<Duration>, &Open)> {
    let now = Instant::now();
    let candidates = open.values().filter(|open| !open.activity.gives_way());
    let mut candidates: Vec<_> = candidates
        .filter_map(|open| {
            let (state, since) = open.activity.state_since(now);
            may(&open.activity, state).then_some((state, Reverse(since), open))
        })
        .collect();
    candidates.sort_by_key(|(state, since, _)| (*state, *since));
    candidates
}

impl Place {
    /// Its number among all of this worker.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.activity.set_socket(None);
        self.connections.open.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const KIB: usize = 1024;

    fn connections(limit: usize) -> (Rc<Connections>, &'static Limits) {
        let limits = Box::leak(Box::new(Limits::default()));
        (Connections::new(limit, limits), limits)
    }

    fn give_way(places: &[Place]) -> Vec<usize> {
        (0..places.len()).filter(|number| places[*number].activity.gives_way()).collect()
    }

    #[test]
    fn the_one_idle_longest_gives_way_and_none_that_is_at_work() {
        let (connections, limits) = connections(usize::MAX);
        let places: Vec<Place> = (0..4).map(|_| connections.open(KIB)).collect();
        for (number, ago) in [(2, 3), (0, 2), (3, 1), (1, 3)] {
            places[number].activity.park_since(Instant::now() - Duration::from_secs(ago));
        }
        places[1].activity.park(None);
        let _answering = places[1].activity.begin_answer(&Request::new(String::new()));
        for (number, expected) in [vec![2], vec![0, 2], vec![0, 2, 3], vec![0, 2, 3]].iter().enumerate() {
            assert_eq!(connections.give_way(1), usize::from(number < 3));
            assert_eq!(give_way(&places), *expected);
        }
        assert_eq!(limits.times(Limit::Connections), 3);
    }

    #[test]
    fn what_is_held_is_bounded_and_given_back() {
        let (connections, limits) = connections(400 * KIB);
        let places: Vec<Place> = (0..10).map(|_| connections.open(2 * KIB)).collect();
        let idle = &places[0].activity;
        idle.set_base(64 * KIB);
        idle.park_since(Instant::now() - MIN_IDLE);
        places[1].activity.park_since(Instant::now() - MIN_IDLE); // holds too little to be worth it
        for place in &places[2..] {
            place.activity.arrived();
            place.activity.read(20 * KIB);
            place.activity.park(Some(20 * KIB));
        }
        assert_eq!(give_way(&places), [0], "idle ones before all others");
        for place in &places[2..] {
            place.activity.read(20 * KIB);
        }
        assert!(connections.held.get() <= 400 * KIB, "{}", connections.held.get());
        assert!(
            give_way(&places).starts_with(&[0, 2, 3]) && !give_way(&places).contains(&9),
            "the slowest first"
        );
        assert!(limits.times(Limit::UnfinishedRequests) >= 3);
        drop(places);
        assert_eq!(connections.held.get(), 0);
    }
}
