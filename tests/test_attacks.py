"""Hostile clients against a server with the memory limit of its systemd unit, which includes kernel memory for sockets.

Memory must stay below half of the limit and be given back, and a normal client must be served meanwhile. With -rP
pytest prints the figures. Needs root, for cgroups; takes about eight minutes.
"""

import collections
import contextlib
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest
from oha import need_oha
from system import TARGET, Server, lib, need, run, status

MB = 1_000_000
LIMIT_BYTES = 1 << 30  # MemoryMax of deploy/systemd/atelier-server.service
OPEN_FILES = 32768  # its LimitNOFILE
CACHE_BYTES = 256 << 20
PRODUCTS = 100_000
WORST_SECONDS = 4  # of a normal client: less would be good, and more is being shut out
HOLD_SECONDS = 8
REQUEST_PAUSE_SECONDS = 0.02
SETTLE_SECONDS = 3  # the allocator gives memory back within a second or two

CGROUPS = Path("/sys/fs/cgroup")
if (CGROUPS / "memory").is_dir():  # version 1, which counts sockets apart
    CGROUPS /= "memory"
    LIMITS = {"memory.limit_in_bytes": LIMIT_BYTES, "memory.kmem.tcp.limit_in_bytes": LIMIT_BYTES}
    USED = ["memory.usage_in_bytes", "memory.kmem.tcp.usage_in_bytes"]
else:
    LIMITS = {"memory.max": LIMIT_BYTES, "memory.swap.max": 0}
    USED = ["memory.current"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("root")]


class LimitedServer(Server):
    """A release build in a cgroup of its own."""

    def __init__(self, database, *options, open_files=OPEN_FILES):
        super().__init__(database.url, *options)
        self.group = CGROUPS / f"atelier-attack-{os.getpid()}"
        self.group.mkdir()
        for name, value in LIMITS.items():
            (self.group / name).write_text(str(value))
        enter = 'echo $$ >"$0/cgroup.procs"; ulimit -n "$1"; shift; exec "$@"'
        program = TARGET / "release/atelier-server"
        self.command = ["bash", "-c", enter, self.group, open_files, program, *self.command[1:]]

    def memory(self):
        """Bytes of the process and of its sockets."""
        return sum(int((self.group / counter).read_text()) for counter in USED)

    def stop(self):
        super().stop()
        for _ in range(100):
            with contextlib.suppress(OSError):  # the kernel may still count its last process
                return self.group.rmdir()
            time.sleep(0.05)


@pytest.fixture(scope="module", autouse=True)
def prepared():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, most), most))  # of clients as well
    need_oha()
    run("cargo", "build", "--release", "--locked")


@pytest.fixture
def certificate(tmp_path, monkeypatch):
    """A file with a certificate, which clients of this process trust, and its key."""
    file = tmp_path / "certificate.pem"
    names = "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    lib(f"need openssl openssl; openssl req -x509 -newkey rsa:2048 -nodes {names} -keyout $1 -out $1 2>/dev/null", file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return file


def connections(address, requests, receive_buffer=None):
    """One for each of these requests."""
    host, port = address.split(":")
    clients = []
    for request in requests:
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(30)
        with contextlib.suppress(OSError):  # closed by the server, or its buffer is full
            client.connect((host, int(port)))
            client.setblocking(False)
            client.send(request)
        clients.append(client)
    return clients


def send(clients, data):
    for client in clients:
        with contextlib.suppress(OSError):
            client.send(data)


def get(target):
    return f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode()


# The attacks: each opens connections and returns them, to be held.


def headers(server):
    """Requests of 47 kB that do not end."""
    line = b"X-Filler: " + b"y" * 900 + b"\r\n"
    return connections(server.address, [get("/products/1")[:-2] + line * 51] * 16_300)


def pieces(server):
    """Requests that do not end, a byte at a time."""
    clients = connections(server.address, [get("/products/1")[:-2] + b"X-Slow: "] * 16_300)
    for _ in range(4):
        send(clients, b"y")
    return clients


def handshakes(server):
    """TLS handshakes that do not end."""
    return connections(server.address, [b"\x16\x03\x01\x3f\xf0\x01\x00\x3f\xec\x03\x03" + b"y" * 16_000] * 16_300)


def idle(server):
    """As many connections as there may be, each with one request."""
    return connections(server.address, [get("/products/1")] * 16_384)


def unread(server):
    """Clients with 600 requests for large pages each, which read nothing."""
    requests = (get(f"/products?count={1000 - number % 100}") * 600 for number in range(600))
    return connections(server.address, requests, 4096)


def unread_each(server):
    """As many connections as there may be, none of which reads its one response."""
    return connections(server.address, [get("/products?count=1000")] * 16_300, 4096)


HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS = 1, 3, 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def http2_get(stream, target):
    fields = b"\x82\x86" + b"\x04" + bytes([len(target)]) + target.encode() + b"\x01\x04test"
    return frame(HEADERS, 5, stream, fields)  # with END_STREAM and END_HEADERS


def windows(server):
    """HTTP/2: a hundred requests for large pages on each connection, with a flow-control window of 0."""
    settings = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))  # SETTINGS_INITIAL_WINDOW_SIZE
    pages = (http2_get(2 * number + 1, f"/products?page={number + 1}&count=1000") for number in range(100))
    return connections(server.address, [HTTP2_PREFACE + settings + b"".join(pages)] * 2_000)


def resets(server):
    """HTTP/2: requests that are cancelled immediately (rapid reset)."""
    clients = connections(server.address, [HTTP2_PREFACE + frame(SETTINGS, 0, 0)] * 200)
    cancel = struct.pack(">I", 8)
    for first in range(1, 8_000, 200):
        streams = range(first, first + 200, 2)
        pairs = (http2_get(n, f"/products/{n}/styles") + frame(RST_STREAM, 0, n, cancel) for n in streams)
        send(clients, b"".join(pairs))
    return clients


def admin(server):
    """Connections to the admin port, and idle ones to the API, of a server that may open few files."""
    return connections(server.admin, [b""] * 1_250) + connections(server.address, [b""] * 1_900)


def lock(server):
    """Another session locks a table, and clients request what is read from it."""
    command = ["psql", "-XqAt", server.environment["DATABASE_URL"]]
    psql = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    psql.stdin.write("BEGIN; LOCK TABLE atelier.photos IN ACCESS EXCLUSIVE MODE; SELECT 'locked';\n")
    psql.stdin.flush()
    assert psql.stdout.readline() == "locked\n"
    return psql, connections(server.address, [get(f"/products/{number}/styles") for number in range(1, 200)])


def pages(server):
    """100 clients that request the largest pages, one after the other."""
    flood(server, 100, HOLD_SECONDS, [f"/products?page={page}&count=1000" for page in range(1, 51)])


def flood(server, clients, seconds, targets, coding="identity"):
    """Clients that request a random one of these as soon as they have a response. Responses with a 200 a second."""
    command = [need_oha(), "-c", clients, "-z", f"{seconds}s", "-H", f"Accept-Encoding: {coding}", "--no-tui"]
    command += ["--output-format", "json", "--urls-from-file", "/dev/stdin"]
    done = run(*command, input="\n".join(server.url + target for target in targets))
    return round(json.loads(done)["statusCodeDistribution"]["200"] / seconds)


def run_attack(attack, server, finished):
    """In a process of its own, as the normal client must not wait for it."""
    clients = attack(server)
    if clients:
        time.sleep(HOLD_SECONDS)
    finished.set()
    signal.pause()


NO_CACHE = ["--cache-bytes", "0"]
ATTACKS = {  # and options of the server
    **dict.fromkeys([headers, pieces, idle, unread, unread_each, windows, admin], []),
    **dict.fromkeys([resets, lock, pages], NO_CACHE),
    handshakes: ["--tls-cert={certificate}", "--tls-key={certificate}"],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack(database, certificate, attack):
    options = [option.format(certificate=certificate) for option in ATTACKS[attack]]
    with LimitedServer(database, *options, open_files=2_048 if attack is admin else OPEN_FILES) as server:
        url = server.url.replace("http:", "https:") if attack is handshakes else server.url
        before = peak = server.memory()
        statuses, worst = collections.Counter(), 0
        fork = multiprocessing.get_context("fork")
        finished = fork.Event()
        attacker = fork.Process(target=run_attack, args=(attack, server, finished), daemon=True)
        attacker.start()
        while attacker.is_alive() and not finished.wait(REQUEST_PAUSE_SECONDS):
            began = time.monotonic()
            statuses[status(f"{url}/products/{random.randint(1, PRODUCTS)}")] += 1
            worst = max(worst, time.monotonic() - began)
            peak = max(peak, server.memory())
        attacker.terminate()
        attacker.join()
        assert finished.is_set(), "the attack itself failed"
        time.sleep(SETTLE_SECONDS)
        after = server.memory() - before
        assert server.process.poll() is None, server.log_text()
        print(
            f"{server.resident('VmHWM') / MB:.0f} MB resident, {(peak - before) / MB:.0f} MB with sockets, "
            f"{after / MB:.0f} MB afterwards; {server.metric('atelier_limits_total'):.0f} limits reached; "
            f"statuses {dict(statuses)}, worst {worst * 1000:.0f} ms"
        )
    assert set(statuses) == {200}
    assert worst < WORST_SECONDS
    assert peak < LIMIT_BYTES / 2
    assert after < 64 * MB


def test_overload(database):
    """3,000 clients without a pause get at least 0.8 times as many responses a second as 64."""
    rates = collections.defaultdict(float)
    with LimitedServer(database, *NO_CACHE) as server:
        for clients in (64, 3000) * 3:
            # wrk, since oha takes more of the cores that it shares with the server the more connections it has.
            command = [need("wrk", "wrk"), "-t1", f"-c{clients}", "-d6s", "-s", "bench/serve/styles.lua", server.url]
            output = run(*command, "--", PRODUCTS)
            number, seconds = re.search(r"(\d+) requests in ([\d.]+)s", output).groups()
            refused = re.search(r"Non-2xx or 3xx responses: (\d+)|$", output)[1] or 0
            rates[clients] = max(rates[clients], round((int(number) - int(refused)) / float(seconds)))
        print(f"{server.resident() / MB:.0f} MB resident, responses a second for so many clients: {dict(rates)}")
    assert rates[3000] > 0.8 * rates[64]


def test_full_cache(database):
    """All kinds of responses, in one encoding after the other, until the cache is full and for a while longer."""
    bound = 1.25 * CACHE_BYTES + 48 * MB  # as docs/faq.md says
    products = [f"/products/{number}" for number in range(1, PRODUCTS + 1)]
    targets = [product + document for product in products for document in ("", "/styles", "/related", "/profile")]
    targets += [f"/products?page={page}&count={count}" for page in range(1, 51) for count in range(2, 1001, 2)]
    with LimitedServer(database, "--cache-bytes", CACHE_BYTES) as server:
        for coding in ("identity", "gzip", "br", "zstd") * 2:
            flood(server, 64, 15, targets, coding)
        cached, resident = server.metric("atelier_cache_bytes"), server.resident()
        print(f"{resident / MB:.0f} MB resident with {cached / MB:.0f} MB in the cache, at most {bound / MB:.0f}")
    assert cached > 0.9 * CACHE_BYTES
    assert resident < bound
