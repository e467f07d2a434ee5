//! Clients that send requests continuously while a test changes the server or its database.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use atelier_testing::until;

use crate::client::{Connection, Response};

/// Concurrent keep-alive connections.
const CLIENTS: usize = 4;

/// Between two requests, so that other tests get some CPU time.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Default)]
pub(crate) struct Traffic {
    stop: AtomicBool,
    results: Mutex<Results>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u16, usize>,
    /// Requests that failed, and answers that `check` refused.
    pub(crate) errors: Vec<String>,
    /// The longest that an answer took.
    pub(crate) slowest: Duration,
}

impl Traffic {
    pub(crate) fn answers(&self, status: u16) -> usize {
        self.results.lock().unwrap().statuses.get(&status).copied().unwrap_or_default()
    }

    /// Waits for `more` further answers with this status.
    pub(crate) fn wait_for(&self, more: usize, status: u16) {
        let before = self.answers(status);
        until("further answers", || self.answers(status) >= before + more);
    }
}

/// Stops the clients, even if the test panics.
pub(crate) struct Stop<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Requests `target(0)`, `target(1)`, … until `during` returns. `check` gets every answer.
pub(crate) fn with_traffic(
    address: SocketAddr,
    target: impl Fn(u32) -> String + Sync,
    check: impl Fn(&str, &Response) -> Result<(), String> + Sync,
    during: impl FnOnce(&Traffic),
) -> Results {
    let traffic = Traffic::default();
    let next = AtomicU32::new(0);
    let client = || {
        let mut connection = Connection::open(address);
        while !traffic.stop.load(Ordering::SeqCst) {
            let target = target(next.fetch_add(1, Ordering::Relaxed));
            let begin = Instant::now();
            let answer = connection.request("GET", &target, &[]);
            let took = begin.elapsed();
            let mut results = traffic.results.lock().unwrap();
            results.slowest = results.slowest.max(took);
            match answer {
                Ok(response) => {
                    *results.statuses.entry(response.status).or_default() += 1;
                    if let Err(error) = check(&target, &response) {
                        results.errors.push(format!("{target}: {error}"));
                    }
                }
                Err(error) => {
                    results.errors.push(format!("{target}: {error} after {took:?}"));
                    connection = Connection::open(address);
                }
            }
            drop(results);
            thread::sleep(PAUSE);
        }
    };
    thread::scope(|scope| {
        let _stop = Stop(&traffic.stop);
        for _ in 0..CLIENTS {
            scope.spawn(client);
        }
        during(&traffic);
    });
    traffic.results.into_inner().unwrap()
}
