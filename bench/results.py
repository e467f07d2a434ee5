"""What the benchmarks share: catalogues, the description of a machine, results as JSON, and tables in Markdown."""

import json
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import system

BENCH = system.REPO / "data/bench"


def catalogue(products, defects="legacy"):
    """The directory of a generated catalogue, kept in data/bench, and its manifest."""
    directory = BENCH / (str(products) if defects == "legacy" else f"{products}-{defects}")
    system.generate(directory, products, "--defects", defects)
    return directory, json.loads((directory / "manifest.json").read_text())


def in_memory(directory):
    """Reads all files, so that they are in the page cache."""
    subprocess.run(["cat", *directory.iterdir()], stdout=subprocess.DEVNULL, check=True)


def environment(versions, database, products):
    """When, where and with what something is measured."""
    if database:
        versions += f", PostgreSQL {database.query('show server_version')}"
    cpu = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    machine = f"{os.cpu_count()} cores ({cpu[1] if cpu else platform.machine()}), {memory:,.0f} MB"
    date, linux = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", f"Linux {platform.release()}"
    return "; ".join([date, versions, machine, linux, f"{products:,} products"])


def save(name, result):
    path = BENCH / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nFigures: {path}")


def table(head, rows):
    """Prints a table in Markdown, after an empty line."""
    print()
    for row in [head, ["---"] * len(head), *rows]:
        print(f"| {' | '.join(str(cell) for cell in row)} |")


def outcome(reached):
    return "reached" if reached else "**missed**"
