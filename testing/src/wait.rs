//! Waiting for other processes.

use std::thread;
use std::time::{Duration, Instant};

/// Far more than anything here takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Waits until `happens`; panics with `what` if it does not within a minute.
pub fn until(what: &str, mut happens: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !happens() {
        assert!(begin.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(POLL);
    }
}
