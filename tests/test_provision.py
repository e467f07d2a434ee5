"""The files and secrets of scripts/provision, and what it refuses, without changing this host.

tests/test_cluster.py tests it on hosts with systemd.
"""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from system import REPO, free_port, lib, need, run

USER_DATA = REPO / "deploy/cloud-init/user-data.yaml"
USER_DATA_BYTES = 16384  # EC2's limit, before base64
IS_ROOT = os.geteuid() == 0
ADDRESSES = {"APPS": "10.0.1.11 10.0.1.12", "DB_PRIMARY": "10.0.1.21", "DB_STANDBYS": "10.0.1.22 10.0.1.23"}


def write_settings(directory, **values):
    file = directory / "settings"
    file.write_text("".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items()))
    return file


def call(settings, script, *arguments):
    """What a script prints that calls the functions of scripts/provision."""
    sources = "for name in files secrets host; do source deploy/provision/$name.sh; done; scratch=$(mktemp -d); "
    return lib(f'{sources} read_settings "$1"; shift; {script}', settings, *arguments)


def provision(settings, role):
    """Exit code and standard error. An ordinary user becomes root in a namespace, and could change no host."""
    prefix = [] if IS_ROOT else ["unshare", "--user", "--map-root-user"]
    command = [*prefix, "scripts/provision", "--settings", settings, role]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stderr


def test_user_data(tmp_path):
    if not subprocess.run(["apt-cache", "show", "cloud-init"], stdout=subprocess.PIPE).stdout:
        lib("as_root apt-get update -qq")
    # Not installed: cloud-init would configure this machine at the next boot.
    run("apt-get", "download", "-qq", "cloud-init", cwd=tmp_path)
    run("dpkg-deb", "-x", *tmp_path.glob("*.deb"), tmp_path)
    schema = next(tmp_path.rglob("schema-cloud-config-v1.json"))
    run(Path(sys.executable).with_name("check-jsonschema"), "--schemafile", schema, USER_DATA)
    text = USER_DATA.read_text()
    assert text.startswith("#cloud-config\n")
    assert len(text) < USER_DATA_BYTES
    program = re.search(r"^ +#!/usr/bin/python3\n.*?(?=\n\n  \S)", text, re.M | re.S)[0]
    compile(re.sub(r"^ {6}", "", program, flags=re.M), "atelier-fetch", "exec")


# --- what it refuses --------------------------------------------------------------------------------------------------

INVALID = {
    "SUBNET": ["", "all", "0.0.0.0/0", "10.0.1.0", "10.0.1.0/33", "10.0.1.256/24", "10.0.1.0/24 trust"],
    "LB": [""],
    "APPS": ["", "10.0.1.999"],
    "DB_PRIMARY": ["", "db.example"],
    "DATABASE": ["", "a'b"],
    "SECRETS": [""],
    "DB_MEMORY_MB": ["16GB", "8192.5", "08"],
    "CACHE": ["yes"],
    "CACHE_MB": ["lots"],
    "CLIENT_RATE": ["0"],
    "CACHE_CONTROL": ['a"b'],
}


@pytest.mark.parametrize(
    ("values", "role", "message"),
    [
        *(({name: value}, "db", f"error: {name}={value} in ") for name in INVALID for value in INVALID[name]),
        ({"CACHE": "on\r"}, "lb", "lines that end as on Windows"),
        ({"DB_STANDBYS": "10.0.1.22 10.0.1.21"}, "db", "10.0.1.21 is more than once in DB_PRIMARY and DB_STANDBYS"),
        ({"TLS_CERTIFICATE": "/a"}, "lb", "only one of TLS_CERTIFICATE and TLS_KEY is set"),
        ({}, "web", "unknown role: web"),
        ({}, "db", "is not in DB_PRIMARY or DB_STANDBYS of"),
        ({}, "app", "is not in APPS of"),
        ({}, "lb", "is not in LB of"),
    ],
)
def test_refusal(tmp_path, values, role, message):
    code, error = provision(write_settings(tmp_path, **values), role)
    assert code == 1
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize(
    ("role", "setting", "missing"),
    [
        ("lb", "LB", "ca.crt"),
        ("db", "DB_PRIMARY", "server.password"),
        ("db", "DB_PRIMARY", "ADDRESS.key"),
        ("app", "APPS", "ADDRESS.crt"),
    ],
)
def test_missing_secret(tmp_path, role, setting, missing):
    address = next((word for word in run("hostname", "-I").split() if "." in word), None)
    if not address:
        pytest.skip("this host has no IPv4 address")
    for name in ("ca.crt", "ADDRESS.crt", "ADDRESS.key", "load.password", "server.password", "replication.password"):
        if name != missing:
            (tmp_path / name.replace("ADDRESS", address)).write_text("x\n")
    code, error = provision(write_settings(tmp_path, SECRETS=tmp_path, **{setting: address}), role)
    assert code == 1
    assert error.startswith(f"error: {tmp_path}/{missing.replace('ADDRESS', address)} is missing\n")


# --- what it writes ---------------------------------------------------------------------------------------------------


def test_put(tmp_path):
    file = tmp_path / "directory/file"
    settings, put = write_settings(tmp_path), 'put 600 "$(id -un):$(id -gn)" "$1" sh -c "$2" 2>&1'
    assert call(settings, put, file, "echo first").strip() == f"wrote {file}"
    assert file.stat().st_mode & 0o777 == 0o600
    assert call(settings, put, file, "echo first") == ""
    with pytest.raises(subprocess.CalledProcessError):
        call(settings, put, file, "echo half; exit 1")
    assert file.read_text() == "first\n"


@pytest.fixture
def secrets(tmp_path):
    directory = tmp_path / "secrets"
    assert provision(write_settings(tmp_path, SECRETS=directory, **ADDRESSES), "secrets")[0] == 0
    return directory


def is_valid(secrets, address, name):
    command = ["openssl", "verify", "-CAfile", secrets / "ca.crt", "-purpose", "sslserver", "-verify_ip", address]
    return subprocess.run([*command, "-verify_hostname", name, secrets / f"{address}.crt"]).returncode == 0


def test_secrets(secrets):
    assert {file.stat().st_mode & 0o777 for file in secrets.iterdir()} == {0o600}
    assert len({file.read_text() for file in secrets.glob("*.password")}) == 3
    for address in ADDRESSES["APPS"].split():
        assert is_valid(secrets, address, "atelier-server")
    for address in ("10.0.1.21", "10.0.1.22", "10.0.1.23"):
        assert is_valid(secrets, address, f"db-{address.replace('.', '-')}")
        assert not is_valid(secrets, address, "atelier-server")
    before = {file.name: file.read_text() for file in secrets.iterdir()}
    assert provision(secrets.parent / "settings", "secrets") == (0, "")
    assert {file.name: file.read_text() for file in secrets.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ca.key", "", "ca.key is missing"),
        ("ca.key", "nonsense", "openssl could not create the certificate 10.0.1.24"),
        ("ca.crt", "", "has certificates of hosts, but not ca.crt"),
    ],
)
def test_no_certificate_without_ca(secrets, name, content, message):
    (secrets / name).write_text(content)
    code, error = provision(write_settings(secrets.parent, SECRETS=secrets, DB_STANDBYS="10.0.1.24"), "secrets")
    assert code == 1
    assert message in error
    assert not [*secrets.glob("10.0.1.24.*")]


def test_postgresql_reads_settings(tmp_path):
    programs = Path(lib('need_postgres; printf %s "$PG_BIN"'))
    major = run(programs / "postgres", "--version").split()[2].partition(".")[0]
    text = call(write_settings(tmp_path, **ADDRESSES), 'postgresql_conf "$1"; standby_conf 10.0.1.22', major)
    (tmp_path / "postgresql.conf").write_text(text)
    assert run(programs / "postgres", "-C", "primary_slot_name", "-D", tmp_path) == "standby_10_0_1_22\n"


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
def nginx(tmp_path, certificates):
    """A function that writes the configuration of some settings, with a test's paths and ports; returns the command."""
    program = need("nginx", "nginx-light")

    def configure(replacements, **values):
        text = call(write_settings(tmp_path, **values), "nginx_conf")
        replacements = {
            "user www-data;": "user root;" if IS_ROOT else "",
            "/run/nginx.pid": tmp_path / "pid",
            "/var/cache/nginx": tmp_path,
            "/var/log/atelier": tmp_path,
            "/etc/atelier/ca.crt": certificates / "server.crt",
            "listen 80 ": "listen 127.0.0.1:20080 ",
            "listen 443 ": "listen 127.0.0.1:20443 ",
            "listen 127.0.0.1:8080": f"listen unix:{tmp_path}/status",
            **replacements,
        }
        for old, new in replacements.items():
            text = text.replace(old, str(new))
        (tmp_path / "nginx.conf").write_text(f"error_log {tmp_path}/error.log;\n{text}")
        return [program, "-c", tmp_path / "nginx.conf", "-p", tmp_path]

    return configure


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("apps", ["10.0.1.11", "10.0.1.11 10.0.1.12 10.0.1.13"])
@pytest.mark.parametrize("cache", ["on", "off"])
def test_nginx_accepts_configuration(nginx, tmp_path, certificates, cache, apps, tls):
    files = {"TLS_CERTIFICATE": certificates / "server.crt", "TLS_KEY": certificates / "server.key"} if tls else {}
    run(*nginx({}, CACHE=cache, APPS=apps, **files), "-t", "-q")
    text = (tmp_path / "nginx.conf").read_text()
    assert len(re.findall(r"server [0-9.]+:3000 max_fails=3 ", text)) == len(apps.split())
    assert re.findall(r"proxy_pass (\w+):", text) == ["https", "https"]
    assert len(re.findall(r"proxy_ssl_(?:verify on|trusted_certificate .*|name atelier-server);", text)) == 3
    assert ("proxy_cache answers;" in text) == (cache == "on")
    assert len(re.findall(r"listen .* ssl", text)) == tls


@contextlib.contextmanager
def hanging_server(host, port, certificate):
    """Completes the TLS handshake and never responds."""
    options = ["-accept", f"{host}:{port}", "-cert", f"{certificate}.crt", "-key", f"{certificate}.key"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(["openssl", "s_server", *options], **pipes) as process:
        while process.stdout.readline() != b"ACCEPT\n":
            assert process.poll() is None
        yield
        process.kill()


@pytest.mark.parametrize("certificate", ["server", "other"])
def test_hanging_servers_get_one_request_each(nginx, tmp_path, certificates, certificate):
    front, port = free_port(), free_port()
    ports = {"listen 80 ": f"listen 127.0.0.1:{front} ", ":3000 ": f":{port} "}
    command = nginx({**ports, "read_timeout 6s": "read_timeout 1s"}, CACHE="off", APPS="127.0.0.1 127.0.0.2")
    servers = [hanging_server(host, port, certificates / certificate) for host in ("127.0.0.1", "127.0.0.2")]
    with servers[0], servers[1]:
        run(*command)
        try:
            with pytest.raises(urllib.error.HTTPError) as response:
                urllib.request.urlopen(f"http://127.0.0.1:{front}/products/1", timeout=30)
            assert response.value.code == 503
            assert json.load(response.value)["detail"] == "no server can be reached"
        finally:
            run(*command, "-s", "quit")
            while (tmp_path / "pid").exists():
                time.sleep(0.05)
    errors = (tmp_path / "error.log").read_text()
    if certificate == "server":
        assert errors.count("while reading response header") == 2
        assert len(json.loads((tmp_path / "nginx.log").read_text())["upstream"].split(", ")) == 2
    else:  # of another CA
        assert "upstream SSL certificate verify error" in errors
        assert "while reading response header" not in errors


def test_logrotate_accepts_configuration(tmp_path):
    command = [need("logrotate", "logrotate"), "--debug", "--state", tmp_path / "state", "deploy/nginx/logrotate"]
    assert "error:" not in run(*command, stderr=subprocess.STDOUT)
