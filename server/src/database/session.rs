//! A connection that is open, and the jobs on it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant as Tick, sleep, timeout};
use tokio_postgres::Client;

use crate::catalogue::kind::{Kind, Kinds};
use crate::catalogue::queries::Statements;

/// A job that is the first on its connection for this long blocks it: a lock, a slow disk. The usual one takes some
/// milliseconds.
pub(super) const LONG: Duration = Duration::from_millis(50);

/// The runtime has another turn in this time: with much else to do, it may be what is late, and the answer be there.
const TURN: Duration = Duration::from_millis(1);

/// A connection that is open.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) statements: Statements,
    /// Opened because others were blocked, and closed again when none is.
    pub(super) is_spare: bool,
    pub(super) pulse: Pulse,
    /// It does not answer any more.
    pub(super) dead: Notify,
    /// A job was sent.
    begun: Notify,
    /// In the order of being sent, which is that of their ends.
    jobs: RefCell<VecDeque<Rc<Job>>>,
    /// Its first job has taken long, and it gets none until it has none left.
    stuck: Cell<bool>,
}

struct Job {
    kind: Kind,
    begin: Tick,
    /// Nobody waits for it any more: what it was for is sent elsewhere. PostgreSQL runs it nevertheless.
    is_stale: Cell<bool>,
    taken_back: Notify,
}

impl Session {
    pub(super) fn new(client: Client, statements: Statements, is_spare: bool) -> Session {
        Session {
            client,
            statements,
            is_spare,
            pulse: Pulse::new(),
            dead: Notify::new(),
            begun: Notify::new(),
            jobs: RefCell::default(),
            stuck: Cell::default(),
        }
    }

    pub(super) fn jobs(&self) -> usize {
        self.jobs.borrow().len()
    }

    /// The kind of the first job.
    pub(super) fn first(&self) -> Option<Kind> {
        self.jobs.borrow().front().map(|job| job.kind)
    }

    /// Waits until a job has been the first for [`LONG`]. One timer sees to all: with one for each, the runtime would be
    /// woken by as many.
    pub(super) async fn takes_long(&self) {
        loop {
            self.begun.notified().await;
            while let Some(left) = self.left() {
                sleep(left).await;
                if self.left() == Some(Duration::ZERO) {
                    sleep(TURN).await;
                    if self.left() == Some(Duration::ZERO) {
                        return;
                    }
                }
            }
        }
    }

    /// How much is left of [`LONG`] for the first job, if there is one.
    fn left(&self) -> Option<Duration> {
        let jobs = self.jobs.borrow();
        let begin = jobs.front().filter(|_| self.is_free())?.begin.max(self.pulse.0.get());
        Some(LONG.saturating_sub(begin.elapsed()))
    }

    /// Whether it may be sent a further job.
    pub(super) fn is_free(&self) -> bool {
        !self.stuck.get()
    }

    /// The kinds of its jobs that somebody waits for.
    pub(super) fn kinds(&self) -> Kinds {
        self.jobs.borrow().iter().filter(|job| !job.is_stale.get()).map(|job| job.kind).collect()
    }

    /// Its first job takes long: it gets no further one until it has none left, and those of other kinds behind it are
    /// taken back. Gives the kind, if that is news.
    pub(super) fn block(&self) -> Option<Kind> {
        let kind = self.first().filter(|_| self.is_free())?;
        self.stuck.set(true);
        for job in self.jobs.borrow().iter().filter(|job| job.kind != kind) {
            job.is_stale.set(true);
            job.taken_back.notify_one();
        }
        Some(kind)
    }
}

/// A job's place on a connection, free again however the job ends.
pub(super) struct Place {
    pub(super) session: Rc<Session>,
    job: Rc<Job>,
}

impl Place {
    pub(super) fn take(session: Rc<Session>, kind: Kind) -> Place {
        let job =
            Rc::new(Job { kind, begin: Tick::now(), is_stale: Cell::default(), taken_back: Notify::new() });
        session.jobs.borrow_mut().push_back(Rc::clone(&job));
        session.begun.notify_one();
        Place { session, job }
    }

    pub(super) fn kind(&self) -> Kind {
        self.job.kind
    }

    /// Waits until it is to be sent elsewhere.
    pub(super) async fn taken_back(&self) {
        self.job.taken_back.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut jobs = self.session.jobs.borrow_mut();
        jobs.retain(|job| !Rc::ptr_eq(job, &self.job));
        if jobs.is_empty() {
            self.session.stuck.set(false);
        }
    }
}

/// When last a job came to an end on a connection.
pub(super) struct Pulse(Cell<Tick>);

impl Pulse {
    fn new() -> Pulse {
        Pulse(Cell::new(Tick::now()))
    }

    /// Waits for the end of a job. Gives it up if none ends for so long, neither this one nor any before it.
    pub(super) async fn unless_silent<T>(&self, limit: Duration, job: impl Future<Output = T>) -> Option<T> {
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
