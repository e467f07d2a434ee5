//! The connection parameters of libpq, which of them are supported, and where each was given.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// Reads an environment variable; tests pass a map.
pub(crate) type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

pub(super) enum Support {
    Yes,
    /// Only with these values, which change nothing here.
    Only(&'static [&'static str]),
    No,
}
use Support::{No, Only, Yes};

/// libpq's default directory of Unix sockets in Debian.
pub(crate) const SOCKET_DIRECTORY: &str = "/var/run/postgresql";

/// All parameters of libpq (PostgreSQL 18), each with its environment variable.
pub(super) const KNOWN: [(&str, Option<&str>, Support); 54] = [
    ("service", Some("PGSERVICE"), Yes),
    ("servicefile", Some("PGSERVICEFILE"), Yes),
    ("host", Some("PGHOST"), Yes),
    ("hostaddr", Some("PGHOSTADDR"), Yes),
    ("port", Some("PGPORT"), Yes),
    ("dbname", Some("PGDATABASE"), Yes),
    ("user", Some("PGUSER"), Yes),
    ("password", Some("PGPASSWORD"), Yes),
    ("passfile", Some("PGPASSFILE"), Yes),
    ("require_auth", Some("PGREQUIREAUTH"), No),
    ("channel_binding", Some("PGCHANNELBINDING"), Yes),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT"), Yes),
    ("client_encoding", Some("PGCLIENTENCODING"), Only(&["UTF8", "utf8", "UTF-8", "utf-8", "auto"])),
    ("options", Some("PGOPTIONS"), Yes),
    ("application_name", Some("PGAPPNAME"), Yes),
    ("fallback_application_name", None, Yes),
    ("keepalives", None, Yes),
    ("keepalives_idle", None, Yes),
    ("keepalives_interval", None, Yes),
    ("keepalives_count", None, Yes),
    ("tcp_user_timeout", None, Yes),
    ("replication", None, Only(&["false", "off", "no", "0"])),
    ("gssencmode", Some("PGGSSENCMODE"), Only(&["disable", "prefer"])),
    ("sslmode", Some("PGSSLMODE"), Yes),
    ("requiressl", Some("PGREQUIRESSL"), Yes),
    ("sslnegotiation", Some("PGSSLNEGOTIATION"), Yes),
    ("sslcompression", Some("PGSSLCOMPRESSION"), Only(&["0"])),
    ("sslcert", Some("PGSSLCERT"), Yes),
    ("sslkey", Some("PGSSLKEY"), Yes),
    ("sslkeylogfile", None, No),
    ("sslpassword", None, No),
    ("sslcertmode", Some("PGSSLCERTMODE"), Only(&["disable", "allow"])),
    ("sslrootcert", Some("PGSSLROOTCERT"), Yes),
    ("sslcrl", Some("PGSSLCRL"), Yes),
    ("sslcrldir", Some("PGSSLCRLDIR"), No),
    ("sslsni", Some("PGSSLSNI"), Yes),
    ("requirepeer", Some("PGREQUIREPEER"), No),
    ("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION"), Yes),
    ("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION"), Only(&["TLSv1.2", "TLSv1.3"])),
    ("min_protocol_version", Some("PGMINPROTOCOLVERSION"), Only(&["3.0"])),
    ("max_protocol_version", Some("PGMAXPROTOCOLVERSION"), Only(&["3.0", "3.2", "latest"])),
    ("krbsrvname", Some("PGKRBSRVNAME"), No),
    ("gsslib", Some("PGGSSLIB"), No),
    ("gssdelegation", Some("PGGSSDELEGATION"), Only(&["0"])),
    ("scram_client_key", None, No),
    ("scram_server_key", None, No),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS"), Yes),
    ("load_balance_hosts", Some("PGLOADBALANCEHOSTS"), Yes),
    ("oauth_issuer", None, No),
    ("oauth_client_id", None, No),
    ("oauth_client_secret", None, No),
    ("oauth_scope", None, No),
    ("oauth_ca_file", Some("PGOAUTHCAFILE"), No),
    ("oauth_debug", Some("PGOAUTHDEBUG"), No),
];

/// Where a parameter was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Text,
    Service(PathBuf),
    Variable(&'static str),
}

impl Origin {
    fn remove(&self) -> String {
        match self {
            Origin::Text | Origin::Service(_) => format!("remove it from {self}"),
            Origin::Variable(name) => format!("unset {name}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Text => f.write_str("the database URL"),
            Origin::Service(path) => write!(f, "the service file {}", path.display()),
            Origin::Variable(name) => f.write_str(name),
        }
    }
}

/// The parameters that were given, by name. As in libpq, an empty value is none.
pub(crate) struct Parameters {
    pub(super) given: BTreeMap<&'static str, (String, Origin)>,
    /// `-c` options of the variables in `SETTINGS`.
    pub(crate) settings: Vec<(&'static str, String)>,
    pub(super) home: Option<PathBuf>,
}

impl Parameters {
    /// Adds a parameter, unless an earlier origin has it.
    pub(super) fn add(&mut self, known: usize, value: String, origin: Origin) -> Result<()> {
        let (name, _, support) = &KNOWN[known];
        if value.is_empty() || self.given.contains_key(name) {
            return Ok(());
        }
        let refuse = |what: String, hint: String| Err(Error::usage(what).hint(hint));
        match support {
            No => refuse(format!("the connection parameter {name} is not supported"), origin.remove()),
            Only(values) if !values.contains(&value.as_str()) => refuse(
                format!("the connection parameter {name} is not supported with this value"),
                format!("set it to {}, or {}", values.join(" or "), origin.remove()),
            ),
            Yes | Only(_) => {
                self.given.insert(name, (value, origin));
                Ok(())
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(|(value, _)| value.as_str())
    }

    pub(crate) fn service_file(&self) -> Option<PathBuf> {
        self.given.values().find_map(|(_, origin)| match origin {
            Origin::Service(path) => Some(path.clone()),
            Origin::Text | Origin::Variable(_) => None,
        })
    }

    /// The choice that a parameter names, or `default` if it is not given.
    pub(crate) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)], default: T) -> Result<T> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let found = choices.iter().find(|(word, _)| *word == value);
        let words = || choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        found
            .map(|(_, choice)| *choice)
            .ok_or_else(|| self.refusal(name, &format!("must be one of {}", words())))
    }

    /// An integer as libpq reads it: with a sign, between spaces.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i32>> {
        let number = self.get(name).map(|value| value.trim().parse());
        number.transpose().map_err(|_| self.refusal(name, "must be an integer"))
    }

    /// The value of `name` is invalid.
    pub(crate) fn refusal(&self, name: &str, why: &str) -> Error {
        let origin = self.given.get(name).map_or(&Origin::Text, |(_, origin)| origin);
        unreadable(origin, format!("{name} {why}"))
    }

    /// One of libpq's files in the home directory, if it exists.
    pub(crate) fn at_home(&self, name: &str) -> Option<PathBuf> {
        Some(self.home.as_ref()?.join(name)).filter(|path| path.exists())
    }
}

pub(super) fn known(name: &str) -> Option<usize> {
    KNOWN.iter().position(|(known, ..)| *known == name)
}

pub(super) fn unreadable(origin: &Origin, why: impl Into<String>) -> Error {
    let hint = match origin {
        Origin::Text => {
            "write --database-url postgresql://user@host:5432/database or \"host=/var/run/postgresql dbname=database\""
        }
        _ => "see the connection parameters in the documentation of libpq",
    };
    Error::usage(format!("cannot read {origin}")).cause(why.into()).hint(hint)
}

pub(super) fn unknown(origin: &Origin, name: Option<&str>) -> Error {
    let name = name.map_or(String::new(), |name| format!(" {name:?}"));
    unreadable(origin, format!("unknown connection parameter{name}"))
}
