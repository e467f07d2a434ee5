"""What test_page.py shows: products beside the generated ones, and drawings in place of their photos."""

import colorsys
import csv
import zlib
from urllib.parse import urlsplit

WORD = "W" * 200  # breaks nowhere
PHOTO = "https://images.unsplash.com/photo"
PHOTOS_OF_STYLES = [(90001, "slate", 6), (90002, "rust", 4), (90003, "moss", 1), (90006, "black", 2)]
# One of these for each photo, so that those of a style differ.
VIEWS = ["", "translate(-70 -60) scale(1.35)", "translate(400 0) scale(-1 1)", "translate(-250 -330) scale(2.3)"]
COLOURS = {"slate": (212, 18, 42), "rust": (16, 52, 46), "moss": (88, 26, 38), "black": (220, 8, 20)}

PARKA = """A shell that keeps the sea out and a lining that keeps you in. Cut long, so that it covers what you sit on, and \
with a hood that turns when you do.

Made to be mended: every seam can be opened and closed again."""

# 8900 has long words, and prices that are no sale. 9001 has everything; 9002 is made of markup; 9003 has nothing but a
# name; 9004 is sold out.
ROWS = {
    "product": [
        (8900, WORD, WORD, WORD, WORD, 50),
        (9001, "Harbour Parka", "For the walk back, too", PARKA, "Jackets", 240),
        (
            9002,
            "<img src=x onerror=alert(1)>",
            "<script>alert(2)</script>",
            '&lt;b&gt; <b>bold</b> "quoted"',
            "<i>Markup</i>",
            1234567.5,
        ),
        (9003, "Bare Hook", "", "", "", 0),
        (9004, "Gone Gloves", "Everybody has a pair by now", "", "Accessories", 35),
    ],
    "features": [
        (89000, 8900, WORD, WORD),
        (90001, 9001, "Shell", "Waxed cotton"),
        (90002, 9001, "Lining", "Recycled wool"),
        (90003, 9001, "Pockets", "Four, one of them inside"),
        (90004, 9001, "Taped seams", "null"),
        (90005, 9002, "<u>feature</u>", "<u>value</u>"),
    ],
    "styles": [
        (89001, 8900, WORD, 50, 50, 0),
        (89002, 8900, "At its price", "50.00", 50, 0),
        (89003, 8900, "Above its price", 60, 50, 0),
        (90001, 9001, "Slate", "null", 240, 0),
        (90002, 9001, "Rust", 179.99, 240, 1),
        (90003, 9001, "Moss", "null", 255, 0),
        (90004, 9001, "Chalk", "null", 240, 0),
        (90005, 9002, "<b>Style</b>", "null", 1234567.5, 1),
        (90006, 9004, "Black", "null", 35, 1),
        (90007, 9004, "White", "null", 35, 0),
    ],
    "photos": [
        (89000, 89001, WORD, WORD),
        (90000, 90005, "javascript:alert(3)", '"><img src=x onerror=alert(4)>'),
    ],
    "skus": [
        (89001, 89001, WORD, 3),
        (89002, 89001, "S", 5),
        (90001, 90001, "XS", 0),
        (90002, 90001, "S", 3),
        (90003, 90001, "M", 40),
        (90004, 90001, "L", 16),
        (90005, 90001, "XL", 0),
        (90006, 90002, "S", 8),
        (90007, 90002, "M", 1),
        (90008, 90002, "L", 0),
        (90009, 90003, "M", 7),
        (90010, 90005, "<b>S</b>", 2),
        (90011, 90006, "S", 0),
        (90012, 90006, "M", -4),
    ],
    "related": [
        (90001, 9001, 3),
        (90002, 9001, 1),
        (90003, 9001, 9001),
        (90004, 9001, 3),
        (90005, 9001, 9004),
        (90006, 9001, 8),
        (90007, 9002, 9002),
    ],
}


def add_products(directory):
    """Adds the rows above, and photos, to the CSV files in the directory."""
    names = [(style, f"{PHOTO}-{name}-{n}") for style, name, count in PHOTOS_OF_STYLES for n in range(count, 0, -1)]
    photos = [(90001 + n, style, f"{name}?w=668", f"{name}?w=300") for n, (style, name) in enumerate(names)]
    for table, rows in ROWS.items():
        with (directory / f"{table}.csv").open("a", newline="") as file:
            file.write("\n")  # a generated file has none at its end
            csv.writer(file, lineterminator="\n").writerows(rows + photos if table == "photos" else rows)


def drawing(url):
    """A photo of a coat as SVG, in few colours. The same URL always gives the same."""
    name = urlsplit(url).path
    seed = zlib.crc32(name.encode())
    known = next((colour for word, colour in COLOURS.items() if word in name), None)
    hue, saturation, lightness = known or (seed % 360, 22 + seed // 7 % 20, 34 + seed // 11 % 18)

    def shade(by, less=1.0):
        parts = colorsys.hls_to_rgb(hue / 360, min(0.97, (lightness + by) / 100), saturation * less / 100)
        return "#" + "".join(f"{round(part * 255):02x}" for part in parts)

    view = (int(name[-1]) if known else seed // 13) % 4
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="668" height="835" viewBox="0 0 400 500">
<rect width="400" height="500" fill="{shade(46, 0.5)}"/><rect y="410" width="400" height="90" fill="{shade(38, 0.5)}"/>
<g transform="{VIEWS[view]}"><ellipse cx="200" cy="428" rx="120" ry="10" fill="{shade(28, 0.5)}"/>
<path d="M150 112 96 150 70 330l38 10 30-110v190h124V230l30 110 38-10-26-180-54-38z" fill="{shade(0)}"/>
<path d="M138 230v190h30V150zM262 230v190h-30V150z" fill="{shade(-6)}"/>
<path d="M150 112c0-56 100-56 100 0l-12 38h-76z" fill="{shade(7)}"/>
<path d="M168 116c0-34 64-34 64 0l-14 28h-36z" fill="{shade(-14)}"/><path d="M200 146v274" stroke="{shade(24)}" stroke-width="3"/>
<path d="M150 320h36M214 320h36M150 326v34h36v-34M214 326v34h36v-34" fill="none" stroke="{shade(-16)}" stroke-width="3"/>
</g></svg>"""
