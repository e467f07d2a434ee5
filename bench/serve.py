"""Measures atelier-server against pgbench, nginx and the floor. See scripts/bench --help."""

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import resource
import select
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import chart
import oha
from results import BENCH, catalogue, environment, outcome, save, system, table

FILES = Path(__file__).resolve().parent / "serve"
VERSIONS = "$0 --version; nginx -v 2>&1 | sed 's/.*: //'; wrk -v | sed -n '1s/ \\[.*//p'"
CONNECTIONS = 64  # of wrk and oha
CACHED = "/products/2/styles"  # 2.9 kB with seed 1; the mean is 2.0
COMPARED = 200  # responses, before anything is measured
RATE, RATE_SECONDS, LATE_MS, MAX_MS = 1000, 3, 10, 100
IDLE_CONNECTIONS, IDLE_CACHE_MB, SETTLE_SECONDS = 10_000, 16, 1
TARGET_P99_MS, TARGET_MEMORY_MB = 5, 64  # at RATE; with IDLE_CONNECTIONS, beside the cache
RATIOS = {  # numerator, denominator, what of them, target
    "uncached over pgbench": ("uncached", "pgbench", "rate", 1.7),
    "cached over nginx": ("server 200", "nginx 200", "rate", 1.2),
    "304 over nginx": ("server 304", "nginx 304", "rate", 1.5),
    "floor over nginx, 200": ("floor 200", "nginx 200", "rate", None),
    "floor over nginx, 304": ("floor 304", "nginx 304", "rate", None),
    "CPU a request, nginx over server, 200": ("nginx 200", "server 200", "cpu_us", 1.2),
    "CPU a request, nginx over server, 304": ("nginx 304", "server 304", "cpu_us", 1.5),
}


def check(condition, message):
    if not condition:
        raise SystemExit(f"error: {message}")


def get(url, headers):
    """The response to a request and its body."""
    address, path = url.removeprefix("http://").split("/", 1)
    with contextlib.closing(http.client.HTTPConnection(address, timeout=30)) as connection:
        connection.request("GET", f"/{path}", headers=headers)
        response = connection.getresponse()
        return response, response.read()


def cpu_seconds(pids):
    fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in pids]
    return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")


def wrk(url, pids, seconds, *, products=None, tag=None):
    """Requests/s for one URL, or for the styles of random products; and the server's CPU time for each."""
    options = ["-H", f"If-None-Match: {tag}"] if tag else []
    arguments = ["-s", FILES / "styles.lua", url, "--", products] if products else [url]
    before = cpu_seconds(pids)
    output = system.run("wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", *options, *arguments)
    spent = cpu_seconds(pids) - before
    check("Non-2xx" not in output and "Socket errors" not in output, f"requests to {url} failed: {output}")
    [(requests, rate)] = re.findall(r"(\d+) requests in .*\nRequests/sec: +([\d.]+)", output)
    return {"rate": float(rate), "cpu_us": spent / int(requests) * 1e6}


def pgbench(database, seconds, products):
    """Transactions/s of the usual statement."""
    options = ["-n", "-M", "prepared", "-c8", "-j2", "-T", seconds, "-D", f"products={products}"]
    command = [database.programs / "pgbench", *options, "-f", FILES / "styles.sql", database.url]
    return {"rate": float(re.search(r"^tps = ([\d.]+)", system.run(*command), re.M)[1])}


def in_turn(rounds, contestants):
    """The measurements of each contestant."""
    runs = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, measure in contestants.items():
            runs[name].append(measure())
            print(f"{name}: {runs[name][-1]['rate']:,.0f} requests/s", flush=True)
    return runs


def compare_responses(database, server, products):
    """The server must give the JSON of the usual statement, in the same order."""
    statement = re.sub(r"^(--|\\set).*\n", "", (FILES / "styles.sql").read_text(), flags=re.M)
    ids = [1, products, *(random.randint(1, products) for _ in range(COMPARED - 2))]
    usual = database.psql(input="\n".join(f"\\set id {id}\n{statement}" for id in ids)).splitlines()
    for id, expected in zip(ids, usual, strict=True):
        response, body = get(f"{server.url}/products/{id}/styles", {})
        same = response.status == 200 and json.dumps(json.loads(body)) == json.dumps(json.loads(expected))
        check(same, f"the styles of product {id} are not those of bench/serve/styles.sql")


def uncached(database, products, seconds, rounds):
    """The server without a cache, in turn with pgbench; then its latency."""
    with system.Server(database.url, "--cache-bytes", 0) as server:
        compare_responses(database, server, products)
        contestants = {
            "pgbench": partial(pgbench, database, seconds, products),
            "uncached": partial(wrk, server.url, [server.process.pid], seconds, products=products),
        }
        in_turn(1, contestants)  # not counted: it brings the database into memory
        runs = in_turn(rounds, contestants)
        return runs, *latency(server, products, rounds, median(run["rate"] for run in runs["uncached"]))


def latency(server, products, rounds, most):
    """Latency at RATE, and in steps of a sixteenth of the closed loop's rate until p99 is above MAX_MS."""
    urls = [f"{server.url}/products/{random.randint(1, products)}/styles" for _ in range(200_000)]

    def at(rate):
        figures = oha.request_rate(urls, rate, RATE_SECONDS, connections=CONNECTIONS)
        check(not figures["failed"], f"{figures['failed']} requests failed: {figures['statuses']} {figures['errors']}")
        print(f"{rate:,} requests/s: p99 {figures['p99']:.2f} ms", flush=True)
        return {"rate": rate} | figures

    steady, ramp = [at(RATE) for _ in range(rounds)], []
    for step in range(2, 17):
        ramp.append(at(round(most * step / 16)))
        if ramp[-1]["p99"] > MAX_MS:
            break
    return steady, ramp


@contextlib.contextmanager
def listening(*command, url):
    """A process that serves at a URL."""
    process = subprocess.Popen([str(word) for word in command])
    try:
        limit = time.monotonic() + 10
        while not system.status(url + CACHED):
            check(process.poll() is None and time.monotonic() < limit, f"{command[0]} did not start")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait()


def nginx(stack, upstream):
    """The URL of an nginx with a cache, and the ids of its workers."""
    address, root = f"127.0.0.1:{system.free_port()}", stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))
    config = (FILES / "nginx.conf").read_text()
    for word, value in {"ROOT": root, "UPSTREAM": upstream, "LISTEN": address}.items():
        config = config.replace(word, value)
    Path(root, "nginx.conf").write_text(config)
    command = [system.need("nginx", "nginx-light"), "-p", root, "-e", f"{root}/log", "-c", f"{root}/nginx.conf"]
    process = stack.enter_context(listening(*command, url=f"http://{address}"))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return f"http://{address}", [pid for pid in children if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def floor(stack, program, response, body):
    """The URL of processes that always write the bytes of this response, one for each core, and their ids."""
    port, file = system.free_port(), program.with_suffix(f".{response.status}")
    headers = "".join(f"{name}: {value}\r\n" for name, value in response.getheaders())
    file.write_bytes(f"HTTP/1.1 {response.status} {response.reason}\r\n{headers}\r\n".encode() + body)
    url, cores = f"http://127.0.0.1:{port}", range(os.cpu_count())
    return url, [stack.enter_context(listening(program, port, file, url=url)).pid for _ in cores]


def cached(database, seconds, rounds, program):
    """200 and 304 from the caches of nginx and of the server, and from the floor, in turn."""
    system.run("cc", "-O2", "-o", program, FILES / "floor.c")
    contestants = {}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(system.Server(database.url))
        address = nginx(stack, server.address)
        response, body = get(server.url + CACHED, {})
        hit, same = get(address[0] + CACHED, {"X-Show-Cache": "1"})
        check(hit.headers["X-Cache-Status"] == "HIT" and same == body, "nginx does not answer from its cache")
        tag = response.headers["ETag"]
        for status, wanted in ((200, None), (304, tag)):
            servers = {"nginx": address, "server": (server.url, [server.process.pid])}
            for url, _ in servers.values():
                response, body = get(url + CACHED, {"If-None-Match": wanted} if wanted else {})
                check(response.status == status, f"{url} answers {response.status} and not {status}")
            servers["floor"] = floor(stack, program, response, body)
            for name, (url, pids) in servers.items():
                contestants[f"{name} {status}"] = partial(wrk, url + CACHED, pids, seconds, tag=wanted)
        return in_turn(rounds, contestants)


def idle_memory(database, products):
    """The server's memory in MB with connections that have sent one request each, and are idle."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    options = ["--cache-bytes", f"{IDLE_CACHE_MB}MiB", "--max-connections", IDLE_CONNECTIONS + 1000]
    with system.Server(database.url, *options) as server, contextlib.ExitStack() as stack:
        poll = select.poll()
        for _ in range(IDLE_CONNECTIONS):
            connection = stack.enter_context(contextlib.closing(http.client.HTTPConnection(server.address)))
            connection.request("GET", f"/products/{random.randint(1, products)}/styles")
            response = connection.getresponse()
            response.read()
            check(response.status == 200 and connection.sock, f"{response.status}, or a connection that was closed")
            poll.register(connection.sock, select.POLLIN)
        time.sleep(SETTLE_SECONDS)  # until what the last responses used is freed
        check(not poll.poll(0), "the server closed idle connections")
        return server.resident() / 1e6


def report(result):
    runs, rows = result["runs"], []
    for name, (over, under, key, target) in RATIOS.items():
        # The runs of a round are neighbours in time: what disturbs the machine for longer disturbs both.
        ratio = median(one[key] / other[key] for one, other in zip(runs[over], runs[under], strict=True))
        rows.append([name, f"{ratio:.2f}", target or "", outcome(ratio >= target) if target else ""])
    p99 = median(run["p99"] for run in result["steady"])
    rows.append([f"p99 at {RATE:,} requests/s", f"{p99:.2f} ms", f"{TARGET_P99_MS} ms", outcome(p99 < TARGET_P99_MS)])
    kept = max((run["rate"] for run in result["ramp"] if run["p99"] < LATE_MS), default=0)
    rows.append([f"highest rate with p99 below {LATE_MS} ms", f"{kept:,} requests/s", "", ""])
    memory, most = result["memory"], TARGET_MEMORY_MB + IDLE_CACHE_MB
    what = f"memory, {IDLE_CONNECTIONS:,} idle connections and {IDLE_CACHE_MB} MB of cache"
    rows.append([what, f"{memory:.1f} MB", f"{most} MB", outcome(memory < most)])
    print(f"\n{result['environment']}")
    table(["", "measured", "target", ""], rows)
    middle = {name: {key: median(run[key] for run in those) for key in those[0]} for name, those in runs.items()}
    rows = [
        [name, f"{run['rate']:,.0f}", f"{run['cpu_us']:.2f}" if "cpu_us" in run else ""] for name, run in middle.items()
    ]
    table(["", "requests/s", "µs of its CPU a request"], rows)


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench serve")
    parser.add_argument("--products", type=int, default=1000011)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    options = parser.parse_args()
    products, length, rounds = options.products, options.seconds, options.rounds
    data, _ = catalogue(products)
    with system.Database("bench_serve") as database, tempfile.TemporaryDirectory() as work:
        database.load(data)
        tables = "select oid from pg_class where relnamespace = 'atelier'::regnamespace and relkind in ('r', 'i')"
        database.query(f"create extension pg_prewarm; select sum(pg_prewarm(oid, 'read')) from ({tables}) t")
        versions = ", ".join([*system.run("sh", "-c", VERSIONS, system.SERVER).splitlines(), f"oha {oha.VERSION}"])
        result = {"environment": environment(versions, database, products)}
        result["runs"], result["steady"], result["ramp"] = uncached(database, products, length, rounds)
        result["runs"] |= cached(database, length, rounds, Path(work, "floor"))
        result["memory"] = idle_memory(database, products)
    report(result)
    save(f"serve-{products}", result)
    series = {key: [(run["rate"], run[key]) for run in result["ramp"]] for key in ("p50", "p99", "p99.9")}
    chart.latency(series, BENCH / f"serve-{products}.svg", "uncached requests/s")


main()
