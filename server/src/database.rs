//! One worker's way to the database: connections that come back by themselves, and requests that share statements.
//!
//! A request waits in a queue until a connection has room for a job. A job is one statement: for documents it answers
//! every request for the same kind of document that is waiting at that moment, so the busier the server is, the less a
//! request costs PostgreSQL; at rest each is sent at once, alone. Jobs are pipelined on their connection.
//!
//! What waits is bounded, and so is how long: a request that finds the queue full is refused at once; without a
//! connection it waits `PATIENCE`, which outlasts a reconnection, and then is refused.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use atelier_base::connect::describe;
use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::load::LoadId;
use crate::problem::Problem;
use crate::queries::{self, Failure, Found, Statements};
use crate::route::Resource;
use crate::session::{Unopened, open};
use crate::worker::Shared;

/// Jobs on one connection at a time: with two, PostgreSQL finds the next one when it has finished the first.
const JOBS_A_CONNECTION: usize = 2;

/// Products that one statement answers for at most: bounds how long a request waits for the others of its statement.
const PRODUCTS_A_JOB: usize = 32;

/// Requests that could share a statement are not sent behind another one unless there are so many: meanwhile more come.
/// The connection is busy either way.
const WORTH_A_JOB: usize = PRODUCTS_A_JOB / 2;

/// Products that requests of one worker may wait for: a tenth of a second's work.
const MAX_WAITING: usize = 1024;

/// How long requests wait when the last connection is lost.
const PATIENCE: Duration = Duration::from_millis(250);

/// Between two attempts to connect: from the first, doubled up to the second.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
const MAX_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// PostgreSQL ends a statement at the request time-out. A connection on which nothing has come this much later is dead.
const SILENCE: Duration = Duration::from_secs(1);

/// The same trouble is logged once in this time.
const BETWEEN_MESSAGES: Duration = Duration::from_secs(1);

/// Why there is no answer now. Each is a 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// No connection to the database.
    Away,
    /// Too many requests wait already.
    Full,
    /// It took too long.
    TimedOut,
    /// There are no data.
    NotPublished,
    /// The database refused or failed.
    Failed,
}

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Problem {
        Problem::unavailable(match unavailable {
            Unavailable::Away => "the database cannot be reached at the moment",
            Unavailable::Full => "the server has more requests than it can answer at the moment",
            Unavailable::TimedOut => "the answer took too long",
            Unavailable::NotPublished => "no catalogue is published yet",
            Unavailable::Failed => "the database could not answer",
        })
    }
}

/// What the database had to say.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The load that it is from.
    pub load: LoadId,
    /// The body, or nothing if there is no such product.
    pub body: Option<Bytes>,
    /// Products in all, for a page.
    pub total: Option<i32>,
    /// From sending the statement to its last row.
    pub database: Duration,
    /// For the rows of the whole statement to become bodies.
    pub render: Duration,
}

struct Ask {
    resource: Resource,
    answer: oneshot::Sender<Result<Answer, Unavailable>>,
    /// When its client is told that it took too long.
    deadline: Instant,
    /// How many times it was under way when its connection broke.
    broken: usize,
}

/// A connection that is open, with its statements prepared.
struct Session {
    client: Client,
    statements: Statements,
    jobs: Cell<usize>,
    /// It does not answer any more.
    dead: Notify,
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
    waiting: RefCell<VecDeque<Ask>>,
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

    /// Asks the database.
    pub async fn ask(self: &Rc<Self>, resource: Resource) -> Result<Answer, Unavailable> {
        if self.lost.get().is_some_and(|since| since.elapsed() > PATIENCE) {
            return Err(Unavailable::Away);
        }
        if self.waiting.borrow().iter().map(|ask| products(&ask.resource)).sum::<usize>() >= MAX_WAITING {
            return Err(Unavailable::Full);
        }
        let (answer, answered) = oneshot::channel();
        let deadline = Instant::now() + self.shared.config.request_timeout;
        self.waiting.borrow_mut().push_back(Ask { resource, answer, deadline, broken: 0 });
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
                    let session =
                        Rc::new(Session { client, statements, jobs: Cell::new(0), dead: Notify::new() });
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

    /// Refuses what waits, if there is no connection by then.
    async fn lose_patience(self: Rc<Self>) {
        sleep(PATIENCE).await;
        // Not if there was a connection meanwhile: the loss of that one has its own time.
        if self.lost.get().is_some_and(|since| since.elapsed() >= PATIENCE) {
            for ask in self.waiting.take() {
                let _ = ask.answer.send(Err(Unavailable::Away)); // whoever asked may have gone
            }
        }
    }

    /// Sends what waits, as far as there is room on the connections.
    fn send_jobs(self: &Rc<Self>) {
        loop {
            let least = self.sessions.borrow().iter().min_by_key(|session| session.jobs.get()).cloned();
            let Some(session) = least.filter(|session| self.is_time(session.jobs.get())) else {
                return;
            };
            let job = self.next_job();
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

    /// Whether a connection with so many jobs gets another one now.
    fn is_time(&self, jobs: usize) -> bool {
        let waiting = self.waiting.borrow();
        let shared = waiting.front().is_some_and(|ask| matches!(ask.resource, Resource::Document(..)));
        jobs == 0 || (jobs < JOBS_A_CONNECTION && !(shared && waiting.len() < WORTH_A_JOB))
    }

    /// The request that has waited longest, with all that can share its statement.
    fn next_job(&self) -> Vec<Ask> {
        let mut waiting = self.waiting.borrow_mut();
        let mut job: Vec<Ask> = Vec::new();
        let mut at = 0;
        let now = Instant::now();
        while at < waiting.len() && job.len() < PRODUCTS_A_JOB {
            let refused = if waiting[at].deadline <= now {
                Some(Unavailable::TimedOut)
            } else {
                (!self.shared.cache.has_room()).then_some(Unavailable::Full)
            };
            if let Some(why) = refused {
                // Nobody waits for it any more, or there is no room for its answer.
                if let Some(ask) = waiting.remove(at) {
                    let _ = ask.answer.send(Err(why)); // whoever asked may have gone
                }
            } else if job.first().is_none_or(|first| share(&first.resource, &waiting[at].resource)) {
                job.extend(waiting.remove(at));
            } else {
                at += 1;
            }
        }
        job
    }

    async fn run(self: &Rc<Self>, session: &Session, mut job: Vec<Ask>) {
        let metrics = &self.shared.metrics;
        metrics.round_trips.inc();
        metrics.shared.inc_by(job.iter().filter(|ask| ask.broken == 0).count() as u64);
        let begin = Instant::now();
        let limit = self.shared.config.request_timeout + SILENCE;
        let why = match timeout(limit, find(session, &job)).await {
            Ok(Ok(found)) => return self.answer(job, &found, begin.elapsed()),
            Ok(Err(Failure::NotPublished)) => Unavailable::NotPublished,
            Ok(Err(Failure::Database(error))) if may_be_repeated(&error) => {
                metrics.database_errors.inc();
                if error.code() != Some(&SqlState::T_R_SERIALIZATION_FAILURE) {
                    // Whoever fails first knows it first: what is repeated goes to another connection.
                    self.lose(session);
                    session.dead.notify_one();
                }
                // Reading is harmless to repeat. Were all connections cut, as many attempts fail, and the next one
                // is on a new connection.
                let connections = self.shared.config.db_connections;
                let (again, over) = job.into_iter().partition(|ask| ask.broken <= connections);
                job = over;
                let mut waiting = self.waiting.borrow_mut();
                for mut ask in Vec::into_iter(again).rev() {
                    ask.broken += 1;
                    waiting.push_front(ask);
                }
                Unavailable::Away
            }
            Ok(Err(Failure::Database(error))) => {
                metrics.database_errors.inc();
                self.log(|| tracing::error!(why = describe(&error), "the database refused a statement"));
                if error.code() == Some(&SqlState::QUERY_CANCELED) {
                    Unavailable::TimedOut
                } else {
                    Unavailable::Failed
                }
            }
            Err(_) => {
                metrics.database_errors.inc();
                session.dead.notify_one();
                Unavailable::TimedOut
            }
        };
        for ask in job {
            let _ = ask.answer.send(Err(why)); // whoever asked may have gone
        }
    }

    fn answer(&self, job: Vec<Ask>, found: &Found, database: Duration) {
        let begin = Instant::now();
        let rows = found.rows();
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
            let answer = Answer { load: found.load, body, total, database, render };
            let _ = ask.answer.send(Ok(answer)); // whoever asked may have gone
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

/// Products that a request is for, at most: what its answer costs. Those of a page cost a tenth of one with its styles.
fn products(resource: &Resource) -> usize {
    match resource {
        Resource::Document(..) => 1,
        Resource::Page(page) => 1 + page.count as usize / 10,
        Resource::Products(ids) => 1 + ids.len() / 10,
    }
}

/// Whether one statement can answer for both.
fn share(one: &Resource, other: &Resource) -> bool {
    matches!((one, other), (Resource::Document(one, _), Resource::Document(other, _)) if one == other)
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

/// Whether a failure is not the statement's own: its connection was closed, the database is stopping, or a standby has
/// ended the statement for what it had to replay.
fn may_be_repeated(error: &tokio_postgres::Error) -> bool {
    error.is_closed()
        || error.code().is_some_and(|code| {
            [
                SqlState::ADMIN_SHUTDOWN,
                SqlState::CRASH_SHUTDOWN,
                SqlState::CANNOT_CONNECT_NOW,
                SqlState::IDLE_SESSION_TIMEOUT,
                SqlState::T_R_SERIALIZATION_FAILURE,
            ]
            .contains(code)
        })
}
