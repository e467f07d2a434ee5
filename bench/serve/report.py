#!/usr/bin/env python3
"""Writes the results of scripts/bench serve into a document, between its markers, and draws a chart.

usage: report.py FIGURES DOCUMENT.md CHART.svg

Each line of FIGURES is a JSON object with its kind. The text is in DOCUMENT between <!-- serve --> and <!-- /serve -->.
"""

import json
import math
import statistics
import sys
from pathlib import Path

BEGIN, END = "<!-- serve -->", "<!-- /serve -->"
COLOURS = {"p50": "#15803d", "p99": "#1d4ed8", "p999": "#c2410c"}


def table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row) + " |"
    yield ""


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


class Figures:
    def __init__(self, path):
        self.lines = [json.loads(line) for line in Path(path).read_text().splitlines()]

    def all(self, kind):
        return [line for line in self.lines if line["kind"] == kind]

    def one(self, kind):
        return self.all(kind)[-1]


def targets(figures):
    def reached_or_missed(reached):
        return "reached" if reached else "**missed**"

    for line in figures.all("ratio"):
        over, under, target = line["over"], line["under"], line["target"]
        yield [
            line["what"],
            f"{line['ratio']:.2f}",
            f"{number(over)}, {number(under)}",
            target,
            reached_or_missed(line["ratio"] >= float(target)) if target else "",
        ]
    p99 = figures.one("p99")
    yield ["p99 at 1,000 requests a second", f"{p99['p99']:.2f} ms", "", f"{p99['target']} ms", reached_or_missed(p99["p99"] < p99["target"])]
    memory = figures.one("memory")
    most = memory["target"] + memory["bound"]
    idle = memory["idle"] / 2**20
    yield [
        f"resident with {memory['connections']:,} idle connections and a cache of {memory['bound']} MB",
        f"{idle:.1f} MB",
        "",
        f"{most} MB",
        reached_or_missed(idle < most),
    ]


def open_loop(figures):
    def row(name, runs):
        cells = [statistics.median(run["ms"][key] for run in runs) for key in ("p50", "p99", "p999")]
        return [name, number(runs[0]["rate"]), len(runs), *(f"{cell:.2f}" for cell in cells)]

    runs = figures.all("open")
    for name in dict.fromkeys(run["what"] for run in runs):
        if name != "ramp":
            yield row(name, [run for run in runs if run["what"] == name])


def cached(figures):
    names = {
        "nginx": "nginx, 200 from its cache",
        "cached": "atelier-server, 200 from its cache",
        "floor": "the floor, the same 200",
        "nginx-304": "nginx, 304 from its cache",
        "cached-304": "atelier-server, 304",
        "floor-304": "the floor, the same 304",
    }
    for line in figures.all("cached"):
        yield [names[line["name"]], number(line["rate"]), f"{line['cpu']:.2f}"]


def floor_of_304(figures):
    """What the target for 304 asks of a server, measured by the one that does nothing else."""
    rates, cpu = ({line["name"]: line[key] for line in figures.all("cached")} for key in ("rate", "cpu"))
    most = next(line["ratio"] for line in figures.all("ratio") if line["what"] == "the floor over nginx, 304")
    target = next(float(line["target"]) for line in figures.all("ratio") if line["what"] == "304 over nginx")
    yield (
        f"A 304 is one read, one write and little between. The floor, `bench/serve/floor.c`, does not parse HTTP and always writes "
        f"the same bytes. It answers {most:.2f} times as many requests as nginx, the most that is possible with client and "
        f"server on the same cores, which they use in equal parts; that is "
        + ("below" if most < target else "little above")
        + f" the target of {target}. Of the server's {cpu['cached-304']:.2f} µs, {cpu['floor-304']:.2f} µs are the floor's, "
        f"spent in the kernel."
    )
    yield ""


def connections(figures):
    lines = figures.all("connections")
    for line in lines:
        yield [line["each"], number(line["rate"]), f"{line['rate'] / lines[0]['rate']:.2f}"]


def profile(figures):
    profiles = figures.all("profile")
    stages = list(dict.fromkeys(stage for profile in profiles for stage in profile["split"]["stages"]))
    head = ["µs of CPU a request", *(profile["what"] for profile in profiles)]
    rows = [[stage, *(f"{profile['split']['stages'].get(stage, 0):.2f}" for profile in profiles)] for stage in stages]
    rows.append(["all of these", *(f"{sum(profile['split']['stages'].values()):.2f}" for profile in profiles)])
    rows.append(["(the client, wrk)", *(f"{profile['split']['client']:.2f}" for profile in profiles)])
    yield from table(head, rows)


def statements(figures):
    lines = figures.all("statement")
    base = lines[0]["rate"]
    for line in lines:
        yield [line["what"], number(line["rate"]), f"{line['rate'] / base:.2f}"]


def model(figures):
    line = figures.one("model")
    disk, seconds = line["disk"], line["made"] + line["indexed"]
    yield ["seconds to build it, with both cores", f"{line['made']:.1f}, and {line['indexed']:.1f} for its key and ANALYZE"]
    yield ["the load that it would extend", f"{disk['load_seconds']} s: {1 + seconds / disk['load_seconds']:.2f} times as long"]
    yield ["disk", f"{disk['model'] / 1e6:,.0f} MB beside {disk['catalogue'] / 1e6:,.0f} MB"]
    yield ["products/s, one a statement", number(line["one"])]
    yield ["products/s, as many a statement as above", f"{number(line['many'])}: {line['many'] / line['rows']:.2f} times the {number(line['rows'])} of rows, measured in turn"]


def chart(figures):
    """Latency over the rate of the ramp; both axes by powers."""
    ramp = sorted((run for run in figures.all("open") if run["what"] == "ramp"), key=lambda run: run["rate"])
    left, top, width, height = 70, 20, 560, 300
    slow = math.ceil(math.log10(max(run["ms"]["p999"] for run in ramp)))
    fast = math.floor(math.log10(min(run["ms"]["p50"] for run in ramp)))
    most = ramp[-1]["rate"]

    def x(rate):
        return left + width * rate / most

    def y(ms):
        return top + height * (slow - math.log10(ms)) / (slow - fast)

    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 90} {top + height + 50}" '
        'font-family="sans-serif" font-size="12">'
    )
    yield '<rect width="100%" height="100%" fill="white"/>'
    for power in range(fast, slow + 1):
        yield f'<line x1="{left}" x2="{left + width}" y1="{y(10**power):.1f}" y2="{y(10**power):.1f}" stroke="#ddd"/>'
        yield f'<text x="{left - 8}" y="{y(10**power) + 4:.1f}" text-anchor="end">{10**power:g} ms</text>'
    for run in ramp:
        yield f'<text x="{x(run["rate"]):.1f}" y="{top + height + 18}" text-anchor="middle">{run["rate"] / 1000:.1f}k</text>'
    yield f'<text x="{left + width / 2}" y="{top + height + 40}" text-anchor="middle">uncached requests a second</text>'
    for knee in figures.all("knee"):
        at = x(knee["rate"])
        yield f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{top + height}" stroke="#999" stroke-dasharray="4 4"/>'
        yield f'<text x="{at - 6:.1f}" y="{top + 12}" text-anchor="end">knee</text>'
    for index, (key, colour) in enumerate(COLOURS.items()):
        points = [(x(run["rate"]), y(run["ms"][key])) for run in ramp]
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for px, py in points:
            yield f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>'
        yield f'<text x="{left + width + 15}" y="{top + 20 + 20 * index}" fill="{colour}">{key.replace("p999", "p99.9")}</text>'
    yield "</svg>"


def document(figures, image):
    run = figures.one("run")
    yield (
        f"`{run['command']}`: {run['date']}, {run['versions']}; {run['machine']}; {run['products']:,} products; medians of "
        f"{run['rounds']} rounds of {run['seconds']} s in turn."
    )
    yield ""
    yield "Ratios are medians of the ratios within each round."
    yield ""
    yield from table(["", "measured", "the two medians", "target", ""], targets(figures))
    yield "### Latency"
    yield ""
    for knee in figures.all("knee"):
        yield (
            f"Uncached styles at a fixed rate; latency is measured from the scheduled time of a request. The knee is the highest "
            f"rate with p99 below {knee['late']} ms, {knee['rate']:,} requests/s."
        )
        yield ""
    yield from table(["", "requests/s", "runs", "p50 ms", "p99 ms", "p99.9 ms"], open_loop(figures))
    yield f"![latency over the rate]({image})"
    yield ""
    yield "### From the cache"
    yield ""
    yield from table(["", "requests/s", "µs of its CPU a request"], cached(figures))
    yield from floor_of_304(figures)
    if figures.all("profile"):
        yield "### CPU a request"
        yield ""
        yield from profile(figures)
    yield "### Connections"
    yield ""
    yield "Uncached styles, by the number of database connections for each of the server's threads; the default is one."
    yield ""
    yield from table(["connections", "requests/s", "over one"], connections(figures))
    yield "### Statements"
    yield ""
    yield from table(["", "products/s", "over the first"], statements(figures))
    for line in figures.all("covering"):
        index = line["index"]
        yield (
            f"The covering index takes {index['seconds']:.1f} s to build and {index['bytes'] / 1e6:,.0f} MB; the plain one "
            f"{index['plain_seconds']:.1f} s and {index['plain_bytes'] / 1e6:,.0f} MB."
        )
        yield ""
    yield "The plan of the server's statement:"
    yield ""
    yield "```text"
    yield figures.one("plan")["plan"].rstrip()
    yield "```"
    yield ""
    if figures.all("model"):
        yield "### Read model"
        yield ""
        yield from table(["", ""], model(figures))


def main():
    figures, path, image = Figures(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    head, rest = path.read_text().split(BEGIN)
    tail = rest.split(END)[1]
    path.write_text(head + BEGIN + "\n\n" + "\n".join(document(figures, image.name)).rstrip() + "\n\n" + END + tail)
    image.write_text("\n".join(chart(figures)) + "\n")


main()
