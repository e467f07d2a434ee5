//! A worker's connections: those it always has, which come back by themselves, and spare ones while others are blocked.

use std::convert::Infallible;
use std::future::pending;
use std::rc::Rc;
use std::time::{Duration, Instant};

use atelier_base::connect::{Connection, describe};
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use super::session::Session;
use super::{Database, PATIENCE};
use crate::catalogue::kind::{Kind, Kinds};
use crate::catalogue::queries::Statements;
use crate::database::batch::Room;
use crate::database::connect::{Unopened, open};
use crate::http::problem::Unavailable;

/// Between two attempts to connect: from the first, doubled up to the second.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
const MAX_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A spare connection is closed when none has been blocked for this long.
const CALM: Duration = Duration::from_secs(10);

/// How often a spare connection is looked at, and how long its end may take.
const LOOK: Duration = Duration::from_secs(1);

impl Database {
    /// Keeps one connection open, for ever.
    pub(super) async fn keep_connected(self: Rc<Self>) {
        let mut pause = RETRY_PAUSE;
        let mut before = false;
        loop {
            match open(&self.shared.config.database.load_full()).await {
                Ok(opened) => {
                    if before {
                        self.shared.metrics.reconnects.inc();
                    }
                    (pause, before) = (RETRY_PAUSE, true);
                    let begin = Instant::now();
                    self.use_connection(opened, false).await;
                    // One that lived is replaced at once.
                    if begin.elapsed() < MAX_RETRY_PAUSE {
                        sleep(RETRY_PAUSE).await;
                    }
                }
                Err(Unopened::NotYet(error) | Unopened::Never(error)) => {
                    self.log(|| tracing::warn!("{error:#}"));
                    sleep(pause).await;
                    pause = (pause * 2).min(MAX_RETRY_PAUSE);
                }
            }
        }
    }

    /// Sends jobs on a connection until it ends, or, a spare one, is not needed any more.
    async fn use_connection(self: &Rc<Self>, opened: (Client, Statements, Connection), is_spare: bool) {
        let (client, statements, connection) = opened;
        let session = Rc::new(Session::new(client, statements, is_spare));
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
            never = self.go_around(&session) => match never {},
            () = session.dead.notified() => "it did not answer any more".to_owned(),
            () = self.while_needed(&session) => {
                self.lose(&session);
                drop(session); // nobody else has it: it says goodbye
                let _ = timeout(LOOK, connection).await;
                return;
            }
        };
        self.lose(&session);
        self.log(|| tracing::warn!(why, "a connection to the database was lost"));
        // Statements in flight fail when the connection is dropped.
    }

    /// Ends when a spare connection has nothing to do and no connection was blocked for a while.
    async fn while_needed(&self, session: &Session) {
        if !session.is_spare {
            return pending().await;
        }
        loop {
            sleep(LOOK).await;
            if session.jobs() == 0 && !self.is_troubled() {
                return;
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
    pub(super) fn give_up(self: &Rc<Self>, session: &Session) {
        self.lose(session);
        session.dead.notify_one();
    }

    /// Whether nobody waits for a connection any more.
    pub(super) fn is_away(&self) -> bool {
        self.lost.get().is_some_and(|since| since.elapsed() >= PATIENCE)
    }

    /// Refuses what waits, if there is no connection by then.
    pub(super) async fn lose_patience(self: Rc<Self>) {
        sleep(PATIENCE).await;
        // Not if there was a connection meanwhile: the loss of that one has its own time.
        if self.is_away() {
            self.waiting.borrow_mut().refuse_all(Unavailable::Away);
        }
    }

    /// Whenever the first job of a connection takes long, those of other kinds go around it.
    async fn go_around(self: &Rc<Self>, session: &Session) -> Infallible {
        loop {
            session.takes_long().await;
            let Some(kind) = session.block() else { continue };
            self.blocked_at.set(Some(Instant::now()));
            self.slow.set(self.slow.get().with(kind));
            self.shared.metrics.blocked.inc();
            let route = kind.name().as_str();
            self.log(|| tracing::info!(route, "a statement takes long: others are sent around it"));
            self.send_jobs();
        }
    }

    /// Whether a connection is blocked, or was a while ago.
    pub(super) fn is_troubled(&self) -> bool {
        let is_blocked = || self.sessions.borrow().iter().any(|session| !session.is_free());
        self.blocked_at.get().is_some_and(|last| last.elapsed() < CALM || is_blocked())
    }

    /// The connection for the next job, of those that are always there or of the spare ones: that which has least to do,
    /// and what it has room for. The spare ones are for the kinds that took long the last time, and for the others if
    /// there is nothing else.
    pub(super) fn free_session(&self, is_spare: bool) -> Option<(Rc<Session>, Room)> {
        let sessions = self.sessions.borrow();
        let free = || sessions.iter().filter(|session| session.is_free());
        let session = free().filter(|session| session.is_spare == is_spare).min_by_key(|s| s.jobs())?;
        let slow = self.slow.get();
        let elsewhere = match is_spare {
            false if free().any(|other| other.is_spare && other.jobs() == 0) => slow,
            true if free().any(|other| !other.is_spare) => slow.others(),
            _ => Kinds::NONE,
        };
        // While something is wrong, no kind waits behind another: it would be sent twice.
        let behind = session.first().filter(|_| self.is_troubled());
        let blocked = elsewhere.or(self.blocked());
        Some((Rc::clone(session), Room { jobs: session.jobs(), blocked, behind }))
    }

    /// Kinds that took long the last time and are being asked for: one job of each at a time shows whether they still do.
    fn blocked(&self) -> Kinds {
        let slow = self.slow.get();
        let under_way = || self.sessions.borrow().iter().map(|s| s.kinds()).fold(Kinds::NONE, Kinds::or);
        if slow == Kinds::NONE { slow } else { slow.and(under_way()) }
    }

    /// Opens a spare connection in the background, if no connection is free and somebody waits who is not blocked.
    pub(super) fn open_spare(self: &Rc<Self>) {
        let spares = self.sessions.borrow().iter().filter(|session| session.is_spare).count();
        let is_free = self.sessions.borrow().iter().any(|session| session.is_free());
        let is_needed = !self.sessions.borrow().is_empty()
            && !is_free
            && spares < Kind::ALL.len()
            && self.waiting.borrow().has_other_than(self.blocked());
        if !is_needed || self.opening.replace(true) {
            return;
        }
        let database = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let opened = open(&database.shared.config.database.load_full()).await;
            if let Err(Unopened::NotYet(error) | Unopened::Never(error)) = &opened {
                database.log(|| tracing::warn!("{error:#}"));
                sleep(MAX_RETRY_PAUSE).await;
            }
            database.opening.set(false);
            match opened {
                Ok(opened) => database.use_connection(opened, true).await,
                Err(_) => database.send_jobs(), // or tries again
            }
        });
    }
}
