#!/usr/bin/env python3
"""Replaces a section of a document with standard input.

usage: section.py DOCUMENT.md SECTION      the section is between <!-- SECTION --> and <!-- /SECTION -->
"""

import sys
from pathlib import Path


def main():
    document, section = Path(sys.argv[1]), sys.argv[2]
    begin, end = f"<!-- {section} -->", f"<!-- /{section} -->"
    text = document.read_text()
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit(f"error: {document} has not exactly one {begin} and one {end}")
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    document.write_text(f"{head}{begin}\n\n{sys.stdin.read().strip()}\n\n{end}{tail}")


main()
