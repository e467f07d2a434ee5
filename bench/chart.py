"""Charts of what the benchmarks measured, as SVG."""

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9})


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
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    print(f"Chart: {path}")
