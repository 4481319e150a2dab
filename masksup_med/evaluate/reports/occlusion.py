"""The report of an occlusion test: how well objects are found while the picture disappears.

Numbers and words are made here, their layout in ``templates/occlusion.html``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.ticker import FuncFormatter

from masksup_med.evaluate.reports.pictures import Picture
from masksup_med.evaluate.reports.plots import BLUE, ORANGE, plot_axes
from masksup_med.evaluate.reports.words import FEW, number, resampling_words, span
from masksup_med.outputs.overlay import CLASS_COLOURS, LABEL_COLOUR
from masksup_med.outputs.page import css_colour, write_page
from masksup_med.outputs.plots import INK

__all__ = ["write_occlusion_report"]

Row = dict[str, Any]

_SHARE = {"unit": ""}
_NAMES = {"patch": "patches", "scribble": "scribbles"}
_LINES = ((BLUE, "o"), (ORANGE, "s"))


class _Cell(NamedTuple):
    """A value and its interval in words; no text where there is no interval."""

    value: str
    interval: str


def write_occlusion_report(path: Path, results: Row, examples: Mapping[str, Sequence[Picture]]) -> None:
    """Write the report of an occlusion test as one HTML file, with all it shows inside.

    Args:
        path: where to.
        results: what ``occlusion.json`` holds.
        examples: pictures by the name of their case.
    """
    hidings = {_NAMES[kind]: curve for kind, curve in results["hidings"].items()}
    write_page(
        path,
        "occlusion.html",
        results=results,
        few=FEW,
        **resampling_words(results["grouped"], results["settings"]["confidence"]),
        areas={name: _cell(curve["area"], curve["area_interval"]) for name, curve in hidings.items()},
        lines=[
            (
                f"{100 * ratio:g} %",
                [_cell(curve["iou"][place], curve["intervals"][place]) for curve in hidings.values()],
            )
            for place, ratio in enumerate(results["ratios"])
        ],
        plot=_curves(results["ratios"], hidings),
        examples=examples,
        label_colour=css_colour(LABEL_COLOUR),
        pred_colour=css_colour(CLASS_COLOURS[0]),
    )


def _cell(value: float, bounds: Sequence[float] | None) -> _Cell:
    return _Cell(number(value, _SHARE), "" if bounds is None else span(bounds, _SHARE))


def _curves(ratios: Sequence[float], hidings: dict[str, Row]) -> Markup:
    """IoU over the hidden share, with its interval as a band, and the line of a network that finds what it sees."""
    with plot_axes(6.6, 3.8) as (axes, draw):
        for (name, curve), (colour, marker) in zip(hidings.items(), _LINES, strict=True):
            if None not in curve["intervals"]:
                low, high = zip(*curve["intervals"], strict=True)
                axes.fill_between(ratios, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(ratios, curve["iou"], color=colour, marker=marker, markersize=5, label=name, clip_on=False)
        whole = next(iter(hidings.values()))["iou"][0]
        seen = [whole * (1 - ratio) for ratio in ratios]
        axes.plot(ratios, seen, color=INK, linewidth=1, linestyle=(0, (4, 3)), label="only what is seen")
        axes.set(xlim=(0, ratios[-1]), ylim=(0, 1), xlabel="hidden share of the picture", ylabel="IoU")
        axes.set_xticks(ratios)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0, borderpad=0.3)
        return draw()
