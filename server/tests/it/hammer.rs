//! Clients that ask without a pause while a test does something to the server or its database.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use atelier_testing::until;

use crate::client::{Connection, Response};

/// Keep-alive connections at a time.
const CLIENTS: usize = 4;

/// Leaves some of a small machine to the other tests.
const BREATH: Duration = Duration::from_millis(1);

/// What became of the requests so far.
#[derive(Default)]
pub(crate) struct Tally {
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u16, usize>,
    /// Requests without an answer, and what the check had to say.
    pub(crate) wrong: Vec<String>,
    /// The longest that an answer took.
    pub(crate) slowest: Duration,
}

impl Tally {
    pub(crate) fn answers(&self, status: u16) -> usize {
        self.seen.lock().unwrap().statuses.get(&status).copied().unwrap_or_default()
    }

    /// Waits until there are `more` further answers of this status.
    pub(crate) fn wait_for(&self, more: usize, status: u16) {
        let before = self.answers(status);
        until("further answers", || self.answers(status) >= before + more);
    }
}

/// Stops the clients however the test goes on.
pub(crate) struct Stop<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Asks for `target(0)`, `target(1)`, … until `during` has ended. `check` looks at every answer.
pub(crate) fn hammer(
    address: SocketAddr,
    target: impl Fn(u32) -> String + Sync,
    check: impl Fn(&str, &Response) -> Result<(), String> + Sync,
    during: impl FnOnce(&Tally),
) -> Seen {
    let tally = Tally::default();
    let next = AtomicU32::new(0);
    let client = || {
        let mut connection = Connection::open(address);
        while !tally.stop.load(Ordering::SeqCst) {
            let target = target(next.fetch_add(1, Ordering::Relaxed));
            let begin = Instant::now();
            let answer = connection.request("GET", &target, &[]);
            let took = begin.elapsed();
            let mut seen = tally.seen.lock().unwrap();
            seen.slowest = seen.slowest.max(took);
            match answer {
                Ok(response) => {
                    *seen.statuses.entry(response.status).or_default() += 1;
                    if let Err(wrong) = check(&target, &response) {
                        seen.wrong.push(format!("{target}: {wrong}"));
                    }
                }
                Err(error) => {
                    seen.wrong.push(format!("{target}: {error} after {took:?}"));
                    connection = Connection::open(address);
                }
            }
            drop(seen);
            thread::sleep(BREATH);
        }
    };
    thread::scope(|scope| {
        let _stop = Stop(&tally.stop);
        for _ in 0..CLIENTS {
            scope.spawn(client);
        }
        during(&tally);
    });
    tally.seen.into_inner().unwrap()
}
