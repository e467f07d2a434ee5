"""The README's two commands on fresh systems, as root and as a user who may sudo.

The systems have this machine's Rust, downloaded crates and network. Everything is compiled in them. The system of a
test that failed is kept in data/fresh.
"""

import os
import platform
import shutil
from pathlib import Path

import pytest
from system import REPO, lib, run
from systems import copy_checkout, in_system, new_system

COMMANDS = {
    "demo": ["scripts/demo", "curl -s http://127.0.0.1:3000/products/1/styles", "scripts/demo --stop"],
    "test": ["scripts/test"],
}


def prepare(root, user, address, admin):
    """Adds the user, their environment, and the checkout in ~/atelier."""
    if user != "root":
        in_system(root, "useradd", "--create-home", "--shell", "/bin/bash", user)
        (root / "etc/sudoers.d" / user).write_text(f"{user} ALL=(ALL) NOPASSWD: ALL\n")
    home = Path("/root" if user == "root" else f"/home/{user}")
    variables = f"PATH=/opt/rust/bin:$PATH CARGO_HOME=/opt/cargo ATELIER_LISTEN={address} ATELIER_ADMIN_LISTEN={admin}"
    (root / "etc/profile.d/fresh.sh").write_text(f"export {variables}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {root.name} {platform.node()}\n")
    copy_checkout(root / home.relative_to("/") / "atelier")
    registry = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")) / "registry"
    for part in ("index", "cache"):
        shutil.copytree(registry / part, root / "opt/cargo/registry" / part)
    in_system(root, "chown", "-R", f"{user}:", home, "/opt/cargo")


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("user", ["root", "ann"])
@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_command_of_the_readme(root, release, user, command):
    system = REPO / f"data/fresh/{release}-{user}-{command}"
    new_system(system, release, "ca-certificates", "sudo")
    address, admin = (f"127.0.0.1:{port}" for port in lib("pick_port; pick_port").split())  # others may be in use
    prepare(system, user, address, admin)
    readme = (REPO / "README.md").read_text()
    script = "set -eux; cd ~/atelier\n"
    for line in COMMANDS[command]:
        assert line in readme
        script += line.replace("127.0.0.1:3000", address).replace("curl -s", "curl -sf") + "\n"
    (system / "commands").write_text(script)
    rust = run("rustc", "--print", "sysroot", cwd=REPO).strip()
    print(in_system(system, "runuser", "-l", user, "-c", "bash /commands", binds=[(rust, "/opt/rust")]))
    shutil.rmtree(system)
