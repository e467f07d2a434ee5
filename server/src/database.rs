//! One worker's way to the database: connections that come back by themselves, and requests that share statements.
//!
//! A request waits in a queue until a connection has room for a job (`jobs`). Jobs are pipelined on their connection.
//!
//! What waits is bounded, and so is how long: a request that finds the queue full is refused at once; without a
//! connection it waits `PATIENCE`, which outlasts a reconnection, and then is refused.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use atelier_base::connect::describe;
use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant as Tick, sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::jobs::{Answer, Ask, Queue};
use crate::limits::Limit;
use crate::problem::Unavailable;
use crate::queries::{self, Failure, Found, Statements};
use crate::route::Resource;
use crate::session::{Unopened, open};
use crate::shared::Shared;

/// How long requests wait when the last connection is lost.
const PATIENCE: Duration = Duration::from_millis(250);

/// Between two attempts to connect: from the first, doubled up to the second.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
const MAX_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// PostgreSQL ends a statement at the request time-out. A connection on which no job has come to an end for this much
/// longer is dead.
const SILENCE: Duration = Duration::from_secs(1);

/// The same trouble is logged once in this time.
const BETWEEN_MESSAGES: Duration = Duration::from_secs(1);

/// A connection that is open, with its statements prepared.
struct Session {
    client: Client,
    statements: Statements,
    jobs: Cell<usize>,
    pulse: Pulse,
    /// It does not answer any more.
    dead: Notify,
}

/// When last a job came to an end on a connection.
struct Pulse(Cell<Tick>);

impl Pulse {
    fn new() -> Pulse {
        Pulse(Cell::new(Tick::now()))
    }

    /// Waits for the end of a job. Gives it up if none ends for so long, neither this one nor any before it.
    async fn unless_silent<T>(&self, limit: Duration, job: impl Future<Output = T>) -> Option<T> {
        let begin = Tick::now();
        let mut job = pin!(job);
        loop {
            let left = limit.saturating_sub(self.0.get().max(begin).elapsed());
            if left.is_zero() {
                return None;
            }
            if let Ok(ended) = timeout(left, &mut job).await {
                self.0.set(Tick::now());
                return Some(ended);
            }
        }
    }
}

/// A job's place on a connection, free again however the job ends.
struct Place(Rc<Session>);

impl Place {
    fn take(session: Rc<Session>) -> Place {
        session.jobs.set(session.jobs.get() + 1);
        Place(session)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.jobs.set(self.0.jobs.get() - 1);
    }
}

/// One worker's database. Lives on one thread.
pub struct Database {
    shared: &'static Shared,
    sessions: RefCell<Vec<Rc<Session>>>,
    waiting: RefCell<Queue>,
    /// Since when there is no connection.
    lost: Cell<Option<Instant>>,
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
            logged: Cell::default(),
        });
        for _ in 0..shared.config.db_connections {
            tokio::task::spawn_local(Rc::clone(&database).keep_connected());
        }
        tokio::task::spawn_local(Rc::clone(&database).lose_patience());
        database
    }

    /// Asks the database for `client`.
    pub async fn ask(
        self: &Rc<Self>,
        client: &Rc<crate::client::Client>,
        resource: Resource,
    ) -> Result<Answer, Unavailable> {
        let _ = client;
        if self.is_away() {
            return Err(Unavailable::Away);
        }
        if self.waiting.borrow().is_full() {
            self.shared.metrics.limits.bite(Limit::WaitingRequests);
            return Err(Unavailable::Full);
        }
        let (answer, answered) = oneshot::channel();
        let deadline = Instant::now() + self.shared.config.request_timeout;
        self.waiting.borrow_mut().push(Ask { resource, answer, deadline, broken: 0 });
        self.send_jobs();
        answered.await.unwrap_or(Err(Unavailable::Failed))
    }

    /// Keeps one connection open, for ever.
    async fn keep_connected(self: Rc<Self>) {
        let mut pause = RETRY_PAUSE;
        let mut before = false;
        loop {
            match open(&self.shared.config).await {
                Ok((client, statements, connection)) => {
                    if before {
                        self.shared.metrics.reconnects.inc();
                    }
                    (pause, before) = (RETRY_PAUSE, true);
                    let opened = Instant::now();
                    let session = Rc::new(Session {
                        client,
                        statements,
                        jobs: Cell::new(0),
                        pulse: Pulse::new(),
                        dead: Notify::new(),
                    });
                    self.sessions.borrow_mut().push(Rc::clone(&session));
                    if self.lost.take().is_some() {
                        self.shared.worker_is_connected(true);
                    }
                    self.send_jobs();
                    let mut connection = Box::pin(connection);
                    let why = tokio::select! {
                        biased; // it knows better why
                        ended = connection.as_mut() => {
                            ended.err().map_or("it was closed".to_owned(), |error| describe(&error))
                        }
                        () = session.dead.notified() => "it did not answer any more".to_owned(),
                    };
                    self.lose(&session);
                    self.log(|| tracing::warn!(why, "a connection to the database was lost"));
                    // Statements in flight fail when the connection is dropped. One that lived is replaced at once.
                    drop(connection);
                    if opened.elapsed() < MAX_RETRY_PAUSE {
                        sleep(RETRY_PAUSE).await;
                    }
                }
                Err(Unopened::NotYet(error) | Unopened::Never(error)) => {
                    self.log(|| tracing::warn!("{}", error.in_a_line()));
                    sleep(pause).await;
                    pause = (pause * 2).min(MAX_RETRY_PAUSE);
                }
            }
        }
    }

    /// Sends nothing more on a connection.
    fn lose(self: &Rc<Self>, session: &Session) {
        let mut sessions = self.sessions.borrow_mut();
        let before = sessions.len();
        sessions.retain(|other| !std::ptr::eq(&raw const **other, session));
        if sessions.is_empty() && before > 0 {
            self.lost.set(Some(Instant::now()));
            self.shared.worker_is_connected(false);
            tokio::task::spawn_local(Rc::clone(self).lose_patience());
        }
    }

    /// Has a session that does not answer replaced by another.
    fn give_up(self: &Rc<Self>, session: &Session) {
        self.lose(session);
        session.dead.notify_one();
    }

    /// Whether nobody waits for a connection any more.
    fn is_away(&self) -> bool {
        self.lost.get().is_some_and(|since| since.elapsed() >= PATIENCE)
    }

    /// Refuses what waits, if there is no connection by then.
    async fn lose_patience(self: Rc<Self>) {
        sleep(PATIENCE).await;
        // Not if there was a connection meanwhile: the loss of that one has its own time.
        if self.is_away() {
            self.waiting.borrow_mut().refuse_all(Unavailable::Away);
        }
    }

    /// Sends what waits, as far as there is room on the connections.
    fn send_jobs(self: &Rc<Self>) {
        loop {
            let least = self.sessions.borrow().iter().min_by_key(|session| session.jobs.get()).cloned();
            let Some(session) = least.filter(|session| self.waiting.borrow().is_time(session.jobs.get()))
            else {
                return;
            };
            let room = self.shared.cache.has_room();
            let job = self.waiting.borrow_mut().next_job(Instant::now(), room);
            if job.is_empty() {
                return;
            }
            let database = Rc::clone(self);
            let place = Place::take(session);
            tokio::task::spawn_local(async move {
                database.run(&place.0, job).await;
                drop(place);
                database.send_jobs();
            });
        }
    }

    async fn run(self: &Rc<Self>, session: &Session, mut job: Vec<Ask>) {
        let metrics = &self.shared.metrics;
        metrics.round_trips.inc();
        metrics.shared.inc_by(job.iter().filter(|ask| ask.broken == 0).count() as u64);
        let begin = Instant::now();
        let limit = self.shared.config.request_timeout + SILENCE;
        let why = match session.pulse.unless_silent(limit, find(session, &job)).await {
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
async fn find(session: &Session, job: &[Ask]) -> Result<Found, Failure> {
    let Session { client, statements, .. } = session;
    let Some(first) = job.first() else { return Err(Failure::NotPublished) };
    match &first.resource {
        Resource::Page(page) => queries::page(client, statements, *page).await,
        Resource::Products(ids) => queries::products(client, statements, ids).await,
        Resource::Document(document, _) => {
            let ids: Vec<i32> = job.iter().filter_map(|ask| ask.resource.product()).collect();
            queries::documents(client, statements, *document, &ids).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_job_behind_another_has_a_time_of_its_own_and_silence_has_an_end() {
        let pulse = Pulse::new();
        let seconds = Duration::from_secs;
        // Both are sent at the same time; PostgreSQL ends each when it has run for five seconds.
        let (first, second) = tokio::join!(
            pulse.unless_silent(seconds(6), sleep(seconds(5))),
            pulse.unless_silent(seconds(6), sleep(seconds(10))),
        );
        assert!(first.is_some() && second.is_some());
        let begin = Tick::now();
        assert!(pulse.unless_silent(seconds(6), std::future::pending::<()>()).await.is_none());
        assert!((seconds(6)..seconds(7)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    }
}
