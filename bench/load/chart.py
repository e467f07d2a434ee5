"""Draws the chart on loading of docs/benchmarks.md: the steps of each contestant by lane, on one time axis."""

NAMES = {"floor": "floor", "load": "atelier-etl load", "best": "best script", "repaired": "same rows", "usual": "usual way"}
COLOURS = {"copy": "#1d4ed8", "index": "#c2410c", "scan": "#15803d", "publish": "#15803d", "vacuum": "#7c3aed"}
LEFT, WIDTH, LANE, GAP = 130, 640, 18, 14


def spans(run):
    """(what, table, start, end) of each step of a run."""
    if "steps" in run:  # of bench/load/psql.sh
        return [(step["what"], step["table"], step["start"], step["end"]) for step in run["steps"]]
    if "stages" in run:  # the usual way: one session
        found, at = [], 0.0
        for what in ("copy", "index", "vacuum"):
            found.append((what, "", at, at + run["stages"][what]))
            at = found[-1][3]
        return found
    report = run["report"]
    found = [("scan", "", 0.0, report["stages"]["scan"])]
    for name, table in report["tables"].items():
        found.append(("copy", name, table["began"], table["began"] + table["seconds"]))
        found.append(("index", name, table["index_began"], table["index_began"] + table["index_seconds"]))
    found.append(("publish", "", report["seconds"] - report["stages"]["publish"], report["seconds"]))
    return found


def lanes(steps):
    """The steps by lane: each in the first that is free when it begins."""
    found = []
    for step in sorted(steps, key=lambda step: step[2]):
        for lane in found:
            # Moments are rounded.
            if lane[-1][3] <= step[2] + 0.02:
                lane.append(step)
                break
        else:
            found.append([step])
    return found


def chart(result, middle):
    """Lines of SVG. `middle` picks the run that is drawn."""
    drawn = [(name, lanes(spans(middle(result["runs"][key])))) for key, name in NAMES.items()]
    last = max(step[3] for _, rows in drawn for row in rows for step in row)
    height = sum(len(rows) * LANE + GAP for _, rows in drawn) + 60

    def x(second):
        return LEFT + WIDTH * second / last

    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 60} {height}" font-family="sans-serif" '
        'font-size="11">'
    )
    yield '<rect width="100%" height="100%" fill="white"/>'
    bottom = height - 44
    tick = 5 if last < 100 else 30
    for second in range(0, int(last) + 1, tick):
        yield f'<line x1="{x(second):.1f}" x2="{x(second):.1f}" y1="8" y2="{bottom}" stroke="#ddd"/>'
        yield f'<text x="{x(second):.1f}" y="{bottom + 14}" text-anchor="middle">{second} s</text>'
    top = 10
    for name, rows in drawn:
        yield f'<text x="{LEFT - 10}" y="{top + len(rows) * LANE / 2 + 4:.1f}" text-anchor="end">{name}</text>'
        for row in rows:
            for what, table, start, end in row:
                wide = x(end) - x(start)
                yield (
                    f'<rect x="{x(start):.1f}" y="{top}" width="{max(wide - 0.5, 0.5):.1f}" height="{LANE - 2}" '
                    f'fill="{COLOURS[what]}"><title>{what} {table} {start:.2f}-{end:.2f} s</title></rect>'
                )
                if wide > 7 * len(table):
                    yield f'<text x="{x(start) + 3:.1f}" y="{top + 12}" fill="white">{table}</text>'
            top += LANE
        top += GAP
    at = LEFT
    for words, what in (("copy", "copy"), ("index, ANALYZE", "index"), ("scan, publish", "scan"), ("VACUUM ANALYZE", "vacuum")):
        yield f'<rect x="{at}" y="{height - 20}" width="12" height="12" fill="{COLOURS[what]}"/>'
        yield f'<text x="{at + 17}" y="{height - 10}">{words}</text>'
        at += 130
    yield "</svg>"
