"""The Debian packages on systems of this machine's release: a minimal one, and a booted one with PostgreSQL."""

import resource
import shutil

import pytest
from system import REPO, TARGET, need, run
from systems import RELEASE, Container, in_system, new_system

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("root")]

PASSWORD = r"p:ss\w0rd"  # with both characters that a password file escapes
INCOMING, STATE = "/var/lib/atelier/incoming", "/var/lib/atelier/load"
SERVER_UNITS = ["atelier-server.service", "atelier-server-api.socket"]
LOAD_UNITS = ["atelier-load.service", "atelier-load.path"]
STYLES = "http://127.0.0.1:3000/products/1/styles"
INSTALL = "apt-get install -y --no-install-recommends /packages/*.deb"


@pytest.fixture(scope="module")
def packages(root):
    run("scripts/package", cwd=REPO)
    return sorted((TARGET / "debian").glob("*.deb"))


def system_with_packages(root, packages, *others):
    new_system(root, RELEASE, *others)
    (root / "packages").mkdir()
    for package in packages:
        shutil.copy(package, root / "packages")
    return root


@pytest.fixture(scope="module")
def host(packages, tmp_path_factory):
    """A booted system with PostgreSQL, on which the packages are installed."""
    others = ["systemd", "systemd-sysv", "dbus", "postgresql", "curl", "ca-certificates", "openssl"]
    with Container(system_with_packages(tmp_path_factory.mktemp("host") / "root", packages, *others)) as host:
        host.run("sh", "-c", INSTALL)
        yield host


@pytest.fixture(scope="module")
def configured(host):
    """With settings for a database, and a user who may bring files."""
    host.wait(lambda: not host.fails("pg_isready"))
    host.run(
        "psql",
        "-qc",
        f"""create role atelier_reader;
        create role atelier_load login password '{PASSWORD}' in role atelier_reader;
        create role atelier_server login password '{PASSWORD}' in role atelier_reader""",
        user="postgres",
    )
    host.run("psql", "-qc", "create database shop template template0 encoding 'UTF8'", user="postgres")
    host.run("psql", "-qc", "grant create on database shop to atelier_load", user="postgres")
    escaped = PASSWORD.replace("\\", r"\\").replace(":", r"\:")
    for name in ("load", "server"):
        with open(host.root / f"etc/atelier/{name}.pgpass", "a") as file:
            file.write(f"127.0.0.1:*:shop:atelier_{name}:{escaped}\n")
        with open(host.root / f"etc/atelier/{name}.env", "a") as file:
            file.write(f"DATABASE_URL=postgresql://atelier_{name}@127.0.0.1/shop?sslmode=disable\n")
            file.write("ATELIER_MAX_REJECTS=50%\n" if name == "load" else "")
    host.run("useradd", "--groups", "atelier", "ann")
    return host


@pytest.fixture(scope="module")
def serving(configured):
    """Started in the wrong order: the server, then a load of the example by the path unit."""
    host = configured
    host.run("systemctl", "start", "--no-block", "atelier-server")
    host.wait(lambda: host.show("atelier-server", "NRestarts") != ["0"])
    host.run("systemctl", "start", "atelier-load.path")
    host.run("sh", "-c", f"cp /usr/share/doc/atelier-etl/examples/* {INCOMING}/", user="ann")
    assert host.show("atelier-load", "ExecMainExitTimestamp") == [""]  # without the marker
    host.run("touch", f"{INCOMING}/complete", user="ann")
    host.wait(lambda: not host.fails("systemctl", "is-active", "atelier-server"))
    return host


def get(host, *arguments, **options):
    return host.run("curl", "-sSf", "--max-time", "5", *arguments, **options)


def load_id(host):
    """Of the catalogue that is served."""
    return get(host, "-o", "/dev/null", "-w", "%header{etag}", "http://127.0.0.1:3000/products")[3:39]


def loads(host):
    """How often atelier-load.service has ended."""
    return sum(host.journal("atelier-load").count(text) for text in ("Finished", "Failed with result"))


def test_lintian(packages):
    need("lintian", "lintian")
    need("man", "man-db")  # with which lintian reads the manual pages
    run("lintian", "--allow-root", "--fail-on", "error,warning", *packages)


def test_minimal_system(packages, tmp_path):
    system = system_with_packages(tmp_path / "root", packages)
    in_system(system, "sh", "-c", f"apt-get update -qq && {INSTALL}")
    for program in ("atelier-etl", "atelier-server"):
        assert in_system(system, program, "--version").startswith(f"{program} ")
        in_system(system, "bash", "-n", f"/usr/share/bash-completion/completions/{program}")
    check = "cd /tmp && atelier-etl check --data /usr/share/doc/atelier-etl/examples --max-rejects 50% 2>&1"
    assert " rejected" in in_system(system, "sh", "-c", check)
    shutil.rmtree(system)


@pytest.mark.parametrize("unit", SERVER_UNITS + LOAD_UNITS)
def test_unit(host, unit):
    assert host.run("systemd-analyze", "verify", "--man=no", unit) == ""
    if unit.endswith(".service"):
        host.run("systemd-analyze", "security", "--threshold=20", unit)
    enabled = unit in ("atelier-server.service", "atelier-load.path")
    assert host.fails("systemctl", "is-enabled", unit) != enabled
    assert host.fails("systemctl", "is-active", unit)


def test_server_without_settings_fails_once(host):
    assert host.fails("systemctl", "start", "atelier-server")
    assert "set DATABASE_URL" in host.journal("atelier-server")
    assert host.show("atelier-server", "ActiveState", "NRestarts") == ["failed", "0"]


def test_files_are_loaded_when_the_marker_comes(serving):
    host = serving
    assert load_id(host) in host.run("cat", f"{STATE}/report.json", user="ann")
    assert "line,byte_offset" in host.run("cat", f"{STATE}/rejects/product.csv", user="ann")
    assert host.fails("ls", STATE, user="nobody")
    assert '"results"' in get(host, STYLES)
    host.wait(lambda: host.show("atelier-load", "ActiveState", "Result") == ["inactive", "success"])
    assert host.fails("test", "-e", f"{INCOMING}/complete")

    before, published = loads(host), load_id(host)
    host.run("touch", f"{INCOMING}/complete", user="ann")
    host.wait(lambda: loads(host) == before + 1)
    assert "nothing to load" in host.journal("atelier-load")
    host.run("sh", "-c", f"echo 1,2,3 >{INCOMING}/styles.csv && touch {INCOMING}/complete", user="ann")
    host.wait(lambda: loads(host) == before + 2)
    assert host.show("atelier-load", "ActiveState", "ExecMainStatus") == ["failed", "3"]
    assert host.show("atelier-load.path", "ActiveState", "SubState") == ["active", "waiting"]  # not started again
    assert load_id(host) == published


def test_process_of_the_server(serving):
    host = serving
    (pid,) = host.show("atelier-server", "MainPID")
    assert host.run("stat", "-c", "%u", f"/proc/{pid}") != "0"
    assert "atelier-server" not in host.run("cat", "/etc/passwd")
    # LimitNOFILE=, or what this machine allows the container.
    files = min(32768, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    assert str(files) in host.run("grep", "Max open files", f"/proc/{pid}/limits")
    for public in (
        f"cat /proc/{pid}/environ /proc/{pid}/cmdline",
        "systemctl show atelier-server",
        "journalctl --no-pager",
    ):
        assert "w0rd" not in host.run("sh", "-c", public)
    assert host.fails("cat", "/etc/atelier/server.pgpass", user="ann")
    host.run("kill", "-KILL", pid)
    host.wait(lambda: host.show("atelier-server", "NRestarts", "ActiveState") == ["1", "active"])


def test_tls(serving):
    host = serving
    drop_in = host.root / "etc/systemd/system/atelier-server.service.d/tls.conf"
    drop_in.parent.mkdir()
    shutil.copy(REPO / "deploy/systemd/server-tls.conf", drop_in)
    certificate = """openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1
        -addext subjectAltName=IP:127.0.0.1 -out /etc/atelier/server.crt"""
    host.run(*certificate.split(), "-keyout", "/etc/atelier/server.key")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", "atelier-server")
    over_tls = ["--cacert", "/etc/atelier/server.crt", STYLES.replace("http", "https")]
    get(host, *over_tls)
    assert host.fails("curl", "-sSf", STYLES)
    # A new certificate.
    (pid,) = host.show("atelier-server", "MainPID")
    host.run(*certificate.replace("-newkey rsa:2048", "-key /etc/atelier/server.key").split())
    assert host.fails("curl", "-sSf", *over_tls)
    host.run("systemctl", "reload", "atelier-server")
    host.wait(lambda: not host.fails("curl", "-sSf", *over_tls))
    assert host.show("atelier-server", "MainPID") == [pid]
    host.run("systemd-analyze", "security", "--threshold=20", "atelier-server.service")
    drop_in.unlink()
    host.run("systemctl", "daemon-reload")
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
    host.run("systemctl", "restart", "atelier-server")
    get(host, STYLES)


def test_upgrade_keeps_settings_and_restarts_the_server(serving, tmp_path):
    host = serving
    settings = host.run("sh", "-c", "sha256sum /etc/atelier/*")
    (pid,) = host.show("atelier-server", "MainPID")
    for package in (host.root / "packages").glob("*.deb"):
        run("dpkg-deb", "-R", package, tmp_path / package.name)
        control = tmp_path / package.name / "DEBIAN/control"
        control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 1:"))
        run("dpkg-deb", "-b", tmp_path / package.name, package)
    host.run("sh", "-c", INSTALL)
    assert host.run("sh", "-c", "sha256sum /etc/atelier/*") == settings
    assert host.show("atelier-server", "MainPID") != [pid]
    assert host.show("atelier-load.path", "ActiveState") == ["active"]
    get(host, STYLES)


def test_unix_socket(serving):
    host = serving
    with open(host.root / "etc/atelier/server.env", "a") as file:
        file.write("ATELIER_LISTEN=unix:/run/atelier-server/api.sock\n")
    host.run("systemctl", "restart", "atelier-server")
    get(host, "--unix-socket", "/run/atelier-server/api.sock", STYLES, user="nobody")


def test_purge(serving):
    host = serving
    host.run("apt-get", "purge", "-y", "atelier-etl", "atelier-server")
    assert host.run("systemctl", "list-units", "--no-legend", "--plain", "--state=active", "atelier-*") == ""
    excluded = [word for path in ("/var/log/*", "/packages/*") for word in ("-not", "-path", path)]
    assert host.run("find", "/", "-xdev", "-name", "*atelier*", *excluded) == ""
    for entry in (["passwd", "atelier-load"], ["group", "atelier"]):
        assert host.fails("getent", *entry)
    assert "19" in host.run("psql", "-Atc", "select 19 from atelier.load", "shop", user="postgres")
