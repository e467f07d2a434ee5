"""Fresh systems in directories (scripts/lib/image.sh), and containers that are booted from them."""

import platform
import shutil
import subprocess
import time
from pathlib import Path

from system import REPO, lib, need, run

RELEASE = platform.freedesktop_os_release()["VERSION_CODENAME"]


def new_system(root, release, *packages):
    """A minimal system of this release with these packages, copied from an image that is made once."""
    image = REPO / "data/images" / "-".join([release, *packages])
    complete = Path(f"{image}.complete")
    if not complete.exists():
        lib('source scripts/lib/image.sh; make_image --release "$@"', release, image, *packages)
        complete.touch()
    root.parent.mkdir(parents=True, exist_ok=True)
    run("cp", "--archive", "--reflink=auto", image, root)
    return root


def in_system(root, *command, binds=()):
    """Runs a command in a system that is not booted. `binds` are (directory of this machine, directory there)."""
    pairs = " ".join(f"{source}:{target}" for source, target in binds)
    return lib('source scripts/lib/image.sh; BINDS=($1); shift; in_image "$@"', pairs, root, *command)


def copy_checkout(to):
    """Copies the files of the checkout as they are now, without those that git ignores."""
    for name in run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=REPO).split("\0"):
        if (REPO / name).is_file():
            copy = to / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, copy)


class Container:
    """A system that is booted, without a network. Powered off at the end of the block."""

    def __init__(self, root):
        self.root = root
        need("systemd-nspawn", "systemd-container")
        (root / "usr/sbin/policy-rc.d").unlink()  # services are started here
        command = "systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --console=read-only"
        self.console = open(f"{root}.console", "w+")
        options = {"stdin": subprocess.DEVNULL, "stdout": self.console, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen([*command.split(), f"--directory={root}"], **options)

    def __enter__(self):
        self.wait(lambda: self.outcome("systemctl", "is-system-running")[1] in ("running", "degraded"))
        return self

    def __exit__(self, *_):
        self.outcome("systemctl", "poweroff")
        self.process.wait()
        shutil.rmtree(self.root)

    def outcome(self, *command, user="root"):
        """The exit code and output of a command."""
        pid = self.process.pid
        init = Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()
        if not init:
            return 1, Path(self.console.name).read_text()
        enter = ["nsenter", f"--target={init}", "--all", "--root", "--wd", "env", "-i", "PATH=/usr/sbin:/usr/bin"]
        enter += ["LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "runuser", "-u", user, "--"]
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run([*enter, *map(str, command)], **options)
        return done.returncode, done.stdout.strip()

    def run(self, *command, **options):
        """The output of a command that must succeed."""
        code, output = self.outcome(*command, **options)
        assert code == 0, f"exit code {code}: {' '.join(map(str, command))}\n{output}\n{self.journal()}"
        return output

    def fails(self, *command, **options):
        return self.outcome(*command, **options)[0] != 0

    def journal(self, unit="atelier-*"):
        return self.outcome("journalctl", "--no-pager", "--quiet", "--output=cat", "--unit", unit)[1]

    def show(self, unit, *properties):
        return [self.run("systemctl", "show", "--property", name, "--value", unit) for name in properties]

    def wait(self, condition, seconds=60):
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit and self.process.poll() is None, f"not within {seconds} s\n{self.journal()}"
            time.sleep(0.1)
