"""Faults on the hosts of scripts/cluster, which are booted if they are down. docs/cluster.md explains the rows."""

import concurrent.futures
import contextlib
import ctypes
import hashlib
import http.client
import itertools
import json
import os
import ssl
import threading
import time
from pathlib import Path

import pytest
from oha import need_oha, request_rate
from system import REPO, run

pytestmark = pytest.mark.slow

CLUSTER = REPO / "data/cluster"
NETWORK = "/run/netns/atelier-cluster"
LOAD_BALANCER = "http://10.77.0.10"
SERVERS = {"lb": LOAD_BALANCER, "app1": "https://10.77.0.11:3000", "app2": "https://10.77.0.12:3000"}
CACHE_SECONDS = 5  # of nginx, by CACHE_CONTROL
RATE = 1000
SECONDS_BEFORE = 4  # of load before the fault
ROLES = {"db1": "db", "db2": "db", "app1": "app", "app2": "app", "lb": "lb"}


def cluster(*arguments, **options):
    return run("scripts/cluster", *arguments, **options)


def on(host, *command, **options):
    return cluster("on", host, *command, **options).strip()


@pytest.fixture(scope="module", autouse=True)
def hosts(root, request):
    need_oha()
    status = cluster("status").splitlines()
    if any(line.endswith("down") for line in status):
        cluster("up")
    columns = "fault", "requests", "late", "failed", "p50 ms", "p99 ms", "gap ms"
    request.config.get_terminal_writer().line("\n{:36} {:>8} {:>7} {:>7} {:>8} {:>8} {:>8}".format(*columns))
    yield
    if all(line.endswith("down") for line in status):
        cluster("down")


# --- load -------------------------------------------------------------------------------------------------------------


def random_styles():
    return [f"{LOAD_BALANCER}/products/{product}/styles" for product in range(1, int((CLUSTER / "products").read_text()) + 1)]


@pytest.fixture
def load(request):
    """A block under load, which begins some seconds before the block. Prints a row. The figures are there after the block."""

    @contextlib.contextmanager
    def block(what, seconds, urls=None):
        figures = {}
        with concurrent.futures.ThreadPoolExecutor() as pool:
            options = {"connections": 512, "prefix": ["nsenter", f"--net={NETWORK}"]}
            requests = pool.submit(request_rate, urls or random_styles(), RATE, seconds, **options)
            time.sleep(SECONDS_BEFORE)
            yield figures
            figures.update(requests.result())
        row = "{requests:8} {dropped:7} {failed:7} {p50:8.1f} {p99:8.1f} {gap:8.0f}".format(**figures)
        request.config.get_terminal_writer().line(f"{what:36} {row}")
        assert figures["requests"] >= 0.95 * RATE * seconds
        assert figures["gap"] <= 2000

    return block


def unit(host):
    return on(host, "systemctl", "list-units", "--all", "--plain", "--no-legend", "postgresql@*").split()[0]


def stop_databases(hosts, seconds):
    units = {host: unit(host) for host in hosts}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: on(host, "systemctl", "stop", units[host]), hosts))
        for host in hosts:
            assert on(host, "systemctl", "show", "-P", "ActiveState", units[host]) == "inactive"
        time.sleep(seconds)
        list(pool.map(lambda host: on(host, "systemctl", "start", units[host]), hosts))


# --- faults -----------------------------------------------------------------------------------------------------------


def test_none(load):
    with load("no fault", 12) as figures:
        pass
    assert figures["failed"] == 0


def test_app_killed(load):
    with load("an app host killed, brought back", 25) as figures:
        cluster("kill", "app1")
        time.sleep(4)
        cluster("boot", "app1")
        assert on("app1", "systemctl", "is-active", "atelier-server") == "active"
    assert figures["failed"] == 0


def test_rolling_restart(load):
    with load("rolling restart of both app hosts", 20) as figures:
        for host in ("app1", "app2"):
            before = on(host, "systemctl", "show", "-P", "MainPID", "atelier-server")
            on(host, "systemctl", "restart", "atelier-server")  # returns when it is ready
            assert on(host, "systemctl", "show", "-P", "MainPID", "atelier-server") != before
    assert figures["failed"] == 0


def test_primary_stopped(load):
    with load("primary stopped for 8 s", 20) as figures:
        stop_databases(["db1"], 8)
    assert figures["failed"] == 0


def test_standby_stopped(load):
    with load("standby stopped for 8 s", 20) as figures:
        stop_databases(["db2"], 8)
    assert figures["failed"] == 0


def test_databases_stopped(load):
    products = int((CLUSTER / "products").read_text())
    pages = [f"{LOAD_BALANCER}/products?page={page}&count={count}" for count in (3, 4, 5) for page in range(1, products // 5)]
    cached = [f"{LOAD_BALANCER}/products/{product}/styles" for product in range(1, 21)]
    urls = {"cached": cached * (len(pages) // len(cached)), "uncached": pages}  # half of the requests each
    databases = [line.split()[0] for line in cluster("status").splitlines() if line.startswith("db")]
    with load("all databases stopped for 10 s", 30, urls) as figures:
        stop_databases(databases, 10)
    assert figures["errors"] == {}
    assert figures["groups"]["cached"]["failed"] == 0
    uncached = figures["groups"]["uncached"]
    assert uncached["failed"] > 0
    assert set(uncached["statuses"]) == {"200", "503"}
    assert uncached["slowest_failure"] <= 1500
    assert uncached["last_failure_seconds"] <= 22


def test_new_catalogue(load, request):
    other = "a" if (CLUSTER / "loaded").read_text().strip() == "b" else "b"
    with Watch() as watch, load("a catalogue loaded and published", 30) as figures:
        cluster("load", other)
        published = time.time()
    assert figures["failed"] == watch.failed == 0
    assert watch.mixed == []
    assert set(watch.first_seen) == set(SERVERS)
    seen = {name: max(loads.values()) - published for name, loads in watch.first_seen.items()}
    text = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in seen.items())
    request.config.get_terminal_writer().line(f"    {watch.responses} responses, none mixed; new catalogue seen after {text}")
    for name, loads in watch.first_seen.items():
        assert len(loads) == 2
        # The first client behind the cache gets the old response while the new one is fetched.
        assert seen[name] <= (CACHE_SECONDS + 3 if name == "lb" else 2)


class Watch:
    """Requests the same products repeatedly from each server and through the load balancer, while the block runs.

    An ETag identifies a load. So all responses for a path with the same ETag must be identical, and a profile must consist of
    the product, the styles and the related ids with its ETag.
    """

    def __enter__(self):
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.digests, self.parts = {}, {}
        self.first_seen = {name: {} for name in SERVERS}
        self.mixed, self.failed, self.responses = [], 0, 0
        self.threads = [threading.Thread(target=self.watch, args=server) for server in SERVERS.items()]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def watch(self, name, url):
        with Path(NETWORK).open() as network:  # of this thread alone; Python before 3.12 has no os.setns
            assert ctypes.CDLL(None, use_errno=True).setns(network.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        scheme, _, address = url.partition("://")
        if scheme == "https":
            context = ssl.create_default_context(cafile=CLUSTER / "secrets/ca.crt")
            connection = http.client.HTTPSConnection(address, timeout=10, context=context)
        else:
            connection = http.client.HTTPConnection(address, timeout=10)
        paths = itertools.cycle(itertools.product((1, 2, 3), ("", "/styles", "/related", "/profile")))
        while not self.stop.wait(0.01):
            product, part = next(paths)
            try:
                connection.request("GET", f"/products/{product}{part}")
                response = connection.getresponse()
                body, etag = response.read(), response.getheader("ETag")
            except (OSError, http.client.HTTPException):
                connection.close()
                response = None
            with self.lock:
                if response is None or response.status not in (200, 404):
                    self.failed += 1
                else:
                    self.note(name, etag, product, part, body, response.status)

    def note(self, name, etag, product, part, body, status):
        self.responses += 1
        self.first_seen[name].setdefault(etag, time.time())
        digest = hashlib.sha256(body).digest()
        if self.digests.setdefault((etag, product, part), digest) != digest:
            self.mixed.append(f"{name}: two responses for /products/{product}{part} with {etag}")
        parts = self.parts.setdefault((etag, product), {})
        if status == 200 and part not in parts:
            parts[part] = json.loads(body)
            if len(parts) == 4:
                expected = parts[""], parts["/styles"]["results"], parts["/related"]
                if tuple(parts["/profile"][key] for key in ("product", "styles", "related")) != expected:
                    self.mixed.append(f"/products/{product}/profile with {etag} does not consist of its parts")


# --- scripts/provision ------------------------------------------------------------------------------------------------


def provision(host):
    """What it says it has changed."""
    command = f"/opt/atelier/scripts/provision {ROLES[host]} 2>&1"
    return [line.strip() for line in on(host, "sh", "-c", command).splitlines()]


@pytest.mark.parametrize("host", ROLES)
def test_second_provision_changes_nothing(host):
    assert provision(host) == []


@contextlib.contextmanager
def settings(text):
    """With these settings added. The hosts have the file mounted, so it is written in place."""
    file = CLUSTER / "settings"
    before = file.read_text()
    file.write_text(f"{before}\n{text}\n")
    try:
        yield
    finally:
        file.write_text(before)


@pytest.mark.parametrize(
    ("host", "text", "written", "action"),
    [
        ("db1", 'DB_STANDBYS="$DB_STANDBYS 10.77.0.99"', "pg_hba.conf", "reloaded postgresql@"),
        ("db2", "DB_MEMORY_MB=512", "atelier.conf", "restarted postgresql@"),
        ("app1", 'CACHE_CONTROL="public, max-age=7"', "server.env", "restarted atelier-server"),
        ("lb", "CLIENT_RATE=99999", "nginx.conf", "reloaded nginx"),
    ],
)
def test_changed_setting(host, text, written, action):
    def changes():
        first, second = provision(host)
        assert first.startswith("wrote /etc/")
        assert first.endswith(written)
        assert second.startswith(action)
        assert provision(host) == []
        return first.removeprefix("wrote ")

    with settings(text):
        file = changes()
    assert changes() == file
    # As if a run had been interrupted when it had written the file.
    on(host, "touch", file)
    (line,) = provision(host)
    assert line.startswith(action)
