"""The Debian packages on systems of this machine's release: a minimal one, and a booted one with PostgreSQL."""

import contextlib
import shutil

import pytest
from system import REPO, TARGET, need, run
from systems import RELEASE, Container, in_system, new_system

pytestmark = pytest.mark.slow

PASSWORD = r"p:ss\w0rd"  # with both characters that a password file escapes
INCOMING, STATE = "/var/lib/atelier/incoming", "/var/lib/atelier/load"
STYLES = "http://127.0.0.1:3000/products/1/styles"
INSTALL = ["sh", "-c", "apt-get install -y --no-install-recommends /opt/*.deb"]
HOST_PACKAGES = ["systemd", "systemd-sysv", "dbus", "postgresql", "curl", "ca-certificates", "openssl"]


@pytest.fixture(scope="module")
def packages(root):
    run("scripts/package", cwd=REPO)
    return sorted((TARGET / "debian").glob("*.deb"))


@pytest.fixture(scope="module")
def host(packages, tmp_path_factory):
    """A booted system with PostgreSQL, on which the packages are installed, without settings."""
    system = new_system(tmp_path_factory.mktemp("host") / "system", RELEASE, *HOST_PACKAGES)
    run("cp", *packages, system / "opt")
    with contextlib.closing(Container(system)) as host:
        host.boot()
        host.run(*INSTALL)
        yield host


@pytest.fixture(scope="module")
def serving(host):
    """The same with settings, started in the wrong order: the server, then a load of the example by the path unit."""
    host.wait(lambda: not host.fails("pg_isready"))
    (host.root / "roles.sql").write_text(f"""create role atelier_reader;
        create role atelier_load login password '{PASSWORD}' in role atelier_reader;
        create role atelier_server login password '{PASSWORD}' in role atelier_reader;
        create database shop template template0 encoding 'UTF8';
        grant create on database shop to atelier_load""")
    host.run("psql", "-qf", "/roles.sql", user="postgres")
    escaped = PASSWORD.replace("\\", r"\\").replace(":", r"\:")
    for name, setting in {"load": "ATELIER_MAX_REJECTS=50%", "server": ""}.items():
        url = f"postgresql://atelier_{name}@127.0.0.1/shop?sslmode=disable"
        append(host, f"etc/atelier/{name}.env", f"DATABASE_URL={url}\n{setting}\n")
        append(host, f"etc/atelier/{name}.pgpass", f"127.0.0.1:*:shop:atelier_{name}:{escaped}\n")
    host.run("useradd", "--groups", "atelier", "ann")

    host.run("systemctl", "start", "--no-block", "atelier-server")
    host.wait(lambda: host.show("atelier-server", "NRestarts") != "0")
    host.run("systemctl", "start", "atelier-load.path")
    host.run("sh", "-c", f"cp /usr/share/doc/atelier-etl/examples/* {INCOMING}/", user="ann")
    assert host.show("atelier-load", "ExecMainExitTimestamp") == ""  # without the marker
    host.run("touch", f"{INCOMING}/complete", user="ann")
    host.wait(lambda: not host.fails("systemctl", "is-active", "atelier-server"))
    return host


def append(host, file, text):
    with open(host.root / file, "a") as settings:
        settings.write(text)


def get(host, *arguments, user="root"):
    return host.run("curl", "-sSf", "--max-time", "5", *arguments, user=user)


def load_id(host):
    """Of the catalogue that is served."""
    return get(host, "-o", "/dev/null", "-w", "%header{etag}", "http://127.0.0.1:3000/products")[3:39]


def loads(host):
    """How often atelier-load.service has ended."""
    return sum(host.journal("atelier-load").count(text) for text in ("Finished", "Failed with result"))


def was_restarted(host, pid):
    return host.show("atelier-server", "ActiveState") == "active" and host.show("atelier-server", "MainPID") != pid


def test_lintian(packages):
    need("lintian", "lintian")
    need("man", "man-db")  # with which lintian reads the manual pages
    run("lintian", "--allow-root", "--fail-on", "error,warning", *packages)


def test_minimal_system(packages, tmp_path):
    system = new_system(tmp_path / "system", RELEASE)
    run("cp", *packages, system / "opt")
    in_system(system, "apt-get", "update", "-qq")
    in_system(system, *INSTALL)
    for program in ("atelier-etl", "atelier-server"):
        assert in_system(system, program, "--version").startswith(f"{program} ")
        in_system(system, "bash", "-n", f"/usr/share/bash-completion/completions/{program}")
        assert in_system(system, "zgrep", "-c", "MIT", f"/usr/share/doc/{program}/third-party-notices.gz").strip() != "0"
    secrets = [f"/etc/atelier/{name}" for name in ("load.env", "load.pgpass", "server.env", "server.pgpass")]
    assert set(in_system(system, "stat", "-c", "%a %U", *secrets).split("\n")) - {""} == {"600 root"}
    example = ["--data", "/usr/share/doc/atelier-etl/examples", "--rejects", "/tmp", "--max-rejects", "50%"]
    assert " rejected" in in_system(system, "atelier-etl", "check", *example)
    shutil.rmtree(system)


@pytest.mark.parametrize("unit", ["server.service", "server-api.socket", "load.service", "load.path"])
def test_unit(host, unit):
    name = f"atelier-{unit}"
    assert host.run("systemd-analyze", "verify", "--man=no", name) == ""
    if unit.endswith(".service"):
        host.run("systemd-analyze", "security", "--threshold=20", name)
    enabled = host.result("systemctl", "is-enabled", name).stdout.strip() == "enabled"
    assert enabled == (unit in ("server.service", "load.path"))
    assert host.fails("systemctl", "is-active", name)


def test_server_without_settings_fails_once(host):
    assert host.fails("systemctl", "start", "atelier-server")
    assert "set DATABASE_URL" in host.journal("atelier-server")
    assert host.show("atelier-server", "ActiveState", "NRestarts") == "failed 0"


def test_files_are_loaded_when_the_marker_is_created(serving):
    host = serving
    published = load_id(host)
    assert published in host.run("cat", f"{STATE}/report.json", user="ann")
    assert "line,byte_offset" in host.run("cat", f"{STATE}/rejects/product.csv", user="ann")
    assert host.fails("ls", STATE, user="nobody")
    assert '"results"' in get(host, STYLES)
    host.wait(lambda: host.show("atelier-load", "ActiveState", "Result") == "inactive success")
    assert host.fails("test", "-e", f"{INCOMING}/complete")

    host.run("touch", f"{INCOMING}/complete", user="ann")
    host.wait(lambda: loads(host) == 2)
    assert "nothing to load" in host.journal("atelier-load")
    host.run("sh", "-c", f"echo 1,2,3 >{INCOMING}/styles.csv && touch {INCOMING}/complete", user="ann")
    host.wait(lambda: loads(host) == 3)
    assert host.show("atelier-load", "ActiveState", "ExecMainStatus") == "failed 3"
    assert host.show("atelier-load.path", "SubState") == "waiting"  # for the next marker
    assert load_id(host) == published


def test_process_of_the_server(serving):
    host = serving
    pid = host.show("atelier-server", "MainPID")
    assert host.run("stat", "-c", "%u", f"/proc/{pid}") != "0"
    public = ["cat /proc/{pid}/environ /proc/{pid}/cmdline", "systemctl show atelier-server", "journalctl --no-pager"]
    for command in public:
        assert "w0rd" not in host.run("sh", "-c", command.format(pid=pid))
    assert host.fails("cat", "/etc/atelier/server.pgpass", user="ann")
    host.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "atelier-server")
    host.wait(lambda: was_restarted(host, pid))


def test_tls(serving):
    host = serving
    drop_in = host.root / "etc/systemd/system/atelier-server.service.d/tls.conf"
    drop_in.parent.mkdir()
    shutil.copy(REPO / "deploy/systemd/server-tls.conf", drop_in)
    certificate = """openssl req -x509 -nodes -days 1 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 \
        -out /etc/atelier/server.crt"""
    host.run("sh", "-c", f"{certificate} -newkey rsa:2048 -keyout /etc/atelier/server.key")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", "atelier-server")
    over_tls = ["-sSf", "--cacert", "/etc/atelier/server.crt", STYLES.replace("http", "https")]
    host.run("curl", *over_tls)
    assert host.fails("curl", "-sSf", STYLES)

    pid = host.show("atelier-server", "MainPID")
    host.run("sh", "-c", f"{certificate} -key /etc/atelier/server.key")
    assert host.fails("curl", *over_tls)
    host.run("systemctl", "reload", "atelier-server")
    host.wait(lambda: not host.fails("curl", *over_tls))
    assert host.show("atelier-server", "MainPID") == pid
    host.run("systemd-analyze", "security", "--threshold=20", "atelier-server.service")
    drop_in.unlink()
    host.run("sh", "-c", "rm /etc/atelier/server.key /etc/atelier/server.crt; systemctl daemon-reload")
    host.run("systemctl", "restart", "atelier-server")


def test_restarts_with_the_socket_unit_refuse_no_connection(serving):
    host = serving
    host.run("systemctl", "stop", "atelier-server")
    host.run("systemctl", "enable", "--now", "atelier-server-api.socket")
    host.run("systemctl", "start", "atelier-server")
    # Each request is a connection of its own.
    restarts = f"""(for restart in 1 2 3; do systemctl restart atelier-server || echo failed; done; touch /run/restarted) &
        until [ -e /run/restarted ]; do curl -sSf -o /dev/null --max-time 30 {STYLES} 2>&1; done"""
    assert host.run("sh", "-c", restarts) == ""
    host.run("systemctl", "disable", "--now", "atelier-server-api.socket")


def test_unix_socket(serving):
    append(serving, "etc/atelier/server.env", "ATELIER_LISTEN=unix:/run/atelier-server/api.sock\n")
    serving.run("systemctl", "restart", "atelier-server")
    get(serving, "--unix-socket", "/run/atelier-server/api.sock", STYLES, user="nobody")


def test_upgrade_keeps_settings_and_restarts_the_server(serving, tmp_path):
    host = serving
    settings = host.run("sh", "-c", "sha256sum /etc/atelier/*")
    pid = host.show("atelier-server", "MainPID")
    for package in (host.root / "opt").glob("*.deb"):
        run("dpkg-deb", "-R", package, tmp_path / package.name)
        control = tmp_path / package.name / "DEBIAN/control"
        control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 1:"))
        run("dpkg-deb", "-b", tmp_path / package.name, package)
    host.run(*INSTALL)
    assert host.run("sh", "-c", "sha256sum /etc/atelier/*") == settings
    assert was_restarted(host, pid)
    assert host.show("atelier-load.path", "ActiveState") == "active"


def test_purge(serving):
    host = serving
    host.run("apt-get", "purge", "-y", "atelier-etl", "atelier-server")
    assert host.run("systemctl", "list-units", "--no-legend", "--plain", "--state=active", "atelier-*") == ""
    left = "find / -xdev -name '*atelier*' -not -path '/var/log/*' -not -path '/opt/*'"
    assert host.run("sh", "-c", left) == ""
    assert host.fails("getent", "passwd", "atelier-load")
    assert host.fails("getent", "group", "atelier")
    assert host.run("psql", "-Atc", "select count(*) from atelier.load", "shop", user="postgres") == "1"
