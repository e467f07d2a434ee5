//! Connection parameters as in libpq: from the connection string, else from the service file, else from the `PG…`
//! variables. A parameter of libpq that is not supported is an error, never ignored.
//!
//! No message shows a value: it may be a password, or the rest of one that was not quoted.

mod parameters;
mod service;
mod text;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{Error, Result};
use parameters::{KNOWN, Origin, known, unknown, unreadable};
pub(crate) use parameters::{Parameters, SOCKET_DIRECTORY, Variables};

/// Settings of a session that libpq reads from the environment only.
const SETTINGS: [(&str, &str); 3] = [("PGDATESTYLE", "datestyle"), ("PGTZ", "timezone"), ("PGGEQO", "geqo")];

/// The variables that name a database where there is no connection string.
const NAMING: [&str; 4] = ["PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE"];

impl Parameters {
    /// Reads the connection string, the service file that it or `PGSERVICE` names, and the environment.
    pub(crate) fn read(text: Option<&str>, variables: Variables<'_>) -> Result<Parameters> {
        let home = variables("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let home = home.or_else(std::env::home_dir);
        let mut parameters = Parameters { given: BTreeMap::new(), settings: Vec::new(), home };
        let text = text.filter(|text| !text.trim().is_empty());
        if text.is_none() && !NAMING.iter().any(|name| variables(name).is_some_and(|value| !value.is_empty()))
        {
            return Err(Error::usage("no database given").hint(
                "give --database-url postgresql://user@host/database, or set DATABASE_URL, or PGHOST and PGDATABASE",
            ));
        }
        if let Some(text) = text {
            let pairs = text::read(text).map_err(|cause| unreadable(&Origin::Text, cause))?;
            // As in libpq, the last one is used.
            for (name, value) in pairs.into_iter().rev() {
                let shown = Some(name.as_str()).filter(|name| !may_be_password(name, text));
                let known = known(&name).ok_or_else(|| unknown(&Origin::Text, shown))?;
                parameters.add(known, value, Origin::Text)?;
            }
        }
        let variable = |name: &'static str| match variables(name).map(OsString::into_string) {
            Some(Err(_)) => Err(unreadable(&Origin::Variable(name), "it is not UTF-8")),
            Some(Ok(value)) => Ok(Some(value)),
            None => Ok(None),
        };
        let from_variable = |parameters: &mut Parameters, index: usize| {
            let Some(name) = KNOWN[index].1 else { return Ok(()) };
            let Some(value) = variable(name)? else { return Ok(()) };
            parameters.add(index, value, Origin::Variable(name))
        };
        // `service` and `servicefile` come first: they say what else to read.
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
}

/// Whether a name of a parameter may be a part of a password that was not quoted or encoded.
fn may_be_password(name: &str, text: &str) -> bool {
    !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        || text.contains("password")
        || text.split_once('?').is_some_and(|(_, query)| query.contains('@'))
}

#[cfg(test)]
mod tests;
