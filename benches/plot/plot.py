#!/usr/bin/env python3
"""Draws docs/latency.svg and docs/growth.svg from the figures that stand beside this file.

    python3 -m venv <a folder elsewhere>
    <that folder>/bin/pip install matplotlib==3.10.8
    <that folder>/bin/python benches/plot/plot.py

The figures are written by `cargo bench --bench serve -- curve --record` and `-- growth --record`.
The same figures give the same pictures, byte for byte.
"""

import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402 (after the choice of what draws)
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: E402

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent.parent / "docs"

INK, FAINT = "#24292f", "#d8dee4"
BLUE, GREY = "#0550ae", "#6e7781"

plt.rcParams.update(
    {
        "svg.hashsalt": "kes",
        # Text stays text: it can be searched, and is drawn with a font of the reader.
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": FAINT,
        "grid.linewidth": 0.6,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
)


def save(figure, name):
    figure.savefig(DOCS / name, metadata={"Date": None, "Creator": None}, facecolor="white")
    plt.close(figure)


def time_of(us, _=None):
    """A time in µs as one writes it."""
    if us >= 1e6:
        return f"{us / 1e6:g} s"
    return f"{us / 1e3:g} ms" if us >= 1e3 else f"{us:g} µs"


def latency():
    """Latency against load, for each server until it no longer keeps up."""
    data = json.loads((HERE / "latency.json").read_text())
    figure, axes = plt.subplots(figsize=(8.6, 5.2), layout="constrained")
    colours = {"kes": BLUE, "bare": GREY}
    names = {"kes": "kes", "bare": "bare server (the limit)"}
    lines = {"p50": "solid", "p99": (0, (5, 2)), "p999": (0, (1, 1.5))}
    highest = 0
    for server in data["servers"]:
        colour = colours[server["server"]]
        # Beyond what it can do, the latency tells only how long the load went on.
        points = [p for p in server["points"] if p["reached"] >= 0.98 * p["offered"]]
        load = [p["reached"] / 1e3 for p in points]
        for figure_of, style in lines.items():
            times = [p[figure_of] for p in points]
            highest = max(highest, *times)
            width = 1.8 if figure_of == "p50" else 1.3
            axes.plot(load, times, color=colour, linestyle=style, linewidth=width)
        axes.plot(load, [p["p50"] for p in points], "o", color=colour, markersize=3.5)
        most = server["saturation"] / 1e3
        axes.axvline(most, color=colour, linewidth=1, alpha=0.5)
        axes.annotate(
            f"{names[server['server']].split(' (')[0]} with 256 at once: {most:.0f}",
            (most, 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(-4, 0),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="bottom",
            color=colour,
        )
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.set_ylim(10, 10 ** len(str(int(highest))))
    axes.yaxis.set_major_formatter(FuncFormatter(time_of))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("load, thousand requests a second (one core for the server)")
    axes.set_ylabel("latency, from when the request was due")
    axes.set_title("Latency against load: generate, HTTP/2 over TLS, 8 connections")
    handles = [Line2D([], [], color=colours[s["server"]], lw=2) for s in data["servers"]]
    labels = [names[s["server"]] for s in data["servers"]]
    handles += [Line2D([], [], color=INK, linestyle=style, lw=1.4) for style in lines.values()]
    labels += ["median", "99th percentile", "99.9th percentile"]
    figure.legend(handles, labels, loc="outside lower center", ncols=5, edgecolor=FAINT)
    save(figure, "latency.svg")


def count_of(count, _=None):
    """A number as one says it."""
    if count >= 1e6:
        return f"{count / 1e6:g} M"
    return f"{count / 1e3:g} k" if count >= 1e3 else f"{count:g}"


def growth():
    """What a request costs, against what there is much of."""
    data = json.loads((HERE / "growth.json").read_text())
    curves = data["curves"]
    figure, all_axes = plt.subplots(
        1, len(curves), figsize=(11, 3), sharey=True, layout="constrained"
    )
    most = max(p["cpu_us"] for curve in curves for p in curve["points"])
    for axes, curve in zip(all_axes, curves):
        points = curve["points"]
        # A logarithmic axis has no 0: it stands where 1 does on the others.
        place = [max(p["count"], points[1]["count"] / 10) for p in points]
        axes.plot(place, [p["cpu_us"] for p in points], "o-", color=BLUE, markersize=4)
        axes.set_xscale("log")
        axes.set_xticks(place, [count_of(p["count"]) for p in points])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="x", which="minor", length=0)
        axes.margins(x=0.12)
        axes.set_xlabel(curve["of"])
        ratio = points[-1]["cpu_us"] / points[0]["cpu_us"]
        axes.annotate(
            f"× {ratio:.2f}", (0.97, 0.06), xycoords="axes fraction", ha="right", color=BLUE
        )
    all_axes[0].set_ylim(0, most * 1.15)
    all_axes[0].set_ylabel("server CPU, µs a request")
    figure.suptitle(
        "What a request costs as a server holds more (× : last point to first)",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    save(figure, "growth.svg")


if __name__ == "__main__":
    latency()
    growth()
