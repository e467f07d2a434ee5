//! What is known of the database: whether it is up, which workers are connected, and which queries it cannot run.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use tokio::sync::{Notify, watch};

use crate::catalogue::query_kind::{QueryKind, QueryKinds};

#[derive(Default)]
pub(crate) struct DatabaseStatus {
    is_up: AtomicBool,
    /// The number of workers that have a connection.
    connected_workers: watch::Sender<usize>,
    /// Queries that fail because a table, a column or a privilege is missing.
    failing: RwLock<QueryKinds>,
    /// Whether a query that is not among those has failed like them.
    has_new_failure: AtomicBool,
    check_now: Notify,
}

impl DatabaseStatus {
    /// Whether the database answered when it was last checked.
    pub(crate) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    pub(crate) fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Relaxed);
    }

    /// A worker has opened its first connection.
    pub(crate) fn add_connected_worker(&self) {
        self.connected_workers.send_modify(|workers| *workers += 1);
    }

    /// A worker has lost its last connection.
    pub(crate) fn remove_connected_worker(&self) {
        self.connected_workers.send_modify(|workers| *workers -= 1);
    }

    pub(crate) fn connected_workers(&self) -> usize {
        *self.connected_workers.borrow()
    }

    pub(crate) async fn wait_for_workers(&self, count: usize) {
        let mut connected = self.connected_workers.subscribe();
        let _ = connected.wait_for(|workers| *workers >= count).await; // the sender is never dropped
    }

    pub(crate) fn failing(&self) -> QueryKinds {
        *self.failing.read()
    }

    pub(crate) fn set_failing(&self, kinds: QueryKinds) {
        *self.failing.write() = kinds;
    }

    /// A query has failed in a way that may be permanent: the database is checked soon.
    pub(crate) fn record_failure(&self, kind: QueryKind) {
        if !self.failing().contains(kind) {
            self.has_new_failure.store(true, Ordering::Relaxed);
            self.check_soon();
        }
    }

    /// Whether there was such a failure since the last call.
    pub(crate) fn take_new_failure(&self) -> bool {
        self.has_new_failure.swap(false, Ordering::Relaxed)
    }

    /// Has the database checked before the next second begins.
    pub(crate) fn check_soon(&self) {
        self.check_now.notify_one();
    }

    pub(crate) async fn wait_for_check_request(&self) {
        self.check_now.notified().await;
    }
}
