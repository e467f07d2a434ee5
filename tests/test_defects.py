"""What happens to rows with the defects of real copies, with plain COPY and with atelier-etl: docs/defects.md, README.md."""

import json
import re
import subprocess
from dataclasses import dataclass

import pytest
from system import Database, generate

PRICE = "select default_price from product where id = 999"
URL = "select max(length(thumbnail_url)) from photos"
NAME = "select name from product where id = 999"
ORPHANS = "select count(*) from related where related_product_id = 0"
RELATED = "select related_product_id from related where id = 1"


@dataclass
class Defect:
    table: str
    pattern: str | None  # replaced in line 1000, that with the id 999; None: the file has the generator's defects
    replacement: str
    copied: int | str  # rows that COPY loses without an error, or its error
    report: dict  # of atelier-etl: rows by code
    query: str
    answers: tuple  # COPY's and atelier-etl's; None: COPY refuses the file
    all_lines: bool = False


DEFECTS = [
    Defect("photos", None, "", 193, {"unterminated_quote": 10}, URL, ("12044", "120")),
    Defect("related", None, "", 0, {"orphan": 1}, ORPHANS, ("1", "0")),
    Defect("product", r"[^,]+$", '"$818"', "invalid input syntax", {"price_format": 1}, PRICE, (None, "818.00")),
    Defect(
        "product", r"[^,]+$", '"default_price": 49', "invalid input syntax", {"price_format": 1}, PRICE, (None, "49.00")
    ),
    Defect("product", r"[^,]+$", '"586.00"', 0, {"price_format": 1}, PRICE, ("586.00", "586.00")),
    Defect("product", r"[^,]+$", " 140", 0, {"spacing": 1}, PRICE, ("140.00", "140.00")),
    Defect("product", r'^(\d+,"[^"]*"),"[^"]*"', r"\1", "missing data", {"field_count": 1}, PRICE, (None, "")),
    Defect("styles", r'^(\d+,\d+),"[^"]*"', r"\1", "missing data", {"field_count": 1}, "select 1", (None, "1")),
    Defect("photos", r',"[^"]*"$', "", "missing data", {"field_count": 1}, "select 1", (None, "1")),
    Defect(
        "product",
        r',(?="|[\d.]+$|(?<!\d),)',
        ", ",
        0,
        {"spacing": 2000},
        NAME,
        (" Pocket Blouse", "Pocket Blouse"),
        True,
    ),
    Defect("related", r"^(\w+),(\w+),(\w+)", r"\1,\3,\2", 0, {}, RELATED, ("1", "1901"), True),
]


@pytest.fixture(scope="module")
def catalogues(tmp_path_factory):
    directory = tmp_path_factory.mktemp("catalogues")
    return generate(directory / "valid", 2000), generate(directory / "legacy", 2000, "--defects", "legacy")


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect.table}-{defect.replacement or 'legacy'}")
def test_defect(catalogues, tmp_path, defect):
    valid, legacy = catalogues
    for file in valid.glob("*.csv"):
        (tmp_path / file.name).symlink_to(file)
    file = tmp_path / f"{defect.table}.csv"
    file.unlink()
    lines = ((valid if defect.pattern else legacy) / file.name).read_text().splitlines()
    if defect.pattern:
        for line in range(len(lines)) if defect.all_lines else [999]:
            lines[line] = re.sub(defect.pattern, defect.replacement, lines[line])
    file.write_text("\n".join(lines) + "\n")

    with Database("defects") as database:
        database.load(tmp_path, "--report", tmp_path / "report.json", "--max-rejects", "50%")
        report = json.loads((tmp_path / "report.json").read_text())["tables"][defect.table]
        assert report["repaired"] | report["rejected"] == defect.report
        assert database.query(f"set search_path to atelier; {defect.query}") == defect.answers[1]

        table = f"public.{defect.table}"
        database.query(
            f"create table {table} (like atelier.{defect.table}); alter table {table} drop if exists position"
        )
        copy = f"\\copy {table} from '{file}' with (format csv, header, null 'null')"
        if isinstance(defect.copied, str):
            with pytest.raises(subprocess.CalledProcessError), open(tmp_path / "error", "w") as error:
                database.psql("-c", copy, stderr=error)
            assert defect.copied in (tmp_path / "error").read_text()
        else:
            database.query(copy)
            assert int(database.query(f"select count(*) from {table}")) == report["read"] - defect.copied
            assert database.query(f"set search_path to public; {defect.query}") == defect.answers[0]
