"""Hostile clients of atelier-server, each for a few seconds, and what an honest one sees meanwhile.

usage: attacks.py ATTACK HOST:PORT ADMIN-HOST:PORT PID PRODUCTS

Prints one line: resident memory at its most and afterwards, the kernel's memory for sockets at its most, connections that
the server closed, and the honest client's answers, refusals and worst time. Fails when an answer is wrong, or a bound of
BOUNDS is passed.
"""

import http.client
import multiprocessing
import os
import random
import re
import resource
import selectors
import socket
import sys
import threading
import time

HONEST_PAUSE_SECONDS = 0.02
HOLD_SECONDS = 8
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Server:
    """The server under attack, and what it takes of the machine."""

    def __init__(self, address, admin, pid, products):
        self.address = split(address)
        self.admin = split(admin)
        self.pid = int(pid)
        self.products = int(products)

    def resident(self):
        with open(f"/proc/{self.pid}/status") as status:
            return int(re.search(r"^VmRSS:\s+(\d+) kB", status.read(), re.M)[1]) * 1024

    def connect(self, address=None, receive_buffer=None):
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(30)
        client.connect(address or self.address)
        return client


def split(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def socket_memory():
    """Of all TCP sockets of the machine, in bytes: both ends of each are here."""
    with open("/proc/net/sockstat") as stat:
        return int(re.search(r"^TCP: .* mem (\d+)", stat.read(), re.M)[1]) * PAGE_BYTES


class Honest(threading.Thread):
    """Asks for one product after the other, each on a new connection, and looks at the memory meanwhile."""

    def __init__(self, server, targets=None):
        super().__init__(daemon=True)
        self.server = server
        self.targets = targets or (lambda: f"/products/{random.randint(1, server.products)}")
        self.stopped = threading.Event()
        self.statuses = {}
        self.worst = 0.0
        self.resident = self.sockets = 0
        self.failures = []

    def run(self):
        while not self.stopped.wait(HONEST_PAUSE_SECONDS):
            begin = time.monotonic()
            try:
                connection = http.client.HTTPConnection(*self.server.address, timeout=30)
                connection.request("GET", self.targets())
                answer = connection.getresponse()
                answer.read()
                connection.close()
                self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
            except OSError as error:
                self.failures.append(repr(error))
            self.worst = max(self.worst, time.monotonic() - begin)
            self.resident = max(self.resident, self.server.resident())
            self.sockets = max(self.sockets, socket_memory())


def hold(clients, seconds):
    """Keeps connections for a while; says how many of them the server has closed."""
    time.sleep(seconds)
    closed = 1
    for client in clients:
        client.setblocking(False)
        try:
            while True:
                if not client.recv(65536):
                    closed += 1
                    break
        except BlockingIOError:
            pass
        except OSError:
            closed += 1
    return closed


def headers(server, count=16_300, size=47_000):
    """Requests of 47 KB that do not end."""
    begin = b"GET /products/1 HTTP/1.1\r\nHost: test\r\n"
    line = b"X-Filler: " + b"y" * 900 + b"\r\n"
    clients, rest = [], (begin + line * (size // len(line)))
    for _ in range(count):
        client = server.connect()
        client.setblocking(False)
        try:
            client.send(rest)
        except OSError:
            pass
        clients.append(client)
    return clients


def idle(server, count=16_384):
    """Connections that have asked once, as many as there may be."""
    clients = []
    for _ in range(count):
        client = server.connect()
        client.send(b"GET /products/1 HTTP/1.1\r\nHost: test\r\n\r\n")
        clients.append(client)
    return clients


def silent(server, count=16_384):
    """Connections that never ask."""
    return [server.connect() for _ in range(count)]


def unread(server, count=600, pipelined=600):
    """Clients that ask for much, many times, and read nothing."""
    clients = []
    for number in range(count):
        client = server.connect(receive_buffer=4096)
        client.setblocking(False)
        target = f"/products?count={1000 - number % 100}"
        try:
            client.send(f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode() * pipelined)
        except OSError:
            pass
        clients.append(client)
    return clients


def admin(server, count=1_250):
    """Connections to the admin port."""
    return [server.connect(server.admin) for _ in range(count)]


ATTACKS = {"headers": headers, "idle": idle, "silent": silent, "unread": unread, "admin": admin}


def attack(name, server, go_on, closed):
    """In a process of its own: the honest client is not to be kept waiting by what runs beside it."""
    clients = ATTACKS[name](server)
    closed.value = -len(clients)
    closed.value = hold(clients, HOLD_SECONDS)
    go_on.wait()


def main():
    name, *arguments = sys.argv[1:]
    server = Server(*arguments)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before, sockets = server.resident(), socket_memory()
    go_on, closed = multiprocessing.Event(), multiprocessing.Value("i", 0)
    attacker = multiprocessing.Process(target=attack, args=(name, server, go_on, closed))
    honest = Honest(server)
    attacker.start()
    honest.start()
    while attacker.is_alive() and closed.value <= 0:
        time.sleep(0.1)
    honest.stopped.set()
    honest.join()
    go_on.set()
    attacker.join()
    time.sleep(3)
    mb = 1e-6
    print(
        f"{name:10} {closed.value} closed; resident {before * mb:.0f} -> "
        f"{honest.resident * mb:.0f} -> {server.resident() * mb:.0f} MB, sockets {(honest.sockets - sockets) * mb:.0f} MB; "
        f"honest: {honest.statuses}, {len(honest.failures)} failed {honest.failures[:1]}, worst {honest.worst * 1000:.0f} ms"
    )


main()
