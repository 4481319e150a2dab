"""The report of a comparison: whether one configuration is better than another, and how sure that is.

Numbers and words are made here, their layout in ``templates/comparison.html``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from masksup_med.evaluate.reports.comparison_plots import all_differences, image_by_image
from masksup_med.evaluate.reports.words import FEW, PROTOCOL_WORDS, TASK_WORDS, Plot, number, resampling_words, span
from masksup_med.evaluate.tasks import TASKS
from masksup_med.outputs.page import write_page

__all__ = ["write_comparison_report"]

Row = dict[str, Any]

_LEVEL = 0.05
_FEW_SEEDS = 5  # below which drawing from them shows markedly less spread than new ones would: (n − 1) / n of it


class _Cell(NamedTuple):
    """A configuration's figure in words."""

    value: str
    interval: str
    seed_sd: str


class _Figure(NamedTuple):
    """One line of the table of configurations; a cell is None where that configuration does not have the figure."""

    figure: Row
    cells: list[_Cell | None]


class _Difference(NamedTuple):
    """One line of a pair's table."""

    pair: Row
    difference: str
    interval: str
    better: str  # the name of the one that is better, however little
    p: str
    p_holm: str


class _Answer(NamedTuple):
    """Two configurations in short: how far the one that is ahead in a figure is ahead, in words."""

    ahead: str
    behind: str
    figure: Row
    by: str
    interval: str
    p_holm: str
    better: int  # images
    worse: int


class _Pair(NamedTuple):
    """Two configurations."""

    first: str
    second: str
    answer: _Answer
    lines: list[_Difference]
    overview: Markup
    plots: list[Plot]


def write_comparison_report(path: Path, results: Row, rows: Sequence[Row]) -> None:
    """Write the report of a comparison as one HTML file, with all it shows inside.

    Args:
        path: where to.
        results: what ``comparison.json`` holds.
        rows: those of the comparison's ``per_image.csv``.
    """
    task, protocol = results["task"], TASKS[results["task"]][results["protocol"]]
    seeds = {name: each["seeds"] for name, each in results["configurations"].items()}
    write_page(
        path,
        "comparison.html",
        results=results,
        title=f"{' and '.join(seeds)} compared" if len(seeds) == 2 else f"{len(seeds)} configurations compared",
        about=f"{TASK_WORDS[task]}, evaluated {PROTOCOL_WORDS[results['protocol']]}. {protocol.about}",
        few=FEW,
        **resampling_words(results["grouped"], results["settings"]["confidence"]),
        level=_LEVEL,
        seeds=seeds,
        single=[name for name, count in seeds.items() if count == 1],
        few_seeds=any(1 < count < _FEW_SEEDS for count in seeds.values()),
        hopeless=_is_hopeless(results),
        figures=list(_figures(results)),
        pairs=list(_pairs(results, rows)),
    )


def _figures(results: Row) -> Iterator[_Figure]:
    """Every figure that any configuration has."""
    configurations = [each["metrics"] for each in results["configurations"].values()]
    for name, figure in {name: each for metrics in configurations for name, each in metrics.items()}.items():
        one_group = results["groups"] == 1
        yield _Figure(figure, [_cell(metrics.get(name), one_group) for metrics in configurations])


def _cell(figure: Row | None, one_group: bool) -> _Cell | None:
    if figure is None or figure["value"] is None:
        return None
    bounds, seed_sd = figure["interval"], figure["seed_sd"]
    return _Cell(
        number(figure["value"], figure),
        "" if bounds is None or one_group else span(bounds, figure),
        "" if seed_sd is None else number(seed_sd, figure),
    )


def _pairs(results: Row, rows: Sequence[Row]) -> Iterator[_Pair]:
    """The pairs of configurations, with all their differences."""
    of_two: dict[tuple[str, str], list[Row]] = {}
    for pair in results["pairs"]:
        of_two.setdefault((pair["first"], pair["second"]), []).append({**pair, "told_apart": _are_told_apart(pair)})
    for (first, second), pairs in of_two.items():
        key = _key(results, pairs)
        distance = next((pair for pair in pairs if pair["unit"] == "px" and pair is not key), None)
        counts = [pair["metric"] for pair in pairs if not pair["unit"] and round(max(_both(pair, rows)), 9) > 1]
        yield _Pair(
            first,
            second,
            _answer(key),
            [_difference(pair) for pair in pairs],
            all_differences(pairs, counts),
            [_plot(pair, rows) for pair in (key, distance) if pair],
        )


def _key(results: Row, pairs: Sequence[Row]) -> Row:
    """The figure that the protocol ranks images by."""
    protocol = TASKS[results["task"]][results["protocol"]]
    names = [figure.name for figure in protocol.figures if figure.column == protocol.key]
    return next((pair for pair in pairs if pair["metric"] in names), pairs[0])


def _are_told_apart(pair: Row) -> bool:
    """Whether interval and test both say that there is a difference."""
    bounds = pair["interval"]
    return bounds is not None and not bounds[0] <= 0 <= bounds[1] and pair["p_holm"] < _LEVEL


def _is_hopeless(results: Row) -> bool:
    """Whether so few groups are compared that even if all agreed, Wilcoxon's exact p-value would not get below 5 %."""
    tests = len(results["pairs"])
    return tests > 0 and tests * 2.0 ** (1 - results["groups"]) >= _LEVEL


def _answer(pair: Row) -> _Answer:
    (ahead, behind), sign = ("second", "first"), -1 if pair["lower_is_better"] else 1
    if sign * pair["difference"] < 0:
        (ahead, behind), sign = ("first", "second"), -sign
    by, *bounds = (_signed(sign * value, pair).lstrip("+") for value in (pair["difference"], *(pair["interval"] or ())))
    return _Answer(
        pair[ahead],
        pair[behind],
        pair,
        by,
        " to ".join(bounds[::sign]),
        _p_value(pair["p_holm"]),
        pair[f"{ahead}_better"],
        pair[f"{behind}_better"],
    )


def _difference(pair: Row) -> _Difference:
    gain = -pair["difference"] if pair["lower_is_better"] else pair["difference"]
    return _Difference(
        pair,
        _signed(pair["difference"], pair),
        "" if pair["interval"] is None else " to ".join(_signed(bound, pair) for bound in pair["interval"]),
        "" if round(gain, 12) == 0 else pair["second" if gain > 0 else "first"],
        _p_value(pair["p"]),
        _p_value(pair["p_holm"]),
    )


def _signed(value: float, pair: Row) -> str:
    """A difference, with one digit more than a value has."""
    text = f"{value:+.2f}" if pair["unit"] == "px" else f"{value:+.4f}"
    return text.replace("-", "−") if float(text) else text[1:]


def _p_value(p: float) -> str:
    """A p-value with three digits that count."""
    return f"{p:.3f}" if p >= 0.1 else f"{p:#.3g}" if p >= 0.001 else f"{p:.2e}"


def _plot(pair: Row, rows: Sequence[Row]) -> Plot:
    first, second, title = pair["first"], pair["second"], pair["title"]
    side = "below" if pair["lower_is_better"] else "above"
    about = (
        f"Each point is an image: {title} of {second} over that of {first}; {side} the dashed line {second} is better"
    )
    half = len(rows)
    values = np.array(_both(pair, rows))
    return Plot(about, image_by_image(values[:half], values[half:], pair))


def _both(pair: Row, rows: Sequence[Row]) -> list[float]:
    """The first configuration's value of every image, then the second's."""
    return [float(row[f"{pair['metric']}: {pair[side]}"]) for side in ("first", "second") for row in rows]
