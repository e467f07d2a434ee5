"""Faults and scripts/provision on the hosts of scripts/cluster, booted if they are down. See docs/cluster.md."""

import concurrent.futures
import contextlib
import ctypes
import ssl
import threading
import time
import urllib.request
from pathlib import Path

import hosts
import pytest
from oha import need_oha, request_rate

pytestmark = pytest.mark.slow

LOAD_BALANCER = "http://10.77.0.10"
SERVERS = {"lb": LOAD_BALANCER, "app1": "https://10.77.0.11:3000", "app2": "https://10.77.0.12:3000"}
CACHE_SECONDS = 5  # of nginx, by CACHE_CONTROL
RATE = 1000
SECONDS_BEFORE = 4  # of load before the fault


def on(host, *command, user="root"):
    return hosts.hosts()[host].run(*command, user=user)


def print_row(request, row):
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(row, flush=True)


@pytest.fixture(scope="module", autouse=True)
def cluster(root, request):
    need_oha()
    were_up = [host.init() is not None for host in hosts.hosts().values()]
    if not all(were_up):
        hosts.up()
    columns = "fault", "requests", "late", "failed", "p50 ms", "p99 ms", "gap ms"
    print_row(request, "{:36} {:>8} {:>7} {:>7} {:>8} {:>8} {:>8}".format(*columns))
    yield hosts.hosts()
    if not any(were_up):
        hosts.down()


# --- load -------------------------------------------------------------------------------------------------------------


def styles(products):
    return [f"{LOAD_BALANCER}/products/{product}/styles" for product in range(1, products + 1)]


def products():
    return int((hosts.CLUSTER / "products").read_text())


@pytest.fixture
def load(request):
    """A block under load, which begins some seconds before it. Prints a row. The figures are complete after it.

    No request may fail, except those for `urls`.
    """

    @contextlib.contextmanager
    def block(what, seconds, urls=None, connections=100):
        figures = {}
        with concurrent.futures.ThreadPoolExecutor() as pool:
            options = {"connections": connections, "prefix": hosts.CLIENT}
            requests = pool.submit(request_rate, urls or styles(products()), RATE, seconds, **options)
            time.sleep(SECONDS_BEFORE)
            yield figures
            figures.update(requests.result())
        row = "{requests:8} {dropped:7} {failed:7} {p50:8.1f} {p99:8.1f} {gap:8.0f}".format(**figures)
        print_row(request, f"{what:36} {row}")
        assert figures["requests"] >= 0.95 * RATE * seconds
        assert figures["gap"] <= 2000
        assert urls or figures["failed"] == 0

    return block


def stop_databases(hosts, seconds):
    def systemctl(verb):
        list(pool.map(lambda host: host.run("systemctl", verb, *units[host]), hosts))

    listing = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "postgresql@*"]
    units = {host: host.run(*listing).split()[:1] for host in hosts}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        systemctl("stop")
        assert {host.show(*units[host], "ActiveState") for host in hosts} == {"inactive"}
        time.sleep(seconds)
        systemctl("start")


# --- faults -----------------------------------------------------------------------------------------------------------


def test_none(load):
    with load("no fault", 12):
        pass


def test_app_killed(load, cluster):
    with load("an app host killed, brought back", 25):
        cluster["app1"].kill()
        time.sleep(4)
        cluster["app1"].boot()
        assert cluster["app1"].show("atelier-server", "ActiveState") == "active"


def test_rolling_restart(load, cluster):
    with load("rolling restart of both app hosts", 20):
        for host in (cluster["app1"], cluster["app2"]):
            before = host.show("atelier-server", "MainPID")
            host.run("systemctl", "restart", "atelier-server")  # returns when it is ready
            assert host.show("atelier-server", "MainPID") != before


def test_primary_stopped(load, cluster):
    with load("primary stopped for 8 s", 20):
        stop_databases([cluster["db1"]], 8)


def test_standby_stopped(load, cluster):
    with load("standby stopped for 8 s", 20):
        stop_databases([cluster["db2"]], 8)


def test_databases_stopped(load, cluster):
    numbers = range(1, products() // 5)
    pages = [f"{LOAD_BALANCER}/products?page={page}&count={count}" for count in (3, 4, 5) for page in numbers]
    cached = styles(20)
    urls = {"cached": cached * (len(pages) // len(cached)), "uncached": pages}  # half of the requests each
    databases = [host for host in cluster.values() if host.role == "db"]
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
    other = "a" if hosts.LOADED.read_text().strip() == "b" else "b"
    stop = threading.Event()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        watches = {name: pool.submit(watch, url, stop) for name, url in SERVERS.items()}
        try:
            with load("a catalogue loaded and published", 30):
                published = hosts.load(other)
        finally:
            stop.set()
    responses = {name: done.result() for name, done in watches.items()}
    # An ETag identifies a load: all responses with the same one are identical.
    assert len({(etag, body) for rows in responses.values() for _, etag, body in rows}) == 2
    for name, rows in responses.items():
        (_, first, _), (_, last, _) = rows[0], rows[-1]
        assert first != last
        seen = min(moment for moment, etag, _ in rows if etag == last) - published
        print_row(request, f"    {name}: {len(rows)} responses, none mixed; new after {seen:.2f} s")
        # The first client behind the cache gets the old response while the new one is fetched.
        assert seen <= (CACHE_SECONDS + 3 if name == "lb" else 2)


def watch(url, stop):
    """Requests a profile repeatedly in the network of the hosts. Gives time, ETag and body of the responses."""
    with Path(hosts.NETWORK).open() as network:  # of this thread alone; Python before 3.12 has no os.setns
        assert ctypes.CDLL(None).setns(network.fileno(), 0) == 0
    tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=hosts.SECRETS / "ca.crt"))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)
    responses = []
    while not stop.wait(0.02):
        with opener.open(f"{url}/products/1/profile", timeout=10) as response:
            responses.append((time.time(), response.headers["ETag"], response.read()))
    return responses


# --- scripts/provision ------------------------------------------------------------------------------------------------


def provision(host):
    """Exit code, and the lines of what it says."""
    result = hosts.hosts()[host].result("/opt/atelier/scripts/provision", host.rstrip("0123456789"))
    return result.returncode, [line.strip() for line in result.stdout.splitlines()]


def query(host, statement):
    return on(host, "psql", "-XAtc", statement, user="postgres")


@pytest.mark.parametrize("host", ["db1", "db2"])
def test_postgresql_accepts_every_setting(host):
    assert query(host, "select name, error from pg_file_settings where error is not null") == ""
    assert query(host, "select line_number, error from pg_hba_file_rules where error is not null") == ""
    rights = [f"has_database_privilege('atelier_{role}', 'atelier', 'create')" for role in ("load", "server")]
    assert query(host, f"select {', '.join(rights)}") == "t|f"


@contextlib.contextmanager
def settings(text):
    """With these settings added. The hosts have the file mounted, so it is written in place."""
    before = hosts.SETTINGS.read_text()
    hosts.SETTINGS.write_text(f"{before}\n{text}\n")
    try:
        yield
    finally:
        hosts.SETTINGS.write_text(before)


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


def test_standby_killed_while_it_copies_the_primary(fresh_db2, cluster):
    standby = cluster["db2"]
    copy = standby.root / f"var/lib/postgresql/{fresh_db2}/main.new/base"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        copying = pool.submit(provision, "db2")
        while not copy.exists():
            assert not copying.done(), copying.result()
            time.sleep(0.01)
        standby.kill()
    standby.boot()
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
