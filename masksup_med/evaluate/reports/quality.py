"""The report of a calibration: how far a bundle's probabilities and doubts can be trusted.

Numbers and words are made here, their layout in ``templates/quality.html``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from masksup_med.evaluate.quality.figures import BAD, FEWEST
from masksup_med.evaluate.quality.scores import Scored
from masksup_med.evaluate.reports.plots import BLUE, MOST_POINTS, ORANGE, plot_axes, reliability_diagram
from masksup_med.evaluate.reports.words import FEW, resampling_words
from masksup_med.metrics.doubt import risk_coverage_curve
from masksup_med.outputs.page import write_page
from masksup_med.outputs.plots import INK

__all__ = ["write_quality_report"]

Row = dict[str, Any]
_Values = NDArray[np.float64]

_VIEWS = 3  # whose doubt is drawn: the number that `masksup predict` recommends
_PASSES = (0, 1, 3, 7)  # that scores are compared at
_BEST = {"spearman": min, "auroc": max, "risk_coverage": min}
_DASHES, _DOTS = (0, (4, 3)), (0, (1, 2))
_UNKNOWN = "–"


class _Cell(NamedTuple):
    """A figure and its interval in words."""

    value: str
    interval: str
    is_best: bool = False


class _Flags(NamedTuple):
    """A threshold and the shares that it flags, in words."""

    threshold: str
    bad: str
    held_back: _Cell
    good: str
    all: str


def write_quality_report(path: Path, results: Row, rows: Sequence[Scored]) -> None:
    """Write the report of a calibration as one HTML file, with all it shows inside.

    Args:
        path: where to.
        results: what ``quality.json`` holds.
        rows: what is known of each image.
    """
    scores = list(dict.fromkeys(row["score"] for row in results["scores"]))
    write_page(
        path,
        "quality.html",
        results=results,
        few=FEW,
        fewest=FEWEST,
        views=_VIEWS,
        **resampling_words(results["grouped"], results["settings"]["confidence"]),
        **_worth(results),
        **_drawn(results, rows),
        sensitivity=_percent(results["settings"]["sensitivity"]),
        averaged={count: _averaged(figures) for count, figures in results["averaged"].items()},
        scores=scores,
        compared=_compared(results["scores"]) if len(scores) > 1 else {},
        diagrams={when: reliability_diagram(_bins(results[f"reliability_{when}"])) for when in ("before", "after")},
    )


def _worth(results: Row) -> Row:
    """What the doubt is worth that flags are set by, and whether that may be nothing."""
    kind = results["settings"]["views"]
    own = next(row for row in results["scores"] if row["score"] == kind and row["passes"] == _VIEWS)
    bounds = own["auroc_interval"]
    return {"worth": {name: _cell(own, name) for name in _BEST}, "like_chance": bounds is not None and bounds[0] <= 0.5}


def _drawn(results: Row, rows: Sequence[Scored]) -> Row:
    """What takes each image's own values: the plots, how many are flagged, and flags in words."""
    iou = np.array([row.iou for row in rows])
    doubt = np.array([row.doubt[results["settings"]["views"]][_VIEWS] for row in rows])
    bad_groups = len({row.case.group for row in rows if row.iou < BAD})
    threshold = results["thresholds"].get(str(_VIEWS), {}).get("threshold")
    flagged = doubt >= (np.inf if threshold is None else threshold)
    return {
        "flags": {count: _flags(figures) for count, figures in results["thresholds"].items()},
        "flagged": int(flagged.sum()),
        "bad_flagged": int((flagged & (iou < BAD)).sum()),
        "one_bad_group": bad_groups == 1,
        "scatter": _scatter(doubt, iou, threshold),
        "curve": _risk_coverage(doubt, 1 - iou),
    }


def _averaged(figures: Row) -> tuple[str, _Cell]:
    """The IoU of averaged views, and what is gained by that."""
    return _text(figures["iou"]), _Cell(_text(figures["gain"], "+"), _span(figures["gain_interval"], "+"))


def _flags(figures: Row) -> _Flags:
    low, high = figures["sensitivity_interval"] or (0, 0)
    interval = f"{100 * low:.0f}–{_percent(high)}" if figures["sensitivity_interval"] else ""
    return _Flags(
        _text(figures["threshold"]),
        _percent(figures["sensitivity"]),
        _Cell(_percent(figures["sensitivity_held_back"]), interval),
        _percent(figures["false_alarms"]),
        _percent(figures["flagged"]),
    )


def _compared(scores: Sequence[Row]) -> dict[int, dict[str, list[_Cell]]]:
    """By the passes they take, each score with its figures; the best of a figure, as it is written, are marked."""
    tables = {}
    for passes in _PASSES:
        rows = [row for row in scores if row["passes"] == passes]
        known = {name: [row[name] for row in rows if row[name] is not None] for name in _BEST}
        best = {name: _text(choose(known[name])) if known[name][1:] else "" for name, choose in _BEST.items()}
        tables[passes] = {row["score"]: [_cell(row, name, best[name]) for name in _BEST] for row in rows}
    return {passes: table for passes, table in tables.items() if table}


def _cell(row: Row, name: str, best: str = "") -> _Cell:
    value = _text(row[name])
    return _Cell(value, _span(row[f"{name}_interval"]), value == best)


def _text(value: float | None, sign: str = "-") -> str:
    """Thousandths; sign is ``+`` for differences."""
    return _UNKNOWN if value is None else f"{round(value, 3) + 0.0:{sign}.3f}".replace("-", "−")


def _span(bounds: Sequence[float] | None, sign: str = "-") -> str:
    return "" if bounds is None else " to ".join(_text(bound, sign) for bound in bounds)


def _percent(share: float | None) -> str:
    return _UNKNOWN if share is None else f"{100 * share:.0f}\u00a0%"


def _scatter(doubt: _Values, iou: _Values, threshold: float | None) -> Markup:
    """Each image's IoU over its disagreement, with the bad region and the threshold."""
    with plot_axes(4.8, 3.6) as (axes, draw):
        axes.axhspan(0, BAD, color=ORANGE, alpha=0.1, linewidth=0)
        for chosen, colour, marker, label in (
            (iou >= BAD, BLUE, "o", f"IoU from {BAD:g} on"),
            (iou < BAD, ORANGE, "s", f"below {BAD:g}: bad"),
        ):
            style: Row = {"s": 16, "c": colour, "marker": marker, "alpha": 0.75, "linewidths": 0, "clip_on": False}
            axes.scatter(doubt[chosen], iou[chosen], rasterized=len(iou) > MOST_POINTS, label=label, **style)
        if threshold is not None:
            axes.axvline(threshold, color=INK, linewidth=1, linestyle=_DASHES, label="threshold")
        axes.set(xlim=(0, max(1.05 * float(doubt.max()), 0.01)), ylim=(0, 1))
        axes.set(xlabel=f"disagreement with {_VIEWS} views", ylabel="IoU")
        _legend_above(axes)
        return draw()


def _risk_coverage(doubt: _Values, risk: _Values) -> Markup:
    """Mean risk of the images that are kept, over their share, with a perfect order and any one."""
    kept = np.arange(1, len(risk) + 1) / len(risk)
    with plot_axes(4.8, 3.6) as (axes, draw):
        axes.plot(kept, np.full(len(risk), risk.mean()), color=INK, linewidth=1, linestyle=_DOTS, label="by chance")
        axes.plot(kept, risk_coverage_curve(doubt, risk), color=BLUE, label="by disagreement")
        axes.plot(
            kept, risk_coverage_curve(risk, risk), color=INK, linewidth=1, linestyle=_DASHES, label="perfect order"
        )
        axes.set(xlim=(0, 1), xlabel="share of the images that is kept", ylabel="mean of 1 − IoU")
        axes.set_ylim(0, max(1.15 * float(risk.mean()), 0.01))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        _legend_above(axes)
        return draw()


def _legend_above(axes: Any) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderpad=0.3, handletextpad=0.4, columnspacing=1.2)


def _bins(sums: Sequence[Sequence[float]]) -> list[Row]:
    """Bins as :func:`reliability_diagram` draws them, from their sums; empty ones are left out."""
    return [{"probability": p / n, "frequency": f / n, "pixels": int(n)} for n, p, f in sums if n]
