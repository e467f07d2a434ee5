"""Sends requests at fixed rates to the hosts of scripts/cluster. See scripts/load-test --help."""

import argparse
import random
from statistics import median

import oha
from results import BENCH, environment, save, system, table

CLUSTER = system.REPO / "data/cluster"
SETUPS = {"one": "one host, no cache", "two": "two hosts, no cache", "cached": "two hosts, with caches"}
BEFORE_MS = {"one": 3326, "two": 460, "cached": 62}  # of the system that this one replaces, at RATE
RATE, CONNECTIONS, URLS = 1000, 256, 200_000
RAMP, STEP_SECONDS = [500, 1000, 2000, 3000, 4000, 5000, 6000, 8000, 10000, 12000], 6
MAX_LOST, MAX_P99_MS = 0.01, 1000  # the ramp ends above: share of requests that failed or were not sent, p99
HOT_SHARE, HOT_PRODUCTS = 0.9, 1000  # with caches: shops have few popular products
DROP_IN = "/run/systemd/system/atelier-server.service.d"


def on(host, *command):
    system.run("scripts/cluster", "on", host, *command, cwd=system.REPO)


def set_up(settings, change_drop_in):
    # In place: the hosts see this file, and not another of its name.
    (CLUSTER / "settings").write_text(settings)
    on("lb", "/opt/atelier/scripts/provision", "lb")
    for host in ("app1", "app2"):
        on(host, "sh", "-ec", f"{change_drop_in}; systemctl daemon-reload; systemctl restart atelier-server")


def set_caches(name, settings):
    """Switches the caches of the load balancer and of the servers on or off."""
    cache, size = ("on", "256MiB") if name == "cached" else ("off", "0")
    drop_in = f"[Service]\\nEnvironment=ATELIER_CACHE_BYTES={size}\\n"
    set_up(f"{settings}CACHE={cache}\n", f"mkdir -p {DROP_IN}; printf '{drop_in}' >{DROP_IN}/load-test.conf")


def measure(name, settings, products, rate, seconds):
    addresses = dict(line.split("=", 1) for line in settings.splitlines() if "=" in line)
    app = addresses["APPS"].strip('"').split()[0]
    target = f"https://{app}:3000" if name == "one" else f"http://{addresses['LB']}"
    hot = HOT_SHARE if name == "cached" else 0
    ids = (random.randint(1, HOT_PRODUCTS if random.random() < hot else products) for _ in range(URLS))
    urls = [f"{target}/products/{id}/styles" for id in ids]
    options = {"cacert": CLUSTER / "secrets/ca.crt", "prefix": (system.REPO / "scripts/cluster", "on", "client")}
    run = oha.request_rate(urls, rate, seconds, connections=CONNECTIONS, **options)
    print(f"{name}, {rate:,}/s: {run['failed']} failed, {run['dropped']} not sent, p99 {run['p99']} ms", flush=True)
    return {"setup": name, "rate": rate} | run


def ramp(name, settings, products):
    """Steps up to the first that is not answered in time."""
    for rate in RAMP:
        run = measure(name, settings, products, rate, STEP_SECONDS)
        yield run
        lost = (run["failed"] + run["dropped"]) / (run["requests"] + run["dropped"])
        if lost > MAX_LOST or run["p99"] > MAX_P99_MS:
            return


def report(result):
    rows = []
    for name, words in SETUPS.items():
        runs = [run for run in result["steady"] if run["setup"] == name]
        sums = [f"{sum(run[key] for run in runs):,}" for key in ("requests", "failed", "dropped")]
        times = [f"{median(run[key] for run in runs):.1f}" for key in ("p50", "p99", "p99.9")]
        rows.append([words, *sums, *times, f"{BEFORE_MS[name]:,}"])
    print(f"\n{result['environment']}")
    head = ["requests", "failed", "not sent", "p50 ms", "p99 ms", "p99.9 ms", "system before, ms"]
    table([f"{RATE:,} requests/s", *head], rows)


def main():
    parser = argparse.ArgumentParser(prog="scripts/load-test")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    settings, products = (CLUSTER / "settings").read_text(), int((CLUSTER / "products").read_text())
    result = {"environment": environment(f"oha {oha.VERSION}", None, products), "steady": [], "ramp": []}
    try:
        for left in reversed(range(options.rounds)):
            for name in SETUPS:
                set_caches(name, settings)
                result["steady"].append(measure(name, settings, products, RATE, options.seconds))
                if not left:
                    result["ramp"] += ramp(name, settings, products)
    finally:
        set_up(settings, f"rm -f {DROP_IN}/load-test.conf")
    report(result)
    save("load-test", result)


main()
