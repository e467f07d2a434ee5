"""Charts of what the benchmarks measured, as SVG."""

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.patches import Patch

matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9})
COLOURS = {"copy": "#1d4ed8", "index": "#c2410c", "parents": "#15803d", "publish": "#86198f", "vacuum": "#7c3aed"}
LABELS = {"index": "index, ANALYZE", "parents": "ids of parents", "vacuum": "VACUUM ANALYZE"}


def save(figure, path):
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    print(f"Chart: {path}")


def in_lanes(steps):
    """The steps by lane: each in the first that is free when it starts."""
    lanes = []
    for step in sorted(steps, key=lambda step: step["start"]):
        free = [lane for lane in lanes if lane[-1]["end"] <= step["start"] + 0.02]  # times are rounded
        if free:
            free[0].append(step)
        else:
            lanes.append([step])
    return lanes


def lanes(contestants, path):
    """The steps of each contestant's median run on one time axis."""
    figure, axes = pyplot.subplots(figsize=(9, 4))
    slowest = max(run["seconds"] for runs in contestants.values() for run in runs)
    y, ticks = 0, {}
    for name, runs in contestants.items():
        run = sorted(runs, key=lambda run: run["seconds"])[(len(runs) - 1) // 2]
        found = in_lanes(run["steps"])
        ticks[name] = y + (len(found) - 1) / 2
        for lane in found:
            for step in lane:
                seconds = step["end"] - step["start"]
                axes.barh(y, seconds, left=step["start"], color=COLOURS[step["what"]], edgecolor="white", linewidth=0.5)
                if seconds > slowest * 0.015 * len(step["table"]):
                    axes.text(step["start"], y, f" {step['table']}", color="white", va="center", fontsize=7)
            y += 1
        y += 0.6
    axes.set_yticks(list(ticks.values()), list(ticks))
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    handles = [Patch(color=colour, label=LABELS.get(what, what)) for what, colour in COLOURS.items()]
    axes.legend(handles=handles, ncols=len(handles), loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)
    save(figure, path)


def latency(series, path, xlabel):
    """Latency over the rate: {name: [(rate, ms)]}."""
    figure, axes = pyplot.subplots(figsize=(7, 3.5))
    for name, points in series.items():
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
    axes.set(xlabel=xlabel, ylabel="ms", yscale="log", xlim=(0, None))
    axes.grid(alpha=0.4)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend()
    save(figure, path)
