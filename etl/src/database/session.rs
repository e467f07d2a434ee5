//! Sessions: connections that wait for a database that is still starting, have no time limits, keep the reason why
//! they ended, and can be cancelled. [`atelier_base::connect`] opens them.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atelier_base::connect::{Opened, Refused, Target, Tls, describe};
use atelier_base::error::{Error, Result};
use atelier_base::sql::grant_reader;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Client, Row};

/// Between two attempts while waiting for a database.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How long a request to cancel may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// A database may limit its everyday sessions. A load has no limits.
const UNLIMITED: [&str; 4] =
    ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"];

/// Unqualified names mean PostgreSQL's own objects, unless a transaction sets another path: where others may create
/// functions, one with better matching argument types would be called instead.
const SEARCH_PATH: (&str, &str) = ("search_path", "pg_catalog");

/// A limit like those of [`UNLIMITED`], from PostgreSQL 17 on. Older versions refuse a session that sets it.
const UNLIMITED_FROM_17: &str = "transaction_timeout";

pub(crate) struct Session {
    pub(crate) client: Client,
    /// Without an answer for so long, the connection counts as lost.
    pub(crate) silence: Duration,
    tls: Tls,
    ended: watch::Receiver<Option<Arc<str>>>,
    again: &'static str,
    /// What to do if a privilege is missing.
    privilege_hint: Cow<'static, str>,
}

impl Session {
    /// Connects, and shows up in `pg_stat_activity` under `name`.
    pub(crate) async fn connect(target: &Target, name: &str) -> Result<Session> {
        Session::connect_within(target, name, Duration::ZERO).await
    }

    /// Like [`Session::connect`], but retries for up to `wait` while nothing listens there or the database is
    /// still starting. A refusal, such as a wrong password, is final.
    pub(crate) async fn connect_within(target: &Target, name: &str, wait: Duration) -> Result<Session> {
        let deadline = Instant::now() + wait;
        loop {
            let refused = match Session::open(target, name).await {
                Ok(session) => return Ok(session),
                Err(refused) => refused,
            };
            let now = Instant::now();
            if !refused.is_transient || now >= deadline {
                return Err(refused.with_wait_flag("--wait SECONDS"));
            }
            tokio::time::sleep(RETRY_PAUSE.min(deadline - now)).await;
        }
    }

    async fn open(target: &Target, name: &str) -> Result<Session, Refused> {
        let (search_path, pg_catalog) = SEARCH_PATH;
        let target = target.with(&UNLIMITED.map(|setting| (setting, "0".to_owned())));
        let target = target.with(&[(search_path, pg_catalog.to_owned())]);
        let session = Session::begin(&target, name).await?;
        let query = format!("SELECT coalesce(current_setting('{UNLIMITED_FROM_17}', true), '0') <> '0'");
        let limited = target.explain(session.client.query_one(&query, &[])).await?;
        if limited.get(0) {
            return Session::begin(&target.with(&[(UNLIMITED_FROM_17, "0".to_owned())]), name).await;
        }
        Ok(session)
    }

    /// Refuses a pooler: a lock or a setting would be shared with other clients.
    async fn begin(target: &Target, name: &str) -> Result<Session, Refused> {
        let Opened { client, connection, is_direct, .. } = target.open(name).await?;
        if !is_direct {
            return Err(target.pooler_refused());
        }
        let (end, ended) = watch::channel(None);
        tokio::spawn(async move {
            // Dropped after the reason is set: when a statement finds the connection closed, the reason is there.
            let mut connection = pin!(connection);
            let why = match connection.as_mut().await {
                Ok(()) => "the connection was closed".to_owned(),
                Err(error) => describe(&error),
            };
            end.send_replace(Some(why.into()));
        });
        let (silence, tls) = (target.silence(), target.tls());
        Ok(Session {
            client,
            silence,
            tls,
            ended,
            again: "load again",
            privilege_hint: PRIVILEGE_TO_LOAD.into(),
        })
    }

    /// Sets what hints say to do again. The default is `load again`.
    pub(crate) fn with_retry_hint(self, again: &'static str) -> Session {
        Session { again, ..self }
    }

    /// For a command that only reads: if a privilege is missing, the hint names the one to read.
    pub(crate) fn for_reading(self, target: &Target) -> Session {
        let privilege_hint = grant_reader(target.user()) + "; or use the owner of the catalogue";
        Session { privilege_hint: privilege_hint.into(), ..self }
    }

    /// What hints say to do again.
    pub(crate) fn again(&self) -> &'static str {
        self.again
    }

    /// Waits until the connection has ended, and gives the reason.
    pub(crate) async fn ended(&self) -> Error {
        let mut ended = self.ended.clone();
        let why = match ended.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "the connection was closed".into(),
        };
        Error::database("the connection to the database was lost")
            .cause(why.to_string())
            .hint(lost(self.again))
    }

    /// The database has not answered for [`Session::silence`].
    pub(crate) fn silent(&self) -> Error {
        Error::database("the connection to the database was lost")
            .cause(format!("no answer within {} s", self.silence.as_secs()))
            .hint(lost(self.again))
    }

    /// The error of a statement that failed; `what` says what was being done.
    pub(crate) fn failed(&self, what: impl Into<String>, error: &tokio_postgres::Error) -> Error {
        // A closed connection says why in the connection's own error, if it is there already.
        let ended = error.is_closed().then(|| self.ended.borrow().clone()).flatten();
        let cause = ended.map_or_else(|| describe(error), |why| why.to_string());
        Error::database(what).cause(cause).hint(self.hint(error))
    }

    /// What to do about a statement that failed.
    fn hint(&self, error: &tokio_postgres::Error) -> String {
        let again = self.again;
        let Some(code) = error.code() else { return lost(again) };
        match *code {
            SqlState::DISK_FULL => format!(
                "free space on the database's disk (a load needs about as much as the published catalogue takes) and {again}; {UNCHANGED}"
            ),
            SqlState::INSUFFICIENT_PRIVILEGE => self.privilege_hint.to_string(),
            SqlState::READ_ONLY_SQL_TRANSACTION => {
                "the database is read-only: see default_transaction_read_only, or \
                name another in --database-url"
                    .into()
            }
            SqlState::LOCK_NOT_AVAILABLE => {
                format!(
                    "another session holds a conflicting lock (see pg_locks): end it and {again}; {UNCHANGED}"
                )
            }
            SqlState::OUT_OF_MEMORY => {
                format!("give PostgreSQL more memory or lower its settings, and {again}")
            }
            SqlState::QUERY_CANCELED => format!("a user or a timeout cancelled it: {again}; {UNCHANGED}"),
            _ => format!("see PostgreSQL's log, fix the cause, and {again}; {UNCHANGED}"),
        }
    }

    /// Runs a query that gives one row; `what` follows "cannot" in the error.
    pub(crate) async fn one(&self, query: &str, what: &str) -> Result<Row> {
        let row = self.client.query_one(query, &[]).await;
        row.map_err(|error| self.failed(format!("cannot {what}"), &error))
    }

    /// Runs statements that give no rows; `what` follows "cannot" in the error.
    pub(crate) async fn run(&self, statements: &str, what: &str) -> Result<()> {
        let result = self.client.batch_execute(statements).await;
        result.map_err(|error| self.failed(format!("cannot {what}"), &error))
    }

    /// Runs statements that begin and end a transaction. If one fails, none has an effect.
    pub(crate) async fn transaction(&self, statements: &str) -> Result<(), tokio_postgres::Error> {
        let result = self.client.batch_execute(statements).await;
        if result.is_err() {
            // On a lost connection this fails too, and there is nothing to undo.
            let _ = self.client.batch_execute("ROLLBACK").await;
        }
        result
    }

    /// Cancels whatever this session is doing.
    pub(crate) fn canceller(&self) -> Canceller {
        Canceller { token: self.client.cancel_token(), tls: self.tls.clone() }
    }
}

/// Cancels the running statement of a session.
pub(crate) struct Canceller {
    token: CancelToken,
    tls: Tls,
}

impl Canceller {
    /// The statement may have ended by itself, so a failure does not matter.
    pub(crate) async fn cancel(self) {
        let _ = timeout(CANCEL_TIMEOUT, self.token.cancel_query(self.tls)).await;
    }
}

fn lost(again: &str) -> String {
    format!("check that PostgreSQL is running, see its log, and {again}; {UNCHANGED}")
}

const UNCHANGED: &str = "the published catalogue is unchanged";

const PRIVILEGE_TO_LOAD: &str =
    "as an administrator, grant this privilege to the user; or load as the owner of the catalogue";

/// Whether a statement gave up because another session holds a lock.
pub(crate) fn is_lock_timeout(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}
