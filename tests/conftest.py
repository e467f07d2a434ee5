"""End-to-end tests: the programs as they are built, with real clients, browsers, packages and hosts.

scripts/test --end-to-end installs what they need and runs them. A test marked as slow runs if --slow is given.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts/lib"))
import system  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also the tests marked as slow, which need root and over an hour")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes, and most often root")
    os.chdir(system.REPO)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    # Who names a test asks for it.
    named = [argument for argument in config.invocation_params.args if "::" in str(argument)]
    for item in items:
        if "slow" in item.keywords and not any(item.nodeid.startswith(str(name)) for name in named):
            item.add_marker(pytest.mark.skip(reason="slow: --slow runs it"))


@pytest.fixture(scope="session")
def root():
    if os.geteuid():
        pytest.skip("needs root")
