"""Measures atelier-etl load against psql and pgloader. See scripts/bench --help."""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from results import BENCH, catalogue, environment, in_memory, outcome, save, system, table

SCRIPTS = Path(__file__).resolve().parent / "load"
USUAL = (SCRIPTS / "usual.sql").read_text()
NAMES = {
    "floor": "floor: binary files by psql",
    "load": "`atelier-etl load`",
    "script": "best script that loads the same rows",
    "usual": "usual way: `\\copy` in one session",
}
CORES = os.cpu_count()
MAX_OVER_FLOOR = 1.15
MIN_OVER_LOAD = {"script": 1.6, "usual": 3.0}
MAX_MEMORY_MB = 200
JOBS = (1, 2, 4)
PGLOADER_SHARE = 20  # it loads a catalogue this many times smaller


class Bench:
    """A database that is new for each command, and a directory for the output of commands."""

    def __init__(self, database, work):
        self.database, self.work = database, work
        path = f"{database.programs}:{os.environ['PATH']}"
        self.environment = dict(os.environ, DATABASE_URL=database.url, PATH=path)
        drop, create = f"drop database if exists {database.name} with (force)", f"create database {database.name}"
        admin = database.server_url.geturl()
        self.prepare = join("psql", "-Xqd", admin, "-c", drop, "-c", create, "-c", "checkpoint")

    def measure(self, commands):
        """Runs each command once, on a new database: seconds elapsed, and of the client's CPU, by name."""
        export = self.work / "hyperfine.json"
        words = ["hyperfine", "--runs=1", "--style=basic", "--prepare", self.prepare, "--export-json", export]
        for name, command in commands.items():
            words += ["--command-name", name, command]
        subprocess.run(words, check=True, stdout=sys.stderr, env=self.environment)
        runs = json.loads(export.read_text())["results"]
        return {run["command"]: {"seconds": run["mean"], "client_cpu": run["user"] + run["system"]} for run in runs}

    def load_command(self, data, jobs=CORES):
        outputs = ["--report", self.work / "report.json", "--rejects", self.work / "rejects", "--progress", "none"]
        return join(system.ETL, "load", "--data", data, "--jobs", jobs, *outputs)

    def last_load(self, manifest):
        """The report of the last load."""
        report = json.loads((self.work / "report.json").read_text())
        check_rows("atelier-etl load", {name: found["loaded"] for name, found in report["tables"].items()}, manifest)
        return report


def join(*words):
    return shlex.join(str(word) for word in words)


def check_rows(who, rows, manifest):
    wanted = {name: those["loaded"] for name, those in manifest["tables"].items()}
    if rows != wanted:
        sys.exit(f"error: {who} loaded {rows}, but the manifest has {wanted}")


def usual_rows(output):
    """The rows of each table that bench/load/usual.sql copied, from psql's command tags."""
    return dict(zip(re.findall(r"^\\copy (\w+)", USUAL, re.M), map(int, re.findall(r"^COPY (\d+)", output, re.M)), strict=True))


def contestants(bench, data, manifest, rounds):
    """Runs of each contestant in turn, and the rows that the usual way loaded."""
    bench.measure({"the floor's files": bench.load_command(data)})
    with tempfile.TemporaryDirectory(dir=BENCH) as binary:
        for name in manifest["tables"]:
            bench.database.psql("-c", f"\\copy atelier.{name} to '{binary}/{name}' (format binary)")
        in_memory(data)
        psql = join(sys.executable, SCRIPTS / "psql.py")
        commands = {
            "floor": f"{psql} binary {shlex.quote(binary)}",
            "load": bench.load_command(data),
            "script": f"{psql} csv {shlex.quote(str(data))}",
            "usual": f"cd {shlex.quote(str(data))}; psql -Xv ON_ERROR_STOP=1 -f {SCRIPTS}/usual.sql $DATABASE_URL",
        }
        runs = {name: [] for name in commands}
        for _ in range(rounds):
            found = bench.measure({name: f"{command} >{bench.work}/{name}" for name, command in commands.items()})
            for name in ("floor", "script"):
                check_rows(NAMES[name], json.loads((bench.work / name).read_text()), manifest)
            found["load"]["memory"] = bench.last_load(manifest)["peak_rss_bytes"]
            for name, run in found.items():
                runs[name].append(run)
    return runs, usual_rows((bench.work / "usual").read_text())


def pgloader(bench, products):
    """pgloader with tables, keys and indexes of the usual way. No defects: after an open quote it loses all rows."""
    data, manifest = catalogue(products, "none")
    script = []
    for name, definition in re.findall(r"^create table (\w+) \((.*)\);", USUAL, re.M):
        columns = re.findall(r"(?:^|, )(\w+) ", definition)
        fields = [f"{column} [null if 'null']" if column in ("value", "sale_price") else column for column in columns]
        script.append(f"""load csv from '{data}/{name}.csv' ({", ".join(fields)})
            into {bench.database.url}?sslmode=disable target table public.{name} ({", ".join(columns)})
            with skip header = 1, fields optionally enclosed by '"', fields escaped by double-quote,
                 fields terminated by ',', workers = 8, concurrency = 2
            set client_min_messages to 'warning';""")
    (bench.work / "load.pgloader").write_text("\n".join(script))
    for name, pattern in {"tables": "create table", "keys": "alter table|create index|vacuum"}.items():
        (bench.work / f"{name}.sql").write_text("\n".join(re.findall(rf"^(?:{pattern}).*;$", USUAL, re.M)))
    in_memory(data)
    psql = "psql -Xq $DATABASE_URL -f"
    load = "pgloader --quiet --root-dir pgloader load.pgloader >pgloader.log"
    runs = bench.measure({"pgloader": f"cd {bench.work} && {psql} tables.sql && {load} && {psql} keys.sql"})
    counts = {name: int(bench.database.query(f"select count(*) from {name}")) for name in manifest["tables"]}
    check_rows("pgloader", counts, manifest)
    runs |= bench.measure({"load": bench.load_command(data)})
    bench.last_load(manifest)
    return {name: run["seconds"] for name, run in runs.items()}


def report(result):
    seconds = {name: median(run["seconds"] for run in runs) for name, runs in result["runs"].items()}
    over_load = {name: those / seconds["load"] for name, those in seconds.items()}
    targets = {name: (f"at least {least}", outcome(over_load[name] >= least)) for name, least in MIN_OVER_LOAD.items()}
    over_floor = 1 / over_load["floor"]
    target = f"{over_floor:.2f} times the floor, at most {MAX_OVER_FLOOR}"
    targets["load"] = (target, outcome(over_floor <= MAX_OVER_FLOOR))
    rows = []
    for name, runs in result["runs"].items():
        cpu = median(run["client_cpu"] for run in runs)
        each = " ".join(f"{run['seconds']:.1f}" for run in runs)
        times = [f"{seconds[name]:.1f}", each, f"{cpu:.1f}", f"{over_load[name]:.2f}"]
        rows.append([NAMES[name], *times, *targets.get(name, ("", ""))])
    print(f"\n{result['environment']}")
    table(["", "seconds, median", "all runs", "client's CPU seconds", "over `load`", "target", ""], rows)
    memory = max(run["memory"] for run in result["runs"]["load"]) / 1e6
    print(f"\nMemory of a load: {memory:.0f} MB, target {MAX_MEMORY_MB}: {outcome(memory <= MAX_MEMORY_MB)}")
    wrong = ", ".join(f"{count:+} rows of {name}" for name, count in result["usual_wrong"].items() if count)
    print(f"Loaded by the usual way, compared with the manifest: {wrong or 'the same rows'}")
    print("; ".join(f"{name} {run['seconds']:.1f} s" for name, run in result["jobs"].items()))
    few = " and ".join(f"{name} {seconds:.1f} s" for name, seconds in result["pgloader"].items())
    print(f"A {PGLOADER_SHARE}th of the products: {few}")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench etl")
    parser.add_argument("--products", type=int, default=1000011)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    data, manifest = catalogue(options.products)
    tables = manifest["tables"]
    read, size = (sum(those[key] for those in tables.values()) for key in ("read", "bytes"))
    with system.Database("bench_load") as database, tempfile.TemporaryDirectory() as work:
        bench = Bench(database, Path(work))
        found = environment(system.run(system.ETL, "--version").strip(), database, options.products)
        result = {"environment": f"{found}, {read:,} rows, {size / 1e6:,.0f} MB"}
        result["pgloader"] = pgloader(bench, options.products // PGLOADER_SHARE)
        result["jobs"] = bench.measure({f"{count} jobs": bench.load_command(data, count) for count in JOBS})
        bench.last_load(manifest)
        result["runs"], rows = contestants(bench, data, manifest, options.rounds)
        result["usual_wrong"] = {name: rows[name] - those["loaded"] for name, those in tables.items()}
    report(result)
    save(f"load-{options.products}", result)


main()
