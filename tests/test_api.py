"""The server against its description, with Schemathesis and a generated client, and its /metrics with Prometheus."""

import importlib
import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser
from system import Database, Server, free_port, generate, lib, run

PROGRAMS = Path(sys.executable).parent
GOOD = {"get": 200, "head": 200, "options": 204}
UNKNOWN_PRODUCT = 2**31 - 1
SCRAPES_SECONDS = 30  # three of them take three
QUANTILE = "histogram_quantile(0.99, sum by (le) (rate(atelier_http_request_duration_seconds_bucket[10s])))"


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """1,000 products, ids from 1: requests made up at random hit some and miss others."""
    with Database("atelier_api") as database:
        database.load(generate(tmp_path_factory.mktemp("csv"), 1000, "--defects", "none"))
        yield database


@pytest.fixture(scope="module")
def server(database):
    with Server(database.url) as server:
        yield server


def get(url, accept="*/*"):
    with urlopen(Request(url, headers={"Accept": accept})) as response:
        return response.headers["Content-Type"], response.read().decode()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--max-time", "30", "--seed", "1"], id="fixed-seed"),
        pytest.param(["--max-time", "90"], id="random-seed", marks=pytest.mark.slow),
    ],
)
def test_responses_are_as_described(server, tmp_path, options):
    """Valid and invalid requests: status, content type, schema and headers as described, no 5xx, invalid input refused,
    valid input accepted, other methods refused."""
    # Invalid input can be too long as well, and is then refused for that.
    config = tmp_path / "schemathesis.toml"
    config.write_text("[checks.negative_data_rejection]\nexpected-statuses = [400, 404, 405, 414, 431]\n")
    command = [PROGRAMS / "schemathesis", "--config-file", config, "run", f"{server.url}/openapi.json"]
    command += ["--checks", "all", "--continue-on-failure", "--request-timeout", 10, "--generation-database", "none"]
    run(*command, "--warnings", "off", "--no-color", *options, cwd=tmp_path)


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[ -]", "_", name).lower()


def expect(response, status):
    assert response.status_code == status, response.content[:200]
    return response.parsed


@pytest.mark.parametrize(("package", "base"), [("client", ""), ("client_compat", "/shop/v1")])
def test_generated_client(database, tmp_path, monkeypatch, package, base):
    """Every operation, called by a client that openapi-python-client makes of /openapi.json."""
    options = ["--base-path", base, "--compat"] if base else []
    with Server(database.url, *options) as server:
        description, config = tmp_path / "openapi.json", tmp_path / "client.json"
        description.write_text(get(f"{server.url}{base}/openapi.json")[1])
        config.write_text('{"post_hooks": []}')
        command = [PROGRAMS / "openapi-python-client", "generate", "--path", description, "--config", config]
        run(*command, "--output-path", tmp_path / package, "--meta", "none", "--fail-on-warning")
        monkeypatch.syspath_prepend(tmp_path)
        client = importlib.import_module(package).Client(
            base_url=f"{server.url}{base}", raise_on_unexpected_status=True
        )
        call_operations(package, client, json.loads(description.read_text()), compat=bool(base))


def call_operations(package, client, description, compat):
    problem = importlib.import_module(f"{package}.models").Problem
    operations = {}

    def call(operation, status, *path, **parameters):
        return expect(operations[operation].sync_detailed(*path, client=client, **parameters), status)

    for path, methods in description["paths"].items():
        for method, described in methods.items():
            name = described["operationId"]
            module = importlib.import_module(f"{package}.api.{snake(described['tags'][0])}.{snake(name)}")
            operations[name] = module
            of_product = "{product_id}" in path
            ids = ["1" if method == "options" else 1] if of_product else []
            response = module.sync_detailed(*ids, client=client)
            expect(response, GOOD[method])
            if method == "get":
                # This generator leaves it to the caller to read what is not JSON.
                assert response.parsed is not None or "json" not in response.headers["Content-Type"], path
                call(name, 304, *ids, if_none_match=response.headers["ETag"])
            if method == "get" and of_product:
                refused = call(name, 404, UNKNOWN_PRODUCT)
                assert isinstance(refused, problem)
                assert refused.status == 404

    assert [product.id for product in call("listProducts", 200, ids=[3, 1, 3])] == [3, 1, 3]
    assert len(call("listProducts", 200, count=5000)) == 1000
    assert isinstance(call("listProducts", 400, count=0), problem)
    # Styles without photos have none, or with --compat one that is null.
    photos = [style.photos for product in range(1, 200) for style in call("getStyles", 200, product).results]
    assert any(not those for those in photos) == (not compat)
    assert any(those and those[0].url is None for those in photos) == compat


@pytest.fixture(scope="module")
def prometheus(server, tmp_path_factory):
    """The URL of a Prometheus that scrapes the server."""
    lib("need_service promtool prometheus")
    directory, address = tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{free_port()}"
    scraped = {"job_name": "atelier", "scrape_interval": "1s", "static_configs": [{"targets": [server.admin]}]}
    config = directory / "prometheus.yml"
    config.write_text(json.dumps({"scrape_configs": [scraped]}))  # JSON is YAML
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory}/data", "--log.level=error"]
    with subprocess.Popen([*command, f"--web.listen-address={address}"]) as process:
        yield f"http://{address}"
        process.terminate()


def query(prometheus, expression):
    """The value of the first result."""
    try:
        answer = json.loads(get(f"{prometheus}/api/v1/query?query={quote(expression)}")[1])
    except OSError:
        return None  # it is starting
    results = answer["data"]["result"]
    return float(results[0]["value"][1]) if results else None


def test_metrics_in_both_formats(server, prometheus):
    """The same names in both, each read by the parser that is strict about it, and promtool finds nothing to improve."""
    get(f"{server.url}/products/1")
    content_type, text = get(f"{server.admin_url}/metrics", "application/openmetrics-text")
    assert content_type.startswith("application/openmetrics-text")
    modern = {family.name: family for family in openmetrics_parser.text_string_to_metric_families(text)}
    content_type, text = get(f"{server.admin_url}/metrics")
    assert content_type.startswith("text/plain; version=0.0.4")
    classic = {family.name: family for family in parser.text_string_to_metric_families(text)}
    assert modern["atelier_http_requests"].type == classic["atelier_http_requests"].type == "counter"
    duration = modern["atelier_http_request_duration_seconds"]
    assert duration.type == "histogram"
    assert "+Inf" in [sample.labels.get("le") for sample in duration.samples]
    names = [{sample.name for family in formats.values() for sample in family.samples} for formats in (modern, classic)]
    assert names[0] == names[1]
    assert run("promtool", "check", "metrics", input=text, stderr=subprocess.STDOUT) == ""


def test_prometheus_scrapes_and_computes(server, prometheus):
    value, limit = None, time.monotonic() + SCRAPES_SECONDS
    while value is None or math.isnan(value):  # there is no rate yet
        assert time.monotonic() < limit, f"{QUANTILE} is {value}"
        get(f"{server.url}/products/1")
        time.sleep(0.2)
        value = query(prometheus, QUANTILE)
    assert 0 < value <= 10
    for expression in ('up{job="atelier"}', "sum(atelier_http_requests_total)", "atelier_build_info"):
        assert query(prometheus, expression) > 0, expression
    assert query(prometheus, "sum(atelier_limits_total)") is not None
