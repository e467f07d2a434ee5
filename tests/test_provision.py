"""The files, secrets and standbys of scripts/provision, and what it refuses, without changing this host.

tests/test_cluster.py tests it on hosts with systemd."""

import contextlib
import json
import os
import pwd
import re
import shlex
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from system import REPO, free_port, lib, need, run

USER_DATA = REPO / "deploy/cloud-init/user-data.yaml"
USER_DATA_BYTES = 16384  # EC2's limit, before base64
IS_ROOT = os.geteuid() == 0
ADDRESSES = {"APPS": "10.0.1.11 10.0.1.12", "DB_PRIMARY": "10.0.1.21", "DB_STANDBYS": "10.0.1.22 10.0.1.23"}
SOURCES = """
    for name in files secrets host standby; do source deploy/provision/$name.sh; done
    scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT
    read_settings "$1"; shift
"""


def write_settings(directory, **values):
    file = directory / "settings"
    file.write_text("".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items()))
    return file


def call(settings, script, *arguments, **options):
    """What a script prints that calls the functions of scripts/provision."""
    return lib(SOURCES + script, settings, *arguments, **options)


def fails(message, settings, script, *arguments):
    """The script fails with this message and a hint."""
    with pytest.raises(subprocess.CalledProcessError):
        call(settings, f"exec 2>{settings}.stderr; {script}", *arguments)
    output = Path(f"{settings}.stderr").read_text()
    assert re.search(rf"^error: .*{re.escape(message)}", output, re.M), output


# --- user-data --------------------------------------------------------------------------------------------------------


def test_user_data_is_valid(tmp_path):
    check = Path(os.sys.executable).with_name("check-jsonschema")
    # Downloaded, not installed: cloud-init would configure this machine at the next boot.
    with contextlib.suppress(subprocess.CalledProcessError):
        lib("as_root apt-get update -qq")
    run("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "cloud-init", cwd=tmp_path)
    run("dpkg-deb", "-x", next(tmp_path.glob("*.deb")), tmp_path)
    run(check, "--schemafile", next(tmp_path.rglob("schema-cloud-config-v1.json")), USER_DATA)
    text = USER_DATA.read_text()
    assert text.startswith("#cloud-config\n")
    assert len(text) < USER_DATA_BYTES
    program = re.search(r"^ +#!/usr/bin/python3\n.*?(?=\n\n  \S)", text, re.M | re.S)[0]
    compile(re.sub(r"^ {6}", "", program, flags=re.M), "atelier-fetch", "exec")
    for name in ("BUCKET", "ROLE"):
        assert len(re.findall(rf"^      {name}=", text, re.M)) == 1  # docs/ec2.md changes these lines


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def secrets(tmp_path):
    need("openssl", "openssl")
    settings = write_settings(tmp_path, SECRETS=tmp_path / "secrets", **ADDRESSES)
    call(settings, "make_secrets 2>/dev/null")
    return tmp_path / "secrets"


def certificate_is_valid(secrets, address, name):
    command = ["openssl", "verify", "-CAfile", secrets / "ca.crt", "-purpose", "sslserver", "-verify_ip", address]
    return not subprocess.run([*command, "-verify_hostname", name, secrets / f"{address}.crt"], stdout=-3, stderr=-3).returncode


def test_secrets(secrets):
    assert {stat.S_IMODE(file.stat().st_mode) for file in secrets.iterdir()} == {0o600}
    assert len({file.read_text() for file in secrets.glob("*.password")}) == 3
    for address in ("10.0.1.11", "10.0.1.12"):
        assert certificate_is_valid(secrets, address, "atelier-server")
    for address in ("10.0.1.21", "10.0.1.22", "10.0.1.23"):
        assert certificate_is_valid(secrets, address, f"db-{address.replace('.', '-')}")
        assert not certificate_is_valid(secrets, address, "atelier-server")
    before = {file.name: file.read_text() for file in secrets.iterdir()}
    assert call(secrets.parent / "settings", "make_secrets 2>&1") == ""
    assert {file.name: file.read_text() for file in secrets.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ca.key", None, "ca.key is missing"),
        ("ca.key", "nonsense", "openssl req failed"),
        ("ca.crt", None, "has certificates of hosts, but not ca.crt"),
    ],
)
def test_no_certificate_without_ca(secrets, name, content, message):
    (secrets / name).unlink()
    if content:
        (secrets / name).write_text(content)
    settings = write_settings(secrets.parent, SECRETS=secrets, DB_STANDBYS="10.0.1.24")
    fails(message, settings, "make_secrets")
    assert not (secrets / "10.0.1.24.key").exists()
    assert not (secrets / "10.0.1.24.crt").exists()


# --- refusals ---------------------------------------------------------------------------------------------------------


def provision(*arguments):
    """Exit code and standard error. An ordinary user is root in a namespace, who could change no host."""
    prefix = [] if IS_ROOT else ["unshare", "--user", "--map-root-user"]
    command = [*prefix, "scripts/provision", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.fixture(scope="session")
def own_address():
    addresses = [word for word in run("hostname", "-I").split() if "." in word]
    return addresses[0] if addresses else pytest.skip("this host has no IPv4 address")


SUBNETS = "all", "0.0.0.0/0", "10.0.1.0", "10.0.1.0/33", "10.0.1.256/24", "10.0.1.0/24 10.0.2.0/24", "10.0.1.0/24 trust"
NUMBERS = [("DB_MEMORY_MB", "16GB"), ("DB_MEMORY_MB", "8192.5"), ("DB_MEMORY_MB", "08"), ("CACHE_MB", "lots"), ("CLIENT_RATE", "0")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "") for name in ("SUBNET", "LB", "APPS", "DB_PRIMARY", "DATABASE", "SECRETS")),
        *(("SUBNET", subnet) for subnet in SUBNETS),
        *NUMBERS,
        ("DB_PRIMARY", "db.example"),
        ("APPS", "10.0.1.999"),
        ("CACHE", "yes"),
        ("CACHE_CONTROL", 'a"b'),
    ],
)
def test_invalid_setting(tmp_path, name, value):
    settings = write_settings(tmp_path, **{name: value})
    code, output = provision("--settings", settings, "db")
    assert (code, output.partition("\n")[0]) == (1, f"error: {name}={value} in {settings} is not valid")


@pytest.mark.parametrize(
    ("values", "role", "message"),
    [
        ({"CACHE": "on\r"}, "lb", "lines that end as on Windows"),
        ({"DB_STANDBYS": "10.0.1.22 10.0.1.21"}, "db", "10.0.1.21 is more than once in DB_PRIMARY and DB_STANDBYS"),
        ({"TLS_CERTIFICATE": "/a"}, "lb", "only one of TLS_CERTIFICATE and TLS_KEY is set"),
        ({}, "web", "unknown role: web"),
        *(({}, role, "this host (") for role in ("db", "app", "lb")),
    ],
)
def test_refusal(tmp_path, values, role, message):
    code, output = provision("--settings", write_settings(tmp_path, **values), role)
    assert code == 1
    assert output.startswith("error: ")
    assert message in output


@pytest.mark.parametrize(
    ("role", "setting", "missing"),
    [
        ("lb", "LB", "ca.crt"),
        ("db", "DB_PRIMARY", "server.password"),
        ("db", "DB_PRIMARY", "ADDRESS.key"),
        ("app", "APPS", "ADDRESS.crt"),
        ("app", "APPS", "ADDRESS.key"),
    ],
)
def test_missing_secret(tmp_path, own_address, role, setting, missing):
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in ("ca.crt", "ADDRESS.crt", "ADDRESS.key", "load.password", "server.password", "replication.password"):
        if name != missing:
            (secrets / name.replace("ADDRESS", own_address)).write_text("x\n")
    settings = write_settings(tmp_path, SECRETS=secrets, **{setting: own_address})
    code, output = provision("--settings", settings, role)
    assert (code, output.partition("\n")[0]) == (1, f"error: {secrets / missing.replace('ADDRESS', own_address)} is missing")


def test_no_settings(tmp_path):
    code, output = provision("--settings", tmp_path / "none", "app")
    assert (code, output.partition("\n")[0]) == (1, f"error: no settings in {tmp_path / 'none'}")


def test_put(tmp_path):
    settings, file = write_settings(tmp_path), tmp_path / "directory/file"
    put = 'put 600 "$(id -un):$(id -gn)" "$1" "${@:2}" 2>&1'
    assert call(settings, put, file, "echo", "first").strip() == f"wrote {file}"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert call(settings, put, file, "echo", "first") == ""
    with pytest.raises(subprocess.CalledProcessError):
        call(settings, put, file, "sh", "-c", "echo half; exit 1")
    assert file.read_text() == "first\n"


# --- nginx ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Certificates for atelier-server, each signed by itself: NAME.crt and NAME.key."""
    directory = tmp_path_factory.mktemp("certificates")
    settings = write_settings(directory, SECRETS=directory)
    for name in ("server", "other"):
        call(settings, 'make_certificate "$1" -subj /CN=server -addext subjectAltName=DNS:atelier-server', name)
    return directory


@pytest.fixture
def nginx_conf(certificates):
    """A function that writes the configuration of some settings, with the paths and ports of a test."""
    program = need("nginx", "nginx-light")
    with tempfile.TemporaryDirectory(prefix="atelier-nginx-") as name:
        directory = Path(name)
        if IS_ROOT:
            os.chown(directory, pwd.getpwnam("www-data").pw_uid, -1)

        def configure(port=20080, **values):
            text = call(write_settings(directory, **values), "nginx_conf")
            replacements = {
                r"/run/nginx.pid": directory / "pid",
                r"/var/(cache/nginx|log/atelier)": directory,
                r"/etc/atelier/ca.crt": certificates / "server.crt",
                r"listen 80 ": f"listen 127.0.0.1:{port} ",
                r"listen 443 ": "listen 20443 ",
                r"listen 127.0.0.1:8080": f"listen unix:{directory}/status",
            }
            for pattern, replacement in replacements.items():
                text = re.sub(pattern, str(replacement), text)
            file = directory / "nginx.conf"
            file.write_text(f"error_log {directory}/error.log;\n{text}")
            return [program, "-c", file, "-p", directory], file

        yield configure


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("apps", ["10.0.1.11", "10.0.1.11 10.0.1.12 10.0.1.13"])
@pytest.mark.parametrize("cache", ["on", "off"])
def test_nginx_accepts_configuration(nginx_conf, certificates, cache, apps, tls):
    files = {"TLS_CERTIFICATE": certificates / "server.crt", "TLS_KEY": certificates / "server.key"} if tls else {}
    command, file = nginx_conf(CACHE=cache, APPS=apps, **files)
    run(*command, "-t", "-q")
    text = file.read_text()
    assert len(re.findall(r"server [0-9.]+:3000 max_fails=3 ", text)) == len(apps.split())
    assert re.findall(r"proxy_pass (\w+):", text) == ["https", "https"]
    assert len(re.findall(r"proxy_ssl_(?:verify on|trusted_certificate .*|name atelier-server);", text)) == 3
    assert ("proxy_cache answers;" in text) == (cache == "on")
    assert len(re.findall(r"listen .* ssl", text)) == tls


@contextlib.contextmanager
def hanging_servers(port, certificate):
    """Servers at 127.0.0.1 and 127.0.0.2 that complete the TLS handshake and never respond."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.with_suffix(".crt"), certificate.with_suffix(".key"))
    listeners = [socket.create_server((host, port)) for host in ("127.0.0.1", "127.0.0.2")]
    connections = []

    def accept(listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed
            with contextlib.suppress(OSError):  # the client refuses the certificate
                connections.append(context.wrap_socket(connection, server_side=True))

    for listener in listeners:
        threading.Thread(target=accept, args=[listener], daemon=True).start()
    try:
        yield
    finally:
        for each in (*listeners, *connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.mark.parametrize("name", ["server", "other"])
def test_hanging_servers_get_one_request_each(nginx_conf, certificates, name):
    front, port = free_port(), free_port()
    command, file = nginx_conf(port=front, CACHE="off", APPS="127.0.0.1 127.0.0.2")
    file.write_text(file.read_text().replace(":3000 ", f":{port} "))
    with hanging_servers(port, certificates / name):
        run(*command)
        try:
            with pytest.raises(urllib.error.HTTPError) as response:
                urllib.request.urlopen(f"http://127.0.0.1:{front}/products/1", timeout=60)
            assert response.value.code == 503
            assert json.load(response.value)["detail"] == "no server can be reached"
        finally:
            master = int((file.parent / "pid").read_text())
            run(*command, "-s", "quit")
            while Path(f"/proc/{master}").exists():
                threading.Event().wait(0.05)
    errors = (file.parent / "error.log").read_text()
    requested = errors.count("while reading response header")
    upstreams = json.loads((file.parent / "nginx.log").read_text())["upstream"].split(", ")
    if name == "server":
        assert requested == len(upstreams) == 2  # with two more it would take 24 s
    else:
        assert requested == 0
        assert "upstream SSL certificate verify error" in errors


def test_logrotate_accepts_configuration(tmp_path):
    logrotate = need("logrotate", "logrotate")
    done = subprocess.run([logrotate, "--debug", "--state", tmp_path / "state", "deploy/nginx/logrotate"], capture_output=True, text=True)
    assert (done.returncode, "error:" in done.stderr) == (0, False)


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


class Primary:
    """A server with the files that scripts/provision writes for a primary and a standby."""

    def __init__(self, directory):
        self.directory, self.data, self.port = directory, directory / "data", free_port()
        self.programs = Path(lib('need_postgres; printf %s "$PG_BIN"'))
        self.prefix = ["runuser", "-u", "postgres", "--"] if IS_ROOT else []
        self.secrets = directory / "secrets"
        self.settings = write_settings(directory, SECRETS=self.secrets, DB_MEMORY_MB=512, **ADDRESSES)
        self.log = directory / "log"

    def as_owner(self, *command, **options):
        return run(*self.prefix, *command, cwd="/", **options)

    def control(self, *arguments):
        self.as_owner(self.programs / "pg_ctl", "-s", "-w", "-D", self.data, *arguments, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self):
        call(self.settings, "make_secrets 2>/dev/null")
        major = run(self.programs / "postgres", "--version").split()[2].partition(".")[0]
        files = call(self.settings, 'postgresql_conf "$1"; standby_conf 10.0.1.22', major)
        for target, name in (("postgresql.crt", "10.0.1.21.crt"), ("postgresql.key", "10.0.1.21.key"), ("ca.crt", "ca.crt")):
            (self.directory / target).write_bytes((self.secrets / name).read_bytes())
            (self.directory / target).chmod(0o600)
            files = files.replace(f"'/etc/atelier/{target}'", f"'{self.directory}/{target}'")
        run("chown", "-R", f"{pwd.getpwnam('postgres').pw_uid if IS_ROOT else os.geteuid()}", self.directory)
        self.as_owner(self.programs / "initdb", "-D", self.data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
        (self.data / "atelier.conf").write_text(files)
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"include 'atelier.conf'\nlisten_addresses = '127.0.0.1'\nport = {self.port}\n")
            file.write(f"unix_socket_directories = '{self.directory}'\n")
        self.control("start", "-l", self.log)

    def psql(self, statement=None, database="postgres", **options):
        command = [self.programs / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", self.directory, "-p", self.port, "-U", "postgres"]
        return self.as_owner(*command, "-d", database, "-c" if statement else "-f", statement or "-", **options).strip()

    def call_as_standby(self, script, *arguments):
        """As `call`, on a host whose primary is this server."""
        host = f"""
            PG_BIN={self.programs} PATH=$PG_BIN:$PATH PRIMARY_SECONDS=5 FOLLOW_SECONDS=1
            as_postgres() {{ (cd / && {shlex.join(self.prefix)} "$@"); }}
            primary_conninfo() {{ printf 'host={self.directory} port={self.port} user=postgres'; }}
            systemctl() {{ :; }}
        """
        return call(self.settings, f"{host}\n{script}", *arguments)

    def refuses_as_standby(self, message, script, *arguments):
        with pytest.raises(subprocess.CalledProcessError):
            self.call_as_standby(f"exec 2>{self.directory}/stderr; {script}", *arguments)
        assert message in (self.directory / "stderr").read_text()


@pytest.fixture(scope="module")
def primary():
    with tempfile.TemporaryDirectory(prefix="atelier-primary-") as directory:
        server = Primary(Path(directory))
        try:
            server.start()
            yield server
        finally:
            server.control("stop", "-m", "immediate")


def test_postgresql_accepts_every_setting(primary):
    rejected = """select sourceline, name, error from pg_file_settings
        where error is not null or sourcefile like '%/atelier.conf' and not applied and name <> 'listen_addresses'"""
    assert primary.psql(rejected) == ""
    assert primary.psql("select current_setting('ssl') || ' ' || current_setting('wal_level')") == "on replica"


def test_postgresql_accepts_pg_hba(primary):
    file = primary.data / "pg_hba.conf"
    before = file.read_text()
    try:
        file.write_text(call(primary.settings, "pg_hba_conf"))  # read by the view, not by the running server
        assert primary.psql("select line_number, error from pg_hba_file_rules where error is not null") == ""
        assert primary.psql("select type, count(*) from pg_hba_file_rules group by type order by type") == "hostssl|5\nlocal|1"
    finally:
        file.write_text(before)


def test_roles(primary):
    # With a colon, a quote, a backslash and a space in the password.
    (primary.secrets / "server.password").write_text(":p's\\s :w\n")
    for _ in range(2):
        primary.psql(input=call(primary.settings, "roles_sql"))
    passwords = primary.directory / "pgpass"
    passwords.write_text(call(primary.settings, "pgpass server"))
    run("chown", "--reference", primary.data, passwords)
    passwords.chmod(0o600)
    hba = primary.data / "pg_hba.conf"
    hba.write_text(f"{hba.read_text()}\n".replace("host ", "#host ") + "hostssl all all 127.0.0.1/32 scram-sha-256\n")
    primary.control("reload")
    url = f"host=127.0.0.1 port={primary.port} dbname=atelier user=atelier_server passfile={passwords} sslmode=verify-ca"
    command = [primary.programs / "psql", "-XwAt", "-d", f"{url} sslrootcert={primary.directory}/ca.crt", "-c", "select current_user"]
    assert primary.as_owner(*command).strip() == "atelier_server"
    privileges = """select has_database_privilege('atelier_server', 'atelier', 'create'),
        has_database_privilege('atelier_load', 'atelier', 'create'), has_database_privilege('atelier_server', 'atelier', 'connect')"""
    assert primary.psql(privileges) == "f|t|t"


@pytest.fixture
def standby(primary):
    """The path of the data of a standby."""
    directory = primary.directory / "standby"
    directory.mkdir()
    run("chown", "--reference", primary.data, directory)
    yield directory / "main"
    run("rm", "-r", directory)


COPY = 'copy_primary 0 "$1" standby_10_0_1_22 2>/dev/null'


def test_standby_copies_primary(primary, standby):
    leftover = Path(f"{standby}.new/leftover")  # of an interrupted copy
    leftover.parent.mkdir()
    leftover.touch()
    for _ in range(2):
        primary.call_as_standby(COPY, standby)
        assert (standby / "standby.signal").exists()
        assert (standby / "PG_VERSION").exists()
        assert not (standby / "leftover").exists()
        assert not leftover.parent.exists()
        run("rm", "-r", standby)
    assert primary.psql("select slot_name from pg_replication_slots") == "standby_10_0_1_22"


def test_interrupted_copy_is_no_primary(primary, standby):
    programs = primary.directory / "programs"
    programs.mkdir()
    failing = programs / "pg_basebackup"
    failing.write_text(f'#!/bin/sh\n"{primary.programs}/pg_basebackup" "$@" && exit 1\n')
    failing.chmod(0o755)
    primary.refuses_as_standby("pg_basebackup failed", f"PG_BIN={programs}; copy_primary 0 \"$1\" standby_10_0_1_22", standby)
    assert not standby.exists()


def test_standby_of_another_primary_is_refused(primary, standby):
    primary.as_owner(primary.programs / "initdb", "-D", standby, "-U", "postgres", "--auth=trust")
    primary.refuses_as_standby("is a copy of another primary", 'same_system 0 "$1"', standby)
    primary.call_as_standby('same_system 0 "$1"', primary.data)


def test_standby_without_wal_is_reported(primary):
    connection = f"export PGHOST={primary.directory} PGPORT={primary.port} PGUSER=postgres"
    primary.refuses_as_standby("this standby receives no WAL", f"{connection}; streams 0")
