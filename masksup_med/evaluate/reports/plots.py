"""An evaluation's plots, each an ``<svg>`` for :mod:`masksup_med.outputs.page`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from masksup_med.metrics.calibration import BINS
from masksup_med.outputs.plots import INK, figure_svg, plot_style

__all__ = ["BLUE", "MOST_POINTS", "ORANGE", "distribution", "plot_axes", "reliability_diagram", "score_by_size"]

Row = dict[str, Any]

BLUE, ORANGE = "#3d8fd1", "#d55e00"  # seen on white as on black, and told apart with every kind of colour vision
_BARS = 20
_MOST_COUNTS = 30  # more different counts than this are drawn like any other measure
MOST_POINTS = 1000  # more are drawn as a picture inside the plot, which takes less space


def distribution(values: NDArray[np.float64], figure: Row) -> Markup:
    """Histogram of a measure with its mean and median; distances on a scale that is logarithmic above 1 pixel.

    Args:
        values: one for each image, shape (images,).
        figure: what ``metrics.json`` says of the measure.
    """
    with plot_axes(3.0, 1.9) as (axes, draw):
        axes.hist(values, _edges(values, figure), rwidth=0.92, color=BLUE, alpha=0.8)
        axes.axvline(float(values.mean()), color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.axvline(figure["median"], color=INK, linewidth=1.2)
        if figure["unit"] == "px":
            axes.set_xscale("symlog", linthresh=1, linscale=0.4)
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(FixedLocator([0, 1, 10, 100, 1000, 10000]))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel(f"{figure['title']} ({figure['unit']})" if figure["unit"] else figure["title"])
        axes.set_ylabel("images")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(visible=False, axis="x")
        return draw()


def score_by_size(rows: Sequence[Row], column: str, title: str, edges: Sequence[float]) -> Markup:
    """Each image's score over the size of its objects.

    Args:
        rows: those of ``per_image.csv`` that have an ``object_share``.
        column: the score.
        title: what the score is called.
        edges: the shares where a new stratum begins.
    """
    empty = np.array([bool(row["pred_empty"]) for row in rows])
    share, score = (np.array([row[name] for row in rows], float) for name in ("object_share", column))
    with plot_axes(4.8, 3.6) as (axes, draw):
        points = axes.scatter(share[~empty], score[~empty], s=14, c=BLUE, alpha=0.7, linewidths=0, label="image")
        points.set(rasterized=len(rows) > MOST_POINTS, clip_on=False)
        if empty.any():
            label = "image with empty prediction"
            axes.scatter(share[empty], score[empty], s=20, c=ORANGE, marker="x", label=label, clip_on=False)
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0, handletextpad=0.2)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        for edge in edges:
            axes.axvline(edge, color=INK, linewidth=1, linestyle=(0, (1, 2)))
        axes.set_ylim(0, 1)
        axes.set_xlabel("mean object in the label, share of the picture")
        axes.set_ylabel(title)
        return draw()


def reliability_diagram(bins: Sequence[Row]) -> Markup:
    """How often pixels are foreground over how probable that was said to be, and how many pixels that rests on.

    Args:
        bins: the ``reliability`` of ``metrics.json``.
    """
    probability, frequency, pixels = (
        np.array([each[name] for each in bins]) for name in ("probability", "frequency", "pixels")
    )
    with plot_style():
        figure = Figure((4.8, 3.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 3)))
        upper.plot(probability, frequency, color=BLUE, marker="o", markersize=4, clip_on=False)
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is foreground")
        places = (np.minimum(np.floor(probability * BINS), BINS - 1) + 0.5) / BINS
        lower.bar(places, pixels, 0.9 / BINS, color=BLUE, alpha=0.8, log=True)
        lower.set(xlabel="probability of the foreground", ylabel="pixels")
        lower.yaxis.set_minor_locator(NullLocator())
        lower.grid(visible=False, axis="x")
        return figure_svg(figure)


@contextmanager
def plot_axes(width: float, height: float) -> Iterator[tuple[Axes, Any]]:
    """A figure of that size in inches: its axes, and a function that returns it as an ``<svg>`` when all is drawn."""
    with plot_style():
        figure = Figure((width, height), layout="constrained")
        yield figure.add_subplot(), lambda: figure_svg(figure)


def _edges(values: NDArray[np.float64], figure: Row) -> list[float]:
    """Edges of the bars: of whole distances, counts, or shares from 0 to 1."""
    highest = float(values.max())
    if figure["unit"] == "px":
        return [0.0, *np.geomspace(1, max(highest, 10), _BARS).tolist()]
    if not figure["lower_is_better"]:
        return np.linspace(0, max(highest, 1), _BARS + 1).tolist()
    if 0 < highest <= _MOST_COUNTS and np.array_equal(values, np.rint(values)):
        return (np.arange(highest + 2) - 0.5).tolist()
    return np.linspace(0, highest or 1, _BARS + 1).tolist()
