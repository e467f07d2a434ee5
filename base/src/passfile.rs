//! libpq's password file: a line `host:port:database:user:password` for each server, `*` for any value, `\:` and `\\`
//! for these characters themselves, `#` before a comment. Read only where `PGPASSFILE` names one: a password is then
//! on no command line and in no environment.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::error::{Error, Result};

/// The password of `config`'s first host, on the first line that fits; nothing if none does. `tokio-postgres` has one
/// password for all hosts of a connection string, which is what replicas of one another have.
pub fn find(path: &Path, config: &Config) -> Result<Option<Vec<u8>>> {
    let unusable = |cause: Box<dyn std::error::Error + Send + Sync>, hint: String| {
        Err(Error::usage(format!("cannot use the password file {}", path.display())).cause(cause).hint(hint))
    };
    let read = fs::metadata(path).and_then(|metadata| Ok((metadata.permissions().mode(), fs::read(path)?)));
    let (mode, text) = match read {
        Ok(read) => read,
        Err(error) => return unusable(error.into(), "name another in PGPASSFILE".into()),
    };
    // libpq refuses what the group may read as well. systemd's copies look so: it lets the service in by an ACL.
    if mode & 0o007 != 0 {
        return unusable("everybody may read it".into(), format!("chmod 600 {}", path.display()));
    }
    Ok(text.split(|&byte| byte == b'\n').find_map(|line| password(line, config)))
}

/// The password on `line`, if it is one for `config`.
fn password(line: &[u8], config: &Config) -> Option<Vec<u8>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.starts_with(b"#") {
        return None;
    }
    let host = match config.get_hosts().first()? {
        Host::Tcp(name) => name.clone(),
        // libpq's own directory goes by this name.
        Host::Unix(path) if path == Path::new("/var/run/postgresql") => "localhost".to_owned(),
        Host::Unix(path) => path.display().to_string(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432).to_string();
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    let mut rest = line;
    for value in [&host, &port, database, user] {
        let (field, behind) = field(rest)?;
        if field != b"*" && unescaped(field) != value.as_bytes() {
            return None;
        }
        rest = behind;
    }
    // As in libpq, what stands behind a further colon is not read.
    Some(unescaped(field(rest).map_or(rest, |(field, _)| field)))
}

/// What stands before the first colon without a backslash, as it stands, and what stands behind.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    let end = line.iter().position(|&byte| {
        let ends = byte == b':' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    Some((&line[..end], &line[end + 1..]))
}

fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = field.iter();
    let mut text = Vec::new();
    while let Some(&byte) = bytes.next() {
        text.push(if byte == b'\\' { *bytes.next().unwrap_or(&byte) } else { byte });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str, url: &str) -> Option<String> {
        let config: Config = url.parse().unwrap();
        password(line.as_bytes(), &config).map(|password| String::from_utf8(password).unwrap())
    }

    #[test]
    fn a_line_is_for_the_server_it_names() {
        let url = "postgresql://ann@db.example/shop";
        for (line, expected) in [
            ("db.example:5432:shop:ann:secret", Some("secret")),
            ("*:*:*:*:secret", Some("secret")),
            ("*:*:*:ann:", Some("")),
            (r"*:*:*:ann:a\:b\\c", Some(r"a:b\c")),
            ("*:*:*:ann:secret\r", Some("secret")),
            ("*:*:*:ann:se:cret", Some("se")),
            ("db.example:6543:shop:ann:secret", None),
            ("other:5432:shop:ann:secret", None),
            ("*:*:stock:ann:secret", None),
            ("*:*:*:bob:secret", None),
            ("# *:*:*:*:secret", None),
            ("*:*:*:secret", None),
            ("", None),
        ] {
            assert_eq!(found(line, url).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn what_a_connection_string_leaves_out_has_libpqs_defaults() {
        for (line, url) in [
            ("localhost:5432:ann:ann:secret", "host=/var/run/postgresql user=ann"),
            ("/tmp/pg:5432:shop:ann:secret", "host=/tmp/pg user=ann dbname=shop"),
            (r"\:\:1:5432:a\:b:ann:secret", "host=::1 user=ann dbname=a:b"),
            ("a:5433:shop:ann:secret", "host=a,b port=5433 user=ann dbname=shop"),
        ] {
            assert_eq!(found(line, url).as_deref(), Some("secret"), "{line}");
        }
        assert_eq!(found("b:5433:shop:ann:secret", "host=a,b port=5433 user=ann dbname=shop"), None);
    }
}
