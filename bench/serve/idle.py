"""Opens many connections to the server, sends one request on each, keeps them open and measures the server's memory.

usage: idle.py HOST:PORT ADMIN-HOST:PORT PID CONNECTIONS PRODUCTS

Prints, in bytes: resident set size before, with all connections idle, and the size of the cache then.
Fails if a response is not 200 or a connection is closed.
"""

import http.client
import random
import re
import resource
import select
import sys
import time
import urllib.request

SETTLE_SECONDS = 1.0  # for what the last answers left to be freed


def resident_bytes(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"^VmRSS:\s+(\d+) kB", status.read(), re.M)[1]) * 1024


def cache_bytes(admin):
    metrics = urllib.request.urlopen(f"http://{admin}/metrics").read().decode()
    found = re.search(r"^atelier_\w*cache\w*_bytes (\S+)$", metrics, re.M)
    if not found:
        sys.exit("error: /metrics does not say how many bytes the cache holds")
    return int(float(found[1]))


def main():
    address, admin, pid, count, products = sys.argv[1:]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    before = resident_bytes(pid)
    connections = []
    for _ in range(int(count)):
        connection = http.client.HTTPConnection(address, timeout=30)
        connection.request("GET", f"/products/{random.randint(1, int(products))}/styles")
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            sys.exit(f"error: connection {len(connections) + 1} was answered {answer.status}")
        connections.append(connection)
    time.sleep(SETTLE_SECONDS)
    idle = resident_bytes(pid)
    cached = cache_bytes(admin)

    # An idle connection has nothing to read; a closed one has its end.
    poll = select.poll()
    for connection in connections:
        if connection.sock is None:
            sys.exit("error: the server does not keep connections alive")
        poll.register(connection.sock, select.POLLIN)
    closed = len(poll.poll(0))
    if closed:
        sys.exit(f"error: the server closed {closed} of {count} idle connections")
    print(before, idle, cached)


main()
