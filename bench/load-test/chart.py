#!/usr/bin/env python3
"""Writes the results of scripts/load-test into a document, as tables between its markers, and draws a chart.

usage: chart.py FIGURES.jsonl DOCUMENT.md CHART.svg MACHINE

Each line of FIGURES is the output of bench/load-test/figures.py for one run, with setup, rate (requests/s) and kind: steady
or ramp. The tables are in DOCUMENT between <!-- figures --> and <!-- /figures -->.
"""

import json
import math
import statistics
import sys
from pathlib import Path

SETUPS = {"one": "one host, no cache", "two": "two hosts, no cache", "cached": "two hosts, with caches"}
# What was measured of the system before, at the same 1,000 requests a second: its own figures.
BEFORE_MS = {"one": 3326, "two": 460, "cached": 62}
COLOURS = {"one": "#c2410c", "two": "#1d4ed8", "cached": "#15803d"}


def steady_table(figures):
    yield "| 1,000 requests a second | requests | failed | late | p50 ms | p99 ms | p99.9 ms | the system before, ms |"
    yield "|---|---|---|---|---|---|---|---|"
    for setup, name in SETUPS.items():
        runs = [run for run in figures if run["kind"] == "steady" and run["setup"] == setup]
        total = {key: sum(run[key] for run in runs) for key in ("requests", "failed", "dropped")}
        median = {key: statistics.median(run[key] for run in runs) for key in ("p50", "p99", "p999")}
        yield (
            f"| {name} | {total['requests']:,} | {total['failed']:,} | {total['dropped']:,} | {median['p50']:.1f} "
            f"| {median['p99']:.1f} | {median['p999']:.1f} | {BEFORE_MS[setup]:,} |"
        )


def ramp_table(figures):
    ramp = {(run["setup"], run["rate"]): run for run in figures if run["kind"] == "ramp"}
    rates = sorted({rate for _, rate in ramp})
    yield "| requests a second | " + " | ".join(f"{name}, p50 / p99 ms" for name in SETUPS.values()) + " |"
    yield "|---|" + "---|" * len(SETUPS)
    for rate in rates:
        cells = []
        for setup in SETUPS:
            run = ramp.get((setup, rate))
            cell = "" if run is None else f"{run['p50']:.1f} / {run['p99']:.1f}"
            if run and run["dropped"] + run["failed"]:
                cell += f" ({run['dropped']:,} late, {run['failed']:,} failed)"
            cells.append(cell)
        yield f"| {rate:,} | " + " | ".join(cells) + " |"


def chart(figures):
    """p99 over the rate, a line a set-up; both axes by powers."""
    ramp = [run for run in figures if run["kind"] == "ramp"]
    left, top, width, height = 70, 20, 560, 300
    slow = math.ceil(math.log10(max(max(run["p99"] for run in ramp), max(BEFORE_MS.values()))))
    fast = math.floor(math.log10(min(run["p99"] for run in ramp)))
    most = max(run["rate"] for run in ramp)

    def x(rate):
        return left + width * rate / most

    def y(ms):
        return top + height * (slow - math.log10(ms)) / (slow - fast)

    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 190} {top + height + 50}" '
        'font-family="sans-serif" font-size="12">'
    )
    yield '<rect width="100%" height="100%" fill="white"/>'
    for power in range(fast, slow + 1):
        yield f'<line x1="{left}" x2="{left + width}" y1="{y(10**power):.1f}" y2="{y(10**power):.1f}" stroke="#ddd"/>'
        yield f'<text x="{left - 8}" y="{y(10**power) + 4:.1f}" text-anchor="end">{10**power:g} ms</text>'
    for rate in sorted({run["rate"] for run in ramp if run["rate"] >= 1000}):
        yield f'<text x="{x(rate):.1f}" y="{top + height + 18}" text-anchor="middle">{rate // 1000}k</text>'
    yield f'<text x="{left + width / 2}" y="{top + height + 40}" text-anchor="middle">requests a second</text>'
    yield f'<text x="{left}" y="{top - 6}" text-anchor="end">p99</text>'
    for index, (setup, name) in enumerate(SETUPS.items()):
        colour = COLOURS[setup]
        points = sorted((run["rate"], run["p99"]) for run in ramp if run["setup"] == setup)
        line = " ".join(f"{x(rate):.1f},{y(ms):.1f}" for rate, ms in points)
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for rate, ms in points:
            yield f'<circle cx="{x(rate):.1f}" cy="{y(ms):.1f}" r="3" fill="{colour}"/>'
        # The system before has one figure each, at 1,000 requests a second.
        yield (
            f'<rect x="{x(1000) - 4:.1f}" y="{y(BEFORE_MS[setup]) - 4:.1f}" width="8" height="8" fill="none" '
            f'stroke="{colour}" stroke-width="2"/>'
        )
        yield f'<text x="{left + width + 15}" y="{top + 20 + 20 * index}" fill="{colour}">{name}</text>'
    yield f'<text x="{left + width + 15}" y="{top + 90}">□ the system before</text>'
    yield "</svg>"


def main():
    figures_path, document, image, machine = sys.argv[1:]
    figures = [json.loads(line) for line in Path(figures_path).read_text().splitlines()]
    made = [machine, "", *steady_table(figures), "", f"![p99 over the rate]({Path(image).name})", "", *ramp_table(figures)]
    begin, end = "<!-- figures -->", "<!-- /figures -->"
    text = Path(document).read_text()
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    Path(document).write_text(head + begin + "\n\n" + "\n".join(made) + "\n\n" + end + tail)
    Path(image).write_text("\n".join(chart(figures)) + "\n")


main()
