#!/usr/bin/env python3
"""Checks /metrics with Python's prometheus_client, with promtool, and with a Prometheus that scrapes it and computes a
quantile, for tests/api/run.

usage: metrics.py ADMIN URL WORK PORT        URLs of the admin port and the API; directory and port for Prometheus
"""

import json
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

OPENMETRICS = "application/openmetrics-text"
QUANTILE = "histogram_quantile(0.99, sum by (le) (rate(atelier_http_request_duration_seconds_bucket[10s])))"
DEADLINE_SECONDS = 30  # three scrapes take three


def get(url, accept="*/*"):
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept})) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def parse(admin):
    """The same families in both formats, each in the parser that is strict about it."""
    content_type, text = get(f"{admin}/metrics", OPENMETRICS)
    assert content_type.startswith(OPENMETRICS), content_type
    modern = {family.name: family for family in openmetrics_parser.text_string_to_metric_families(text)}
    content_type, text = get(f"{admin}/metrics")
    assert content_type.startswith("text/plain; version=0.0.4"), content_type
    classic = {family.name: family for family in parser.text_string_to_metric_families(text)}
    assert modern["atelier_http_requests"].type == classic["atelier_http_requests"].type == "counter"
    assert modern["atelier_http_request_duration_seconds"].type == "histogram"
    names = [{sample.name for family in families.values() for sample in family.samples} for families in (modern, classic)]
    assert names[0] == names[1], names[0] ^ names[1]
    last = [sample.labels["le"] for sample in modern["atelier_http_request_duration_seconds"].samples if "le" in sample.labels]
    assert "+Inf" in last, last
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    assert checked.returncode == 0 and not checked.stderr, checked.stderr
    return len(names[0])


def scrape(admin, url, work, port):
    """What Prometheus makes of it: the quantile is a number, and the counters are there."""
    target = urllib.parse.urlsplit(admin).netloc
    config = {"scrape_configs": [{"job_name": "atelier", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}]}
    work.mkdir()
    (work / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    command = ["prometheus", f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    prometheus = subprocess.Popen(command)
    try:
        begin = time.monotonic()
        while True:
            get(f"{url}/products/1")
            value = query(port, QUANTILE)
            if value is not None and value == value:  # NaN is not
                break
            assert time.monotonic() - begin < DEADLINE_SECONDS, f"{QUANTILE} is {value}"
            assert prometheus.poll() is None, "prometheus has ended"
            time.sleep(0.2)
        assert 0 < value <= 10, f"{QUANTILE} is {value}"
        for one in ['up{job="atelier"} == 1', "sum(atelier_http_requests_total)", "sum(atelier_limits_total) + 1", "atelier_build_info"]:
            assert query(port, one), f"{one} is {query(port, one)}"
        return value
    finally:
        prometheus.terminate()
        prometheus.wait()


def query(port, expression):
    parameters = urllib.parse.urlencode({"query": expression})
    try:
        _, text = get(f"http://127.0.0.1:{port}/api/v1/query?{parameters}")
    except urllib.error.URLError:
        return None  # it starts
    results = json.loads(text)["data"]["result"]
    return float(results[0]["value"][1]) if results else None


def main():
    admin, url, work, port = sys.argv[1:]
    names, quantile = parse(admin), scrape(admin, url, pathlib.Path(work), port)
    print(f"    {names} names, the same in both formats; the 99th percentile is {quantile * 1000:.1f} ms")


main()
