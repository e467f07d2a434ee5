//! The real program, run as a person or a script runs it.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Far longer than any run here takes on a busy machine: one that still runs then hangs.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Run {
    /// The exit code; of a run ended by a signal, 128 and the signal's number, as in a shell.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

/// Runs `atelier-etl` to its end.
pub(crate) fn etl<I, S>(args: I) -> Run
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    Etl::new(args).run()
}

/// `atelier-etl`, not started yet. It gets its own working directory, and no environment variable that it reads.
pub(crate) struct Etl {
    command: Command,
    cwd: TempDir,
}

impl Etl {
    pub(crate) fn new<I, S>(args: I) -> Etl
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Self::of(Path::new(env!("CARGO_BIN_EXE_atelier-etl")), args)
    }

    /// The same with another program.
    pub(crate) fn of<I, S>(program: &Path, args: I) -> Etl
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let cwd = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args(args).current_dir(&cwd).stdin(Stdio::null());
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            // A CI system's terminals count as coloured, whatever `TERM` says.
            let colour = ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"].contains(&&*text);
            if text == "DATABASE_URL" || text.starts_with("PG") || text.starts_with("ATELIER_") || colour {
                command.env_remove(&name);
            }
        }
        Etl { command, cwd }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Etl {
        self.command.arg(arg);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Etl {
        self.command.env(name, value);
        self
    }

    /// For other settings.
    pub(crate) fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Where it runs, and so where `rejects` is created. Removed with this value.
    pub(crate) fn cwd(&self) -> &Path {
        self.cwd.path()
    }

    pub(crate) fn run(self) -> Run {
        self.spawn().finish()
    }

    pub(crate) fn spawn(mut self) -> Running {
        let outputs = tempfile::tempdir().unwrap();
        let file = |name| File::create(outputs.path().join(name)).unwrap();
        let begin = Instant::now();
        let child = self.command.stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Running { child, begin, outputs, _cwd: self.cwd }
    }
}

/// `atelier-etl`, running. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    begin: Instant,
    outputs: TempDir,
    _cwd: TempDir,
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Whether it has ended.
    pub(crate) fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Run {
        let begin = Instant::now();
        while !self.ended() {
            assert!(begin.elapsed() < DEADLINE, "atelier-etl hangs; it said: {}", self.output("stderr"));
            thread::sleep(POLL);
        }
        let (status, took) = (self.child.wait().unwrap(), self.begin.elapsed());
        let code = status.code().or(status.signal().map(|signal| 128 + signal));
        Run { code: code.unwrap(), stdout: self.output("stdout"), stderr: self.output("stderr"), took }
    }

    fn output(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.outputs.path().join(name)).unwrap()).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Unless a test failed, it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
