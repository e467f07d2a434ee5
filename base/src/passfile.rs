//! libpq's password file: a line `host:port:database:user:password` for each server, `*` for any value, `\:` and `\\`
//! for these characters themselves, `#` before a comment. Read where `passfile` or `PGPASSFILE` names one, else `~/.pgpass`, and again for each connection: a
//! password is then on no command line and in no environment.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::conninfo::SOCKET_DIRECTORY;
use crate::error::{Error, Result};

/// Whom a password is for.
#[derive(Clone, Copy)]
pub(crate) struct Login<'a> {
    /// The host's name; its address if it has none; the directory of a Unix socket.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
}

/// Where passwords are.
pub(crate) struct PasswordFile {
    path: PathBuf,
    /// What it held when it could last be used.
    last: Mutex<Option<Vec<u8>>>,
}

/// What a password file says.
pub(crate) struct Lookup {
    /// On the first line that fits; nothing if none does.
    pub(crate) password: Option<Vec<u8>>,
    /// Why the file cannot be used any more: the password is from what it held before.
    pub(crate) trouble: Option<Error>,
}

impl PasswordFile {
    pub(crate) fn at(path: PathBuf) -> PasswordFile {
        PasswordFile { path, last: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks into the file as it is now. A file that could be used before and cannot any more ends nothing.
    pub(crate) fn find(&self, login: Login<'_>) -> Result<Lookup> {
        let mut last = self.last.lock();
        let trouble = match read(&self.path) {
            Ok(text) => {
                *last = Some(text);
                None
            }
            Err(error) if last.is_none() => return Err(error),
            Err(error) => Some(error),
        };
        let lines = last.as_deref().unwrap_or_default().split(|&byte| byte == b'\n');
        Ok(Lookup { password: lines.into_iter().find_map(|line| password(line, login)), trouble })
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
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
    Ok(text)
}

/// The password on `line`, if it is one for `login`.
fn password(line: &[u8], login: Login<'_>) -> Option<Vec<u8>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.starts_with(b"#") {
        return None;
    }
    // libpq's own directory goes by this name.
    let host = if login.host == SOCKET_DIRECTORY { "localhost" } else { login.host };
    let port = login.port.to_string();
    let mut rest = line;
    for value in [host, &port, login.database, login.user] {
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

    fn found(line: &str, login: Login<'_>) -> Option<String> {
        password(line.as_bytes(), login).map(|password| String::from_utf8(password).unwrap())
    }

    #[test]
    fn a_line_is_for_the_server_it_names() {
        let login = Login { host: "db.example", port: 5432, database: "shop", user: "ann" };
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
            assert_eq!(found(line, login).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_file_that_is_lost_counts_as_it_last_was() {
        let login = Login { host: "a", port: 5432, database: "shop", user: "ann" };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwords");
        let file = PasswordFile::at(path.clone());
        assert!(file.find(login).is_err(), "it was never there");
        let write = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let found = || {
            let found = file.find(login).unwrap();
            let password = found.password.map(|password| String::from_utf8(password).unwrap());
            (
                password.unwrap_or_default(),
                found.trouble.map(|error| format!("{error:#}")).unwrap_or_default(),
            )
        };
        write("*:*:*:*:first", 0o600);
        assert_eq!(found(), ("first".into(), "".into()));
        write("*:*:*:*:second", 0o600);
        assert_eq!(found(), ("second".into(), "".into()));
        write("*:*:*:*:third", 0o604);
        let (password, trouble) = found();
        assert_eq!(password, "second");
        assert!(trouble.contains("everybody may read it"), "{trouble}");
        fs::remove_file(&path).unwrap();
        assert_eq!(found().0, "second");
        write("*:*:*:*:third", 0o600);
        assert_eq!(found(), ("third".into(), "".into()));
    }

    #[test]
    fn sockets_and_colons_are_written_as_in_libpq() {
        for (line, host, database) in [
            ("localhost:5432:shop:ann:secret", SOCKET_DIRECTORY, "shop"),
            ("/tmp/pg:5432:shop:ann:secret", "/tmp/pg", "shop"),
            (r"\:\:1:5432:a\:b:ann:secret", "::1", "a:b"),
        ] {
            let login = Login { host, port: 5432, database, user: "ann" };
            assert_eq!(found(line, login).as_deref(), Some("secret"), "{line}");
        }
    }
}
