//! PostgreSQL for the tests: real servers that start and stop by themselves, and leave nothing behind however
//! the tests end. Needs the installed programs (`scripts/test` sees to that), no network, and works as root.
//!
//! Our own, since pgtemp 0.7 needs sudo to run as root, cannot start a server again, and cleans up in `Drop`
//! alone, which Ctrl-C, `kill -9` and statics never reach; postgresql_embedded 0.22 downloads its server
//! and does not change accounts.
//!
//! Most tests want `Server::shared().database()`: a fresh database on one server for all. Those that stop,
//! kill or fill their server start one of their own.
//!
//! Linux only: processes are found in `/proc`.

mod database;
mod pooler;
mod programs;

pub use database::Database;
pub use pooler::Pooler;

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use std::{env, iter, process, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::Certificates;
use programs::{find_programs, server_account};

/// Far beyond what anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Rows as text, null as `None`.
pub type Rows = Vec<Vec<Option<String>>>;

/// Outlives the tests and cleans up after them. Its standard input is a pipe that nobody but the test process
/// can write to, so that `read` returns when that process is gone, whatever ended it.
///
/// A server is recognised by its working directory, as the process id in the file may be another process's
/// after a crash. Tried again, as a server or initdb may be starting while the tests are killed.
const GUARDIAN: &str = r#"
    trap '' INT TERM HUP
    read -r _
    dir=$1 data=$2
    for try in $(seq 200); do
        pid=$(head -n 1 "$data/postmaster.pid")
        if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$data" ]; then
            kill -QUIT "$pid"
        elif rm -rf "$data" "$dir"; then
            exit
        fi
        sleep 0.05
    done
"#;

/// A PostgreSQL server with its own directory, port and password. Dropping it stops it and removes all of it.
pub struct Server {
    /// Holds certificates, the log and the Unix socket.
    dir: PathBuf,
    data: PathBuf,
    bin: PathBuf,
    account: Option<User>,
    settings: Vec<(String, String)>,
    port: u16,
    password: String,
    postmaster: Mutex<Option<Child>>,
    guardian: Child,
}

impl Server {
    /// The server for all tests of this process, started on first use. It must not be stopped, nor its
    /// settings changed.
    pub fn shared() -> &'static Server {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Server::start(&[]))
    }

    /// A server of one's own, with `settings` over those of the harness.
    pub fn start(settings: &[(&str, &str)]) -> Server {
        Self::create(None, settings)
    }

    /// The same with the database's files in a new directory within `place`, a small file system for example.
    pub fn start_in(place: &Path, settings: &[(&str, &str)]) -> Server {
        Self::create(Some(place), settings)
    }

    fn create(place: Option<&Path>, settings: &[(&str, &str)]) -> Server {
        let account = Uid::effective().is_root().then(server_account);
        // A Unix socket's path holds 107 characters, so a deep TMPDIR will not do.
        let temp = Some(env::temp_dir()).filter(|path| path.as_os_str().len() < 60);
        let dir =
            tempfile::Builder::new().prefix("atelier-pg-").tempdir_in(temp.unwrap_or("/tmp".into())).unwrap();
        let dir = dir.keep().canonicalize().unwrap();
        let data = place.map_or(dir.clone(), |place| place.canonicalize().unwrap()).join("data");
        let guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian"])
            .args([&dir, &data])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Neither a terminal's Ctrl-C nor a test runner's kill is for it, and no mount is held by it.
            .process_group(0)
            .current_dir("/")
            .spawn()
            .expect("sh starts");
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
                // Another process can take the port between the look and the start.
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

    /// With these the server shows who it is.
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
            // The tests kill servers, never the machine.
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
                // Still alive past the deadline: it must not outlive this report.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{}\n{error}", self.log_tail()));
            }
            thread::sleep(POLL);
        }
        *self.postmaster.lock().unwrap() = Some(child);
        Ok(())
    }

    /// Stops the server as an administrator would: sessions are ended, everything is written out.
    pub fn stop(&self) {
        let mut child = self.postmaster.lock().unwrap().take().expect("the server runs");
        kill(pid(&child), Signal::SIGINT).unwrap();
        child.wait().unwrap();
    }

    /// Kills the server and every process of it at once, as a power cut would.
    pub fn kill(&self) {
        let mut child = self.postmaster.lock().unwrap().take().expect("the server runs");
        // Stopped, it starts no further process while the list is made.
        kill(pid(&child), Signal::SIGSTOP).unwrap();
        for process in self.processes() {
            // It may have ended by itself.
            let _ = kill(process, Signal::SIGKILL);
        }
        child.wait().unwrap();
        // Whoever still holds its shared memory keeps the next server from starting.
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

    /// A fresh, empty database.
    pub fn database(&self) -> Database<'_> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        Database { server: self, name }
    }

    /// A role that may connect and nothing more. Roles belong to the whole server: on the shared one, each test
    /// needs a name of its own.
    pub fn create_role(&self, name: &str, password: &str) {
        self.execute(&format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'"));
    }

    /// The certificate that [`Database::tls_url`] is to be verified against, as a PEM file.
    pub fn ca_certificate(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// Where the server's files are: removed with it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where PostgreSQL's programs are, `psql` among them.
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

    /// Runs statements in the database `postgres`, as superuser; for what belongs to the whole server.
    pub fn execute(&self, sql: &str) {
        if let Err(error) = self.run("postgres", sql) {
            panic!("{sql}: {error}\nthe server's log ends:\n{}", self.log_tail());
        }
    }

    fn run(&self, database: &str, sql: &str) -> Result<Rows, String> {
        let url = self.socket_url(database);
        let run = async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
            let connection = tokio::spawn(connection);
            let messages = client.simple_query(sql).await?;
            // Until the server has heard of it, the database would still be in use.
            drop(client);
            let _ = connection.await;
            Ok::<_, tokio_postgres::Error>(messages)
        };
        // On a thread of its own: the caller may be a tokio task, which cannot hold a second runtime.
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

    fn socket_url(&self, database: &str) -> String {
        format!("postgresql:///{database}?host={}&port={}&user=postgres", self.dir.display(), self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One place cleans up: the guardian, as if the tests had ended.
        drop(self.guardian.stdin.take());
        if let Ok(Some(mut postmaster)) = self.postmaster.lock().map(|mut child| child.take()) {
            let _ = postmaster.wait();
        }
        let _ = self.guardian.wait();
    }
}

/// Waits for what is bound to happen; panics with `what` if it does not within a minute.
pub fn until(what: &str, mut happens: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !happens() {
        assert!(begin.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(POLL);
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process id"))
}

/// A port of 127.0.0.1 that nobody uses, below the range from which Linux takes ports for outgoing connections:
/// a server that is stopped for a while finds its port free again. Test processes begin apart from each other.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = process::id().wrapping_mul(101);
    iter::repeat_with(|| 20_000 + (first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000) as u16)
        .take(12_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
