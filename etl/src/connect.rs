//! Connections to PostgreSQL: libpq's URLs and key=value strings, Unix sockets, TLS, waiting for a database that
//! is still starting, and what its refusals mean.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, Result};
use crate::tls;

/// A host that does not answer at all is given up after this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that is silent, while an index is built say, is probed after this long: a network that was cut is
/// noticed within a minute, not after the two hours that are usual. A URL may say otherwise.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_BY_DEFAULT: Duration = Duration::from_secs(2 * 60 * 60);

/// Between two attempts while waiting for a database.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A database may have limits for its everyday sessions. A load takes the time it takes.
const SETTINGS: &str = "SET statement_timeout = 0; SET lock_timeout = 0; \
                        SET idle_in_transaction_session_timeout = 0; SET idle_session_timeout = 0";

/// A database and how to get there.
#[derive(Clone)]
pub struct Target {
    config: Config,
    tls: MakeRustlsConnect,
}

/// A connection.
pub struct Session {
    /// To send statements.
    pub client: Client,
    tls: MakeRustlsConnect,
    ended: watch::Receiver<Option<Arc<str>>>,
}

impl Target {
    /// Reads a libpq connection string: `postgresql://…` or `host=… dbname=…`. `PGPASSWORD` is used where it
    /// holds no password.
    pub fn parse(text: &str) -> Result<Target> {
        let wrong = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::usage("the database URL cannot be read").cause(cause).hint(
                "write --database-url postgresql://user@host:5432/database or \"host=/var/run/postgresql dbname=database\"",
            )
        };
        if text.trim().is_empty() {
            return Err(wrong("it is empty".into()));
        }
        let (text, tls) = tls::Options::take(text).map_err(|error| wrong(error.into()))?;
        let mut config: Config = text.parse().map_err(|error: tokio_postgres::Error| wrong(error.into()))?;
        // A password that is not percent-encoded ends where its / begins, and the rest looks like a database.
        if config.get_dbname().is_some_and(|name| name.contains('@')) {
            return Err(wrong(
                "there is an @ in the name of the database: is the password percent-encoded?".into(),
            ));
        }
        if config.get_hosts().is_empty() {
            // libpq's own default.
            config.host_path("/var/run/postgresql");
        }
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_keepalives_idle() == KEEPALIVE_BY_DEFAULT {
            config.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE / 3).keepalives_retries(3);
        }
        // As in libpq, sslmode says nothing about Unix sockets.
        let local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        config.ssl_mode(if local { SslMode::Disable } else { tls.mode() });
        Ok(Target { config, tls: tls.connector()? })
    }

    /// Connects, and shows up in `pg_stat_activity` under `name`.
    pub async fn connect(&self, name: &str) -> Result<Session> {
        self.connect_within(name, Duration::ZERO).await
    }

    /// Like [`Target::connect`], but goes on trying for `patience` while nobody listens there or the database is
    /// still starting. A refusal, such as a wrong password, is final at once.
    pub async fn connect_within(&self, name: &str, patience: Duration) -> Result<Session> {
        let deadline = Instant::now() + patience;
        loop {
            let (may_come, error) = match timeout(self.limit(), self.open(name)).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error)) => (may_come(&error), self.refused(&error)),
                Err(_) => (true, self.silent()),
            };
            let now = Instant::now();
            if !may_come || now >= deadline {
                return Err(error);
            }
            tokio::time::sleep(RETRY_PAUSE.min(deadline - now)).await;
        }
    }

    /// How long connecting may take. `tokio-postgres` bounds only reaching a host, not waiting for its answer: once
    /// the time-out for that, and once more for this.
    fn limit(&self) -> Duration {
        let hosts = u32::try_from(self.config.get_hosts().len()).unwrap_or(1);
        self.config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT) * 2 * hosts
    }

    async fn open(&self, name: &str) -> Result<Session, tokio_postgres::Error> {
        let mut config = self.config.clone();
        config.application_name(name);
        let (client, connection) = config.connect(self.tls.clone()).await?;
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
        client.batch_execute(SETTINGS).await?;
        Ok(Session { client, tls: self.tls.clone(), ended })
    }

    fn silent(&self) -> Error {
        Error::database(format!("cannot connect to {}", self.describe()))
            .cause(format!("no answer within {} s", self.limit().as_secs()))
            .hint("check that it is PostgreSQL that listens there, and the firewall; --wait SECONDS tries again")
    }

    fn refused(&self, error: &tokio_postgres::Error) -> Error {
        let why = describe(error);
        let hint = match error.code() {
            Some(&SqlState::INVALID_PASSWORD) => "check the password in --database-url (or PGPASSWORD)",
            Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
                "check the user in --database-url, and what pg_hba.conf lets in"
            }
            Some(&SqlState::INVALID_CATALOG_NAME) => {
                "create the database (createdb) or name another in --database-url"
            }
            Some(&SqlState::TOO_MANY_CONNECTIONS) => "close other sessions or raise max_connections",
            Some(&SqlState::CANNOT_CONNECT_NOW) => {
                "the database is starting or stopping: give it time with --wait SECONDS"
            }
            _ if may_come(error) => {
                "check that PostgreSQL runs there and the address in --database-url; --wait SECONDS waits for it"
            }
            None if why.contains("password missing") => "put a password into --database-url or PGPASSWORD",
            None if why.contains("TLS") => {
                "check sslmode in --database-url; sslrootcert=FILE names the authority that signed the server's certificate, which must be for the host as it is written there"
            }
            _ => "check --database-url",
        };
        Error::database(format!("cannot connect to {}", self.describe())).cause(why).hint(hint)
    }

    /// The database for people: no password.
    pub fn describe(&self) -> String {
        let ports = self.config.get_ports();
        let hosts: Vec<String> = (self.config.get_hosts().iter().enumerate())
            .map(|(index, host)| {
                let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
                match host {
                    Host::Tcp(name) => format!("{name}:{port}"),
                    Host::Unix(path) => format!("{}/.s.PGSQL.{port}", path.display()),
                }
            })
            .collect();
        let user = self.config.get_user().map(|user| format!(" as {user}")).unwrap_or_default();
        let database =
            self.config.get_dbname().map(|name| format!("database \"{name}\" at ")).unwrap_or_default();
        format!("{database}{}{user}", hosts.join(","))
    }
}

impl Session {
    /// Waits until the connection has ended, and says why.
    pub async fn ended(&self) -> Error {
        let mut ended = self.ended.clone();
        let why = match ended.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "the connection was closed".into(),
        };
        Error::database("the connection to the database was lost").cause(why.to_string()).hint(LOST)
    }

    /// A statement failed; `what` says what was being done.
    pub fn failed(&self, what: impl Into<String>, error: &tokio_postgres::Error) -> Error {
        // A closed connection says why in the connection's own error, if it is there already.
        let ended = error.is_closed().then(|| self.ended.borrow().clone()).flatten();
        let cause = ended.map_or_else(|| describe(error), |why| why.to_string());
        Error::database(what).cause(cause).hint(hint(error))
    }

    /// To cancel whatever this connection is doing.
    pub fn canceller(&self) -> Canceller {
        Canceller { token: self.client.cancel_token(), tls: self.tls.clone() }
    }
}

/// Cancels the running statement of a session.
pub struct Canceller {
    token: CancelToken,
    tls: MakeRustlsConnect,
}

impl Canceller {
    /// Asks the database to stop the statement. It may have ended by itself, so nothing can go wrong.
    pub async fn cancel(self) {
        let _ = self.token.cancel_query(self.tls).await;
    }
}

const LOST: &str =
    "look into PostgreSQL's log, see that it runs, and load again; the published catalogue is as it was";

/// What to do about a statement that failed.
fn hint(error: &tokio_postgres::Error) -> &'static str {
    let Some(code) = error.code() else { return LOST };
    match *code {
        SqlState::DISK_FULL => {
            "make room on the database's disk (a load needs about the size of the published catalogue again) and load again; the published catalogue is as it was"
        }
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "grant the rights to this user (GRANT CREATE ON DATABASE …) or use the owner of the catalogue"
        }
        SqlState::LOCK_NOT_AVAILABLE => {
            "another session holds a lock there (see pg_locks): end it and load again; the published catalogue is as it was"
        }
        SqlState::OUT_OF_MEMORY => "give PostgreSQL more memory or lower its settings, and load again",
        SqlState::QUERY_CANCELED => {
            "somebody or a time-out cancelled it: load again; the published catalogue is as it was"
        }
        _ => {
            "look into PostgreSQL's log, mend the cause, and load again; the published catalogue is as it was"
        }
    }
}

/// Whether a database may yet come up where there is none.
fn may_come(error: &tokio_postgres::Error) -> bool {
    use std::error::Error as _;
    match error.code() {
        Some(code) => *code == SqlState::CANNOT_CONNECT_NOW,
        // Something in between, a container's proxy for one, may answer and hang up.
        None if error.is_closed() => true,
        None => error.source().is_some_and(|source| {
            source.downcast_ref::<std::io::Error>().is_some_and(|error| {
                !matches!(
                    error.kind(),
                    std::io::ErrorKind::InvalidData | std::io::ErrorKind::PermissionDenied
                )
            })
        }),
    }
}

/// The database's words with their detail, or the chain of causes.
fn describe(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    if let Some(refusal) = error.as_db_error() {
        let mut text =
            format!("{}: {} (SQLSTATE {})", refusal.severity(), refusal.message(), refusal.code().code());
        for more in [refusal.detail(), refusal.hint(), refusal.where_()].into_iter().flatten() {
            text.push_str("; ");
            text.push_str(more.lines().next().unwrap_or_default());
        }
        return text;
    }
    match error.source() {
        Some(source) if !error.to_string().contains(&source.to_string()) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_connection_strings_are_described_without_the_password() {
        for (text, expected) in [
            ("postgresql://ann:secret@db.example:6543/shop", "database \"shop\" at db.example:6543 as ann"),
            (
                "host=a,b port=5433 user=ann password=secret dbname=shop",
                "database \"shop\" at a:5433,b:5433 as ann",
            ),
            (
                "postgresql://ann@%2Ftmp%2Fpg/shop?sslmode=verify-full",
                "database \"shop\" at /tmp/pg/.s.PGSQL.5432 as ann",
            ),
            ("dbname=shop", "database \"shop\" at /var/run/postgresql/.s.PGSQL.5432"),
        ] {
            assert!(Target::parse(text).unwrap().describe().starts_with(expected), "{text}");
        }
    }

    #[test]
    fn a_wrong_url_is_a_usage_error_that_does_not_show_the_password() {
        for text in [
            "",
            "postgresql://ann:secret@db:port/shop",
            "host",
            "host=a sslmode=always password=secret",
            "mysql://ann:secret@db/shop",
            "postgresql://ann:p@:/secret@db/shop",
        ] {
            let error = Target::parse(text).err().unwrap();
            assert_eq!(error.class().exit_code(), 2, "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
