#!/usr/bin/env python3
"""Writes pgbench scripts that ask for the styles of random products, many in one statement, each in another way.

usage: bench-statements.py DIRECTORY PRODUCTS [IDS]

Makes DIRECTORY/NAME.sql for products with ids 1 to PRODUCTS, IDS (16) of them in a statement, and prints "NAME
what it is" line by line. "rows" is the server's own, as it stands in server/src/queries.rs; the first of the list.
"""

import sys
from pathlib import Path

CTE = """WITH style AS MATERIALIZED (SELECT id, product_id, name, original_price, sale_price, default_style
    FROM atelier.styles WHERE product_id = ANY({ids}))"""
ISLANDS = """, island AS MATERIALIZED (SELECT min(id) AS low, max(id) AS high FROM style GROUP BY product_id)"""
LOAD = "SELECT 0::int2, 0, 0, 0, load_id::text, NULL::text FROM atelier.load"
MISSING = """SELECT 7::int2, 0, id, 0, NULL, NULL FROM atelier.product WHERE id = ANY(ARRAY(
    SELECT asked FROM unnest({ids}) AS asked WHERE NOT EXISTS (SELECT FROM style WHERE product_id = asked)))"""
EXISTING = "SELECT 7::int2, 0, id, 0, NULL, NULL FROM atelier.product WHERE id = ANY({ids})"
STYLES = """SELECT 3::int2, product_id, id, default_style::int, name, concat_ws(' ', original_price, sale_price)
    FROM style"""
OF_STYLES = "style_id = ANY(ARRAY(SELECT id FROM style))"
PHOTOS = "SELECT 4::int2, style_id, id, 0, thumbnail_url, url FROM atelier.photos WHERE " + OF_STYLES
SKUS = "SELECT 5::int2, style_id, id, quantity, size, NULL FROM atelier.skus WHERE " + OF_STYLES
SKU_TEXT = "concat_ws(' ', id, quantity, octet_length(size), size)"
PHOTO_TEXT = "concat_ws(' ', id, octet_length(url), octet_length(thumbnail_url), url || thumbnail_url)"
# The shape with the columns of everything, which most rows leave empty.
WIDE = [
    "SELECT 0::int2, 0, 0, 0, load_id::text, NULL, NULL, NULL, NULL FROM atelier.load",
    "SELECT 1::int2, 0, id, 0, '', '', '', '', '' FROM atelier.product WHERE id = ANY({ids})",
    """SELECT 3::int2, product_id, id, default_style::int, name, original_price::text, sale_price::text, NULL, NULL
    FROM style""",
    PHOTOS.replace("url FROM", "url, NULL, NULL, NULL FROM"),
    SKUS.replace("NULL FROM", "NULL, NULL, NULL, NULL FROM"),
]


def union(*parts, ctes=CTE):
    return ctes + " " + "\nUNION ALL ".join(parts)


def grouped(text, table):
    return f"SELECT 5::int2, style_id, 0, 0, string_agg({text}, ''), NULL FROM atelier.{table} WHERE {OF_STYLES} GROUP BY style_id"


def lateral(photos, skus):
    return f"""SELECT 0, 0, load_id::text, NULL, NULL, false, {", ".join(["NULL"] * (len(photos) + len(skus)))} FROM atelier.load
UNION ALL SELECT product_id, id, name, original_price::text, sale_price::text, default_style,
    {", ".join([p + " FROM atelier.photos c WHERE style_id = s.id)" for p in photos] + [k + " FROM atelier.skus c WHERE style_id = s.id)" for k in skus])}
FROM atelier.styles s WHERE product_id = ANY({{ids}})"""


STATEMENTS = {
    "rows": ("rows by `UNION ALL`, as the server sends it", union(LOAD, MISSING, STYLES, PHOTOS, SKUS)),
    "existing": ("the same, every product looked up", union(LOAD, EXISTING, STYLES, PHOTOS, SKUS)),
    "wide": ("the same, in nine columns instead of six", union(*WIDE)),
    "ranges": (
        "photos and skus by ranges of style ids, one a product",
        union(
            LOAD,
            MISSING,
            STYLES,
            PHOTOS.replace("WHERE " + OF_STYLES, "JOIN island ON style_id BETWEEN low AND high"),
            SKUS.replace("WHERE " + OF_STYLES, "JOIN island ON style_id BETWEEN low AND high"),
            ctes=CTE + ISLANDS,
        ),
    ),
    "string_agg_skus": (
        "skus by `string_agg`, one row a style",
        union(LOAD, MISSING, STYLES, PHOTOS, grouped(SKU_TEXT, "skus")),
    ),
    "string_agg": (
        "photos and skus by `string_agg`, one row a style each",
        union(LOAD, MISSING, STYLES, grouped(PHOTO_TEXT, "photos"), grouped(SKU_TEXT, "skus")),
    ),
    "lateral_text": (
        "one row a style, photos and skus by `string_agg` in it",
        lateral([f"(SELECT string_agg({PHOTO_TEXT}, '')"], [f"(SELECT string_agg({SKU_TEXT}, '')"]),
    ),
    "lateral_arrays": (
        "one row a style, photos and skus by `array_agg` in it",
        lateral(
            [f"(SELECT array_agg({column})" for column in ("id", "url", "thumbnail_url")],
            [f"(SELECT array_agg({column})" for column in ("id", "quantity", "size")],
        ),
    ),
    # Run behind the others, with an index that has size and quantity in it.
    "covering": ("rows, with a covering index for skus", union(LOAD, MISSING, STYLES, PHOTOS, SKUS)),
}


def main():
    directory, products = Path(sys.argv[1]), sys.argv[2]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 16
    ids = "ARRAY[" + ",".join(f":id{number}" for number in range(count)) + "]::int[]"
    sets = "".join(f"\\set id{number} random(1, {products})\n" for number in range(count))
    for name, (what, statement) in STATEMENTS.items():
        (directory / f"{name}.sql").write_text(sets + statement.replace("{ids}", ids) + ";\n")
        print(name, what)


main()
