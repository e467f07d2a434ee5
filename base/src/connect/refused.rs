//! What a refusal means, and what to do about it.

use tokio_postgres::error::SqlState;

use crate::error::Error;

/// Why there is no connection.
#[derive(Debug)]
pub struct Refused {
    /// For people: the database, what it said, and what to do.
    pub error: Error,
    /// Whether trying again makes sense: nobody listens there, or nobody answers, or the database is still
    /// starting, or it has no room for a further session.
    pub may_come: bool,
    pub(super) advice: Advice,
}

/// What to do about a refusal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Advice {
    pub(super) hint: &'static str,
    /// What stands before and behind the name of a flag that waits, where waiting makes sense.
    pub(super) flag: Option<(&'static str, &'static str)>,
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
    pub(super) const SILENT: Advice = Advice {
        hint: "check that it is PostgreSQL that listens there, and the firewall",
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

    /// The pooler takes no `options`.
    const OPTIONS: Advice = Advice {
        hint: "this is a connection pooler: use the address of PostgreSQL itself; for atelier-server, a pool in session mode with options in ignore_startup_parameters will do too",
        flag: None,
    };

    /// The pooler has swallowed `options`.
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
            Some(_) if takes_no_options(error) => return Advice::OPTIONS,
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

/// Whether it is the `options` of a start-up packet that PgBouncer, or Amazon's proxy, refuses.
fn takes_no_options(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|refusal| {
        let said = refusal.message();
        said.contains("unsupported startup parameter") || said.contains("command-line options")
    })
}

/// Whether the database will say the same on every host of the list: libpq asks no other one then.
pub(super) fn is_final(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("28") || *code == SqlState::INVALID_CATALOG_NAME)
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

/// The words of others, such as what is wrong with a command line, without the rest of a line that a password may be in.
pub fn without_passwords(text: &str) -> String {
    let line = |line: &str| match line.find("://").into_iter().chain(line.find("password=")).min() {
        Some(end) => format!("{}…\n", &line[..end]),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
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
