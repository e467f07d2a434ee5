"""The real components that tests/ and bench/ start: databases in the private PostgreSQL, the loader, and servers.

Needs the standard library alone. Programs are those of the profile that PROFILE names: dev's, or release's.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

REPO = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target"))
PROGRAMS = TARGET / os.environ.get("PROFILE", "debug")
ETL, SERVER = PROGRAMS / "atelier-etl", PROGRAMS / "atelier-server"
READY_SECONDS = 60

# Settings of whoever runs this are not what is tested. A proxy is for downloads, not for servers of this machine.
for name in [*os.environ]:
    if name.startswith(("ATELIER_", "PG")) or name == "DATABASE_URL":
        del os.environ[name]
os.environ["no_proxy"] = "127.0.0.1,localhost"


def run(*command, **options):
    """The standard output of a command. What it said is printed if it fails."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, **options)
    if done.returncode:
        sys.stdout.write(done.stdout)
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout)
    return done.stdout


def lib(script, *arguments, **options):
    """The standard output of a script that may call the functions of scripts/lib/common.sh."""
    source = f"source {REPO}/scripts/lib/common.sh; {script}"
    return run("bash", "-euo", "pipefail", "-c", source, "lib", *arguments, cwd=REPO, **options)


class Database:
    """A new database of the private PostgreSQL, which is started if need be. Dropped at the end of the block."""

    def __init__(self, name):
        self.name = name
        address, programs = lib('pg_start 2>/dev/null; cat "$PG_URL_FILE"; printf "%s\\n" "$PG_BIN"').split()
        self.programs = Path(programs)
        self.server_url = urlsplit(address)
        self.url = self.server_url._replace(path=f"/{name}").geturl()

    def __enter__(self):
        self.__exit__()
        self.psql("-c", f"create database {self.name}", url=self.server_url.geturl())
        return self

    def __exit__(self, *_):
        self.psql("-c", f"drop database if exists {self.name} with (force)", url=self.server_url.geturl())

    def psql(self, *options, url=None, **more):
        """psql's output, unaligned and without headers."""
        environment = dict(os.environ, PGOPTIONS="-c client_min_messages=warning")
        command = [self.programs / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", url or self.url, *options]
        return run(*command, env=environment, **more).removesuffix("\n")

    def query(self, statement):
        return self.psql("-c", statement)

    def load(self, data, *options):
        """Publishes the files of a directory. The loader's words are printed if it fails."""
        with tempfile.TemporaryDirectory() as rejects:
            command = ["load", "--data", data, "--rejects", rejects, "--progress", "none", *options]
            run(ETL, *command, env=dict(os.environ, DATABASE_URL=self.url), stderr=subprocess.STDOUT)


def generate(directory, products, *options):
    """Makes a catalogue, unless it is there."""
    if not (Path(directory) / "manifest.json").exists():  # written last
        command = [ETL, "generate", "--out", directory, "--products", products, "--seed", 1, *options]
        run(*command, stderr=subprocess.STDOUT)
    return Path(directory)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Server:
    """atelier-server on ports of its own. `start` returns when it is ready; a `with` block stops it at its end."""

    def __init__(self, database_url, *options):
        self.address, self.admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.url, self.admin_url = f"http://{self.address}", f"http://{self.admin}"
        self.command = [SERVER, "--listen", self.address, "--admin-listen", self.admin, *options]
        self.environment = dict(os.environ, DATABASE_URL=database_url)
        self.log = tempfile.TemporaryFile("a+", errors="replace")  # appended to, so that reading moves nothing

    def start(self):
        command = [str(word) for word in self.command]
        self.process = subprocess.Popen(command, stderr=self.log, env=self.environment)
        limit = time.monotonic() + READY_SECONDS
        while status(f"{self.admin_url}/readyz") != 200:
            if self.process.poll() is not None or time.monotonic() > limit:
                self.stop()
                raise AssertionError(f"atelier-server is not ready: {self.log_text()}")
            time.sleep(0.05)
        return self

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def log_text(self):
        """What it has logged."""
        self.log.seek(0)
        return self.log.read()

    def metric(self, name):
        """The sum of a metric over its labels."""
        with urllib.request.urlopen(f"{self.admin_url}/metrics") as answer:
            text = answer.read().decode()
        return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.M))

    def resident(self, field="VmRSS"):
        """Bytes of memory, or with VmHWM the most there were."""
        of_process = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{field}:\s+(\d+) kB", of_process, re.M)[1]) * 1024

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def status(url):
    """The status of a response; 0 if there is none."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def need(program, *packages):
    """Installs Debian packages unless the program is there. Gives its path."""
    return lib('PATH=$PATH:/usr/sbin:/sbin; need "$@"; command -v "$1"', program, *packages).strip()
