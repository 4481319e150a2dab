"""The report of an evaluation: every figure beside what it rests on, and the images where things went wrong.

Numbers and words are made here, their layout in ``templates/evaluation.html``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.figures import Protocol
from masksup_med.evaluate.reports.pictures import COLOURS, Picture, Show, case_pictures, colour_of
from masksup_med.evaluate.reports.plots import distribution, reliability_diagram, score_by_size
from masksup_med.evaluate.reports.words import FEW, PROTOCOL_WORDS, TASK_WORDS, Plot, number, resampling_words, span
from masksup_med.evaluate.tasks import TASKS
from masksup_med.evaluate.write import METRICS, PER_IMAGE
from masksup_med.outputs.overlay import CLASS_COLOURS, LABEL_COLOUR
from masksup_med.outputs.page import css_colour, write_page

__all__ = ["write_report"]

Row = dict[str, Any]

_NAMED = 8  # missing predictions that are called by their names
_MEASURES = 6  # of a case, beside its pictures

_RULE = (
    "Nothing to find and nothing found is perfect; one of the two empty is the worst value: 0, or the picture's "
    "diagonal as a distance. No image is left out."
)
_PAPER_RULE = (
    "As in the published code, at 224 × 224 pixels: nothing to find and nothing found is a Jaccard of 0 and a smoothed "
    "Dice of 1; one of the two empty is a Jaccard of 0 and a smoothed Dice near 0. No image is left out."
)
_EMPTY_RULES = {
    ("polyp", "native"): f"{_RULE} Lesions are counted over the whole set, and the Brier score over all pixels, as "
    "they come.",
    ("gland", "native"): f"{_RULE} Figures that are pooled over the set apply this object by object.",
    ("gland", "glas"): f"{_RULE} Figures that are pooled over the set apply this object by object.",
    ("polyp", "paper"): _PAPER_RULE,
    ("gland", "paper"): _PAPER_RULE,
    ("polyp", "pranet"): "As in PraNet's code: where there is nothing to find, mean Dice, mean IoU and weighted F are "
    "0 whatever was predicted, while S-measure, E-measure and MAE reward an empty map; an empty map where there is "
    "something to find scores little, but not always 0. No image is left out.",
    ("semantic", "native"): "Void pixels take no part. An empty label has void pixels only: it counts as 1 in "
    "micro-Jaccard and adds nothing to the other figures. An empty prediction is a missing one: wrong everywhere.",
    ("semantic", "paper"): "As in the published code: void pixels count as the first class, so that no label is "
    "empty. An empty prediction is a missing one: wrong everywhere.",
}


class _Cell(NamedTuple):
    """A figure and its interval in words; None for what is undefined."""

    value: str | None
    interval: str | None


class _Line(NamedTuple):
    """One line of the table of figures."""

    figure: Row
    cell: _Cell
    median: str = ""
    quartiles: str = ""


class _Stratum(NamedTuple):
    """One column of the table by size."""

    name: str
    share: str
    images: int
    groups: int
    cells: list[_Cell]


class _Shown(NamedTuple):
    """One of the worst cases."""

    name: str
    facts: list[tuple[str, str]]
    pictures: list[Picture]
    notes: list[str]


def write_report(
    path: Path, results: Row, rows: Sequence[Row], worst: Sequence[tuple[Case, float]], show: Show
) -> None:
    """Write the report of an evaluation as one HTML file, with all it shows inside.

    Args:
        path: where to.
        results: what ``metrics.json`` holds.
        rows: those of ``per_image.csv``.
        worst: cases to show and their scores, the worst first.
        show: gives the prediction and the label of a case, as masks or numbers of objects or classes.
    """
    task, protocol = results["task"], TASKS[results["task"]][results["protocol"]]
    figures, row_of = list(results["metrics"].values()), {row["image"]: row for row in rows}
    missing = [row["image"] for row in rows if row["missing"]]
    write_page(
        path,
        "evaluation.html",
        results=results,
        title=f"{TASK_WORDS[task]}, evaluated {PROTOCOL_WORDS[results['protocol']]}",
        few=FEW,
        **resampling_words(results["grouped"], results["settings"]["confidence"]),
        missing=missing[:_NAMED],
        more_missing=len(missing[_NAMED:]),
        empty_rule=_EMPTY_RULES[task, results["protocol"]],
        lines=[_line(figure) for figure in figures],
        strata=[_stratum(name, each, rows) for name, each in results.get("strata", {}).items()],
        classes=[{**each, "colour": colour_of(each["number"])} for each in results.get("classes", [])],
        colours=len(COLOURS),
        histograms=list(_histograms(figures, rows)),
        plots=list(_plots(results, rows, protocol)),
        key=_title(results, protocol.key),
        shown=[_shown(case, row_of[case.name], results, protocol, show) for case, _ in worst],
        coloured=task == "gland",
        label_colour=css_colour(LABEL_COLOUR),
        pred_colour=None if task == "semantic" else css_colour(CLASS_COLOURS[0]),
        files=(METRICS, PER_IMAGE),
    )


def _line(figure: Row) -> _Line:
    if "median" not in figure:
        return _Line(figure, _cell(figure))
    return _Line(figure, _cell(figure), number(figure["median"], figure), span(figure["quartiles"], figure))


def _stratum(name: str, stratum: Row, rows: Sequence[Row]) -> _Stratum:
    groups = len({row["group"] for row in rows if row["stratum"] == name})
    cells = [_cell(figure) for figure in stratum["metrics"].values()]
    title = "no object" if name == "none" else name
    return _Stratum(title, _share(stratum["object_share"]), stratum["images"], groups, cells)


def _cell(figure: Row) -> _Cell:
    value, bounds = figure["value"], figure["interval"]
    return _Cell(None if value is None else number(value, figure), None if bounds is None else span(bounds, figure))


def _share(share: Sequence[float] | None) -> str:
    """The shares of the picture that a stratum's objects have."""
    if share is None:
        return ""
    low, high = (f"{100 * edge:g}" for edge in share)
    if share[0] == 0:
        return f"below {high} %"
    return f"{low} % and more" if share[1] == 1 else f"{low} to {high} %"


def _histograms(figures: Sequence[Row], rows: Sequence[Row]) -> Iterator[Plot]:
    for figure in figures:
        if "column" in figure:
            values = np.array([row[figure["column"]] for row in rows], float)
            about = f"Histogram of {figure['title']} over {len(rows)} images"
            yield Plot(about, distribution(values, figure))


def _plots(results: Row, rows: Sequence[Row], protocol: Protocol) -> Iterator[Plot]:
    sized = [row for row in rows if row.get("object_share") is not None]
    if sized:
        title = _title(results, protocol.key)
        yield Plot(
            f"Each point is an image: {title} over the size of its objects; dotted lines part the sizes of the table",
            score_by_size(sized, protocol.key, title, protocol.strata or ()),
        )
    if "reliability" in results:
        yield Plot(
            "Reliability: how often pixels are foreground over the probability they were given (on the dashed line if "
            "probabilities are true), and the number of pixels",
            reliability_diagram(results["reliability"]),
        )


def _shown(case: Case, row: Row, results: Row, protocol: Protocol, show: Show) -> _Shown:
    pictures, notes = case_pictures(case, show, classes=results["task"] == "semantic")
    if row["missing"]:
        notes = ["There is no prediction.", *notes]
    return _Shown(case.name, list(_facts(row, results, protocol)), pictures, notes)


def _facts(row: Row, results: Row, protocol: Protocol) -> Iterator[tuple[str, str]]:
    """What to say of an image: its score first, which ranks it, then other measures, and what it is."""
    measures = {each["column"]: each for each in results["metrics"].values() if "column" in each}
    ordered = [protocol.key, *(column for column in measures if column != protocol.key)]
    for column in ordered[:_MEASURES]:
        figure = measures[column]
        yield figure["title"], f"{number(row[column], figure)} {figure['unit']}".strip()
    if row.get("object_share") is not None:
        yield "Object size", f"{100 * row['object_share']:.1f} %"
    if results["grouped"]:
        yield "Patient or sequence", str(row["group"])


def _title(results: Mapping[str, Any], column: str) -> str:
    return next(each["title"] for each in results["metrics"].values() if each.get("column") == column)
