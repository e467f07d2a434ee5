"""Sends requests at fixed rates to the hosts of scripts/cluster. See scripts/load-test --help."""

import argparse
import contextlib
import random
from statistics import median

import chart
import oha
from results import BENCH, environment, save, system, table

CLUSTER = system.REPO / "data/cluster"
SETUPS = {"one": "one host, no cache", "two": "two hosts, no cache", "cached": "two hosts, with caches"}
BEFORE_MS = {"one": 3326, "two": 460, "cached": 62}  # of the system that this one replaces, at RATE
RATE, STEP_SECONDS = 1000, 6
RATES = [500, 1000, 2000, 3000, 4000, 5000, 6000, 8000, 10000, 12000]
MAX_LOST, MAX_P99_MS = 0.01, 1000  # the ramp ends above: share of requests failed or not sent, p99
CONNECTIONS = 256
HOT_SHARE, HOT_PRODUCTS = 0.9, 1000  # with caches: shops have few popular products
DROP_IN = "/run/systemd/system/atelier-server.service.d"


def on(host, *command):
    return system.run("scripts/cluster", "on", host, *command, cwd=system.REPO)


def provision(settings):
    # In place: the hosts see this file, and not another of its name.
    (CLUSTER / "settings").write_text(settings)
    on("lb", "/opt/atelier/scripts/provision", "lb")


def restart_servers(command):
    for host in ("app1", "app2"):
        on(host, "sh", "-ec", f"{command}; systemctl daemon-reload; systemctl restart atelier-server")


@contextlib.contextmanager
def set_up(name, settings):
    """The hosts without caches, or with those of the load balancer and of the servers."""
    cache, size = ("on", "256MiB") if name == "cached" else ("off", "0")
    drop_in = f"[Service]\\nEnvironment=ATELIER_CACHE_BYTES={size}\\n"
    try:
        provision(f"{settings}CACHE={cache}\n")
        restart_servers(f"mkdir -p {DROP_IN}; printf '{drop_in}' >{DROP_IN}/load-test.conf")
        yield
    finally:
        provision(settings)
        restart_servers(f"rm -f {DROP_IN}/load-test.conf")


def measure(name, settings, products, rate, seconds):
    addresses = dict(line.split("=", 1) for line in settings.splitlines())
    app = addresses["APPS"].strip('"').split()[0]
    target = f"https://{app}:3000" if name == "one" else f"http://{addresses['LB']}"
    hot = HOT_SHARE if name == "cached" else 0
    ids = (random.randint(1, HOT_PRODUCTS if random.random() < hot else products) for _ in range(200_000))
    options = {"cacert": CLUSTER / "secrets/ca.crt", "prefix": ("scripts/cluster", "on", "client")}
    urls = [f"{target}/products/{id}/styles" for id in ids]
    figures = oha.request_rate(urls, rate, seconds, connections=CONNECTIONS, **options)
    print(f"{name}, {rate:,}/s: {figures['failed']} failed, p50 {figures['p50']:.1f} ms, p99 {figures['p99']:.1f} ms")
    return {"setup": name, "rate": rate} | figures


def ramp(name, *arguments):
    """Steps up to the first that is not answered in time."""
    for rate in RATES:
        figures = measure(name, *arguments, rate, STEP_SECONDS)
        yield figures
        lost = figures["failed"] + figures["dropped"]
        if lost / (figures["requests"] + figures["dropped"]) > MAX_LOST or figures["p99"] > MAX_P99_MS:
            return


def report(result):
    print(f"\n{result['environment']}; {result['products']:,} products")
    rows = []
    for name, words in SETUPS.items():
        runs = [run for run in result["steady"] if run["setup"] == name]
        total = [f"{sum(run[key] for run in runs):,}" for key in ("requests", "failed", "dropped")]
        times = [f"{median(run[key] for run in runs):.1f}" for key in ("p50", "p99", "p99.9")]
        rows.append([words, *total, *times, f"{BEFORE_MS[name]:,}"])
    table(
        [f"{RATE:,} requests/s", "requests", "failed", "not sent", "p50 ms", "p99 ms", "p99.9 ms", "before, ms"], rows
    )
    found = {(run["setup"], run["rate"]): run for run in result["ramp"]}
    rows = []
    for rate in sorted({rate for _, rate in found}):
        runs = [found.get((name, rate)) for name in SETUPS]
        rows.append([f"{rate:,}", *(f"{run['p50']:.1f} / {run['p99']:.1f}" if run else "" for run in runs)])
    table(["requests/s: p50 / p99 ms", *SETUPS.values()], rows)


def main():
    parser = argparse.ArgumentParser(prog="scripts/load-test")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    settings, products = (CLUSTER / "settings").read_text(), int((CLUSTER / "products").read_text())
    result = {"environment": environment(f"oha {oha.VERSION}"), "products": products, "steady": [], "ramp": []}
    for turn in range(options.rounds):
        for name in SETUPS:
            with set_up(name, settings):
                result["steady"].append(measure(name, settings, products, RATE, options.seconds))
                if turn == options.rounds - 1:
                    result["ramp"] += ramp(name, settings, products)
    report(result)
    save("load-test", result)
    series = {
        words: [(run["rate"], run["p99"]) for run in result["ramp"] if run["setup"] == name]
        for name, words in SETUPS.items()
    }
    chart.latency(series, BENCH / "load-test.svg", "requests/s, p99")


main()
