"""Faults and scripts/provision on the hosts of scripts/cluster, booted if they are down. See docs/cluster.md."""

import concurrent.futures
import contextlib
import ctypes
import http.client
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


def cluster(*arguments, **options):
    return run("scripts/cluster", *arguments, **options)


def on(host, *command, **options):
    return cluster("on", host, *command, **options).strip()


def print_row(request, row):
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(row, flush=True)


@pytest.fixture(scope="module", autouse=True)
def hosts(root, request):
    need_oha()
    status = cluster("status").splitlines()
    if any(line.endswith("down") for line in status):
        cluster("up")
    columns = "fault", "requests", "late", "failed", "p50 ms", "p99 ms", "gap ms"
    print_row(request, "{:36} {:>8} {:>7} {:>7} {:>8} {:>8} {:>8}".format(*columns))
    yield
    if all(line.endswith("down") for line in status):
        cluster("down")


# --- load -------------------------------------------------------------------------------------------------------------


def random_styles():
    return [
        f"{LOAD_BALANCER}/products/{product}/styles"
        for product in range(1, int((CLUSTER / "products").read_text()) + 1)
    ]


@pytest.fixture
def load(request):
    """A block under load, which begins some seconds before it. Prints a row. The figures are complete after it."""

    @contextlib.contextmanager
    def block(what, seconds, urls=None, connections=100):
        figures = {}
        with concurrent.futures.ThreadPoolExecutor() as pool:
            options = {"connections": connections, "prefix": ["scripts/cluster", "on", "client"]}
            requests = pool.submit(request_rate, urls or random_styles(), RATE, seconds, **options)
            time.sleep(SECONDS_BEFORE)
            yield figures
            figures.update(requests.result())
        row = "{requests:8} {dropped:7} {failed:7} {p50:8.1f} {p99:8.1f} {gap:8.0f}".format(**figures)
        print_row(request, f"{what:36} {row}")
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
    pages = [
        f"{LOAD_BALANCER}/products?page={page}&count={count}" for count in (3, 4, 5) for page in range(1, products // 5)
    ]
    cached = [f"{LOAD_BALANCER}/products/{product}/styles" for product in range(1, 21)]
    urls = {"cached": cached * (len(pages) // len(cached)), "uncached": pages}  # half of the requests each
    databases = [line.split()[0] for line in cluster("status").splitlines() if line.startswith("db")]
    # More connections: half of the requests wait up to a second for their 503.
    with load("all databases stopped for 10 s", 30, urls, connections=1000) as figures:
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
    stop = threading.Event()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        watches = {name: pool.submit(watch, url, stop) for name, url in SERVERS.items()}
        try:
            with load("a catalogue loaded and published", 30) as figures:
                cluster("load", other)
                published = time.time()
        finally:
            stop.set()
    responses = {name: done.result() for name, done in watches.items()}
    assert figures["failed"] == 0
    assert {status for rows in responses.values() for _, status, _, _ in rows} == {200}
    # An ETag identifies a load: all responses with the same one are identical.
    assert len({(etag, body) for rows in responses.values() for _, _, etag, body in rows}) == 2
    for name, rows in responses.items():
        assert rows[0][2] != rows[-1][2]
        seen = min(moment for moment, _, etag, _ in rows if etag == rows[-1][2]) - published
        print_row(request, f"    {name}: {len(rows)} responses, none mixed; new after {seen:.2f} s")
        # The first client behind the cache gets the old response while the new one is fetched.
        assert seen <= (CACHE_SECONDS + 3 if name == "lb" else 2)


def watch(url, stop):
    """Requests a profile repeatedly in the network of the hosts. Gives time, status, ETag and body of the responses."""
    with Path(NETWORK).open() as network:  # of this thread alone; Python before 3.12 has no os.setns
        assert ctypes.CDLL(None).setns(network.fileno(), 0) == 0
    scheme, _, address = url.partition("://")
    if scheme == "https":
        context = ssl.create_default_context(cafile=CLUSTER / "secrets/ca.crt")
        connection = http.client.HTTPSConnection(address, timeout=10, context=context)
    else:
        connection = http.client.HTTPConnection(address, timeout=10)
    responses = []
    while not stop.wait(0.01):
        try:
            connection.request("GET", "/products/1/profile")
            response = connection.getresponse()
            responses.append((time.time(), response.status, response.getheader("ETag"), response.read()))
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            responses.append((time.time(), str(error), "", b""))
    return responses


# --- scripts/provision ------------------------------------------------------------------------------------------------


def provision(host):
    """Exit code, and the lines of what it says."""
    command = f"/opt/atelier/scripts/provision {host.rstrip('0123456789')} 2>&1; echo $?"
    *lines, code = on(host, "sh", "-c", command).splitlines()
    return int(code), [line.strip() for line in lines]


def query(host, statement):
    return on(host, "runuser", "-u", "postgres", "--", "psql", "-XAtc", statement)


@pytest.mark.parametrize("host", ["db1", "db2", "app1", "app2", "lb"])
def test_second_provision_changes_nothing(host):
    assert provision(host) == (0, [])


@pytest.mark.parametrize("host", ["db1", "db2"])
def test_postgresql_accepts_every_setting(host):
    assert query(host, "select name, error from pg_file_settings where error is not null") == ""
    assert query(host, "select line_number, error from pg_hba_file_rules where error is not null") == ""


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
    ("host", "text", "file", "action"),
    [
        ("db1", 'DB_STANDBYS="$DB_STANDBYS 10.77.0.99"', "/pg_hba.conf", "reloaded postgresql@"),
        ("db2", "DB_MEMORY_MB=512", "/atelier.conf", "restarted postgresql@"),
        ("app1", 'CACHE_CONTROL="public, max-age=7"', "/server.env", "restarted atelier-server"),
        ("lb", "CLIENT_RATE=99999", "/nginx.conf", "reloaded nginx"),
    ],
)
def test_changed_setting(host, text, file, action):
    def changed_file():
        code, (first, second) = provision(host)
        assert (code, first.endswith(file), second.startswith(action)) == (0, True, True)
        assert provision(host) == (0, [])
        return first.removeprefix("wrote ")

    with settings(text):
        path = changed_file()
    assert changed_file() == path
    on(host, "touch", path)  # as if a run had been interrupted after writing it
    code, (line,) = provision(host)
    assert (code, line.startswith(action)) == (0, True)


@pytest.fixture
def fresh_db2():
    """The major version of PostgreSQL on db2, which has no cluster. At the end it is a standby again."""
    major = on("db2", "ls", "/etc/postgresql")
    on("db2", "pg_dropcluster", "--stop", major, "main")
    yield major
    on("db2", "pg_dropcluster", "--stop", major, "main")
    query("db1", "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like '%22'")
    assert provision("db2")[0] == 0
    assert query("db2", "select status from pg_stat_wal_receiver") == "streaming"


def test_standby_killed_while_it_copies_the_primary(fresh_db2):
    copy = CLUSTER / f"hosts/db2/root/var/lib/postgresql/{fresh_db2}/main.new/base"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(provision, "db2")
        while not copy.exists():
            time.sleep(0.01)
        cluster("kill", "db2")
    cluster("boot", "db2")
    assert copy.exists()
    assert query("db2", "select datname from pg_database where datname = 'atelier'") == ""  # it is no second primary
    assert provision("db2")[0] == 0
    assert not copy.exists()
    assert query("db2", "select pg_is_in_recovery(), (select status from pg_stat_wal_receiver)") == "t|streaming"


def test_copy_of_another_primary_is_refused(fresh_db2):
    on("db2", "pg_createcluster", fresh_db2, "main")
    data = f"/var/lib/postgresql/{fresh_db2}/main"
    on("db2", "touch", f"{data}/standby.signal")
    code, lines = provision("db2")
    assert code == 1
    assert f"error: {data} is a copy of another primary than 10.77.0.21" in lines


def test_standby_without_wal_is_reported(fresh_db2):
    assert provision("db2")[0] == 0
    on("db2", "systemctl", "stop", f"postgresql@{fresh_db2}-main")
    query("db1", "select pg_drop_replication_slot('standby_10_77_0_22')")
    code, lines = provision("db2")
    assert code == 1
    assert any(line.startswith("error: this standby receives no WAL from its primary") for line in lines)
