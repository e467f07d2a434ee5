//! A PostgreSQL server: created, started, stopped, killed, removed.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;
use std::{env, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::guardian::Guardian;
use super::port::free_port;
use super::programs::{find_programs, server_account};
use crate::certificates::Certificates;
use crate::wait::{DEADLINE, POLL, until};

/// Rows as text, null as `None`.
pub type Rows = Vec<Vec<Option<String>>>;

/// A PostgreSQL server with its own directory, port and password. Dropping it stops it and removes all of it.
pub struct Server {
    /// Of the certificates, the log and the Unix socket.
    pub(super) dir: PathBuf,
    data: PathBuf,
    bin: PathBuf,
    pub(super) account: Option<User>,
    settings: Vec<(String, String)>,
    pub(super) port: u16,
    pub(super) password: String,
    postmaster: Mutex<Option<Child>>,
    guardian: Guardian,
}

impl Server {
    /// The server for all tests of this process, started on first use. Do not stop it or change its settings.
    pub fn shared() -> &'static Server {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Server::start(&[]))
    }

    /// A server of its own, with `settings` in place of ours.
    pub fn start(settings: &[(&str, &str)]) -> Server {
        Self::create(None, settings)
    }

    /// The same with the database's files in a new directory within `parent`, a small file system for example.
    pub fn start_in(parent: &Path, settings: &[(&str, &str)]) -> Server {
        Self::create(Some(parent), settings)
    }

    fn create(parent: Option<&Path>, settings: &[(&str, &str)]) -> Server {
        let account = Uid::effective().is_root().then(server_account);
        // A Unix socket's path holds 107 characters, so a deep TMPDIR will not do.
        let temp = Some(env::temp_dir()).filter(|path| path.as_os_str().len() < 60);
        let dir =
            tempfile::Builder::new().prefix("atelier-pg-").tempdir_in(temp.unwrap_or("/tmp".into())).unwrap();
        let dir = dir.keep().canonicalize().unwrap();
        let data = parent.map_or(dir.clone(), |parent| parent.canonicalize().unwrap()).join("data");
        let guardian = Guardian::start(&dir, &data);
        fs::create_dir(&data).unwrap();
        if let Some(account) = &account {
            for path in [&dir, &data] {
                chown(path, Some(account.uid.as_raw()), Some(account.gid.as_raw())).unwrap();
            }
        }
        let mut server = Server {
            dir,
            data,
            bin: find_programs(),
            account,
            settings: settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            port: free_port(),
            password: uuid::Uuid::now_v7().simple().to_string(),
            postmaster: Mutex::new(None),
            guardian,
        };
        server.write_certificates();
        server.init();
        for _ in 0..5 {
            match server.try_start() {
                Ok(()) => return server,
                // Another process may have taken the port since it was found free.
                Err(log) if log.contains("could not bind") => server.port = free_port(),
                Err(log) => panic!("PostgreSQL did not start, its log ends:\n{log}"),
            }
        }
        panic!("PostgreSQL found no free port");
    }

    /// One of PostgreSQL's programs, to be run as the account of the server.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.current_dir(&self.dir).stdin(Stdio::null()).env_remove("PGDATA").process_group(0);
        if let Some(account) = &self.account {
            command.uid(account.uid.as_raw()).gid(account.gid.as_raw());
        }
        command
    }

    /// Writes a file that only the server's account may read.
    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.join(name);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        if let Some(account) = &self.account {
            chown(&path, Some(account.uid.as_raw()), Some(account.gid.as_raw())).unwrap();
        }
        path
    }

    /// For TLS.
    fn write_certificates(&self) {
        let Certificates { authority, certificate, key } = Certificates::new();
        self.write("server.key", &key);
        self.write("server.crt", &certificate);
        let authority = self.write("ca.crt", &authority);
        fs::set_permissions(authority, Permissions::from_mode(0o644)).unwrap();
    }

    fn init(&self) {
        let password = self.write("password", &self.password);
        let output = self
            .program("initdb")
            .args(["--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"])
            // The socket is in a directory that only this user and the server can enter.
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
            .arg("--pwfile")
            .arg(password)
            .arg("--pgdata")
            .arg(&self.data)
            .output()
            .unwrap();
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts the server and waits until it answers, or fails with the end of its log.
    fn try_start(&self) -> Result<(), String> {
        let dir = self.dir.display().to_string();
        let ours = [
            ("port", self.port.to_string()),
            ("listen_addresses", "127.0.0.1".into()),
            ("unix_socket_directories", dir.clone()),
            ("ssl", "on".into()),
            ("ssl_cert_file", format!("{dir}/server.crt")),
            ("ssl_key_file", format!("{dir}/server.key")),
            ("max_connections", "100".into()),
            ("shared_buffers", "32MB".into()),
            // The tests crash servers, never the machine.
            ("fsync", "off".into()),
            // As on the machines that load.
            ("wal_level", "minimal".into()),
            ("max_wal_senders", "0".into()),
            ("lc_messages", "C".into()),
        ];
        let theirs = self.settings.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let mut command = self.program("postgres");
        command.arg("-D").arg(&self.data);
        for (name, value) in ours.into_iter().chain(theirs) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let log = File::create(self.log()).unwrap();
        let mut child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let started = Instant::now();
        while let Err(error) = self.run("postgres", "SELECT 1") {
            let exited = child.try_wait().unwrap();
            if exited.is_some() || started.elapsed() > DEADLINE {
                // It may still be running after the deadline.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{}\n{error}", self.log_tail()));
            }
            thread::sleep(POLL);
        }
        *self.postmaster.lock().unwrap() = Some(child);
        Ok(())
    }

    /// Stops the server as an administrator would: sessions are ended, everything is written to the disk.
    pub fn stop(&self) {
        let mut child = self.postmaster.lock().unwrap().take().expect("the server runs");
        kill(pid(&child), Signal::SIGINT).unwrap();
        child.wait().unwrap();
    }

    /// Kills the server and all its processes, as a power cut would.
    pub fn kill(&self) {
        let mut child = self.postmaster.lock().unwrap().take().expect("the server runs");
        // Stopped, it starts no process while they are listed.
        kill(pid(&child), Signal::SIGSTOP).unwrap();
        for process in self.processes() {
            // It may have ended by itself.
            let _ = kill(process, Signal::SIGKILL);
        }
        child.wait().unwrap();
        // A process that still has its shared memory would keep the next server from starting.
        until("PostgreSQL's processes are gone", || self.processes().is_empty());
    }

    /// Starts the server again after [`stop`](Self::stop) or [`kill`](Self::kill), at the same address.
    pub fn start_again(&self) {
        assert!(self.postmaster.lock().unwrap().is_none(), "the server runs already");
        if let Err(log) = self.try_start() {
            panic!("PostgreSQL did not start again, its log ends:\n{log}");
        }
    }

    /// All processes of the server: they work in its data directory.
    fn processes(&self) -> Vec<Pid> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let ours =
            entries.filter(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == self.data));
        ours.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw).collect()
    }

    /// A role that may only connect. Roles are global: on the shared server, each test needs a name of its own.
    pub fn create_role(&self, name: &str, password: &str) {
        self.execute(&format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'"));
    }

    /// The certificate that `Database::tls_url` is to be verified against, as a PEM file.
    pub fn ca_certificate(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// The directory of the server's files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of PostgreSQL's programs, such as `psql`.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The TCP port on 127.0.0.1; the same after [`start_again`](Self::start_again).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's log, since its last start.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Runs statements in the database `postgres`, as superuser; for what is global to the server.
    pub fn execute(&self, sql: &str) {
        if let Err(error) = self.run("postgres", sql) {
            panic!("{sql}: {error}\nthe server's log ends:\n{}", self.log_tail());
        }
    }

    pub(super) fn run(&self, database: &str, sql: &str) -> Result<Rows, String> {
        let url = self.socket_url(database);
        let run = async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
            let connection = tokio::spawn(connection);
            let messages = client.simple_query(sql).await?;
            // Until the server has ended the session, the database is in use.
            drop(client);
            let _ = connection.await;
            Ok::<_, tokio_postgres::Error>(messages)
        };
        // On a thread of its own: the caller may be a tokio task, which cannot have a second runtime.
        let messages = thread::scope(|scope| {
            let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            scope.spawn(move || runtime().block_on(run)).join().unwrap()
        });
        let rows =
            messages.map_err(|error| format!("{error:?}"))?.into_iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
                }
                _ => None,
            });
        Ok(rows.collect())
    }

    pub(super) fn socket_url(&self, database: &str) -> String {
        format!("postgresql:///{database}?host={}&port={}&user=postgres", self.dir.display(), self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The guardian alone cleans up, as if the tests had ended.
        self.guardian.begin();
        if let Ok(Some(mut postmaster)) = self.postmaster.lock().map(|mut child| child.take()) {
            let _ = postmaster.wait();
        }
        self.guardian.wait();
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process id"))
}
