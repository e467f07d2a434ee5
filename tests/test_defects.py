"""What happens to rows with the defects of real copies, with plain COPY and with atelier-etl (docs/defects.md)."""

import json
import re
import shutil
import subprocess

import pytest
from system import Database, generate

PRICE = "select default_price from product where id = 999"
LONGEST = "select max(length(thumbnail_url)) from photos"
ORPHANS = "select count(*) from related where related_product_id = 0"
NAME = "select name from product where id = 999"
RELATED = "select related_product_id from related where id = 1"
LAST = r"(?m)^(999,.*),[^,\n]+$"
SPACED = (r'(?m),(?="|[\d.]+$|default_price)', ", ")

# Table; pattern and replacement, or None for what the generator does; what is repaired or rejected, by code; a query
# and its answer; COPY's error, or the number of rows it loses without one and its answer.
DEFECTS = [
    ("photos", None, {"unterminated_quote": 10}, LONGEST, "120", (193, "12044")),
    ("related", None, {"orphan": 1}, ORPHANS, "0", (0, "1")),
    ("product", (LAST, r'\1,"$818"'), {"price_format": 1}, PRICE, "818.00", "invalid input syntax"),
    ("product", (LAST, r'\1,"default_price": 49'), {"price_format": 1}, PRICE, "49.00", "invalid input syntax"),
    ("product", (LAST, r'\1,"586.00"'), {"price_format": 1}, PRICE, "586.00", (0, "586.00")),
    ("product", (LAST, r"\1, 140"), {"spacing": 1}, PRICE, "140.00", (0, "140.00")),
    ("product", (r'(?m)^(999,"[^"]*"),"[^"]*"', r"\1"), {"field_count": 1}, PRICE, "", "missing data"),
    ("styles", (r'(?m)^(999,\d+),"[^"]*"', r"\1"), {"field_count": 1}, "select 1", "1", "missing data"),
    ("photos", (LAST, r"\1"), {"field_count": 1}, "select 1", "1", "missing data"),
    # The header too.
    ("product", SPACED, {"spacing": 2001}, NAME, "Pocket Blouse", (0, " Pocket Blouse")),
    ("related", (r"(?m)^(\w+),(\w+),(\w+)$", r"\1,\3,\2"), {}, RELATED, "1901", (0, "1")),
]
IDS = [f"{table}-{'-'.join(codes) or 'columns'}" for table, _, codes, *_ in DEFECTS]


@pytest.fixture(scope="module")
def catalogues(tmp_path_factory):
    directory = tmp_path_factory.mktemp("catalogues")
    return generate(directory / "valid", 2000), generate(directory / "legacy", 2000, "--defects", "legacy")


@pytest.mark.parametrize(("table", "damage", "codes", "query", "loaded", "copied"), DEFECTS, ids=IDS)
def test_defect(catalogues, tmp_path, table, damage, codes, query, loaded, copied):
    valid, legacy = catalogues
    data, name = shutil.copytree(valid, tmp_path / "csv"), f"{table}.csv"
    file = data / name
    file.write_text(re.sub(*damage, file.read_text()) if damage else (legacy / name).read_text())

    with Database("defects") as database:
        database.load(data, "--report", tmp_path / "report.json", "--max-rejects", "50%")
        report = json.loads((tmp_path / "report.json").read_text())["tables"][table]
        assert report["repaired"] | report["rejected"] == codes
        assert database.query(f"set search_path to atelier; {query}") == loaded

        database.query(f"create table public.{table} (like atelier.{table})")
        database.query(f"alter table public.{table} drop if exists position")
        copy = f"\\copy public.{table} from '{file}' with (format csv, header, null 'null')"
        if isinstance(copied, str):
            with pytest.raises(subprocess.CalledProcessError) as error:
                database.psql("-c", copy, stderr=subprocess.STDOUT)
            assert copied in error.value.output
        else:
            database.query(copy)
            assert database.query(f"select count(*) from public.{table}") == str(report["read"] - copied[0])
            assert database.query(f"set search_path to public; {query}") == copied[1]
