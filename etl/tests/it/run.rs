//! The real program, run as a person or a script runs it.

use std::env;
use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `atelier-etl` to its end, in a working directory of its own and with nothing in the environment that it
/// would listen to.
pub(crate) fn etl<I, S>(args: I) -> Run
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let cwd = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_atelier-etl"));
    command.args(args).current_dir(&cwd).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text == "DATABASE_URL" || text.starts_with("PG") || text.starts_with("ATELIER_") {
            command.env_remove(&name);
        }
    }
    let output = command.output().unwrap();
    Run {
        code: output.status.code().expect("no signal ended it"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
