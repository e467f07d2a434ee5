//! A process that outlives the tests and cleans up after them.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Its standard input is a pipe to which only the test process can write, so that `read` returns when that process has
/// ended, for whatever reason.
///
/// A server is recognised by its working directory, as the process id in the file may be another process's after a
/// crash. Tried again, as a server or initdb may be starting while the tests are killed.
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

/// Removes a server and its directories when the tests have ended, or when it is told to.
pub(super) struct Guardian(Child);

impl Guardian {
    pub(super) fn start(dir: &Path, data: &Path) -> Guardian {
        let guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian"])
            .args([dir, data])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Neither a terminal's Ctrl-C nor a test runner's kill reaches it, and it holds no mount.
            .process_group(0)
            .current_dir("/")
            .spawn();
        Guardian(guardian.expect("sh starts"))
    }

    pub(super) fn begin(&mut self) {
        drop(self.0.stdin.take());
    }

    pub(super) fn wait(&mut self) {
        let _ = self.0.wait();
    }
}
