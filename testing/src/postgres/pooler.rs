//! A real PgBouncer in front of a server.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::database::Database;
use super::port::free_port;
use crate::wait::until;

/// Ends PgBouncer when the tests have ended, as `guardian` ends a server. In Debian, it is only in the `PATH` of root.
const RUN: &str = "PATH=$PATH:/usr/sbin; pgbouncer -q \"$1\" & read -r _; kill -TERM $!; wait";

/// A PgBouncer with a pool for one database, in which every user is superuser. Dropping it ends it.
pub struct Pooler {
    process: Child,
    dir: TempDir,
    port: u16,
    database: String,
}

impl Pooler {
    /// Starts one. `mode` is `session`, `transaction` or `statement`; `lines` are added to its configuration.
    pub fn start(database: &Database<'_>, mode: &str, lines: &str) -> Pooler {
        let (server, name) = (database.server, database.name());
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let configuration = format!(
            "[databases]\n{name} = host={} port={} user=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {mode}\nlogfile = {}\n{lines}\n",
            server.dir.display(),
            server.port,
            dir.path().join("log").display()
        );
        let path = dir.path().join("pgbouncer.ini");
        fs::write(&path, configuration).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", RUN, "pooler"]).arg(&path);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        if let Some(account) = &server.account {
            let (user, group) = (account.uid.as_raw(), account.gid.as_raw());
            chown(dir.path(), Some(user), Some(group)).unwrap();
            command.uid(user).gid(group);
        }
        let process = command.spawn().expect("sh starts");
        until("PgBouncer listens (scripts/test installs it)", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Pooler { process, dir, port, database: name.to_owned() }
    }

    /// Whether it knows the setting `max_prepared_statements`: since 1.21.
    pub fn can_keep_statements() -> bool {
        let version =
            Command::new("sh").args(["-c", "PATH=$PATH:/usr/sbin; pgbouncer --version"]).output().unwrap();
        let version = String::from_utf8(version.stdout).unwrap();
        let mut numbers =
            version.split(|letter: char| !letter.is_ascii_digit()).filter_map(|part| part.parse().ok());
        (numbers.next(), numbers.next()) >= (Some(1), Some(21))
    }

    /// As superuser through the pool, without TLS.
    pub fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{}?sslmode=disable", self.port, self.database)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
