#!/usr/bin/env python3
"""Writes pgbench scripts that query the styles of several random products at a time, each with a different statement.

usage: statements.py DIRECTORY PRODUCTS [IDS]

Writes DIRECTORY/NAME.sql for products with ids 1 to PRODUCTS, IDS (default 16) of them in a statement, and prints a line
"NAME IDS description" for each. The first, "rows", is the server's own statement (server/src/catalogue/queries.rs).
"""

import sys
from pathlib import Path

CTE = """WITH style AS MATERIALIZED (SELECT id, product_id, name, original_price, sale_price, default_style
    FROM atelier.styles WHERE product_id = ANY({ids}))"""


def select(numbers, texts, source, width):
    return f"SELECT {numbers}{''.join(', ' + text for text in texts + ['NULL'] * (width - len(texts)))} FROM {source}"


def union(*parts, ctes=CTE):
    """One statement of parts, each of numbers, texts and where they are from, with as many texts as the widest."""
    width = max(len(texts) for _, texts, _ in parts)
    return ctes + " " + " UNION ALL ".join(select(*part, width) for part in parts)


def packed(text, table):
    return f"(SELECT string_agg({text}, '') FROM atelier.{table} WHERE style_id = style.id)"


def arrays(columns, table):
    return [f"(SELECT array_agg({column})::text FROM atelier.{table} WHERE style_id = style.id)" for column in columns]


OF_STYLES = "style_id = ANY(ARRAY(SELECT id FROM style))"
SKU_TEXT = "concat_ws(' ', id, quantity, octet_length(size), size)"
PHOTO_TEXT = "concat_ws(' ', id, octet_length(thumbnail_url), octet_length(url), thumbnail_url || url)"
PRICES = "concat_ws(' ', original_price, sale_price)"
LOAD = ("0::int2, 0, 0, 0", ["load_id::text"], "atelier.load")
EXISTING = ("7::int2, 0, id, 0", [], "atelier.product WHERE id = ANY({ids})")
MISSING = (
    "7::int2, 0, id, 0",
    [],
    """atelier.product WHERE id = ANY(ARRAY(
    SELECT asked FROM unnest({ids}) AS asked WHERE NOT EXISTS (SELECT FROM style WHERE product_id = asked)))""",
)
STYLES = ("3::int2, product_id, id, default_style::int", ["name", PRICES], "style")
PHOTOS = ("4::int2, style_id, id, 0", ["thumbnail_url", "url"], "atelier.photos WHERE " + OF_STYLES)
SKUS = ("5::int2, style_id, id, quantity", ["size"], "atelier.skus WHERE " + OF_STYLES)
PACKED_PHOTOS = packed(PHOTO_TEXT, "photos")
PACKED_SKUS = packed(SKU_TEXT, "skus")
ARRAYS = arrays(["id", "url", "thumbnail_url"], "photos") + arrays(["id", "quantity", "size"], "skus")
ISLANDS = ", island AS MATERIALIZED (SELECT min(id) AS low, max(id) AS high FROM style GROUP BY product_id)"


def ranged(part):
    numbers, texts, source = part
    return numbers, texts, source.replace("WHERE " + OF_STYLES, "JOIN island ON style_id BETWEEN low AND high")


def with_styles(texts):
    numbers, own, source = STYLES
    return numbers, own + texts, source


def grouped(number, text, table):
    source = f"atelier.{table} WHERE {OF_STYLES} GROUP BY style_id"
    return f"{number}::int2, style_id, 0, 0", [f"string_agg({text}, '')"], source


STATEMENTS = {
    "rows": (
        "the server's: a row for each photo and sku, with `UNION ALL`",
        union(LOAD, MISSING, STYLES, PHOTOS, SKUS),
    ),
    "existing": ("the same, with every product looked up", union(LOAD, EXISTING, STYLES, PHOTOS, SKUS)),
    "unchecked": (
        "the same without looking up products, so that missing ones cannot be told from those without styles",
        union(LOAD, STYLES, PHOTOS, SKUS),
    ),
    "wide": (
        "the same, with three more empty columns",
        union(LOAD, MISSING, STYLES, (PHOTOS[0], PHOTOS[1] + ["NULL"] * 3, PHOTOS[2]), SKUS),
    ),
    "ranges": (
        "the same, with photos and skus by ranges of style ids, one for each product",
        union(LOAD, MISSING, STYLES, ranged(PHOTOS), ranged(SKUS), ctes=CTE + ISLANDS),
    ),
    "packed": (
        "photos and skus as two texts in their style's row, with `string_agg`",
        union(LOAD, MISSING, with_styles([PACKED_PHOTOS, PACKED_SKUS])),
    ),
    "packed_skus": ("skus as text in their style's row, a row for each photo", union(LOAD, MISSING, with_styles([PACKED_SKUS]), PHOTOS)),
    "grouped": (
        "photos and skus as one text for each style, in rows of their own, with `GROUP BY`",
        union(LOAD, MISSING, STYLES, grouped(4, PHOTO_TEXT, "photos"), grouped(5, SKU_TEXT, "skus")),
    ),
    "arrays": (
        "photos and skus as arrays in their style's row, with `array_agg`",
        union(LOAD, MISSING, with_styles(ARRAYS)),
    ),
    "single": ("the server's, one product a statement", union(LOAD, MISSING, STYLES, PHOTOS, SKUS)),
    # Run behind the others, with an index that has size and quantity in it.
    "covering": ("the server's, with a covering index for skus", union(LOAD, MISSING, STYLES, PHOTOS, SKUS)),
}


def main():
    directory, products = Path(sys.argv[1]), sys.argv[2]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 16
    for name, (what, statement) in STATEMENTS.items():
        numbers = range(1 if name == "single" else count)
        ids = "ARRAY[" + ",".join(f":id{number}" for number in numbers) + "]::int[]"
        sets = "".join(f"\\set id{number} random(1, {products})\n" for number in numbers)
        (directory / f"{name}.sql").write_text(sets + statement.replace("{ids}", ids) + ";\n")
        print(name, len(numbers), what)


main()
