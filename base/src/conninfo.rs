//! Connection parameters as libpq has them: of the connection string, else of the service file, else of the `PG…`
//! variables. What libpq knows and these programs do not do is refused by name, never passed over.
//!
//! No message shows a value: any of them may be a password, or the rest of one that was not quoted.

mod service;
mod text;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// Reads an environment variable; tests pass a map.
pub(crate) type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What becomes of a parameter.
enum Support {
    Yes,
    /// These values alone, which ask for nothing that is not done anyway.
    Only(&'static [&'static str]),
    No,
}
use Support::{No, Only, Yes};

/// All parameters of libpq (PostgreSQL 18), each with its environment variable.
const KNOWN: [(&str, Option<&str>, Support); 54] = [
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

/// Settings of a session that libpq takes from the environment alone.
const SETTINGS: [(&str, &str); 3] = [("PGDATESTYLE", "datestyle"), ("PGTZ", "timezone"), ("PGGEQO", "geqo")];

/// The variables that name a database where there is no connection string.
const NAMING: [&str; 4] = ["PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE"];

/// Where a parameter was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Text,
    Service(PathBuf),
    Variable(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Text => f.write_str("the database URL"),
            Place::Service(path) => write!(f, "the service file {}", path.display()),
            Place::Variable(name) => f.write_str(name),
        }
    }
}

/// All parameters that were given, by name. An empty value counts as none, as it does for libpq.
pub(crate) struct Parameters {
    given: BTreeMap<&'static str, (String, Place)>,
    /// `-c` options of the variables in [`SETTINGS`].
    pub(crate) settings: Vec<(&'static str, String)>,
    home: Option<PathBuf>,
}

impl Parameters {
    /// Reads the connection string, the service file that it or `PGSERVICE` names, and the environment.
    pub(crate) fn read(text: Option<&str>, variables: Variables<'_>) -> Result<Parameters> {
        let home = variables("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let home = home.or_else(std::env::home_dir);
        let mut parameters = Parameters { given: BTreeMap::new(), settings: Vec::new(), home };
        let text = text.filter(|text| !text.trim().is_empty());
        if text.is_none() && !NAMING.iter().any(|name| variables(name).is_some_and(|value| !value.is_empty()))
        {
            return Err(Error::usage("no database is named").hint(
                "give --database-url postgresql://user@host/database, or set DATABASE_URL, or PGHOST and PGDATABASE",
            ));
        }
        if let Some(text) = text {
            let pairs = text::read(text).map_err(|cause| unreadable(&Place::Text, cause))?;
            // As in libpq, the last of several holds.
            for (name, value) in pairs.into_iter().rev() {
                let shown = Some(name.as_str()).filter(|name| !may_be_of_a_password(name, text));
                let known = known(&name).ok_or_else(|| unknown(&Place::Text, shown))?;
                parameters.add(known, value, Place::Text)?;
            }
        }
        let variable = |name: &'static str| match variables(name).map(OsString::into_string) {
            Some(Err(_)) => Err(unreadable(&Place::Variable(name), "it is not UTF-8")),
            Some(Ok(value)) => Ok(Some(value)),
            None => Ok(None),
        };
        let from_variable = |parameters: &mut Parameters, index: usize| {
            let Some(name) = KNOWN[index].1 else { return Ok(()) };
            let Some(value) = variable(name)? else { return Ok(()) };
            parameters.add(index, value, Place::Variable(name))
        };
        // Which service it is, is known before what is in it.
        (0..2).try_for_each(|index| from_variable(&mut parameters, index))?;
        if let Some(service) = parameters.get("service").map(str::to_owned) {
            service::read(&service, &mut parameters, variables)?;
        }
        (2..KNOWN.len()).try_for_each(|index| from_variable(&mut parameters, index))?;
        for (name, setting) in SETTINGS {
            let value = variable(name)?.filter(|value| !value.is_empty());
            parameters.settings.extend(value.map(|value| (setting, value)));
        }
        Ok(parameters)
    }

    /// Adds a parameter, unless it was given in a place that goes before.
    fn add(&mut self, known: usize, value: String, place: Place) -> Result<()> {
        let (name, _, support) = &KNOWN[known];
        if value.is_empty() || self.given.contains_key(name) {
            return Ok(());
        }
        let refuse = |what: String, hint: String| Err(Error::usage(what).hint(hint));
        match support {
            No => refuse(
                format!("the connection parameter {name} is not supported"),
                format!("leave it out: it is given in {place}"),
            ),
            Only(values) if !values.contains(&value.as_str()) => refuse(
                format!("the connection parameter {name} is not supported with this value"),
                format!("give {}, or leave it out: it is given in {place}", values.join(", ")),
            ),
            Yes | Only(_) => {
                self.given.insert(name, (value, place));
                Ok(())
            }
        }
    }

    /// The value of a parameter that was given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(|(value, _)| value.as_str())
    }

    /// The service file that parameters came from.
    pub(crate) fn service_file(&self) -> Option<PathBuf> {
        self.given.values().find_map(|(_, place)| match place {
            Place::Service(path) => Some(path.clone()),
            Place::Text | Place::Variable(_) => None,
        })
    }

    /// One of the words that a parameter may be, or what else was meant by leaving it out.
    pub(crate) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)], default: T) -> Result<T> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let found = choices.iter().find(|(word, _)| *word == value);
        let words = || choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        found.map(|(_, choice)| *choice).ok_or_else(|| self.refusal(name, &format!("is none of {}", words())))
    }

    /// A whole number, as libpq reads one: with a sign, between spaces.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i32>> {
        let number = self.get(name).map(|value| value.trim().parse());
        number.transpose().map_err(|_| self.refusal(name, "is not a whole number"))
    }

    /// Why the value of `name` will not do.
    pub(crate) fn refusal(&self, name: &str, why: &str) -> Error {
        let place = self.given.get(name).map_or(&Place::Text, |(_, place)| place);
        unreadable(place, format!("{name} {why}"))
    }

    /// A file of libpq's in the home directory, if it is there.
    pub(crate) fn at_home(&self, name: &str) -> Option<PathBuf> {
        Some(self.home.as_ref()?.join(name)).filter(|path| path.exists())
    }
}

/// Whether what looks like the name of a parameter may be of a password that was not quoted or encoded.
fn may_be_of_a_password(name: &str, text: &str) -> bool {
    !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        || text.contains("password")
        || text.split_once('?').is_some_and(|(_, query)| query.contains('@'))
}

fn known(name: &str) -> Option<usize> {
    KNOWN.iter().position(|(known, ..)| *known == name)
}

fn unreadable(place: &Place, why: impl Into<String>) -> Error {
    let hint = match place {
        Place::Text => {
            "write --database-url postgresql://user@host:5432/database or \"host=/var/run/postgresql dbname=database\""
        }
        _ => "see libpq's documentation for what may be given there",
    };
    Error::usage(format!("{place} cannot be read")).cause(why.into()).hint(hint)
}

fn unknown(place: &Place, name: Option<&str>) -> Error {
    let name = name.map_or(String::new(), |name| format!(" {name:?}"));
    unreadable(place, format!("libpq knows no parameter{name}"))
}

#[cfg(test)]
#[path = "conninfo/tests.rs"]
mod tests;
