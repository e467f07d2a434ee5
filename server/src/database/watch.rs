//! Asks the database once a second which load is published, and whether it still runs every statement, on a connection of
//! its own. (`LISTEN` would say the former sooner, but not on a standby.)
//!
//! Nothing there waits for a lock, so that one question does not hold up the next. A table that is locked says nothing of
//! whether the server is ready: it is the same for all hosts, and other answers are given meanwhile.

use std::time::{Duration, Instant};

use atelier_base::connect::describe;
use atelier_base::error::{Error, Result};
use futures_util::future::join_all;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::catalogue::existing;
use crate::catalogue::kind::{Kind, Kinds};
use crate::catalogue::queries::{self, Failure, Statements};
use crate::database::connect::{Unopened, open, open_whole};
use crate::shared::Shared;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two looks that somebody asks for: every request may.
const MIN_PAUSE: Duration = Duration::from_millis(20);

/// A database that does not say which load it has within this time is away.
const PATIENCE: Duration = Duration::from_secs(2);

/// Statements wait for a lock no longer than this, in milliseconds; all seven together delay the next look by less than
/// [`MIN_PAUSE`] twice.
const LOCK_TIMEOUT_MS: &str = "5";

/// Statements that read nothing and do not end within this time have lost that limit, in a connection pooler say.
const PROBE_PATIENCE: Duration = Duration::from_millis(500);

/// Between two attempts to reach a database that is away.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Between two attempts to read which products there are, at the most: it costs the database as much as a statement may.
const MAX_FETCH_PAUSE: Duration = Duration::from_secs(60);

/// Keeps `Shared` up to date.
pub struct Watch {
    shared: &'static Shared,
    /// Nothing while the database is away.
    session: Option<Session>,
    /// Whether there was a session before.
    started: bool,
    /// When last every statement was run.
    probed: Option<Instant>,
    /// Reads which products there are; and how long it waits when that has failed.
    fetching: Option<JoinHandle<()>>,
    fetch_pause: Duration,
}

struct Session {
    client: Client,
    statements: Statements,
    connection: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Watch {
    /// Looks for the first time. Fails if the database is there, but refuses or holds no catalogue.
    pub async fn begin(shared: &'static Shared) -> Result<Watch> {
        let mut watch =
            Watch { shared, session: None, started: false, probed: None, fetching: None, fetch_pause: PAUSE };
        match timeout(PATIENCE, watch.connect()).await {
            Ok(connected) => {
                if let Some(absent) = connected? {
                    tracing::warn!("waiting for the database: {absent:#}");
                }
            }
            // Nobody waits for it: requests are answered meanwhile, and told that it is away.
            Err(_) => tracing::warn!("waiting for the database: it is silent"),
        }
        watch.look().await;
        if let Some(fetching) = watch.fetching.as_mut() {
            // Known before the first request, where nothing is in the way.
            let _ = timeout(PATIENCE, fetching).await;
        }
        Ok(watch)
    }

    /// Goes on looking. Ends only when a database that was away at the start comes and turns out to hold no catalogue.
    pub async fn run(mut self) -> Result<()> {
        loop {
            if self.session.is_some() {
                tokio::select! {
                    () = sleep(PAUSE) => {}
                    () = self.shared.look.notified() => sleep(MIN_PAUSE).await,
                }
            } else {
                sleep(RETRY_PAUSE).await;
                if let Some(absent) = self.connect().await?
                    && self.shared.has_database()
                {
                    tracing::warn!(why = format!("{absent:#}"), "the database does not answer");
                    self.shared.lose_database();
                }
            }
            self.look().await;
        }
    }

    /// Opens a connection. Gives the reason if the database is away.
    async fn connect(&mut self) -> Result<Option<Error>> {
        // The first time, whatever is missing stops the start.
        let database =
            self.shared.config.database.load().with(&[("lock_timeout", LOCK_TIMEOUT_MS.to_owned())]);
        let opened = if self.started { open(&database).await } else { open_whole(&database).await };
        match opened {
            Ok((client, statements, connection)) => {
                let connection = spawn_local(async move {
                    let _ = connection.await; // the next look finds it closed
                });
                self.session = Some(Session { client, statements, connection });
                self.started = true;
                Ok(None)
            }
            Err(Unopened::NotYet(error)) => Ok(Some(error)),
            // Before the first session, it stops the start. Later the catalogue may come back as it went.
            Err(Unopened::Never(error)) if self.started => Ok(Some(error)),
            Err(Unopened::Never(error)) => Err(error),
        }
    }

    async fn look(&mut self) {
        let Some(Session { client, statements, .. }) = &self.session else { return };
        match timeout(PATIENCE, queries::load(client, statements)).await {
            Ok(Ok(load)) => {
                self.shared.publish(load);
                self.fetch_products();
                if self.shared.take_suspicion() || self.probed.is_none_or(|last| last.elapsed() >= PAUSE) {
                    self.probed = Some(Instant::now());
                    self.probe().await;
                }
            }
            Ok(Err(Failure::NotPublished)) => self.shared.publish(None),
            // It is being published, as a rule: what was known is still known, and asked again.
            Ok(Err(Failure::Database(error))) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                self.shared.look.notify_one();
            }
            Ok(Err(Failure::Database(error))) => {
                tracing::warn!(why = describe(&error), "the database does not answer");
                self.lose();
            }
            Err(_) => {
                tracing::warn!(why = "it is silent", "the database does not answer");
                self.lose();
            }
        }
    }

    /// Sees whether the database runs every statement. Of one that was ended it is not known: what was known before holds.
    async fn probe(&mut self) {
        let Some(Session { client, statements, .. }) = &self.session else { return };
        let probes = Kind::ALL.map(|kind| queries::probe(client, statements, kind));
        let Ok(probes) = timeout(PROBE_PATIENCE, join_all(probes)).await else {
            // They would be in the way of the next look.
            self.session = None;
            return;
        };
        let before = self.shared.refused();
        let mut refused = Kinds::NONE;
        for (kind, probe) in Kind::ALL.into_iter().zip(probes) {
            let route = kind.name().as_str();
            match probe {
                Ok(()) if before.contains(kind) => tracing::info!(route, "the database answers again"),
                Ok(()) => {}
                Err(error) if queries::is_refused(&error) => {
                    if !before.contains(kind) {
                        let hint = "restore the table, the column or the right, or load again";
                        let why = describe(&error);
                        tracing::error!(route, why, hint, "the database cannot answer");
                    }
                    refused = refused.with(kind);
                }
                Err(_) if before.contains(kind) => refused = refused.with(kind),
                Err(_) => {}
            }
        }
        self.shared.refuse(refused);
    }

    /// Begins to read which products there are, unless that is known or being read.
    fn fetch_products(&mut self) {
        if self.shared.knows_products() {
            self.fetch_pause = PAUSE;
            return;
        }
        if self.fetching.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (shared, pause) = (self.shared, self.fetch_pause);
        self.fetch_pause = (pause * 2).min(MAX_FETCH_PAUSE);
        self.fetching = Some(spawn_local(async move {
            if !existing::fetch(shared).await {
                sleep(pause).await;
            }
        }));
    }

    fn lose(&mut self) {
        self.session = None;
        self.shared.lose_database();
    }
}
