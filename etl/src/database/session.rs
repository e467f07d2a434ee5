//! Sessions of a load: connections that wait for a database that is still starting, have no time limits, say why
//! they ended, and can be cancelled. How a database is reached is [`atelier_base::connect`]'s.

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
use tokio_postgres::{CancelToken, Client};

/// Between two attempts while waiting for a database.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How long a request to cancel may take. Whoever waits for it has waited for the statement already.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// A database may have limits for its everyday sessions. A load takes the time it takes.
const UNLIMITED: [&str; 4] =
    ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"];

/// Names are looked up here alone, unless a transaction says otherwise: in a schema where others may make functions, one
/// whose types fit better would be taken for PostgreSQL's own.
const SEARCH_PATH: (&str, &str) = ("search_path", "pg_catalog");

/// A limit as those of [`UNLIMITED`] from PostgreSQL 17 on; an older one refuses a session that asks for it.
const UNLIMITED_FROM_17: &str = "transaction_timeout";

/// A connection.
pub struct Session {
    /// To send statements.
    pub client: Client,
    /// How long the other side may be silent that ought to answer.
    pub silence: Duration,
    tls: Tls,
    ended: watch::Receiver<Option<Arc<str>>>,
    again: &'static str,
    rights: Cow<'static, str>,
}

impl Session {
    /// Connects, and shows up in `pg_stat_activity` under `name`.
    pub async fn connect(target: &Target, name: &str) -> Result<Session> {
        Session::connect_within(target, name, Duration::ZERO).await
    }

    /// Like [`Session::connect`], but goes on trying for `patience` while nobody listens there or the database is
    /// still starting. A refusal, such as a wrong password, is final at once.
    pub async fn connect_within(target: &Target, name: &str, patience: Duration) -> Result<Session> {
        let deadline = Instant::now() + patience;
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

    /// A session that is ours alone: through a pooler a lock, or a setting, would be somebody else's too.
    async fn begin(target: &Target, name: &str) -> Result<Session, Refused> {
        let Opened { client, connection, is_direct, .. } = target.open(name).await?;
        if !is_direct {
            return Err(target.pooler_refused());
        }
        let (end, ended) = watch::channel(None);
        tokio::spawn(async move {
            // Dropped behind the reason: whoever hears that the connection is closed finds out why.
            let mut connection = pin!(connection);
            let why = match connection.as_mut().await {
                Ok(()) => "the connection was closed".to_owned(),
                Err(error) => describe(&error),
            };
            end.send_replace(Some(why.into()));
        });
        let (silence, tls) = (target.silence(), target.tls());
        Ok(Session { client, silence, tls, ended, again: "load again", rights: RIGHTS_TO_LOAD.into() })
    }

    /// Says what a person does to try again, `load again` if this is not called.
    pub fn to_try_again(self, again: &'static str) -> Session {
        Session { again, ..self }
    }

    /// For a command that only reads: a user who may not do that needs no right to make schemas.
    pub fn to_read(self, target: &Target) -> Session {
        let rights = grant_reader(target.user()) + "; or use the owner of the catalogue";
        Session { rights: rights.into(), ..self }
    }

    /// What a person does to try again.
    pub fn again(&self) -> &'static str {
        self.again
    }

    /// Waits until the connection has ended, and says why.
    pub async fn ended(&self) -> Error {
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
    pub fn silent(&self) -> Error {
        Error::database("the connection to the database was lost")
            .cause(format!("no answer within {} s", self.silence.as_secs()))
            .hint(lost(self.again))
    }

    /// A statement failed; `what` says what was being done.
    pub fn failed(&self, what: impl Into<String>, error: &tokio_postgres::Error) -> Error {
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
                "make room on the database's disk (a load needs about the size of the published catalogue again) and {again}; {AS_IT_WAS}"
            ),
            SqlState::INSUFFICIENT_PRIVILEGE => self.rights.to_string(),
            SqlState::READ_ONLY_SQL_TRANSACTION => {
                "the database takes no writes: see default_transaction_read_only, or \
                name another in --database-url"
                    .into()
            }
            SqlState::LOCK_NOT_AVAILABLE => {
                format!("another session holds a lock there (see pg_locks): end it and {again}; {AS_IT_WAS}")
            }
            SqlState::OUT_OF_MEMORY => {
                format!("give PostgreSQL more memory or lower its settings, and {again}")
            }
            SqlState::QUERY_CANCELED => format!("somebody or a time-out cancelled it: {again}; {AS_IT_WAS}"),
            _ => format!("look into PostgreSQL's log, mend the cause, and {again}; {AS_IT_WAS}"),
        }
    }

    /// To cancel whatever this connection is doing.
    pub fn canceller(&self) -> Canceller {
        Canceller { token: self.client.cancel_token(), tls: self.tls.clone() }
    }
}

/// Cancels the running statement of a session.
pub struct Canceller {
    token: CancelToken,
    tls: Tls,
}

impl Canceller {
    /// Asks the database to stop the statement. It may have ended by itself, so nothing can go wrong.
    pub async fn cancel(self) {
        let _ = timeout(CANCEL_PATIENCE, self.token.cancel_query(self.tls)).await;
    }
}

fn lost(again: &str) -> String {
    format!("look into PostgreSQL's log, see that it runs, and {again}; {AS_IT_WAS}")
}

const AS_IT_WAS: &str = "the published catalogue is as it was";

/// What to do about rights that are missing.
const RIGHTS_TO_LOAD: &str =
    "grant this right to the user as an administrator, or load as the owner of the catalogue";
