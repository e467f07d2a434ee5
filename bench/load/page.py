#!/usr/bin/env python3
"""The section on loading of docs/benchmarks.md, on standard output, and its chart.

usage: page.py RESULTS CHART.svg      RESULTS: the directory where scripts/bench etl keeps what it measured

A part for each file that is there; what was not measured is left out.
"""

import json
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))
from chart import chart  # noqa: E402

CONTESTANTS = {
    "floor": "the floor: binary files by psql",
    "load": "`atelier-etl load`",
    "best": "best script: parallel `\\copy`, other rows",
    "mended": "best script that loads the same rows",
    "usual": "usual way: serial `\\copy`",
}
# What is aimed at, as a ratio of medians: the loader over the floor at the most, the others over the loader at least.
MOST_OVER_FLOOR = 1.15
LEAST = {"best": 1.6, "mended": 1.6, "usual": 3.0}
LEAST_MB_S = {"photos": 600, "skus": 250}
MOST_MEMORY_MB = 200


def verdict(reached):
    return "reached" if reached else "**missed**"


def seconds(runs):
    return median(run["seconds"] for run in runs)


def cpu(runs, whose):
    return median(run["cpu"][whose] for run in runs)


def middle(runs):
    """The run whose seconds are the median, or the one below."""
    return sorted(runs, key=lambda run: run["seconds"])[(len(runs) - 1) // 2]


def provenance(result, command):
    machine = result["machine"]
    return (
        f"`{command}`: {result['date']}, {result['version']}, {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['memory_mb']:,} MB, PostgreSQL {machine['postgresql']}, Linux {machine['linux']}; "
        f"{result['products']:,} products, {result['rows']:,} rows, {result['bytes'] / 1e6:,.0f} MB of CSV."
    )


def contestants(result, chart_name):
    runs = result["runs"]
    ours = seconds(runs["load"])
    yield "### Against others"
    yield ""
    yield provenance(result, "scripts/bench etl")
    yield ""
    yield "| | seconds, median | all runs | CPU seconds, client | PostgreSQL | over `load` | target | |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, words in CONTESTANTS.items():
        them = seconds(runs[name])
        ratio = them / ours
        shown, aim, met = f"{ratio:.2f}", "", ""
        if name == "floor":
            shown, aim = f"{ratio:.2f} (`load` over it {1 / ratio:.2f})", f"at most {MOST_OVER_FLOOR}"
            met = verdict(1 / ratio <= MOST_OVER_FLOOR)
        elif name in LEAST:
            aim, met = f"at least {LEAST[name]}", verdict(ratio >= LEAST[name])
        each = " ".join(f"{run['seconds']:.1f}" for run in runs[name])
        yield (
            f"| {words} | {them:.1f} | {each} | {cpu(runs[name], 'client'):.1f} | {cpu(runs[name], 'database'):.1f} "
            f"| {shown} | {aim} | {met} |"
        )
    yield ""
    lost = {table: rows - runs["usual"][0]["rows"][table] for table, rows in result["loaded"].items()}
    missing = ", ".join(f"{rows:,} rows of {table}" for table, rows in lost.items() if rows > 0)
    strangers = ", ".join(f"{-rows:,} of {table}" for table, rows in lost.items() if rows < 0)
    yield (
        f"All from the files to tables that can be read, with keys and statistics; files come from the page cache. The usual "
        f"way lost {missing or 'nothing'} without an error, and let {strangers or 'no'} orphans in; the best script, whose "
        f"CSV reader is the same, did so too. The best script that loads the same rows closes quotes that are open at a line's end "
        f"on the way, and deletes rows without a parent; line ends in quotes would break it, and no row is reported. `load` loaded exactly the rows of the manifest in every run, or the bench "
        f"would have failed."
    )
    yield ""
    yield (
        "The floor and the best script are `bench/load/psql.sh`: a lane of psql a core, tables made and copied in one "
        "transaction with FREEZE, the longest first, then the keys of `schema.sql` and ANALYZE, a table a lane; as much "
        "memory for sorting as the loader takes, and, as it does, no parallel workers for an index. The floor's files hold the rows as the server itself "
        "writes them, made in advance; nothing is left to parse or check."
    )
    yield ""
    # The floor leaves nothing to a loader but rows, keys and statistics: what is between it and another is all that can be won.
    for name, what in (
        ("best", "best script that checks nothing, which does the same but for reading text,"),
        ("usual", "usual way, whose one session is busy all the time while the floor's two share the cores,"),
    ):
        over_floor = seconds(runs[name]) / seconds(runs["floor"])
        can = "could be" if over_floor >= LEAST[name] else "cannot be"
        yield (
            f"The {what} takes {over_floor:.2f} times as long as the floor: a loader that is no faster than the floor "
            f"{can} {LEAST[name]} times as fast."
        )
        yield ""
    yield f"![Seconds of each contestant, and what its lanes did]({chart_name})"
    yield ""


def convert(result):
    rates = {}
    for row in result["runs"]["convert"]:
        rates.setdefault(row["table"], {})[row["what"]] = row["mb_s"]
    yield "### One core from text to rows"
    yield ""
    yield provenance(result, "cargo bench -p atelier-etl")
    yield ""
    yield "| MB/s | parse, check and encode | target | | finding record ends | finding fields | the same by `csv-core` |"
    yield "|---|---|---|---|---|---|---|"
    for table, rate in rates.items():
        least = LEAST_MB_S.get(table)
        aim = (f"at least {least}", verdict(rate["convert"] >= least)) if least else ("", "")
        yield (
            f"| {table} | {rate['convert']:,} | {aim[0]} | {aim[1]} | {rate['split']:,} | {rate['records']:,} "
            f"| {rate['csv_core']:,} |"
        )
    yield ""


def scaling(result):
    yield "### From ten thousand products to four million"
    yield ""
    yield provenance(result, "scripts/bench etl --only scaling").split("; ")[0] + "; one load a size."
    yield ""
    yield "| products | rows | MB of CSV | seconds | seconds a million rows | peak memory, MB |"
    yield "|---|---|---|---|---|---|"
    runs = sorted((run for [run] in result["runs"].values()), key=lambda run: run["products"])
    for run in runs:
        yield (
            f"| {run['products']:,} | {run['rows']:,} | {run['bytes'] / 1e6:,.0f} | {run['seconds']:.2f} "
            f"| {run['seconds'] / run['rows'] * 1e6:.2f} | {run['report']['peak_rss_bytes'] / 1e6:.0f} |"
        )
    yield ""
    most = max(run["report"]["peak_rss_bytes"] for run in runs) / 1e6
    yield (
        f"At most {most:.0f} MB resident, target {MOST_MEMORY_MB}: {verdict(most <= MOST_MEMORY_MB)}. What small catalogues "
        "take is mostly the same for all: connections, schemas, publishing."
    )
    yield ""


def jobs(result, parts):
    runs = {int(name): run for name, run in result["runs"].items()}
    yield "### Where the time goes, and more cores"
    yield ""
    yield provenance(result, "scripts/bench etl")
    yield ""
    yield "| `--jobs` | seconds | CPU seconds, loader | PostgreSQL | rows waited for | busy cores |"
    yield "|---|---|---|---|---|---|"
    for count, [run] in sorted(runs.items()):
        used = run["cpu"]["client"] + run["cpu"]["database"]
        yield (
            f"| {count} | {run['seconds']:.1f} | {run['cpu']['client']:.1f} | {run['cpu']['database']:.1f} "
            f"| {run['report']['bottleneck']} | {used / run['seconds']:.2f} of {result['machine']['cores']} |"
        )
    yield ""
    # With one job every table has a backend, and the loader a core, to itself.
    [alone] = runs[1]
    tables = alone["report"]["tables"]
    yield "With one job, each table has a backend, and the loader a core, to itself:"
    yield ""
    yield "| | copy, s | index and ANALYZE, s | both |"
    yield "|---|---|---|---|"
    both = {name: table["seconds"] + table["index_seconds"] for name, table in tables.items()}
    for name in sorted(both, key=both.get, reverse=True):
        yield f"| {name} | {tables[name]['seconds']:.1f} | {tables[name]['index_seconds']:.1f} | {both[name]:.1f} |"
    yield ""
    longest, next_one = sorted(both, key=both.get, reverse=True)[:2]
    scan = alone["report"]["stages"]["scan"]
    work = alone["cpu"]["client"] + alone["cpu"]["database"]
    yield (
        f"The database is the bottleneck: its backends take {alone['cpu']['database'] / work:.0%} of the "
        f"{work:.0f} CPU seconds, and with two jobs both cores are busy. With 16 cores and six lanes nothing waits for a core any more, "
        f"and the critical path is the longest table: {scan:.1f} s for the parents' ids, then {longest} with "
        f"{both[longest]:.1f} s, {scan + both[longest]:.1f} s in all, of which {tables[longest]['seconds']:.1f} s are one "
        f"backend's COPY. Behind it is {next_one} with {both[next_one]:.1f} s: so splitting one table alone would gain at "
        f"most {both[longest] - both[next_one]:.1f} s, splitting both in two halves would halve it all. What is left then is "
        "the reader: one thread a file finds record ends, and the pool converts."
    )
    yield ""
    if parts:
        yield from sketch(parts)


def sketch(result):
    runs = result["runs"]
    whole, leaves, together = (seconds(runs[kind]) for kind in ("whole", "leaves", "together"))
    cores = result["machine"]["cores"]
    yield f"What copying a table in parts brings, measured with the floor's file of photos ({result['date']}, `scripts/bench etl --only parts`):"
    yield ""
    yield "| photos, rows alone | seconds | CPU seconds, PostgreSQL |"
    yield "|---|---|---|"
    yield f"| one COPY, frozen | {whole:.1f} | {cpu(runs['whole'], 'database'):.1f} |"
    yield f"| {cores} COPYs at a time, each into a leaf table made with it, frozen | {leaves:.1f} | {cpu(runs['leaves'], 'database'):.1f} |"
    yield f"| {cores} COPYs at a time into one table that is there already: not frozen, with WAL | {together:.1f} | {cpu(runs['together'], 'database'):.1f} |"
    yield ""
    yield (
        f"Leaf tables take {leaves / whole:.2f} times as long as one COPY, one table {together / whole:.2f} times, with all "
        f"{cores} cores to themselves. In a load the other lanes have work for these cores, so here it can bring nothing: "
        "the CPU seconds are what counts, and they do not fall. It is not built. On a host with cores to spare, leaf tables "
        "of photos and skus, by range of `style_id`, are the next step: every look-up names its style, so a partitioned table "
        "serves it from one leaf; rows of one file would have to be dealt out by range, which the order of the files allows."
    )
    yield ""


def settings(result):
    runs = result["runs"]
    plain = seconds(runs["plain"])
    yield (
        f"Settings of sessions, tried on the floor, since what is saved there is saved in a load "
        f"({result['date']}, `scripts/bench etl --only settings`):"
    )
    yield ""
    yield "| | seconds, median | CPU seconds, PostgreSQL | over the floor as it is |"
    yield "|---|---|---|---|"
    yield f"| as it is | {plain:.1f} | {cpu(runs['plain'], 'database'):.1f} | 1.00 |"
    for name, them in runs.items():
        if name != "plain":
            yield (
                f"| {them[0]['words']} | {seconds(them):.1f} | {cpu(them, 'database'):.1f} | {seconds(them) / plain:.2f} |"
            )
    yield ""


def pgloader(result):
    theirs, ours = seconds(result["runs"]["pgloader"]), seconds(result["runs"]["load"])
    rows = result["runs"]["pgloader"][0]["rows"]
    lost = sum(max(0, count - rows[table]) for table, count in result["loaded"].items())
    yield "### Against pgloader"
    yield ""
    yield provenance(result, "scripts/bench etl --only pgloader")
    yield ""
    yield (
        f"{theirs:.1f} s, where `atelier-etl load` takes {ours:.1f} s on the same files: {theirs / ours:.1f} times as long. "
        "pgloader makes the tables, keys and indexes of the usual way, from files without defects: of files with quotes "
        f"left open it loses all rows behind the first. Here it loaded {'all rows' if lost == 0 else f'{lost:,} rows less than there are'}. "
        "A tenth of the full size unless the line above says otherwise: at full size it takes ten times as long, or more."
    )
    yield ""


def main():
    results, image = Path(sys.argv[1]), Path(sys.argv[2])

    def kept(name):
        path = results / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    lines = ["## Loading", ""]
    found = {name: kept(name) for name in ("contestants", "pgloader", "convert", "scaling", "jobs", "parts", "settings")}
    if found["contestants"]:
        lines += contestants(found["contestants"], image.name)
        image.write_text("\n".join(chart(found["contestants"], middle)) + "\n")
    if found["pgloader"]:
        lines += pgloader(found["pgloader"])
    if found["convert"]:
        lines += convert(found["convert"])
    if found["scaling"]:
        lines += scaling(found["scaling"])
    if found["jobs"]:
        lines += jobs(found["jobs"], found["parts"])
    lines += ["### Tried", ""]
    if found["settings"]:
        lines += settings(found["settings"])
    lines += (Path(__file__).parent / "tried.md").read_text().splitlines()
    print("\n".join(lines))


main()
