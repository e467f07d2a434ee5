//! The connections of one worker, which reconnect by themselves, and the requests that wait for them.
//!
//! A request waits in a queue until a connection can take a batch. Batches are pipelined on their connection.
//!
//! A slow batch, for instance one that waits for a lock, blocks its connection. The batches behind it that are of another kind
//! are sent again on another connection, which is opened if necessary, and later requests of its kind wait until it ends.
//! While a kind is slow, one batch of it is in flight at a time. So a locked table only delays requests that read it.
//!
//! The queue is bounded: if it is full, a request is refused immediately. So is the time: without a connection, a request waits
//! [`RECONNECT_GRACE`], which is longer than reconnecting takes, and is refused then.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use atelier_base::connect::{Connection, describe};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::catalogue::queries::{self, Failure, Statements};
use crate::catalogue::resource::Resource;
use crate::database::batch::Batch;
use crate::database::connect::{ConnectError, connect};
use crate::database::connection::{BatchSlot, PooledConnection};
use crate::database::connection_set::{ConnectionSet, RECONNECT_GRACE};
use crate::database::flow::Flow;
use crate::database::pending::{Answer, PendingRequest};
use crate::database::queue::Queue;
use crate::database::reconnect::{MAX_RETRY_PAUSE, MIN_RETRY_PAUSE, connect_with_retries};
use crate::database::unavailable::Unavailable;
use crate::shared::Shared;
use crate::telemetry::limits::Limit;

/// PostgreSQL cancels a statement at the request time-out. A connection on which no batch has ended for this much longer is
/// dead.
const DEAD_CONNECTION_GRACE: Duration = Duration::from_secs(1);

/// How often a spare connection is checked, and how long closing it may take.
const SPARE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// At most one line of the log in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Lives on one thread.
pub(crate) struct Pool {
    shared: &'static Shared,
    connections: ConnectionSet,
    waiting: RefCell<Queue>,
    is_opening_spare: Cell<bool>,
    logged_at: Cell<Option<Instant>>,
}

impl Pool {
    /// Opens the connections in the background.
    pub(crate) fn start(shared: &'static Shared) -> Rc<Pool> {
        let pool = Rc::new(Pool {
            shared,
            connections: ConnectionSet::new(),
            waiting: RefCell::default(),
            is_opening_spare: Cell::default(),
            logged_at: Cell::default(),
        });
        for _ in 0..shared.config.db_connections {
            spawn_local(Rc::clone(&pool).keep_connected());
        }
        spawn_local(Rc::clone(&pool).fail_pending_if_disconnected());
        pool
    }

    /// Whether [`Pool::request`] would refuse this request because of overload. Costs less than that.
    pub(crate) fn would_refuse(&self, flow: &Flow, resource: &Resource) -> bool {
        let would_refuse = self.waiting.borrow().would_refuse(resource, flow);
        if would_refuse {
            self.shared.metrics.limits.record(Limit::WaitingRequests);
        }
        would_refuse
    }

    pub(crate) async fn request(
        self: &Rc<Self>,
        flow: &Rc<Flow>,
        resource: Resource,
    ) -> Result<Answer, Unavailable> {
        if self.connections.is_disconnected() {
            return Err(Unavailable::Disconnected);
        }
        let deadline = Instant::now() + self.shared.config.request_timeout;
        let (request, answer) = PendingRequest::new(resource, flow, deadline);
        let refused = self.waiting.borrow_mut().push(request);
        self.record_refused(refused, Limit::WaitingRequests);
        self.send_batches();
        answer.await.unwrap_or(Err(Unavailable::Failed))
    }

    fn record_refused(&self, requests: usize, limit: Limit) {
        for _ in 0..requests {
            self.shared.metrics.limits.record(limit);
        }
    }

    /// Sends as many batches as the connections can take.
    fn send_batches(self: &Rc<Self>) {
        if !self.shared.cache.has_room() {
            let refused = self.waiting.borrow_mut().refuse_all(Unavailable::Overloaded);
            return self.record_refused(refused, Limit::Bodies);
        }
        while let Some((connection, batch)) = self.next_batch() {
            let slot = BatchSlot::new(connection, batch.kind());
            let pool = Rc::clone(self);
            spawn_local(async move {
                pool.run(&slot, batch).await;
                drop(slot);
                pool.send_batches();
            });
        }
        self.open_spare_if_needed();
    }

    fn next_batch(&self) -> Option<(Rc<PooledConnection>, Batch)> {
        [false, true].into_iter().find_map(|is_spare| {
            let (connection, capacity) = self.connections.least_busy(is_spare)?;
            let batch = self.waiting.borrow_mut().next_batch(capacity, Instant::now())?;
            Some((connection, batch))
        })
    }

    /// Sends a batch and answers its requests, or has them sent again.
    async fn run(self: &Rc<Self>, slot: &BatchSlot, mut batch: Batch) {
        let connection = &slot.connection;
        let metrics = &self.shared.metrics;
        metrics.round_trips.inc();
        metrics.batched_requests.inc_by(batch.mark_sent());
        let begin = Instant::now();
        let limit = self.shared.config.request_timeout + DEAD_CONNECTION_GRACE;
        let result = batch.execute(&connection.client, &connection.statements);
        let mut result = pin!(connection.progress.unless_stalled(limit, result));
        let result = tokio::select! {
            biased; // a result that has arrived is used
            result = &mut result => result,
            () = slot.withdrawn() => {
                self.waiting.borrow_mut().restore(batch.into_requests());
                self.send_batches();
                // The statement still runs, and occupies the connection until it ends.
                if result.await.is_none() {
                    self.replace_connection(connection);
                }
                return;
            }
        };
        if !connection.is_blocked() {
            self.connections.record_fast(slot.kind());
        }
        match result {
            Some(Ok(result)) => {
                let Shared { config, cache, .. } = self.shared;
                batch.answer(&result, begin.elapsed(), config.compat, cache);
            }
            Some(Err(Failure::NotPublished)) => batch.fail(Unavailable::NotPublished),
            Some(Err(Failure::Database(error))) => {
                metrics.database_errors.inc();
                self.handle_error(connection, batch, &error);
            }
            None => {
                metrics.database_errors.inc();
                self.replace_connection(connection);
                batch.fail(Unavailable::TimedOut);
            }
        }
    }

    fn handle_error(
        self: &Rc<Self>,
        connection: &PooledConnection,
        batch: Batch,
        error: &tokio_postgres::Error,
    ) {
        if is_retryable(error) {
            if !is_cancelled_for_others(error) {
                // Requests are sent again on another connection, so this one must be gone before.
                self.replace_connection(connection);
            }
            return self.retry(batch);
        }
        self.log(|| tracing::error!(why = describe(error), "the database refused a statement"));
        if error.code() == Some(&SqlState::QUERY_CANCELED) {
            return batch.fail(Unavailable::TimedOut);
        }
        if queries::is_permanent(error) {
            self.shared.database.record_failure(batch.kind());
        }
        batch.fail(Unavailable::Failed);
    }

    /// All statements only read, so they can be repeated. If all connections were closed, one attempt on each fails, and the
    /// next one is on a new connection.
    fn retry(&self, batch: Batch) {
        let max_retries =
            if self.connections.is_disconnected() { 0 } else { self.shared.config.db_connections + 1 };
        let (mut again, failed): (Vec<_>, Vec<_>) =
            batch.into_requests().into_iter().partition(|request| request.retries < max_retries);
        again.iter_mut().for_each(|request| request.retries += 1);
        self.waiting.borrow_mut().restore(again);
        for request in failed {
            request.answer(Err(Unavailable::Disconnected));
        }
    }

    /// Keeps one connection open, forever.
    async fn keep_connected(self: Rc<Self>) {
        let mut is_reconnect = false;
        loop {
            let attempt = async || connect(&self.shared.config.database.load_full()).await;
            let on_error = |error| {
                self.log_connect_error(&error);
                Ok::<(), Infallible>(())
            };
            let Ok(connected) = connect_with_retries(MIN_RETRY_PAUSE, attempt, on_error).await;
            if is_reconnect {
                self.shared.metrics.reconnects.inc();
            }
            is_reconnect = true;
            let begin = Instant::now();
            self.use_connection(connected, false).await;
            // A pause only for a connection that did not last.
            if begin.elapsed() < MAX_RETRY_PAUSE {
                sleep(MIN_RETRY_PAUSE).await;
            }
        }
    }

    /// Sends batches on a connection until it ends, or until a spare one is no longer needed.
    async fn use_connection(self: &Rc<Self>, connected: (Client, Statements, Connection), is_spare: bool) {
        let (client, statements, driver) = connected;
        let connection = Rc::new(PooledConnection::new(client, statements, is_spare));
        if self.connections.add(&connection) {
            self.shared.database.add_connected_worker();
        }
        self.send_batches();
        let mut driver = Box::pin(driver);
        let why = tokio::select! {
            biased; // the driver knows the reason best
            ended = driver.as_mut() => {
                ended.err().map_or("it was closed".to_owned(), |error| describe(&error))
            }
            never = self.route_around_slow_batches(&connection) => match never {},
            () = connection.replaced.notified() => "it did not answer any more".to_owned(),
            () = self.while_needed(&connection) => {
                self.remove(&connection);
                drop(connection); // the last user: this sends Terminate
                let _ = timeout(SPARE_CHECK_INTERVAL, driver).await;
                return;
            }
        };
        self.remove(&connection);
        self.log(|| tracing::warn!(why, "a connection to the database was lost"));
        // Statements in flight fail when `driver` is dropped.
    }

    /// Ends when a spare connection has no batches and is no longer needed.
    async fn while_needed(&self, connection: &PooledConnection) {
        if !connection.is_spare {
            return pending().await;
        }
        loop {
            sleep(SPARE_CHECK_INTERVAL).await;
            if connection.batches() == 0 && !self.connections.needs_spares() {
                return;
            }
        }
    }

    /// Whenever the first batch of a connection is slow, sends those of other kinds on other connections.
    async fn route_around_slow_batches(self: &Rc<Self>, connection: &PooledConnection) -> Infallible {
        loop {
            connection.slow_batch().await;
            let Some(kind) = connection.block() else { continue };
            self.connections.record_slow(kind);
            self.shared.metrics.blocked.inc();
            let route = kind.label().as_str();
            self.log(|| tracing::info!(route, "a slow statement blocks a connection, using another one"));
            self.send_batches();
        }
    }

    /// Sends nothing more on a connection.
    fn remove(self: &Rc<Self>, connection: &PooledConnection) {
        if self.connections.remove(connection) {
            self.shared.database.remove_connected_worker();
            spawn_local(Rc::clone(self).fail_pending_if_disconnected());
        }
    }

    /// Has a connection that does not answer replaced.
    fn replace_connection(self: &Rc<Self>, connection: &PooledConnection) {
        self.remove(connection);
        connection.replaced.notify_one();
    }

    /// Refuses all waiting requests if there is no connection after [`RECONNECT_GRACE`].
    async fn fail_pending_if_disconnected(self: Rc<Self>) {
        sleep(RECONNECT_GRACE).await;
        // If there was a connection meanwhile, its loss has started a grace period of its own.
        if self.connections.is_disconnected() {
            self.waiting.borrow_mut().refuse_all(Unavailable::Disconnected);
        }
    }

    /// In the background. One at a time.
    fn open_spare_if_needed(self: &Rc<Self>) {
        if !self.connections.needs_another_spare(&self.waiting.borrow())
            || self.is_opening_spare.replace(true)
        {
            return;
        }
        let pool = Rc::clone(self);
        spawn_local(async move {
            let connected = connect(&pool.shared.config.database.load_full()).await;
            if let Err(error) = &connected {
                pool.log_connect_error(error);
                sleep(MAX_RETRY_PAUSE).await;
            }
            pool.is_opening_spare.set(false);
            match connected {
                Ok(connected) => pool.use_connection(connected, true).await,
                Err(_) => pool.send_batches(), // tries again if it is still needed
            }
        });
    }

    fn log_connect_error(&self, error: &ConnectError) {
        self.log(|| tracing::warn!("{:#}", error.error()));
    }

    /// Logs at most once in [`LOG_INTERVAL`]: when something fails, it fails for every request.
    fn log(&self, write: impl FnOnce()) {
        if self.logged_at.get().is_none_or(|last| last.elapsed() > LOG_INTERVAL) {
            self.logged_at.set(Some(Instant::now()));
            write();
        }
    }
}

/// Whether a statement was cancelled in favour of others: a standby had to replay WAL, or there was a deadlock with a loader
/// that drops old tables. The connection can still be used.
fn is_cancelled_for_others(error: &tokio_postgres::Error) -> bool {
    let codes = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
    error.code().is_some_and(|code| codes.contains(code))
}

/// Whether the cause is not the statement: its connection was closed, the database is stopping, or it was cancelled in
/// favour of others.
fn is_retryable(error: &tokio_postgres::Error) -> bool {
    let codes = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_SESSION_TIMEOUT,
    ];
    error.is_closed()
        || error.code().is_some_and(|code| codes.contains(code))
        || is_cancelled_for_others(error)
}
