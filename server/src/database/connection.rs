//! An open connection to the database, and the batches in flight on it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant as TokioInstant, sleep, timeout};
use tokio_postgres::Client;

use crate::catalogue::queries::Statements;
use crate::catalogue::query_kind::{QueryKind, QueryKinds};

/// A connection is blocked if its first batch takes this long, because of a lock or a slow disk. Usually it takes some
/// milliseconds.
const SLOW_BATCH: Duration = Duration::from_millis(50);

/// Time for the runtime to poll other tasks: on a busy thread, the result may have arrived and not been read.
const POLL_GRACE: Duration = Duration::from_millis(1);

pub(crate) struct PooledConnection {
    pub(crate) client: Client,
    pub(crate) statements: Statements,
    /// Opened because others were blocked, and closed again when none is.
    pub(crate) is_spare: bool,
    pub(crate) progress: Progress,
    /// The connection does not answer and is replaced.
    pub(crate) replaced: Notify,
    batch_sent: Notify,
    /// In the order of being sent, which is the order in which they end.
    batches: RefCell<VecDeque<Rc<SentBatch>>>,
    /// Its first batch was slow: nothing is sent on it until all its batches have ended.
    is_blocked: Cell<bool>,
}

struct SentBatch {
    kind: QueryKind,
    sent_at: TokioInstant,
    /// Its requests are sent on another connection. PostgreSQL runs the statement nevertheless.
    is_withdrawn: Cell<bool>,
    withdrawn: Notify,
}

impl PooledConnection {
    pub(crate) fn new(client: Client, statements: Statements, is_spare: bool) -> PooledConnection {
        PooledConnection {
            client,
            statements,
            is_spare,
            progress: Progress::new(),
            replaced: Notify::new(),
            batch_sent: Notify::new(),
            batches: RefCell::default(),
            is_blocked: Cell::default(),
        }
    }

    pub(crate) fn batches(&self) -> usize {
        self.batches.borrow().len()
    }

    /// The kind of the first batch.
    pub(crate) fn first_kind(&self) -> Option<QueryKind> {
        self.batches.borrow().front().map(|batch| batch.kind)
    }

    /// The kinds of its batches, without those that were withdrawn.
    pub(crate) fn kinds(&self) -> QueryKinds {
        self.batches
            .borrow()
            .iter()
            .filter(|batch| !batch.is_withdrawn.get())
            .map(|batch| batch.kind)
            .collect()
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked.get()
    }

    /// Waits until a batch has been the first for [`SLOW_BATCH`]. One timer for all of them: with a timer for each, the
    /// runtime would wake up as often.
    pub(crate) async fn slow_batch(&self) {
        loop {
            self.batch_sent.notified().await;
            while let Some(left) = self.time_left() {
                sleep(left).await;
                if self.time_left() == Some(Duration::ZERO) {
                    sleep(POLL_GRACE).await;
                    if self.time_left() == Some(Duration::ZERO) {
                        return;
                    }
                }
            }
        }
    }

    /// Until the first batch has taken [`SLOW_BATCH`].
    fn time_left(&self) -> Option<Duration> {
        let batches = self.batches.borrow();
        let first = batches.front().filter(|_| !self.is_blocked())?;
        let start = first.sent_at.max(self.progress.last_end());
        Some(SLOW_BATCH.saturating_sub(start.elapsed()))
    }

    /// Marks the connection as blocked by its first batch, and withdraws the batches of other kinds behind it. Returns the
    /// kind of the first batch, unless the connection was blocked already.
    pub(crate) fn block(&self) -> Option<QueryKind> {
        let kind = self.first_kind().filter(|_| !self.is_blocked())?;
        self.is_blocked.set(true);
        for batch in self.batches.borrow().iter().filter(|batch| batch.kind != kind) {
            batch.is_withdrawn.set(true);
            batch.withdrawn.notify_one();
        }
        Some(kind)
    }
}

/// A batch in flight on a connection, until this is dropped.
pub(crate) struct BatchSlot {
    pub(crate) connection: Rc<PooledConnection>,
    batch: Rc<SentBatch>,
}

impl BatchSlot {
    pub(crate) fn new(connection: Rc<PooledConnection>, kind: QueryKind) -> BatchSlot {
        let batch = Rc::new(SentBatch {
            kind,
            sent_at: TokioInstant::now(),
            is_withdrawn: Cell::default(),
            withdrawn: Notify::new(),
        });
        connection.batches.borrow_mut().push_back(Rc::clone(&batch));
        connection.batch_sent.notify_one();
        BatchSlot { connection, batch }
    }

    pub(crate) fn kind(&self) -> QueryKind {
        self.batch.kind
    }

    /// Waits until the requests are to be sent on another connection.
    pub(crate) async fn withdrawn(&self) {
        self.batch.withdrawn.notified().await;
    }
}

impl Drop for BatchSlot {
    fn drop(&mut self) {
        let mut batches = self.connection.batches.borrow_mut();
        batches.retain(|batch| !Rc::ptr_eq(batch, &self.batch));
        if batches.is_empty() {
            self.connection.is_blocked.set(false);
        }
    }
}

/// When a batch ended on a connection most recently.
pub(crate) struct Progress(Cell<TokioInstant>);

impl Progress {
    fn new() -> Progress {
        Progress(Cell::new(TokioInstant::now()))
    }

    fn last_end(&self) -> TokioInstant {
        self.0.get()
    }

    /// Waits for a batch. `None` if no batch of the connection ends for `limit`, neither this one nor one before it.
    pub(crate) async fn unless_stalled<T>(
        &self,
        limit: Duration,
        batch: impl Future<Output = T>,
    ) -> Option<T> {
        let begin = TokioInstant::now();
        let mut batch = pin!(batch);
        loop {
            let left = limit.saturating_sub(self.last_end().max(begin).elapsed());
            if left.is_zero() {
                return None;
            }
            if let Ok(ended) = timeout(left, &mut batch).await {
                self.0.set(TokioInstant::now());
                return Some(ended);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_batch_has_a_time_limit_of_its_own_and_a_stalled_connection_is_noticed() {
        let progress = Progress::new();
        let seconds = Duration::from_secs;
        // Both are sent at the same time; PostgreSQL runs each for five seconds, one after the other.
        let (first, second) = tokio::join!(
            progress.unless_stalled(seconds(6), sleep(seconds(5))),
            progress.unless_stalled(seconds(6), sleep(seconds(10))),
        );
        assert!(first.is_some() && second.is_some());
        let begin = TokioInstant::now();
        assert!(progress.unless_stalled(seconds(6), std::future::pending::<()>()).await.is_none());
        assert!((seconds(6)..seconds(7)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    }
}
