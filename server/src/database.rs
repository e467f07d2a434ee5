//! One worker's way to the database: connections that come back by themselves, and requests that share statements.
//!
//! A request waits in a queue until a connection has room for a job (`jobs`). Jobs are pipelined on their connection.
//!
//! A job that takes long, because it waits for a lock say, blocks its connection (`session`) for its kind: the jobs
//! behind it that are of another kind are sent on another connection, a spare one if need be (`connections`), and further
//! requests of its kind wait for its end. As long as they take long, there is one job of the kind at a time. So a table that is locked delays only those who read it.
//!
//! What waits is bounded, and so is how long: where the queue is full somebody is refused at once; without a
//! connection a request waits `PATIENCE`, which outlasts a reconnection, and then is refused.

pub mod batch;
pub mod connect;
mod connections;
mod pooler;
mod session;
pub mod watch;

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use atelier_base::connect::describe;
use bytes::Bytes;
use tokio_postgres::error::SqlState;

use crate::catalogue::kind::Kinds;
use crate::catalogue::queries::{self, Failure, Found};
use crate::database::batch::{Answer, Ask, Queue};
use crate::http::problem::Unavailable;
use crate::http::route::Resource;
use crate::net::client::Client;
use crate::shared::Shared;
use crate::telemetry::limits::Limit;
use session::{Place, Session};

/// How long requests wait when the last connection is lost.
const PATIENCE: Duration = Duration::from_millis(250);

/// PostgreSQL ends a statement at the request time-out. A connection on which no job has come to an end for this much
/// longer is dead.
const SILENCE: Duration = Duration::from_secs(1);

/// The same trouble is logged once in this time.
const BETWEEN_MESSAGES: Duration = Duration::from_secs(1);

/// One worker's database. Lives on one thread.
pub struct Database {
    shared: &'static Shared,
    sessions: RefCell<Vec<Rc<Session>>>,
    waiting: RefCell<Queue>,
    /// Since when there is no connection.
    lost: Cell<Option<Instant>>,
    /// Kinds whose latest job took long.
    slow: Cell<Kinds>,
    /// When last a connection was found to be blocked.
    blocked_at: Cell<Option<Instant>>,
    /// A spare connection is being opened.
    opening: Cell<bool>,
    logged: Cell<Option<Instant>>,
}

impl Database {
    /// Opens the worker's connections, in the background.
    pub fn start(shared: &'static Shared) -> Rc<Database> {
        let database = Rc::new(Database {
            shared,
            sessions: RefCell::default(),
            waiting: RefCell::default(),
            lost: Cell::new(Some(Instant::now())),
            slow: Cell::default(),
            blocked_at: Cell::default(),
            opening: Cell::default(),
            logged: Cell::default(),
        });
        for _ in 0..shared.config.db_connections {
            tokio::task::spawn_local(Rc::clone(&database).keep_connected());
        }
        tokio::task::spawn_local(Rc::clone(&database).lose_patience());
        database
    }

    /// Whether a request of `client` would be refused now for want of room. [`Database::ask`] refuses it too; this costs
    /// less.
    pub fn refuses(&self, client: &Client, resource: &Resource) -> bool {
        let refuses = self.waiting.borrow().refuses(resource, client);
        if refuses {
            self.shared.metrics.limits.bite(Limit::WaitingRequests);
        }
        refuses
    }

    /// Asks the database for `client`.
    pub async fn ask(
        self: &Rc<Self>,
        client: &Rc<Client>,
        resource: Resource,
    ) -> Result<Answer, Unavailable> {
        if self.is_away() {
            return Err(Unavailable::Away);
        }
        let deadline = Instant::now() + self.shared.config.request_timeout;
        let (ask, answered) = Ask::new(resource, client, deadline);
        let refused = self.waiting.borrow_mut().push(ask);
        self.count_refused(refused, Limit::WaitingRequests);
        self.send_jobs();
        answered.await.unwrap_or(Err(Unavailable::Failed))
    }

    fn count_refused(&self, refused: usize, limit: Limit) {
        for _ in 0..refused {
            self.shared.metrics.limits.bite(limit);
        }
    }

    /// Sends what waits, as far as there is room on the connections.
    fn send_jobs(self: &Rc<Self>) {
        if !self.shared.cache.has_room() {
            let refused = self.waiting.borrow_mut().refuse_all(Unavailable::Full);
            return self.count_refused(refused, Limit::Bodies);
        }
        while let Some((session, job)) = self.next_job() {
            let Some(first) = job.first() else { return };
            let place = Place::take(session, first.kind());
            let database = Rc::clone(self);
            tokio::task::spawn_local(async move {
                database.run(&place, job).await;
                drop(place);
                database.send_jobs();
            });
        }
        self.open_spare();
    }

    fn next_job(&self) -> Option<(Rc<Session>, Vec<Ask>)> {
        [false, true].into_iter().find_map(|is_spare| {
            let (session, room) = self.free_session(is_spare)?;
            let job = self.waiting.borrow_mut().next_job(room, Instant::now());
            (!job.is_empty()).then_some((session, job))
        })
    }

    async fn run(self: &Rc<Self>, place: &Place, mut job: Vec<Ask>) {
        let session = &place.session;
        let metrics = &self.shared.metrics;
        metrics.round_trips.inc();
        let new = job.iter_mut().filter_map(|ask| (!std::mem::replace(&mut ask.sent, true)).then_some(()));
        metrics.shared.inc_by(new.count() as u64);
        let begin = Instant::now();
        let limit = self.shared.config.request_timeout + SILENCE;
        let found = find(session, &job);
        let mut ended = pin!(session.pulse.unless_silent(limit, found));
        let ended = tokio::select! {
            biased; // what is there need not be sent again
            ended = &mut ended => ended,
            () = place.taken_back() => {
                self.waiting.borrow_mut().push_again(job);
                self.send_jobs();
                // Until it is over, the connection is not free.
                if ended.await.is_none() {
                    self.give_up(session);
                }
                return;
            }
        };
        if session.is_free() {
            self.slow.set(self.slow.get().without(place.kind()));
        }
        let why = match ended {
            Some(Ok(found)) => return self.answer(job, &found, begin.elapsed()),
            Some(Err(Failure::NotPublished)) => Unavailable::NotPublished,
            Some(Err(Failure::Database(error))) if may_be_repeated(&error) => {
                metrics.database_errors.inc();
                if !error.code().is_some_and(|code| ENDED_FOR_OTHERS.contains(code)) {
                    // Whoever fails first knows it first: what is repeated goes to another connection.
                    self.give_up(session);
                }
                // Reading is harmless to repeat. Were all connections cut, as many attempts fail, and the next one
                // is on a new connection.
                let most = if self.is_away() { 0 } else { self.shared.config.db_connections + 1 };
                let (mut again, over): (Vec<Ask>, _) = job.into_iter().partition(|ask| ask.broken < most);
                job = over;
                again.iter_mut().for_each(|ask| ask.broken += 1);
                self.waiting.borrow_mut().push_again(again);
                Unavailable::Away
            }
            Some(Err(Failure::Database(error))) => {
                metrics.database_errors.inc();
                self.log(|| tracing::error!(why = describe(&error), "the database refused a statement"));
                if error.code() == Some(&SqlState::QUERY_CANCELED) {
                    Unavailable::TimedOut
                } else {
                    if let Some(first) = job.first().filter(|_| queries::is_refused(&error)) {
                        self.shared.suspect(first.kind());
                    }
                    Unavailable::Failed
                }
            }
            None => {
                metrics.database_errors.inc();
                self.give_up(session);
                Unavailable::TimedOut
            }
        };
        for ask in job {
            ask.answer(Err(why));
        }
    }

    fn answer(&self, job: Vec<Ask>, found: &Found, database: Duration) {
        let begin = Instant::now();
        let rows = found.rows(self.shared.config.compat);
        let bodies = job.iter().map(|ask| match &ask.resource {
            Resource::Page(_) => Some(rows.page()),
            Resource::Products(ids) => Some(rows.products(ids)),
            Resource::Document(document, id) => rows.document(*document, *id),
        });
        let bodies: Vec<Option<Bytes>> =
            bodies.map(|body| body.map(|body| self.shared.cache.body(body))).collect();
        let render = begin.elapsed();
        for (ask, body) in job.into_iter().zip(bodies) {
            let total = matches!(ask.resource, Resource::Page(_)).then_some(found.total);
            ask.answer(Ok(Answer { load: found.load, body, total, database, render }));
        }
    }

    /// Says it, unless something was said a moment ago: in trouble, there is the same to say of every request.
    fn log(&self, say: impl FnOnce()) {
        if self.logged.get().is_none_or(|last| last.elapsed() > BETWEEN_MESSAGES) {
            self.logged.set(Some(Instant::now()));
            say();
        }
    }
}

/// Sends a job's statement.
fn find<'s>(session: &'s Session, job: &[Ask]) -> impl Future<Output = Result<Found, Failure>> + use<'s> {
    let Session { client, statements, .. } = session;
    let first = job.first().map(|first| (first.kind(), first.resource.clone()));
    let documents: Vec<i32> = job.iter().filter_map(|ask| ask.resource.product()).collect();
    async move {
        match first {
            Some((_, Resource::Page(page))) => queries::page(client, statements, page).await,
            Some((kind, Resource::Products(ids))) => queries::products(client, statements, kind, &ids).await,
            Some((kind, Resource::Document(..))) => {
                queries::products(client, statements, kind, &documents).await
            }
            None => Err(Failure::NotPublished),
        }
    }
}

/// A statement that was ended for somebody else's sake: a standby had to replay something, or a loader that drops what it
/// has replaced waited for it in a circle. Its connection is as good as before.
const ENDED_FOR_OTHERS: [SqlState; 2] =
    [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];

/// Whether a failure is not the statement's own: its connection was closed, the database is stopping, or it was ended for
/// somebody else's sake.
fn may_be_repeated(error: &tokio_postgres::Error) -> bool {
    error.is_closed()
        || error.code().is_some_and(|code| {
            [
                SqlState::ADMIN_SHUTDOWN,
                SqlState::CRASH_SHUTDOWN,
                SqlState::CANNOT_CONNECT_NOW,
                SqlState::IDLE_SESSION_TIMEOUT,
            ]
            .contains(code)
                || ENDED_FOR_OTHERS.contains(code)
        })
}
