//! The real program, started for a test and stopped at its end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use atelier_testing::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::client::get;

/// Far longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The address of a server at a Unix socket.
pub(crate) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// `atelier-server`, running on ports of its own. Dropped, it is killed.
pub(crate) struct Server {
    child: Child,
    /// The API; [`NOWHERE`] if it is at a Unix socket.
    pub(crate) public: SocketAddr,
    /// The admin port; the same.
    pub(crate) admin: SocketAddr,
    log: Arc<Mutex<String>>,
}

/// The program without variables that it reads, and with unused ports.
pub(crate) fn command(database_url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atelier-server"));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text == "DATABASE_URL"
            || text == "RUST_LOG"
            || text == "NOTIFY_SOCKET"
            || text == "CLICOLOR_FORCE"
            || text.starts_with("PG")
            || text.starts_with("ATELIER_")
            || text.starts_with("LISTEN_")
        {
            command.env_remove(&name);
        }
    }
    command
        .env("DATABASE_URL", database_url)
        .envs([
            ("ATELIER_LISTEN", "127.0.0.1:0"),
            ("ATELIER_ADMIN_LISTEN", "127.0.0.1:0"),
            ("ATELIER_LOG_FORMAT", "json"),
            ("ATELIER_THREADS", "2"),
        ])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Runs the program when it is expected to fail: its exit code and output.
pub(crate) fn refuses(database_url: &str, arguments: &[&str]) -> (i32, String) {
    refused(command(database_url, arguments))
}

/// The same with another command.
pub(crate) fn refused(mut command: Command) -> (i32, String) {
    let mut child = command.spawn().unwrap();
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > DEADLINE {
            let _ = child.kill();
            panic!("it serves although it should fail");
        }
        thread::sleep(Duration::from_millis(10));
    };
    let mut output = String::new();
    child.stderr.take().unwrap().read_to_string(&mut output).unwrap();
    (status.code().unwrap_or(-1), output)
}

impl Server {
    /// Starts it and waits until it listens; `arguments` override the environment of the harness.
    pub(crate) fn start(database_url: &str, arguments: &[&str]) -> Server {
        Server::spawn(command(database_url, arguments))
    }

    /// The same, with more in the environment.
    pub(crate) fn start_with(database_url: &str, environment: &[(&str, &str)]) -> Server {
        let mut command = command(database_url, &[]);
        command.envs(environment.iter().copied());
        Server::spawn(command)
    }

    /// The same with `NOTIFY_SOCKET`, like systemd.
    pub(crate) fn start_notifying(socket: &Path, database_url: &str, arguments: &[&str]) -> Server {
        let mut command = command(database_url, arguments);
        command.env("NOTIFY_SOCKET", socket);
        Server::spawn(command)
    }

    /// The same with another command.
    pub(crate) fn spawn(mut command: Command) -> Server {
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let lines = follow(&mut child, Arc::clone(&log));
        let listening = loop {
            let line = lines.recv_timeout(DEADLINE).unwrap_or_else(|_| {
                panic!("atelier-server does not listen; its output:\n{}", log.lock().unwrap())
            });
            if let Ok(line) = serde_json::from_str::<Value>(&line)
                && line["message"] == "listening"
            {
                break line;
            }
        };
        let address = |name: &str| {
            let address = listening[name].as_str().unwrap();
            if address.starts_with("unix:") { NOWHERE } else { address.parse().unwrap() }
        };
        Server { public: address("address"), admin: address("admin"), child, log }
    }

    /// The log so far: one JSON object a line.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The log, which can be read after its end.
    pub(crate) fn follow_log(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.log)
    }

    /// The value of a metric, named with its labels if it has any.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = get(self.admin, "/metrics").text().to_owned();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} is not in\n{text}"))
    }

    /// Whether `/readyz` answers 200.
    pub(crate) fn is_ready(&self) -> bool {
        get(self.admin, "/readyz").status == 200
    }

    /// In bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        until("atelier-server ends", || !self.runs());
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("output of atelier-server:\n{}", self.log());
        }
    }
}

/// Reads the log as long as it runs: a full pipe would block it.
fn follow(child: &mut Child, log: Arc<Mutex<String>>) -> Receiver<String> {
    let (sender, lines) = channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            log.lock().unwrap().push_str(&format!("{line}\n"));
            let _ = sender.send(line); // the receiver is dropped once the server listens
        }
    });
    lines
}
