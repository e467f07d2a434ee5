//! libpq's password file: lines `host:port:database:user:password`, with `*` for any value, `\:` and `\\` for these
//! characters, and `#` before a comment. It is named by `passfile` or `PGPASSFILE`, else `~/.pgpass`, and read again for
//! each connection.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::conninfo::SOCKET_DIRECTORY;
use crate::error::{Error, Result};

#[derive(Clone, Copy)]
pub(crate) struct Login<'a> {
    /// The name of the host; its address if it has none; the directory of a Unix socket.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
}

pub(crate) struct PasswordFile {
    path: PathBuf,
    /// The content when it was last readable.
    last: Mutex<Option<Vec<u8>>>,
}

pub(crate) struct Lookup {
    /// Of the first line that matches.
    pub(crate) password: Option<Vec<u8>>,
    /// Why the file cannot be used any more: an earlier content was used.
    pub(crate) error: Option<Error>,
}

impl PasswordFile {
    pub(crate) fn at(path: PathBuf) -> PasswordFile {
        PasswordFile { path, last: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again. If it cannot be used any more, uses its last content.
    pub(crate) fn lookup(&self, login: Login<'_>) -> Result<Lookup> {
        let mut last = self.last.lock();
        let error = match read(&self.path) {
            Ok(text) => {
                *last = Some(text);
                None
            }
            Err(error) if last.is_none() => return Err(error),
            Err(error) => Some(error),
        };
        let lines = last.as_deref().unwrap_or_default().split(|&byte| byte == b'\n');
        Ok(Lookup { password: lines.into_iter().find_map(|line| password(line, login)), error })
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let unusable = |cause: Box<dyn std::error::Error + Send + Sync>, hint: String| {
        Err(Error::usage(format!("cannot use the password file {}", path.display())).cause(cause).hint(hint))
    };
    let read = fs::metadata(path).and_then(|metadata| Ok((metadata.permissions().mode(), fs::read(path)?)));
    let (mode, text) = match read {
        Ok(read) => read,
        Err(error) => return unusable(error.into(), "set PGPASSFILE to another file".into()),
    };
    // libpq also refuses group access, but files of systemd credentials have it: the service gets access by an ACL.
    if mode & 0o007 != 0 {
        return unusable("it has world access".into(), format!("chmod 600 {}", path.display()));
    }
    Ok(text)
}

/// The password on `line`, if it matches `login`.
fn password(line: &[u8], login: Login<'_>) -> Option<Vec<u8>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.starts_with(b"#") {
        return None;
    }
    // libpq uses this name for its default directory.
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
    // As in libpq, text after another colon is ignored.
    Some(unescaped(field(rest).map_or(rest, |(field, _)| field)))
}

/// The text before the first colon without a backslash, and the text after it.
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
    fn a_line_matches_the_server_it_names() {
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
    fn the_last_content_of_a_lost_file_is_used() {
        let login = Login { host: "a", port: 5432, database: "shop", user: "ann" };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwords");
        let file = PasswordFile::at(path.clone());
        assert!(file.lookup(login).is_err(), "it was never there");
        let write = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let found = || {
            let found = file.lookup(login).unwrap();
            let password = found.password.map(|password| String::from_utf8(password).unwrap());
            (password.unwrap_or_default(), found.error.map(|error| format!("{error:#}")).unwrap_or_default())
        };
        write("*:*:*:*:first", 0o600);
        assert_eq!(found(), ("first".into(), "".into()));
        write("*:*:*:*:second", 0o600);
        assert_eq!(found(), ("second".into(), "".into()));
        write("*:*:*:*:third", 0o604);
        let (password, error) = found();
        assert_eq!(password, "second");
        assert!(error.contains("it has world access"), "{error}");
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
