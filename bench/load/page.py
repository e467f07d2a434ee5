#!/usr/bin/env python3
"""Prints the section on loading of docs/benchmarks.md, and draws its chart.

usage: page.py RESULTS CHART.svg      RESULTS: the directory of scripts/bench etl's results

Parts without a result file are left out.
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
    "repaired": "best script that loads the same rows",
    "usual": "usual way: serial `\\copy`",
}
# What is aimed at, as a ratio of medians: the loader over the floor at the most, the others over the loader at least.
MAX_OVER_FLOOR = 1.15
MIN = {"best": 1.6, "repaired": 1.6, "usual": 3.0}
LEAST_MB_S = {"photos": 600, "skus": 250}
MAX_MEMORY_MB = 200


def reached_or_missed(reached):
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
    yield "### Compared with psql"
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
            shown, aim = f"{ratio:.2f} (`load` over it {1 / ratio:.2f})", f"at most {MAX_OVER_FLOOR}"
            met = reached_or_missed(1 / ratio <= MAX_OVER_FLOOR)
        elif name in MIN:
            aim, met = f"at least {MIN[name]}", reached_or_missed(ratio >= MIN[name])
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
        f"Each run is from files in the page cache to readable tables with keys and statistics. The usual way lost "
        f"{missing or 'nothing'} without an error and loaded orphans: {strangers or 'none'}. The best script uses the same CSV "
        f"reader and did the same. The best script that loads the same rows closes quotes left open at a line's end "
        f"and deletes orphans; it would fail on line ends in quotes, and it reports no rows. In every run, `load` loaded exactly "
        f"the rows of the manifest; otherwise the benchmark fails."
    )
    yield ""
    yield (
        "The floor and the best script are `bench/load/psql.sh`: one psql for each core; each table is created and "
        "copied in one transaction with FREEZE, the longest first, then gets the keys of `schema.sql` and ANALYZE. Like the "
        "loader, they use 256 MB for sorting and no parallel workers for an index. The floor's files are binary, exported by PostgreSQL in "
        "advance, so nothing needs to be parsed or checked."
    )
    yield ""
    # The floor leaves nothing to a loader but rows, keys and statistics: what is between it and another is all that can be won.
    for name, what in (
        ("best", "best script, which differs from the floor only in reading text,"),
        ("usual", "usual way, which has a single session,"),
    ):
        over_floor = seconds(runs[name]) / seconds(runs["floor"])
        can = "could be" if over_floor >= MIN[name] else "cannot be"
        yield (
            f"The {what} takes {over_floor:.2f} times as long as the floor, so a loader as fast as the floor "
            f"{can} {MIN[name]} times as fast as it."
        )
        yield ""
    yield f"![Seconds of each contestant, by lane]({chart_name})"
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
        aim = (f"at least {least}", reached_or_missed(rate["convert"] >= least)) if least else ("", "")
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
        f"Peak memory is at most {most:.0f} MB, target {MAX_MEMORY_MB}: {reached_or_missed(most <= MAX_MEMORY_MB)}. Small catalogues "
        "mostly take the fixed costs: connections, schemas, publishing."
    )
    yield ""


def jobs(result, parts):
    runs = {int(name): run for name, run in result["runs"].items()}
    yield "### Where the time goes, and more cores"
    yield ""
    yield provenance(result, "scripts/bench etl")
    yield ""
    yield "| `--jobs` | seconds | CPU seconds, loader | PostgreSQL | bottleneck | busy cores |"
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
    yield "With one job, tables are loaded one at a time:"
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
        f"{work:.0f} CPU seconds, and with two jobs both cores are busy. With 16 cores and six lanes, no lane would wait for a core, "
        f"and the longest table would set the time: {scan:.1f} s for the parents' ids, then {longest} with "
        f"{both[longest]:.1f} s, {scan + both[longest]:.1f} s in total, {tables[longest]['seconds']:.1f} s of it in one "
        f"backend's COPY. {next_one.capitalize()} comes next with {both[next_one]:.1f} s: splitting only {longest} would gain at "
        f"most {both[longest] - both[next_one]:.1f} s, splitting both into halves would halve the time. The next limit would be "
        "the reader: one thread for each file finds record ends, and the thread pool converts."
    )
    yield ""
    if parts:
        yield from sketch(parts)


def sketch(result):
    runs = result["runs"]
    whole, leaves, together = (seconds(runs[kind]) for kind in ("whole", "leaves", "together"))
    cores = result["machine"]["cores"]
    yield f"Copying a table in parts, measured with the floor's file of photos ({result['date']}, `scripts/bench etl --only parts`):"
    yield ""
    yield "| photos, rows alone | seconds | CPU seconds, PostgreSQL |"
    yield "|---|---|---|"
    yield f"| one COPY, frozen | {whole:.1f} | {cpu(runs['whole'], 'database'):.1f} |"
    yield f"| {cores} COPYs in parallel, each into a leaf table created with it, frozen | {leaves:.1f} | {cpu(runs['leaves'], 'database'):.1f} |"
    yield f"| {cores} COPYs in parallel into one existing table: not frozen, with WAL | {together:.1f} | {cpu(runs['together'], 'database'):.1f} |"
    yield ""
    yield (
        f"With all {cores} cores for themselves, leaf tables take {leaves / whole:.2f} times as long as one COPY, one table "
        f"{together / whole:.2f} times. In a load the other lanes use these cores, so only CPU seconds count, and they do not "
        "decrease. It is not implemented. On a host with more cores, leaf tables of photos and skus by range of `style_id` would "
        "be the next step: each query names its style, so it reads only one leaf, and the order of the files allows "
        "splitting their rows by range."
    )
    yield ""


def settings(result):
    runs = result["runs"]
    plain = seconds(runs["plain"])
    yield (
        f"Session settings, measured on the floor, since a load would save the same "
        f"({result['date']}, `scripts/bench etl --only settings`):"
    )
    yield ""
    yield "| | seconds, median | CPU seconds, PostgreSQL | over the unchanged floor |"
    yield "|---|---|---|---|"
    yield f"| unchanged | {plain:.1f} | {cpu(runs['plain'], 'database'):.1f} | 1.00 |"
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
    yield "### Compared with pgloader"
    yield ""
    yield provenance(result, "scripts/bench etl --only pgloader")
    yield ""
    yield (
        f"pgloader takes {theirs:.1f} s, `atelier-etl load` {ours:.1f} s for the same files: {theirs / ours:.1f} times as long. "
        "pgloader creates the same tables, keys and indexes as the usual way. The files have no defects, because after the first "
        f"unclosed quote pgloader loses all rows. Here it loaded {'all rows' if lost == 0 else f'{lost:,} rows too few'}. "
        "By default the comparison uses a tenth of the full size, which would take at least ten times as long."
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
    lines += ["### Optimizations", ""]
    if found["settings"]:
        lines += settings(found["settings"])
    lines += (Path(__file__).parent / "tried.md").read_text().splitlines()
    print("\n".join(lines))


main()
