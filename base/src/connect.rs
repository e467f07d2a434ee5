//! A database and how to get there: libpq's URLs and key=value strings, Unix sockets, TLS, time-outs, one attempt to
//! connect, and what a refusal means. Spawns nothing and tries nothing twice: who polls the connection, and how long
//! to be patient, is up to the program.

use std::env;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, Result};
use crate::{passfile, tls};

/// A host that does not answer at all is given up after this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that is silent, while an index is built say, is probed after this long: a network that was cut is
/// noticed within a minute, not after the two hours that are usual. A URL may say otherwise.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_BY_DEFAULT: Duration = Duration::from_secs(2 * 60 * 60);

/// What was sent and is not acknowledged is given up after this long, as a silent connection is. Linux would try for a
/// quarter of an hour. A URL may say otherwise, as `tcp_user_timeout`.
const SILENCE: Duration = Duration::from_secs(60);

/// The same of rows that are sent. Linux counts the time in which a living database takes none, busy with its disk
/// say, and ends the connection all the same.
const SILENCE_OF_BULK: Duration = Duration::from_secs(10 * 60);

/// Makes TLS connections; also what [`tokio_postgres::CancelToken::cancel_query`] takes.
pub type Tls = MakeRustlsConnect;

/// The raw connection; whoever opens it must poll it.
pub type Connection = tokio_postgres::Connection<Socket, <Tls as MakeTlsConnect<Socket>>::Stream>;

/// A database and how to get there.
#[derive(Clone)]
pub struct Target {
    config: Config,
    /// The connection string says how long the other side may be silent: that holds for every connection.
    silence_is_given: bool,
    tls: Tls,
}

/// Why there is no connection.
#[derive(Debug)]
pub struct Refused {
    /// For people: the database, what it said, and what to do.
    pub error: Error,
    /// Whether trying again makes sense: nobody listens there, or nobody answers, or the database is still
    /// starting, or it has no room for a further session.
    pub may_come: bool,
    advice: Advice,
}

/// What to do about a refusal.
#[derive(Clone, Copy, Debug)]
struct Advice {
    hint: &'static str,
    /// What stands before and behind the name of a flag that waits, where waiting makes sense.
    flag: Option<(&'static str, &'static str)>,
}

impl Target {
    /// Reads a libpq connection string: `postgresql://…` or `host=… dbname=…`. Where it holds no password,
    /// `PGPASSWORD` is used, or what stands in the file that `PGPASSFILE` names.
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
            name_hosts(&mut config, &tls).map_err(|error| wrong(error.into()))?;
        }
        if config.get_password().is_none() {
            if let Ok(password) = env::var("PGPASSWORD") {
                config.password(password);
            } else if let Some(path) = env::var_os("PGPASSFILE").filter(|path| !path.is_empty())
                && let Some(password) = passfile::find(Path::new(&path), &config)?
            {
                config.password(password);
            }
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_keepalives_idle() == KEEPALIVE_BY_DEFAULT {
            config.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE / 3).keepalives_retries(3);
        }
        let silence_is_given = config.get_tcp_user_timeout().is_some();
        if !silence_is_given {
            config.tcp_user_timeout(SILENCE);
        }
        // As in libpq, sslmode says nothing about Unix sockets.
        let local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        config.ssl_mode(if local { SslMode::Disable } else { tls.mode() });
        Ok(Target { config, silence_is_given, tls: tls.connector()? })
    }

    /// The same for a connection that rows are sent on, as fast as the database takes them.
    pub fn for_bulk(&self) -> Target {
        let mut target = self.clone();
        if !self.silence_is_given {
            target.config.tcp_user_timeout(SILENCE_OF_BULK);
        }
        target
    }

    /// How long the other side may be silent that ought to answer.
    pub fn silence(&self) -> Duration {
        self.config.get_tcp_user_timeout().copied().unwrap_or(SILENCE)
    }

    /// Tries once to connect, and shows up in `pg_stat_activity` under `name`. Takes at most twice `connect_timeout`
    /// for each host, 10 s where the URL does not say.
    pub async fn open(&self, name: &str) -> Result<(Client, Connection), Refused> {
        let mut config = self.config.clone();
        config.application_name(name);
        self.explain(config.connect(self.tls.clone())).await
    }

    /// Runs a step of connecting, such as the first statement of a session, within the time that connecting may take,
    /// and explains its failure as [`Target::open`] does.
    pub async fn explain<T>(
        &self,
        step: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Refused> {
        match timeout(self.limit(), step).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.refused(&describe(&error), Advice::on(&error))),
            Err(_) => {
                Err(self.refused(&format!("no answer within {} s", self.limit().as_secs()), Advice::SILENT))
            }
        }
    }

    /// How long connecting may take. `tokio-postgres` bounds only reaching a host, not waiting for its answer: once
    /// the time-out for that, and once more for this.
    fn limit(&self) -> Duration {
        let hosts = u32::try_from(self.config.get_hosts().len()).unwrap_or(1);
        self.config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT) * 2 * hosts
    }

    fn refused(&self, why: &str, advice: Advice) -> Refused {
        let error = Error::database(format!("cannot connect to {self}"));
        Refused { error: error.cause(why).hint(advice.hint), may_come: advice.flag.is_some(), advice }
    }

    /// The connector, to cancel statements with.
    pub fn tls(&self) -> Tls {
        self.tls.clone()
    }
}

/// The database for people: no password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.config.get_dbname() {
            write!(f, "database \"{name}\" at ")?;
        }
        let ports = self.config.get_ports();
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            let comma = if index == 0 { "" } else { "," };
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}:{port}")?,
                Host::Unix(path) => write!(f, "{comma}{}/.s.PGSQL.{port}", path.display())?,
            }
        }
        match self.config.get_user() {
            Some(user) => write!(f, " as {user}"),
            None => Ok(()),
        }
    }
}

impl Refused {
    /// The error, for a program that has a `flag` to go on trying: where that makes sense, the hint names it.
    pub fn waits_with(self, flag: &str) -> Error {
        let Advice { hint, flag: around } = self.advice;
        match around {
            Some((before, behind)) => self.error.hint(format!("{hint}{before}{flag}{behind}")),
            None => self.error,
        }
    }
}

impl Advice {
    const SILENT: Advice = Advice {
        hint: "check that it is PostgreSQL that listens there, and the firewall",
        flag: Some(("; ", " tries again")),
    };

    const STARTING: Advice =
        Advice { hint: "the database is starting or stopping: give it time", flag: Some((" with ", "")) };

    const FULL: Advice =
        Advice { hint: "close other sessions or raise max_connections", flag: Some(("; ", " tries again")) };

    const ABSENT: Advice = Advice {
        hint: "check that PostgreSQL runs there and the address in --database-url",
        flag: Some(("; ", " waits for it")),
    };

    fn on(error: &tokio_postgres::Error) -> Advice {
        let hint = match error.code() {
            Some(&SqlState::CANNOT_CONNECT_NOW) => return Advice::STARTING,
            None if may_come(error) => return Advice::ABSENT,
            Some(&SqlState::TOO_MANY_CONNECTIONS) => return Advice::FULL,
            Some(&SqlState::INVALID_PASSWORD) => {
                "check the password in --database-url (or PGPASSWORD, PGPASSFILE)"
            }
            Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
                "check the user in --database-url, and what pg_hba.conf lets in"
            }
            Some(&SqlState::INVALID_CATALOG_NAME) => {
                "create the database (createdb) or name another in --database-url"
            }
            None => match describe(error) {
                why if why.contains("password missing") => {
                    "put a password into --database-url or PGPASSWORD, or into a file that PGPASSFILE names"
                }
                why if why.contains("TLS") => {
                    "check sslmode in --database-url; sslrootcert=FILE names the authority that signed the server's certificate, which must be for the host as it is written there"
                }
                _ => "check --database-url",
            },
            Some(_) => "check --database-url",
        };
        Advice { hint, flag: None }
    }
}

/// Where no host is named, its address is its name, and nothing can be verified by it. Without either it is libpq's own
/// directory of Unix sockets.
fn name_hosts(config: &mut Config, tls: &tls::Options) -> Result<(), &'static str> {
    let addresses = config.get_hostaddrs().to_vec();
    if addresses.is_empty() {
        config.host_path("/var/run/postgresql");
    } else if tls.verifies_name() {
        return Err(
            "sslmode=verify-full verifies the name of a host, and there is only hostaddr: add host=NAME",
        );
    }
    for address in addresses {
        config.host(address.to_string());
    }
    Ok(())
}

/// Whether a database may yet come up where none has said a word.
fn may_come(error: &tokio_postgres::Error) -> bool {
    use std::error::Error as _;
    // Something in between, a container's proxy for one, may answer and hang up.
    error.is_closed()
        || error.source().is_some_and(|source| {
            source.downcast_ref::<std::io::Error>().is_some_and(|error| {
                !matches!(
                    error.kind(),
                    std::io::ErrorKind::InvalidData | std::io::ErrorKind::PermissionDenied
                )
            })
        })
}

/// The database's words with their detail, or the chain of causes.
pub fn describe(error: &tokio_postgres::Error) -> String {
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
            assert!(Target::parse(text).unwrap().to_string().starts_with(expected), "{text}");
        }
    }

    #[test]
    fn a_network_that_was_cut_is_noticed() {
        let silence = |text: &str| {
            let target = Target::parse(text).unwrap();
            [target.silence(), target.for_bulk().silence()].map(|silence| silence.as_secs())
        };
        assert_eq!(silence("host=a"), [60, 600]);
        assert_eq!(silence("host=a tcp_user_timeout=7"), [7, 7]);
        // The same as where none is given, but on purpose.
        assert_eq!(silence("host=a tcp_user_timeout=60"), [60, 60]);
        assert_eq!(silence("postgresql://a/b?tcp_user_timeout=3600"), [3600, 3600]);
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
