//! Connection parameters as libpq has them: of the connection string, else of the service file, else of the `PG…`
//! variables. What libpq knows and these programs do not do is refused by name, never passed over.
//!
//! No message shows a value: any of them may be a password, or the rest of one that was not quoted.

mod parameters;
mod service;
mod text;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{Error, Result};
use parameters::{KNOWN, Origin, known, unknown, unreadable};
pub(crate) use parameters::{Parameters, SOCKET_DIRECTORY, Variables};

/// Settings of a session that libpq takes from the environment alone.
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
            return Err(Error::usage("no database is named").hint(
                "give --database-url postgresql://user@host/database, or set DATABASE_URL, or PGHOST and PGDATABASE",
            ));
        }
        if let Some(text) = text {
            let pairs = text::read(text).map_err(|cause| unreadable(&Origin::Text, cause))?;
            // As in libpq, the last of several holds.
            for (name, value) in pairs.into_iter().rev() {
                let shown = Some(name.as_str()).filter(|name| !may_be_of_a_password(name, text));
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
}

/// Whether what looks like the name of a parameter may be of a password that was not quoted or encoded.
fn may_be_of_a_password(name: &str, text: &str) -> bool {
    !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        || text.contains("password")
        || text.split_once('?').is_some_and(|(_, query)| query.contains('@'))
}

#[cfg(test)]
mod tests;
