"""End-to-end tests: the programs as they are built, with real clients, browsers, packages and hosts.

scripts/test --end-to-end installs what they need and runs them."""

import os

import pytest
import system


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also the tests marked as slow, which need root and an hour")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    # A test that is named is run.
    named = [argument for argument in config.invocation_params.args if "::" in str(argument)]
    for item in items:
        if "slow" in item.keywords and not any(item.nodeid.startswith(str(name)) for name in named):
            item.add_marker(pytest.mark.skip(reason="slow: --slow runs it"))


@pytest.fixture(scope="session")
def root():
    if os.geteuid():
        pytest.skip("needs root")


@pytest.fixture(scope="module")
def csv(request, tmp_path_factory):
    """The files of a catalogue with as many products as the module's PRODUCTS."""
    return system.generate(tmp_path_factory.mktemp("csv"), request.module.PRODUCTS, "--defects", "none")


@pytest.fixture(scope="module")
def database(request, csv):
    with system.Database(request.module.__name__) as database:
        database.load(csv, "--max-rejects", 0)
        yield database


@pytest.fixture(scope="module")
def server(database):
    with system.Server(database.url) as server:
        yield server
