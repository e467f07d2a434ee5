"""Loads the catalogue with psql alone, as fast as possible, for comparison in scripts/bench etl.

usage: psql.py binary|csv DIRECTORY      into the empty database of DATABASE_URL

binary: PostgreSQL's own format, so that nothing needs to be parsed or checked. csv: the script that loads the same
rows as the loader. It does the minimum for that: it adds a quote to each line with an odd number of them, which would
break line ends in quotes, and deletes orphans. The positions of products are numbered during the load.

There is one session for each core. Each takes the next table, the longest first, and creates and copies it in one
transaction, so that rows are frozen and, with wal_level=minimal, need no WAL. Then it makes the keys of schema.sql and
runs ANALYZE. As in the loader, index builds have at least 256 MB and no parallel workers.

Prints the number of rows in each table as JSON.
"""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SCHEMA = (Path(__file__).parents[2] / "schema.sql").read_text()
LONGEST_FIRST = ["photos", "skus", "related", "product", "features", "styles"]
PARENTS = {
    "features": {"product_id": "product"},
    "styles": {"product_id": "product"},
    "photos": {"style_id": "styles"},
    "skus": {"style_id": "styles"},
    "related": {"product_id": "product", "related_product_id": "product"},
}
SETTINGS = "-c max_parallel_maintenance_workers=0 -c client_min_messages=warning"
MEMORY = """select set_config('maintenance_work_mem', '256MB', true)
    where pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes('256MB')"""
CLOSE_QUOTES = 'NF > 0 && NF % 2 == 0 { $0 = $0 "\\"" } { print }'


def psql(statements, stdin=None):
    """Runs statements in one transaction. Returns the number of rows copied less those deleted."""
    options = [word for statement in ["begin", *statements, "commit"] for word in ("-c", statement)]
    command = ["psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", os.environ["DATABASE_URL"], *options]
    environment = dict(os.environ, PGOPTIONS=SETTINGS)
    output = subprocess.run(command, stdin=stdin, stdout=subprocess.PIPE, env=environment, check=True).stdout
    tags = re.findall(rb"^(COPY|DELETE) (\d+)$", output, re.MULTILINE)
    return sum(int(count) if tag == b"COPY" else -int(count) for tag, count in tags)


def copy(table, directory, is_csv):
    create = re.search(rf"^CREATE TABLE {table} .*?;$", SCHEMA, re.MULTILINE | re.DOTALL)[0]
    if not is_csv:
        return psql([create, f"\\copy {table} from '{directory}/{table}' with (format binary, freeze)"])
    columns = ""
    if table == "product":
        create += "alter table product alter position add generated always as identity"
        columns = "(id, name, slogan, description, category, default_price)"
    awk = ["awk", "-F", '"', CLOSE_QUOTES, f"{directory}/{table}.csv"]
    with subprocess.Popen(awk, stdout=subprocess.PIPE, env=dict(os.environ, LC_ALL="C")) as source:
        options = "format csv, header, null 'null', freeze"
        return psql([create, f"\\copy {table} {columns} from pstdin with ({options})"], source.stdout)


def index(table, _, is_csv):
    orphans = [
        f"delete from {table} c where not exists (select from {parent} p where p.id = c.{column})"
        for column, parent in PARENTS.get(table, {}).items()
        if is_csv
    ]
    keys = re.findall(rf"^ALTER TABLE {table} .*;$", SCHEMA, re.MULTILINE)
    return psql([MEMORY, *orphans, *keys, f"analyze {table}"])


def main():
    is_csv, directory = sys.argv[1] == "csv", sys.argv[2]
    rows = dict.fromkeys(LONGEST_FIRST, 0)

    def step(work, table, after=()):
        for earlier in after:
            earlier.result()
        rows[table] += work(table, directory, is_csv)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        copies = {table: pool.submit(step, copy, table) for table in LONGEST_FIRST}
        indexes = []
        # The first to be copied is indexed last, so that the others wait less for their parents.
        for table in [*LONGEST_FIRST[1:], LONGEST_FIRST[0]]:
            parents = PARENTS.get(table, {}).values() if is_csv else []
            indexes.append(pool.submit(step, index, table, [copies[name] for name in (table, *parents)]))
    for future in [*copies.values(), *indexes]:
        future.result()
    json.dump(rows, sys.stdout)


main()
