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
    """A system that is booted, without a network. Removed at the end of the block."""

    def __init__(self, root):
        need("systemd-nspawn", "systemd-container")
        (root / "usr/sbin/policy-rc.d").unlink()  # services are started here
        options = "--quiet --boot --register=no --keep-unit --private-network --console=read-only"
        self.root, command = root, ["systemd-nspawn", *options.split(), f"--directory={root}"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def __enter__(self):
        try:
            self.wait(lambda: self.result("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"))
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *_):
        self.result("systemctl", "poweroff", "--force", "--force")
        self.process.wait()
        shutil.rmtree(self.root)

    def result(self, *command, user="root"):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        init = children.read_text().strip() if self.process.poll() is None else ""
        if not init:
            return subprocess.CompletedProcess(command, 1, "does not run")
        enter = ["nsenter", f"--target={init}", "--all", "--root", "--wd", "env", "-i", "PATH=/usr/sbin:/usr/bin"]
        enter += ["LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "runuser", "-u", user, "--"]
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.run([*enter, *map(str, command)], check=False, **options)

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
            assert time.monotonic() < limit and self.process.poll() is None, f"not within {seconds} s: {self.journal()}"
            time.sleep(0.1)
