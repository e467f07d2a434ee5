//! Why a connection was refused, and what to do about it.

use tokio_postgres::error::SqlState;

use crate::error::Error;

/// Why there is no connection.
#[derive(Debug)]
pub struct Refused {
    pub error: Error,
    /// Whether trying again may succeed: nothing listens there, or does not answer, or the database is starting, or it has
    /// too many sessions.
    pub is_transient: bool,
    pub(super) advice: Advice,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Advice {
    pub(super) hint: &'static str,
    /// The text before and after the name of a flag that waits, if the refusal is transient.
    pub(super) flag: Option<(&'static str, &'static str)>,
}

impl Refused {
    /// The error of a program that has a `flag` to retry: the hint names it if the refusal is transient.
    pub fn with_wait_flag(self, flag: &str) -> Error {
        let Advice { hint, flag: around } = self.advice;
        match around {
            Some((before, after)) => self.error.hint(format!("{hint}{before}{flag}{after}")),
            None => self.error,
        }
    }
}

impl Advice {
    pub(super) const SILENT: Advice = Advice {
        hint: "check that PostgreSQL listens there, and the firewall",
        flag: Some(("; ", " tries again")),
    };

    const STARTING: Advice =
        Advice { hint: "the database is starting or stopping: give it time", flag: Some((" with ", "")) };

    const FULL: Advice =
        Advice { hint: "close other sessions or raise max_connections", flag: Some(("; ", " tries again")) };

    pub(super) const ABSENT: Advice = Advice {
        hint: "check that PostgreSQL runs there and the address in --database-url",
        flag: Some(("; ", " waits for it")),
    };

    /// The pooler accepts no `options`.
    const OPTIONS: Advice = Advice {
        hint: "this is a connection pooler: use the address of PostgreSQL itself; for atelier-server, a pool in session mode with options in ignore_startup_parameters works too",
        flag: None,
    };

    /// The pooler ignored `options`.
    pub(super) const POOLED: Advice = Advice {
        hint: "use the address of PostgreSQL itself, or of a pooler in session mode that passes on the start-up parameter options (PgBouncer does not)",
        flag: None,
    };

    pub(super) const TARGET: Advice = Advice {
        hint: "check target_session_attrs in --database-url, and the roles of the hosts",
        flag: None,
    };

    pub(super) fn on(error: &tokio_postgres::Error) -> Advice {
        let hint = match error.code() {
            Some(&(SqlState::CANNOT_CONNECT_NOW | SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN)) => {
                return Advice::STARTING;
            }
            None if is_transient(error) => return Advice::ABSENT,
            Some(&SqlState::TOO_MANY_CONNECTIONS) => return Advice::FULL,
            Some(&SqlState::INVALID_PASSWORD) => {
                "check the password in --database-url (or PGPASSWORD, PGPASSFILE)"
            }
            Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
                "check the user in --database-url, and pg_hba.conf"
            }
            Some(&SqlState::INVALID_CATALOG_NAME) => {
                "create the database (createdb) or name another in --database-url"
            }
            Some(_) if refuses_options(error) => return Advice::OPTIONS,
            None => match describe(error) {
                why if why.contains("password missing") => {
                    "set a password in --database-url, in PGPASSWORD, or in a file that PGPASSFILE names"
                }
                why if why.contains("TLS") => {
                    "check sslmode in --database-url; sslrootcert=FILE is the authority that signed the server's certificate, which must be for the host name in the URL"
                }
                _ => "check --database-url",
            },
            Some(_) => "check --database-url",
        };
        Advice { hint, flag: None }
    }
}

/// Whether PgBouncer, or Amazon's proxy, refuses the `options` of the start-up packet.
fn refuses_options(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|refusal| {
        let message = refusal.message();
        message.contains("unsupported startup parameter") || message.contains("command-line options")
    })
}

/// Whether every host would refuse in the same way: libpq tries no other one then.
pub(super) fn is_final(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("28") || *code == SqlState::INVALID_CATALOG_NAME)
}

/// Whether the error is of the network, and a database may be there later.
fn is_transient(error: &tokio_postgres::Error) -> bool {
    use std::error::Error as _;
    // A proxy, such as that of a container, may accept the connection and close it.
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

/// A message of another library, such as clap, without what may be a password: a line is cut after `://` or `password=`.
pub(crate) fn without_passwords(text: &str) -> String {
    let line = |line: &str| match line.find("://").into_iter().chain(line.find("password=")).min() {
        Some(end) => format!("{}…\n", &line[..end]),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The database's message with its detail, or the chain of causes.
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
