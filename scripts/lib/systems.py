"""Debian and Ubuntu systems in directories, for tests and scripts/cluster: made by mmdebstrap, run by systemd-nspawn."""

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import time
from pathlib import Path

from system import REPO, need, run

RELEASE = platform.freedesktop_os_release()["VERSION_CODENAME"]
NSPAWN = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--timezone=off"]
VARIABLES = ["PATH=/usr/sbin:/usr/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]

# A container has a cgroup of its own in each hierarchy: in one that they share, each would remove the others' services.
BOOT = """for top in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
        if [ -e "$top/cgroup.procs" ]; then mkdir -p "$top/$0" && echo $$ >"$top/$0/cgroup.procs"; fi
    done
    console=$1
    shift
    setsid "$@" </dev/null >"$console" 2>&1 &
    echo $!"""


def make_system(root, release, *packages):
    """Makes a minimal system with these packages, unless it is there. Services are not started in it by installing them."""
    complete = Path(f"{root}.complete")
    if complete.exists():
        return
    need("mmdebstrap", "mmdebstrap")
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    include = [f"--include={','.join(packages)}"] if packages else []
    run("mmdebstrap", "--variant=minbase", *include, release, root, stderr=subprocess.STDOUT)
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    complete.touch()


def copy_system(image, root):
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    run("cp", "--archive", "--reflink=auto", image, root)


def new_system(root, release, *packages):
    """A minimal system with these packages, copied from an image that is made once."""
    image = REPO / "data/images" / "-".join([release, *packages])
    make_system(image, release, *packages)
    copy_system(image, root)
    return root


def in_system(root, *command, binds=()):
    """Runs a command in a system that is not booted, on this machine's network. When it ends, processes that it has started
    are killed. `binds` are (directory of this machine, directory there), read-only there."""
    need("systemd-nspawn", "systemd-container")
    options = ["--as-pid2", "--pipe", "--resolv-conf=copy-host", "--setenv=LC_ALL=C.UTF-8", f"--directory={root}"]
    options += [f"--bind-ro={source}:{target}" for source, target in binds]
    if proxy := os.environ.get("http_proxy"):
        options.append(f"--setenv=http_proxy={proxy}")
    return run(*NSPAWN, *options, *command)


def copy_checkout(to):
    """Copies the files of the checkout as they are now, without those that git ignores."""
    for name in run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=REPO).split("\0"):
        if (REPO / name).is_file():
            copy = to / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, copy)


class Container:
    """A system that is booted. It outlives this process."""

    def __init__(self, root, options=("--private-network",), prefix=()):
        self.root, self.console = root, Path(f"{root}.console")
        self.pid_file = Path(f"{root}.pid")
        options = ["--boot", "--console=read-only", "--resolv-conf=off", "--link-journal=no", *options]
        self.nspawn = [*prefix, *NSPAWN, *options, f"--directory={root}"]

    def boot(self):
        """Returns when it is up."""
        if self.init():
            return
        need("systemd-nspawn", "systemd-container")
        (self.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)  # services are started here
        pid = run("sh", "-euc", BOOT, f"atelier-{self.root.name}", self.console, *self.nspawn)
        self.pid_file.write_text(pid.strip())
        self.wait(lambda: self.result("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"))

    def kill(self):
        """Ends all its processes at the same moment, as when its power is cut."""
        if init := self.init():
            os.kill(int(init), signal.SIGKILL)
            while Path(f"/proc/{self.pid_file.read_text()}/exe").exists():
                time.sleep(0.05)

    def close(self):
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def init(self):
        """The process id of its first process, which is the only child of systemd-nspawn; None if it is down."""
        with contextlib.suppress(OSError, IndexError):
            pid = self.pid_file.read_text()
            if Path(f"/proc/{pid}/comm").read_text() == "systemd-nspawn\n":  # after a reboot, it may be another's
                return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        return None

    def command(self, *command, user="root"):
        """The words of a command of this machine that runs a command there. It fails if the container is down."""
        enter = ["nsenter", f"--target={self.init() or 'down'}", "--all", "--root", "--wd", "env", "-i", *VARIABLES]
        return [*enter, f"TERM={os.environ.get('TERM', 'dumb')}", "runuser", "-u", user, "--", *command]

    def result(self, *command, user="root"):
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.run(self.command(*map(str, command), user=user), check=False, **options)

    def run(self, *command, user="root"):
        """The output of a command that must succeed."""
        result = self.result(*command, user=user)
        assert result.returncode == 0, f"{command}: {result.stdout}\n{self.journal()}"
        return result.stdout.strip()

    def fails(self, *command, user="root"):
        return self.result(*command, user=user).returncode != 0

    def journal(self, unit="atelier-*"):
        return self.result("journalctl", "--no-pager", "--quiet", "--output=cat", "--unit", unit).stdout

    def show(self, unit, *properties):
        return " ".join(self.run("systemctl", "show", "--property", name, "--value", unit) for name in properties)

    def wait(self, condition, seconds=60):
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, f"not within {seconds} s: {self.journal()}\nsee {self.console}"
            time.sleep(0.1)
