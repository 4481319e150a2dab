"""The plots of a comparison, each an ``<svg>`` for :mod:`masksup_med.outputs.page`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from masksup_med.evaluate.reports.plots import BLUE, MOST_POINTS, ORANGE, plot_axes
from masksup_med.outputs.plots import INK, figure_svg, plot_style

__all__ = ["all_differences", "image_by_image"]

Row = dict[str, Any]

_SAME = 1e-12  # differences below are rounding
_LONGEST_NAME = 26
_LINE, _AROUND = 0.26, 0.55  # inches that a difference takes, and those that its axis takes besides


def image_by_image(first: NDArray[np.float64], second: NDArray[np.float64], pair: Row) -> Markup:
    """Each image's value in the second configuration over that in the first.

    Args:
        first: one value for each image, shape (images,).
        second: those of the other configuration.
        pair: what ``comparison.json`` says of the two.
    """
    better = (first - second) if pair["lower_is_better"] else (second - first)
    sides = ((abs(better) <= _SAME, INK, 0.35), (better < -_SAME, ORANGE, 0.75), (better > _SAME, BLUE, 0.75))
    with plot_axes(4.0, 4.0) as (axes, draw):
        for chosen, colour, alpha in sides:
            points = axes.scatter(first[chosen], second[chosen], s=14, c=colour, alpha=alpha, linewidths=0)
            points.set(rasterized=len(first) > MOST_POINTS, clip_on=False, zorder=2)
        _scale(axes, np.concatenate([first, second]), pair)
        axes.plot([0, 1], [0, 1], transform=axes.transAxes, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        unit = f" ({pair['unit']})" if pair["unit"] else ""
        axes.set_xlabel(f"{pair['title']}{unit}, {_short(pair['first'])}", parse_math=False)
        axes.set_ylabel(f"{pair['title']}{unit}, {_short(pair['second'])}", parse_math=False)
        _name_sides(axes, pair)
        return draw()


def all_differences(pairs: Sequence[Row], counts: Sequence[str] = ()) -> Markup:
    """The differences between two configurations with their intervals, the second's advantage always to the right.

    Args:
        pairs: what ``comparison.json`` says of these two, each with ``told_apart``: whether to stress it. Figures
            in one unit and with one better direction share an axis.
        counts: metrics without a unit that go beyond 1, and so need an axis apart from that of shares.
    """
    panels: dict[tuple[str, bool, bool], list[Row]] = {}
    for pair in pairs:
        panels.setdefault((pair["unit"], pair["metric"] in counts, pair["lower_is_better"]), []).append(pair)
    heights = [len(panel) + 0.2 for panel in panels.values()]
    with plot_style():
        figure = Figure((6.6, 0.3 + _LINE * sum(heights) + _AROUND * len(heights)), layout="constrained")
        every = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
        for axes, ((unit, _, lower_is_better), panel) in zip(every, panels.items(), strict=True):
            _differences(axes, panel, unit, lower_is_better)
        left, right = f"← {_short(pairs[0]['first'])} better", f"{_short(pairs[0]['second'])} better →"
        every[0].set_title(left, loc="left", fontsize=9, parse_math=False)
        every[0].set_title(right, loc="right", fontsize=9, parse_math=False)
        return figure_svg(figure)


def _differences(axes: Axes, panel: Sequence[Row], unit: str, lower_is_better: bool) -> None:
    """One axis of differences, from top to bottom; zero is in its middle."""
    widest = 0.0
    axes.axvline(0, color=INK, linewidth=1)
    for place, pair in enumerate(panel):
        style: Row = {"color": BLUE} if pair["told_apart"] else {"color": INK, "alpha": 0.5}
        bounds = pair["interval"] or ()
        if bounds:
            axes.plot(bounds, [place, place], linewidth=2, **style)
        axes.plot(pair["difference"], place, marker="o", markersize=5, markeredgewidth=0, **style)
        widest = max(widest, *(abs(value) for value in (pair["difference"], *bounds)))
    limit = 1.1 * widest if widest > _SAME else 1.0
    axes.set_xlim((limit, -limit) if lower_is_better else (-limit, limit))
    axes.set_ylim(len(panel) - 0.4, -0.6)  # downwards
    axes.set_yticks(range(len(panel)), [pair["title"] for pair in panel])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6, symmetric=True) if widest > _SAME else FixedLocator([0]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.4g}".replace("-", "−") if value else "0"))
    lower = ", lower is better" if lower_is_better else ""
    axes.set_xlabel(f"difference{f' in {unit}' if unit else ''}{lower}")


def _scale(axes: Axes, values: NDArray[np.float64], pair: Row) -> None:
    """The same scale on both axes: of distances logarithmic above 1 pixel, of others as wide as they need."""
    low, high = float(values.min()), float(values.max())
    if pair["unit"] == "px":
        for set_scale in (axes.set_xscale, axes.set_yscale):
            set_scale("symlog", linthresh=1, linscale=0.4)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator([0, 1, 10, 100, 1000, 10000]))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        low, high = 0.0, max(1.2 * high, 1.0)
    elif high <= 1 + _SAME and not pair["lower_is_better"]:
        low, high = min(np.floor(10 * low) / 10, 0.9), 1.0
    else:
        low, high = 0.0, 1.05 * high or 1.0
    axes.set(xlim=(low, high), ylim=(low, high), box_aspect=1)


def _name_sides(axes: Axes, pair: Row) -> None:
    """Say beside either side of the diagonal who is better there, and how often."""
    above, below = ("first", "second") if pair["lower_is_better"] else ("second", "first")
    for side, place, align in ((above, (0.03, 0.97), ("left", "top")), (below, (0.97, 0.03), ("right", "bottom"))):
        text = f"{_short(pair[side])} better\nin {pair[f'{side}_better']}"
        axes.text(*place, text, transform=axes.transAxes, ha=align[0], va=align[1], parse_math=False)


def _short(name: str) -> str:
    """A name, cut in its middle where it is long: names of runs differ at their ends."""
    name = "".join(character if character.isprintable() else "\ufffd" for character in name)
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME // 2 - 1]}…{name[-_LONGEST_NAME // 2 :]}"
