//! libpq's connection service file: parameters under `[name]`, one `key=value` a line.

use std::fs;
use std::path::{Path, PathBuf};

use super::parameters::{Origin, Parameters, Variables, known, unknown, unreadable};
use crate::error::{Error, Result};

/// The system's directories in Debian and Red Hat, unless `PGSYSCONFDIR` is set.
const SYSTEM: [&str; 2] = ["/etc/postgresql-common", "/etc/sysconfig/pgsql"];

/// Adds the parameters of `service`, from the user's file, else from the system's.
pub(super) fn read(service: &str, parameters: &mut Parameters, variables: Variables<'_>) -> Result<()> {
    let named = parameters.get("servicefile").map(PathBuf::from);
    let of_user = named.or_else(|| parameters.at_home(".pg_service.conf"));
    let of_system = match variables("PGSYSCONFDIR") {
        Some(directory) => vec![PathBuf::from(directory)],
        None => SYSTEM.map(PathBuf::from).to_vec(),
    };
    let of_system = of_system.iter().map(|directory| directory.join("pg_service.conf"));
    for path in of_user.iter().cloned().chain(of_system.filter(|path| path.exists())) {
        if read_file(&path, service, parameters)? {
            return Ok(());
        }
    }
    Err(Error::usage("the connection service is not in any service file")
        .hint("define the service in ~/.pg_service.conf, or set PGSERVICEFILE to another file"))
}

/// Returns whether the service is in the file.
fn read_file(path: &Path, service: &str, parameters: &mut Parameters) -> Result<bool> {
    let origin = Origin::Service(path.to_owned());
    let text = fs::read_to_string(path).map_err(|error| unreadable(&origin, error.to_string()))?;
    let (mut within, mut found) = (false, false);
    for (line, text) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if text.starts_with('[') {
            // As in libpq, the first section of this name is the service.
            if found {
                break;
            }
            within = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) == Some(service);
            found |= within;
        } else if within {
            let syntax = || unreadable(&origin, format!("line {line} is not key=value"));
            let (name, value) = text.split_once('=').ok_or_else(syntax)?;
            let known = known(name).ok_or_else(|| unknown(&origin, None))?;
            if name.starts_with("service") {
                return Err(unreadable(&origin, format!("line {line}: a service names no other")));
            }
            parameters.add(known, value.to_owned(), origin.clone())?;
        }
    }
    Ok(found)
}
