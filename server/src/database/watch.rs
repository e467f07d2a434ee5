//! Checks once a second which load is published, and whether the database can still run every query, on a connection of its
//! own. (`LISTEN` would notice a new load sooner, but does not work on a standby.)
//!
//! These queries do not wait for locks, so that one check does not delay the next. A locked table does not make the server
//! unready: it is locked on all hosts, and all other requests are answered meanwhile.

use std::time::{Duration, Instant};

use atelier_base::connect::{Connection, Target, describe};
use atelier_base::error::{Error, Result};
use futures_util::future::join_all;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::catalogue::product_ids::ProductIds;
use crate::catalogue::queries::{self, Failure, Statements};
use crate::catalogue::query_kind::{QueryKind, QueryKinds};
use crate::database::connect::{ConnectError, connect, connect_and_prepare_all};
use crate::database::reconnect::{MAX_RETRY_PAUSE, connect_with_retries};
use crate::shared::Shared;

const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Minimum pause between checks that requests trigger; any request can trigger one.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// If the database does not answer within this time, it counts as down.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// In milliseconds. All seven statements together delay the next check by less than twice [`MIN_CHECK_INTERVAL`].
const LOCK_TIMEOUT_MS: &str = "5";

/// If the probes take longer than this, the session has lost its `lock_timeout`, through a connection pooler for instance.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// Between two attempts to read the ids of all products, at most: that may cost the database as much as any statement.
const MAX_FETCH_PAUSE: Duration = Duration::from_secs(60);

/// Keeps `Shared` up to date.
pub(crate) struct Watch {
    shared: &'static Shared,
    /// `None` while the database is down.
    session: Option<WatchSession>,
    was_connected: bool,
    probed_at: Option<Instant>,
    /// Reads the ids of all products, and pauses if that has failed.
    fetch: Option<JoinHandle<()>>,
    fetch_pause: Duration,
}

struct WatchSession {
    client: Client,
    statements: Statements,
    driver: JoinHandle<()>,
}

impl WatchSession {
    fn new((client, statements, connection): (Client, Statements, Connection)) -> WatchSession {
        let driver = spawn_local(async move {
            let _ = connection.await; // the next check finds it closed
        });
        WatchSession { client, statements, driver }
    }
}

impl Drop for WatchSession {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Watch {
    /// The first check. Fails if the database is up, but refuses the connection or has no catalogue.
    pub(crate) async fn start(shared: &'static Shared) -> Result<Watch> {
        let mut watch = Watch {
            shared,
            session: None,
            was_connected: false,
            probed_at: None,
            fetch: None,
            fetch_pause: CHECK_INTERVAL,
        };
        let database = watch.target();
        match timeout(ANSWER_TIMEOUT, connect_and_prepare_all(&database)).await {
            Ok(Ok(connected)) => watch.use_session(connected),
            Ok(Err(ConnectError::Permanent(error))) => return Err(error),
            Ok(Err(ConnectError::Transient(error))) => tracing::warn!("waiting for the database: {error:#}"),
            Err(_) => tracing::warn!("waiting for the database: it does not answer"),
        }
        watch.check().await;
        if let Some(fetch) = watch.fetch.as_mut() {
            // If possible, the ids are known before the first request.
            let _ = timeout(ANSWER_TIMEOUT, fetch).await;
        }
        Ok(watch)
    }

    /// Fails only if the database was down at the start, and has no catalogue once it is up.
    pub(crate) async fn run(mut self) -> Result<()> {
        loop {
            if self.session.is_some() {
                tokio::select! {
                    () = sleep(CHECK_INTERVAL) => {}
                    () = self.shared.database.wait_for_check_request() => sleep(MIN_CHECK_INTERVAL).await,
                }
            } else {
                sleep(MAX_RETRY_PAUSE).await;
                self.reconnect().await?;
            }
            self.check().await;
        }
    }

    async fn reconnect(&mut self) -> Result<()> {
        let (shared, was_connected) = (self.shared, self.was_connected);
        let attempt = async || {
            let database = self.target();
            // Before the first session, a missing table stops the program. Later it may come back.
            if was_connected { connect(&database).await } else { connect_and_prepare_all(&database).await }
        };
        let on_error = |error: ConnectError| match error {
            ConnectError::Permanent(error) if !was_connected => Err(error),
            error => {
                if shared.database.is_up() {
                    tracing::warn!(why = format!("{:#}", error.error()), "the database does not answer");
                    shared.database.set_up(false);
                }
                Ok::<(), Error>(())
            }
        };
        let connected = connect_with_retries(MAX_RETRY_PAUSE, attempt, on_error).await?;
        self.use_session(connected);
        Ok(())
    }

    fn target(&self) -> Target {
        self.shared.config.database.load().with(&[("lock_timeout", LOCK_TIMEOUT_MS.to_owned())])
    }

    fn use_session(&mut self, connected: (Client, Statements, Connection)) {
        self.session = Some(WatchSession::new(connected));
        self.was_connected = true;
    }

    async fn check(&mut self) {
        let Some(WatchSession { client, statements, .. }) = &self.session else { return };
        match timeout(ANSWER_TIMEOUT, queries::load(client, statements)).await {
            Ok(Ok(load)) => {
                self.shared.set_load(load);
                self.start_fetch();
                if self.shared.database.take_new_failure()
                    || self.probed_at.is_none_or(|last| last.elapsed() >= CHECK_INTERVAL)
                {
                    self.probed_at = Some(Instant::now());
                    self.probe().await;
                }
            }
            Ok(Err(Failure::NotPublished)) => self.shared.set_load(None),
            // Usually a load is being published: what is known still holds, and is checked again soon.
            Ok(Err(Failure::Database(error))) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                self.shared.database.check_soon();
            }
            Ok(Err(Failure::Database(error))) => {
                tracing::warn!(why = describe(&error), "the database does not answer");
                self.disconnect();
            }
            Err(_) => {
                tracing::warn!(why = "time-out", "the database does not answer");
                self.disconnect();
            }
        }
    }

    /// Checks whether the database can run every query. One that was cancelled keeps its status.
    async fn probe(&mut self) {
        let Some(WatchSession { client, statements, .. }) = &self.session else { return };
        let probes = QueryKind::all().map(|kind| queries::probe(client, statements, kind));
        let Ok(probes) = timeout(PROBE_TIMEOUT, join_all(probes)).await else {
            // The statements would delay the next check.
            self.session = None;
            return;
        };
        let before = self.shared.database.failing();
        let mut failing = QueryKinds::EMPTY;
        for (kind, probe) in QueryKind::all().zip(probes) {
            let route = kind.label().as_str();
            match probe {
                Ok(()) if before.contains(kind) => tracing::info!(route, "the database answers again"),
                Ok(()) => {}
                Err(error) if queries::is_permanent(&error) => {
                    if !before.contains(kind) {
                        let hint = "restore the table, the column or the privilege, or load again";
                        let why = describe(&error);
                        tracing::error!(route, why, hint, "the database cannot answer");
                    }
                    failing = failing.with(kind);
                }
                Err(_) if before.contains(kind) => failing = failing.with(kind),
                Err(_) => {}
            }
        }
        self.shared.database.set_failing(failing);
    }

    /// Starts to read the ids of all products, unless they are known or being read.
    fn start_fetch(&mut self) {
        if self.shared.published.has_product_ids() {
            self.fetch_pause = CHECK_INTERVAL;
            return;
        }
        if self.fetch.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (shared, pause) = (self.shared, self.fetch_pause);
        self.fetch_pause = (pause * 2).min(MAX_FETCH_PAUSE);
        self.fetch = Some(spawn_local(async move {
            match fetch_product_ids(&shared.config.database.load_full()).await {
                Some(product_ids) => shared.published.set_product_ids(product_ids),
                None => sleep(pause).await,
            }
        }));
    }

    fn disconnect(&mut self) {
        self.session = None;
        self.shared.database.set_up(false);
    }
}

/// Reads the ids of all products, on a connection of its own, since the query may take long. `None` if that fails.
async fn fetch_product_ids(database: &Target) -> Option<ProductIds> {
    let why = match connect(database).await {
        Ok((client, statements, connection)) => tokio::select! {
            product_ids = queries::product_ids(&client, &statements) => match product_ids {
                Ok(product_ids) => return Some(product_ids),
                Err(Failure::NotPublished) => return None,
                Err(Failure::Database(error)) => describe(&error),
            },
            _ = connection => "the connection was lost".to_owned(),
        },
        Err(error) => format!("{:#}", error.error()),
    };
    tracing::warn!(why, "cannot read the ids of the products");
    None
}
