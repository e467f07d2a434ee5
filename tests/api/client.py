#!/usr/bin/env python3
"""Calls every operation of the API with a client that openapi-python-client has made of openapi.json, for tests/api/run.

usage: api-client.py CLIENT URL        CLIENT is the directory of the package, URL what its paths are below
"""

import importlib
import json
import pathlib
import re
import sys
import urllib.request

GOOD = {"get": 200, "head": 200, "options": 204}
UNKNOWN = 2**31 - 1  # a product that is not there


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[ -]", "_", name).lower()


def main():
    package, url = pathlib.Path(sys.argv[1]), sys.argv[2]
    sys.path.insert(0, str(package.parent))
    made = importlib.import_module(package.name)
    problem = importlib.import_module(f"{package.name}.models").Problem
    client = made.Client(base_url=url, raise_on_unexpected_status=True)

    def operations():
        with urllib.request.urlopen(f"{url}/openapi.json") as answer:
            paths = json.load(answer)["paths"]
        for path, methods in paths.items():
            for method, operation in methods.items():
                module = f"{package.name}.api.{snake(operation['tags'][0])}.{snake(operation['operationId'])}"
                yield path, method, importlib.import_module(module)

    def call(operation, status, *path, **parameters):
        answer = operation.sync_detailed(*path, client=client, **parameters)
        assert answer.status_code == status, f"{operation.__name__}: {answer.status_code} {answer.content[:200]}"
        return answer

    called = 0
    for path, method, operation in operations():
        of_product = "{product_id}" in path
        with_id = [1 if method != "options" else "1"] if of_product else []
        answer = call(operation, GOOD[method], *with_id)
        called += 1
        if method == "get":
            # What is not JSON is left to the caller by this generator.
            assert answer.parsed is not None or "json" not in answer.headers["Content-Type"], path
            call(operation, 304, *with_id, if_none_match=answer.headers["ETag"])
            if of_product:
                refused = call(operation, 404, UNKNOWN).parsed
                assert isinstance(refused, problem) and refused.status == 404, refused

    api = importlib.import_module(f"{package.name}.api.catalogue.list_products")
    ids = [product.id for product in call(api, 200, ids=[3, 1, 3]).parsed]
    assert ids == [3, 1, 3], ids
    assert len(call(api, 200, count=5000).parsed) == 1000
    assert isinstance(call(api, 400, count=0).parsed, problem)
    styles = importlib.import_module(f"{package.name}.api.catalogue.get_styles")
    photos = [style.photos for id in range(1, 200) for style in call(styles, 200, id).parsed.results]
    print(f"{called} operations at {url}; {len(photos)} styles, {sum(not those for those in photos)} without photos, "
          f"{sum(bool(those) and those[0].url is None for those in photos)} with one that is null")


if __name__ == "__main__":
    main()
