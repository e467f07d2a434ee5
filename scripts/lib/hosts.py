"""The hosts of scripts/cluster. In data/cluster:

image/       the distribution with the packages of all roles
hosts/HOST/  a copy of it, booted
bundle/      the bundle of scripts/package, unpacked: /opt/atelier on the hosts
catalogue/   a and b, two catalogues of `products` products; `loaded` names the published one
settings     of the hosts; secrets/ and the number of standbys beside it
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys

from system import REPO, TARGET, lib, need, run
from systems import RELEASE, Container, copy_system, in_system, make_system

CLUSTER = REPO / "data/cluster"
IMAGE, BUNDLE, LOADED = CLUSTER / "image", CLUSTER / "bundle", CLUSTER / "loaded"
SETTINGS, SECRETS = CLUSTER / "settings", CLUSTER / "secrets"
NETWORK = "/run/netns/atelier-cluster"
CLIENT = ["nsenter", f"--net={NETWORK}"]  # a command of this machine in the network of the hosts
INCOMING = "var/lib/atelier/incoming"
BINDS = {BUNDLE: "/opt/atelier", SETTINGS: "/etc/atelier/settings", SECRETS: "/etc/atelier/secrets"}


class Host(Container):
    def __init__(self, name, address):
        self.name, self.address, self.role = name, address, name.rstrip("0123456789")
        options = ["--network-bridge=hosts", "--capability=CAP_SYS_RESOURCE"]
        options += [f"--bind-ro={source}:{target}" for source, target in BINDS.items()]
        super().__init__(CLUSTER / "hosts" / name, options, CLIENT)

    def boot(self):
        network = self.root / "etc/systemd/network/10-host0.network"
        if not network.exists():
            copy_system(IMAGE, self.root)
            (self.root / "etc/hostname").write_text(f"{self.name}\n")
            (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{self.address} {self.name}\n")
            network.write_text(f"[Match]\nName=host0\n[Network]\nAddress={self.address}/24\n")
        super().boot()


def hosts():
    """By name, in the order in which they depend on each other."""
    standbys = CLUSTER / "standbys"
    databases = 1 + (int(standbys.read_text()) if standbys.exists() else 1)
    addresses = {f"db{number}": f"10.77.0.2{number}" for number in range(1, databases + 1)}
    addresses |= {"app1": "10.77.0.11", "app2": "10.77.0.12", "lb": "10.77.0.10"}
    return {name: Host(name, address) for name, address in addresses.items()}


def make_image():
    """With all packages, because the hosts reach no mirror."""
    make_system(IMAGE, RELEASE, "systemd", "systemd-sysv", "dbus", "iproute2", "ca-certificates")
    for role in ("db", "app", "lb"):
        in_system(IMAGE, "/opt/atelier/scripts/provision", "--packages", role, binds=[(BUNDLE, "/opt/atelier")])
    systemctl = ["systemctl", f"--root={IMAGE}", "--quiet"]
    run(*systemctl, "enable", "systemd-networkd")
    run(*systemctl, "mask", "console-getty.service", "apt-daily.timer", "apt-daily-upgrade.timer")
    run(*systemctl, "disable", "nginx")  # on the load balancer, scripts/provision enables it


def make_network():
    """A bridge in a network namespace of its own, without a route to other networks."""
    run("ip", "netns", "add", "atelier-cluster")
    changes = "link set lo up; link add hosts type bridge; addr add 10.77.0.2/24 dev hosts; link set hosts up"
    for change in changes.split("; "):
        run(*CLIENT, "ip", *change.split())


def write_settings():
    primary, *standbys = (host.address for host in hosts().values() if host.role == "db")
    settings = f"""SUBNET=10.77.0.0/24
LB=10.77.0.10
APPS="10.77.0.11 10.77.0.12"
DB_PRIMARY={primary}
DB_STANDBYS="{" ".join(standbys)}"
DB_MEMORY_MB={lib("clamp $(($(memory_mb) / 4)) 512 8192").strip()}
CLIENT_RATE=100000
CLIENT_BURST=10000
CACHE_CONTROL="public, max-age=5, stale-while-revalidate=600, stale-if-error=86400"
"""
    SETTINGS.write_text(settings)
    here = CLUSTER / "settings.here"
    here.write_text(f"{settings}SECRETS={SECRETS}\n")
    SECRETS.mkdir(exist_ok=True)
    (SECRETS / "server.password").write_text(":p's\\s :w\n")  # has to be quoted in SQL and in password files
    run(REPO / "scripts/provision", "--settings", here, "secrets")


def make_catalogues(products):
    file = CLUSTER / "products"
    if file.exists() and int(file.read_text()) == products:
        return
    shutil.rmtree(CLUSTER / "catalogue", ignore_errors=True)
    LOADED.unlink(missing_ok=True)
    for seed, name in enumerate("ab", 10):
        options = ["--out", CLUSTER / "catalogue" / name, "--products", products, "--seed", seed, "--defects", "legacy"]
        run(TARGET / "release/atelier-etl", "generate", *options)
    file.write_text(f"{products}\n")


def published():
    """The Unix time at which the published load ended; 0 if there is none."""
    query = ["psql", "-XAtd", "atelier", "-c", "select extract(epoch from finished_at) from atelier.load"]
    result = hosts()["db1"].result(*query, user="postgres")
    return 0 if result.returncode else float(result.stdout)


def load(catalogue):
    """Loads a or b as an operator does, and waits until it is published. Gives the time."""
    primary, before = hosts()["db1"], published()
    for file in (CLUSTER / "catalogue" / catalogue).glob("*.csv"):
        shutil.copy(file, primary.root / INCOMING)
    primary.run("touch", f"/{INCOMING}/complete")

    def is_published():
        assert primary.fails("systemctl", "is-failed", "--quiet", "atelier-load"), primary.journal("atelier-load")
        return published() != before

    primary.wait(is_published, seconds=3600)
    LOADED.write_text(f"{catalogue}\n")
    return published()


def up(*options):
    parser = argparse.ArgumentParser(prog="scripts/cluster up")
    parser.add_argument("--products", type=int, default=20_000)
    parser.add_argument("--standbys", type=int, default=1, choices=range(1, 9))
    options = parser.parse_args(options)
    is_up = hosts()["db1"].init()
    if is_up and len(hosts()) != options.standbys + 4:
        sys.exit(f"error: other hosts are up: {' '.join(hosts())}\n  hint: scripts/cluster down, then run this again")
    need("ip", "iproute2")
    (BUNDLE / "data").mkdir(parents=True, exist_ok=True)
    (CLUSTER / "standbys").write_text(f"{options.standbys}\n")
    run(REPO / "scripts/package")
    shutil.rmtree(BUNDLE / "packages", ignore_errors=True)
    run("tar", "-xzf", *(TARGET / "debian").glob("atelier-provision_*.tar.gz"), "-C", BUNDLE)
    if not is_up:
        make_image()
    if not os.path.exists(NETWORK):
        make_network()
    write_settings()
    make_catalogues(options.products)
    for name, host in hosts().items():
        print(f"==> {name}, {host.address}")
        host.boot()
        if name == "app1" and not (LOADED.exists() and published()):
            print(f"==> Loading {options.products} products: six files to db1:/{INCOMING}, then the marker")
            load("a")
        subprocess.run(host.command("/opt/atelier/scripts/provision", host.role), check=True)
    print("==> Up: scripts/cluster on client curl -i http://10.77.0.10/products/1")


def status():
    for name, host in hosts().items():
        state = host.result("systemctl", "is-system-running").stdout.strip() if host.init() else "down"
        print(f"{name:5} {host.address:11} {state}")


def down():
    for host in hosts().values():
        host.kill()
    shutil.rmtree(CLUSTER / "hosts", ignore_errors=True)
    with contextlib.suppress(subprocess.CalledProcessError):
        run("ip", "netns", "del", "atelier-cluster", stderr=subprocess.DEVNULL)


def on(host, *command):
    prefix = CLIENT if host == "client" else hosts()[host].command()
    words = [*prefix, *(command or ["bash", "-l"])]
    os.execvp(words[0], words)


def main(command, *arguments):
    commands = {"up": up, "status": status, "down": down, "on": on, "load": load}
    commands |= {"kill": lambda host: hosts()[host].kill(), "boot": lambda host: hosts()[host].boot()}
    try:
        commands[command](*arguments)
    except KeyError as error:
        sys.exit(f"error: there is no host {error}")
    except (AssertionError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    main(*sys.argv[1:])
