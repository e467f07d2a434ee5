"""The server against its description, with Schemathesis and a generated client, and its /metrics with Prometheus."""

import importlib
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from openapi_python_client.strings import snake_case
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser
from system import Server, free_port, lib, run

PROGRAMS = Path(sys.executable).parent
PRODUCTS = 1000  # ids from 1: requests made up at random hit some and miss others
GOOD = {"get": 200, "head": 200, "options": 204}
UNKNOWN_PRODUCT = 2**31 - 1
SCRAPES_SECONDS = 30  # three of them take three
QUANTILE = "histogram_quantile(0.99, sum by (le) (rate(atelier_http_request_duration_seconds_bucket[10s])))"


def get(url, accept="*/*"):
    with urlopen(Request(url, headers={"Accept": accept})) as response:
        return response.headers["Content-Type"], response.read().decode()


RANDOM_SEED = pytest.param(["--max-time", "90"], id="random-seed", marks=pytest.mark.slow)


@pytest.mark.parametrize("options", [pytest.param(["--max-time", "30", "--seed", "1"], id="fixed-seed"), RANDOM_SEED])
def test_responses_are_as_described(server, tmp_path, options):
    """Valid and invalid requests: status, content type, schema and headers as described, no 5xx, invalid input refused,
    valid input accepted, other methods refused."""
    config = Path(__file__).with_name("schemathesis.toml")
    command = [PROGRAMS / "schemathesis", "--config-file", config, "run", f"{server.url}/openapi.json"]
    run(*command, "--checks", "all", *options, cwd=tmp_path)


@pytest.mark.parametrize(("package", "base"), [("client", ""), ("client_compat", "/shop/v1")])
def test_generated_client(database, tmp_path, monkeypatch, package, base):
    """Every operation, called by a client that openapi-python-client makes of /openapi.json."""
    compat = base != ""
    with Server(database.url, *(["--base-path", base, "--compat"] if compat else [])) as server:
        description, config = tmp_path / "openapi.json", tmp_path / "client.json"
        description.write_text(get(f"{server.url}{base}/openapi.json")[1])
        config.write_text('{"post_hooks": []}')
        command = [PROGRAMS / "openapi-python-client", "generate", "--path", description, "--config", config]
        run(*command, "--output-path", tmp_path / package, "--meta", "none", "--fail-on-warning")
        monkeypatch.syspath_prepend(tmp_path)
        client = importlib.import_module(package).Client(f"{server.url}{base}", raise_on_unexpected_status=True)
        problem = importlib.import_module(f"{package}.models").Problem
        modules = {}

        def call(operation, status, *path, **parameters):
            response = modules[operation].sync_detailed(*path, client=client, **parameters)
            assert response.status_code == status, response.content[:200]
            return response

        for path, methods in json.loads(description.read_text())["paths"].items():
            for method, described in methods.items():
                name, tag = described["operationId"], described["tags"][0]
                modules[name] = importlib.import_module(f"{package}.api.{snake_case(tag)}.{snake_case(name)}")
                of_product = "{product_id}" in path
                ids = ["1" if method == "options" else 1] if of_product else []
                response = call(name, GOOD[method], *ids)
                if method == "get":
                    # This generator leaves it to the caller to read what is not JSON.
                    assert response.parsed is not None or "json" not in response.headers["Content-Type"], path
                    call(name, 304, *ids, if_none_match=response.headers["ETag"])
                if method == "get" and of_product:
                    refused = call(name, 404, UNKNOWN_PRODUCT).parsed
                    assert isinstance(refused, problem)
                    assert refused.status == 404

        assert [product.id for product in call("listProducts", 200, ids=[3, 1, 3]).parsed] == [3, 1, 3]
        assert len(call("listProducts", 200, count=5000).parsed) == 1000
        assert isinstance(call("listProducts", 400, count=0).parsed, problem)
        # Styles without photos have none, or with --compat one that is null.
        results = [call("getStyles", 200, product).parsed.results for product in range(1, 200)]
        photos = [style.photos for styles in results for style in styles]
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
    """The same names in both, read by the parsers that are strict about them; promtool finds nothing to improve."""
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
