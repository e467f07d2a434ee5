"""Runs hostile clients against atelier-server, and measures their effect on it and on a normal client.

usage: attacks.py SERVER PRODUCTS [ATTACK…]

DATABASE_URL must have a catalogue with ids from 1 to PRODUCTS. Each attack gets its own server with the memory limit of its
systemd unit, which includes kernel memory for sockets. Prints a line for each: peak memory (resident, and all that the limit
counts), memory after the clients have disconnected, and the normal client's responses and worst latency. Fails if memory
exceeds half the limit, or the normal client gets a wrong response.
"""

import http.client
import multiprocessing
import os
import random
import re
import resource
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

LIMIT_BYTES = 1 << 30  # MemoryMax of deploy/systemd/atelier-server.service
FILES = 32768  # its LimitNOFILE
WORST_SECONDS = 4  # of an honest client: not what is good, but what nobody who is shut out gets
HOLD_SECONDS = 8
HONEST_PAUSE_SECONDS = 0.02
MB = 1_000_000
SCRIPTS = Path(__file__).parent


class Group:
    """A cgroup, of either version, that a server runs in."""

    def __init__(self):
        first = Path("/sys/fs/cgroup/memory")
        self.is_first = first.is_dir()
        self.path = (first if self.is_first else Path("/sys/fs/cgroup")) / f"atelier-attack-{os.getpid()}"
        self.path.mkdir()
        if self.is_first:
            self.write("memory.limit_in_bytes", LIMIT_BYTES)
            self.write("memory.kmem.tcp.limit_in_bytes", LIMIT_BYTES)
        else:
            self.write("memory.max", LIMIT_BYTES)
            self.write("memory.swap.max", 0)

    def write(self, name, value):
        (self.path / name).write_text(str(value))

    def read(self, name):
        return int((self.path / name).read_text())

    def bytes(self):
        """Of the processes and of their sockets."""
        if self.is_first:
            return self.read("memory.usage_in_bytes") + self.read("memory.kmem.tcp.usage_in_bytes")
        return self.read("memory.current")

    def remove(self):
        for _ in range(100):
            try:
                return self.path.rmdir()
            except OSError:  # the kernel is not done with its last process
                time.sleep(0.05)


class Server:
    """A server under attack."""

    def __init__(self, program, *options, files=FILES):
        self.group = Group()
        self.log = tempfile.TemporaryFile("w+")
        self.address, self.admin = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
        addresses = ["--listen", "{}:{}".format(*self.address), "--admin-listen", "{}:{}".format(*self.admin)]
        self.tls = "--tls-cert" in options

        def enter():
            self.group.write("cgroup.procs", os.getpid())
            limit = min(files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        self.process = subprocess.Popen([program, *addresses, *options], stderr=self.log, preexec_fn=enter)
        while ask(self.admin, "/readyz")[0] != 200:
            if self.process.poll() is not None:
                sys.exit("error: atelier-server ended at its start")
            time.sleep(0.05)

    def resident(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)
        return int(found[1]) * 1024 if found else 0  # it is ending

    def runs(self):
        return self.process.poll() is None

    def metric(self, name):
        text = ask(self.admin, "/metrics")[1].decode()
        return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.M))

    def stop(self):
        """Shows the end of the log if it has ended by itself."""
        if not self.runs():
            self.log.seek(0)
            print(f"it ended: {self.process.returncode}", *self.log.readlines()[-5:], sep="\n    ")
        self.process.terminate()
        self.process.wait()
        self.group.remove()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(address, target, tls=False):
    """Status and body; 0 where there is no answer."""
    if tls:
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(*address, timeout=30, context=context)
    else:
        connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


class Honest(threading.Thread):
    """Asks for one thing after the other, each on a connection of its own, and looks at the memory meanwhile."""

    def __init__(self, server, targets):
        super().__init__(daemon=True)
        self.server, self.targets = server, targets
        self.stopped = threading.Event()
        self.statuses, self.worst, self.resident, self.all = {}, 0.0, 0, 0

    def run(self):
        while self.server.runs() and not self.stopped.wait(HONEST_PAUSE_SECONDS):
            begin = time.monotonic()
            status, _ = ask(self.server.address, self.targets(), self.server.tls)
            self.statuses[status] = self.statuses.get(status, 0) + 1
            self.worst = max(self.worst, time.monotonic() - begin)
            self.look()

    def look(self):
        if self.server.runs():
            self.resident = max(self.resident, self.server.resident())
            self.all = max(self.all, self.server.group.bytes())


# --- attacks ------------------------------------------------------------------------------------------------------
#
# Each opens connections, says or leaves unsaid something on each, and gives them back to be held.


def connections(address, count, begin=b"", receive_buffer=None):
    clients = []
    for _ in range(count):
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(30)
        try:
            client.connect(address)
            client.setblocking(False)
            client.send(begin)
        except OSError:  # closed, or full
            pass
        clients.append(client)
    return clients


def get(target):
    return f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode()


def headers(server):
    """Requests of 47 kB that do not end."""
    line = b"X-Filler: " + b"y" * 900 + b"\r\n"
    return connections(server.address, 16_300, get("/products/1")[:-2] + line * 51)


def pieces(server):
    """The same, a byte at a time."""
    clients = connections(server.address, 16_300, get("/products/1")[:-2] + b"X-Slow: ")
    for _ in range(4):
        for client in clients:
            try:
                client.send(b"y")
            except OSError:
                pass
    return clients


def handshakes(server):
    """Handshakes of TLS that do not end."""
    return connections(server.address, 16_300, b"\x16\x03\x01\x3f\xf0\x01\x00\x3f\xec\x03\x03" + b"y" * 16_000)


def idle(server):
    """As many connections as there may be, each of which has asked once."""
    return connections(server.address, 16_384, get("/products/1"))


def unread(server):
    """Clients that ask for much, 600 times, and read nothing."""
    page = lambda number: get(f"/products?count={1000 - number % 100}") * 600
    return [connections(server.address, 1, page(number), 4096)[0] for number in range(600)]


def unread_each(server):
    """As many connections as there may be, none of which reads its one answer."""
    return connections(server.address, 16_300, get("/products?count=1000"), 4096)


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def http2_request(stream, target):
    fields = b"\x82\x86" + b"\x04" + bytes([len(target)]) + target.encode() + b"\x01\x04test"
    return frame(1, 5, stream, fields)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def windows(server):
    """HTTP/2: a hundred large answers a connection, and no room for any of them."""
    settings = frame(4, 0, 0, struct.pack(">HI", 4, 0))

    def asked(client):
        pages = (f"/products?page={(client * 100 + number) % 100 + 1}&count=1000" for number in range(100))
        return b"".join(http2_request(2 * number + 1, page) for number, page in enumerate(pages))

    return [connections(server.address, 1, PREFACE + settings + asked(client))[0] for client in range(2_000)]


def resets(server):
    """HTTP/2: requests that are taken back at once, without end."""
    settings = PREFACE + frame(4, 0, 0)
    clients = connections(server.address, 200, settings)
    for begin in range(0, 4_000, 100):
        pairs = (2 * number + 1 for number in range(begin, begin + 100))
        asked = b"".join(
            http2_request(stream, f"/products/{stream}/styles") + frame(3, 0, stream, struct.pack(">I", 8))
            for stream in pairs
        )
        for client in clients:
            try:
                client.send(asked)
            except OSError:
                pass
    return clients


def admin(server):
    """Connections to the admin port, and idle ones to the other, of a server that may open few files."""
    return connections(server.admin, 1_250) + connections(server.address, 1_900)


def lock(server):
    """Somebody locks one table, and clients ask for what is read from it."""
    locker = subprocess.Popen(
        ["psql", "-XqAt", os.environ["DATABASE_URL"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    locker.stdin.write("BEGIN; LOCK TABLE atelier.photos IN ACCESS EXCLUSIVE MODE; SELECT 'locked';\n")
    locker.stdin.flush()
    locker.stdout.readline()
    clients = [
        connections(server.address, 1, get(f"/products/{number}/styles"))[0] for number in range(1, 200)
    ]
    return [*clients, locker.stdin]


def pages(server):
    """100 clients that ask for the largest pages, one after the other."""
    return wrk(server, 100, HOLD_SECONDS, "pages")


def wrk(server, clients, seconds, *arguments):
    """Clients that ask without a pause. What wrk says of them."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "-s", str(SCRIPTS / "attacks.lua")]
    url = "http://{}:{}".format(*server.address)
    run = subprocess.run([*command, url, "--", *arguments], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()[-1].split()


def hold(clients):
    """Keeps connections for a while. wrk has kept its own."""
    if not isinstance(clients[0], str):
        time.sleep(HOLD_SECONDS)


CERTIFICATE = Path(tempfile.gettempdir()) / f"atelier-attack-{os.getpid()}.pem"

HELD = [
    (headers, []),
    (pieces, []),
    (handshakes, ["--tls-cert", str(CERTIFICATE), "--tls-key", str(CERTIFICATE)]),
    (idle, []),
    (unread, []),
    (unread_each, []),
    (windows, []),
    (resets, ["--cache-bytes", "0"]),
    (admin, []),
    (lock, ["--cache-bytes", "0"]),
    (pages, ["--cache-bytes", "0"]),
]


def held(program, products, attack, options):
    """One attack: its line, and whether it went as it should."""
    server = Server(program, *options, files=2_048 if attack is admin else FILES)
    before = server.group.bytes()
    ready, go_on = multiprocessing.Event(), multiprocessing.Event()

    # A process of its own: the honest client must not wait for what runs beside it.
    def run():
        clients = attack(server)
        hold(clients)
        ready.set()
        go_on.wait()

    attacker = multiprocessing.Process(target=run)
    honest = Honest(server, lambda: f"/products/{random.randint(1, products)}")
    attacker.start()
    honest.start()
    while attacker.is_alive() and not ready.wait(0.1):
        pass
    honest.stopped.set()
    honest.join()
    go_on.set()
    attacker.join()
    time.sleep(3)  # for the allocator, which gives memory back in a second or two
    runs = server.runs()
    after = server.group.bytes() if runs else 0
    bites = int(server.metric("atelier_limits_total")) if runs else 0
    line(
        attack.__name__,
        f"{honest.resident / MB:5.0f} MB resident, {(honest.all - before) / MB:5.0f} MB with sockets, "
        f"{(after - before) / MB:4.0f} MB afterwards; {bites:6} limits met; answers {honest.statuses}, "
        f"worst {honest.worst * 1000:5.0f} ms",
    )
    server.stop()
    if attacker.exitcode:
        sys.exit(f"error: the attack itself failed: {attack.__name__}")
    served = set(honest.statuses) == {200} and honest.worst < WORST_SECONDS
    return runs and served and honest.all < LIMIT_BYTES / 2 and after - before < 64 * MB


def overload(program, products):
    """3,000 clients without a pause, no cache: good answers a second, over those with 64 clients."""
    server = Server(program, "--cache-bytes", "0")
    best = many = 0.0
    refused = 0.0
    for _ in range(3):  # in turn
        for clients in 64, 3000:
            rate, bad, took = (float(part) for part in wrk(server, clients, 6, "styles", str(products)))
            good = (rate * took - bad) / took
            if clients == 64:
                best = max(best, good)
            else:
                many, refused = max(many, good), max(refused, bad / took)
    memory = server.resident()
    line(
        "overload",
        f"{memory / MB:5.0f} MB resident; {best:.0f} good answers/s with 64 clients, {many:.0f} with 3,000, which is "
        f"{many / best:.2f} (aimed at 0.80); {refused:.0f} refused/s",
    )
    server.stop()
    return many / best > 0.8


def cache(program, products):
    """All kinds of answers in all codings, until the cache is full and for a while longer."""
    bound = 256 << 20
    server = Server(program, "--cache-bytes", str(bound))
    for _ in range(8):
        wrk(server, 64, 15, "mixed", str(products))
    full, resident = server.metric("atelier_cache_bytes"), server.resident()
    line(
        "cache",
        f"{resident / MB:5.0f} MB resident with {full / MB:.0f} MB in a cache of {bound / MB:.0f} MB "
        f"(at most {(1.25 * bound) / MB + 48:.0f})",
    )
    server.stop()
    return full > 0.9 * bound and resident < 1.25 * bound + 48 * MB


def line(name, text):
    print(f"{name:12} {text}", flush=True)


def main():
    program, products, *names = sys.argv[1:]
    products = int(products)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*made, "-keyout", CERTIFICATE, "-out", f"{CERTIFICATE}.crt"], check=True, stderr=subprocess.DEVNULL)
    with CERTIFICATE.open("a") as both:
        both.write(Path(f"{CERTIFICATE}.crt").read_text())
    wrong = []
    for attack, options in HELD:
        if (not names or attack.__name__ in names) and not held(program, products, attack, options):
            wrong.append(attack.__name__)
    for attack in overload, cache:
        if (not names or attack.__name__ in names) and not attack(program, products):
            wrong.append(attack.__name__)
    CERTIFICATE.unlink()
    Path(f"{CERTIFICATE}.crt").unlink()
    if wrong:
        sys.exit(f"error: {', '.join(wrong)}: see above")


main()
