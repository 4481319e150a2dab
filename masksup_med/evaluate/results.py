"""From measured images to results: figures with intervals, strata, and what they rest on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksup_med import __version__
from masksup_med.errors import DataError
from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.figures import Figure, Measured, Protocol, Settings
from masksup_med.metrics.semantic import class_iou
from masksup_med.metrics.statistics import Bootstrap, interval

__all__ = ["CONFIDENCE", "RESAMPLES", "per_image_rows", "summarise", "worst_cases"]

RESAMPLES, CONFIDENCE = 2000, 0.95

Row = dict[str, Any]
Values = Mapping[str, NDArray[np.float64]]  # by measure, images first


def summarise(
    cases: Sequence[Case], measured: Sequence[Measured], protocol: Protocol, settings: Settings, seed: int
) -> dict[str, Any]:
    """Compute what ``metrics.json`` holds, but for the names of task and protocol.

    Args:
        cases: what was measured.
        measured: what came out, in the same order.
        protocol: which figures to make of it.
        settings: what the measurement depended on.
        seed: of the bootstrap.
    """
    values = _stacked(measured)
    groups = [case.group for case in cases]
    empty = np.array([each.label_empty or each.pred_empty for each in measured])
    figures = [_worded(figure, settings) for figure in _meaningful(protocol, values)]
    results: dict[str, Any] = {
        "about": protocol.about,
        "version": __version__,
        "images": len(cases),
        "groups": len(set(groups)),
        "grouped": len(set(groups)) < len(groups),
        "counts": _counts(cases, measured),
        "settings": {
            "tolerance_px": settings.tolerance,
            "classes": {str(number): name for number, name in settings.classes.items()},
            "resamples": RESAMPLES,
            "confidence": CONFIDENCE,
            "seed": seed,
        },
        "metrics": _figures(figures, values, groups, empty, seed),
    }
    if protocol.strata:
        results["strata"] = _strata(protocol.strata, measured, figures, values, groups, empty, seed)
    if values.get("soft", np.zeros(1)).any():
        results["reliability"] = _reliability(values["reliability"].sum(axis=0))
    if "counts" in values:
        results["classes"] = _classes(values["counts"].sum(axis=0), settings.classes)
        _refuse_one_class(results)
    return results


def per_image_rows(cases: Sequence[Case], measured: Sequence[Measured], protocol: Protocol) -> list[Row]:
    """One row for each image: what it is, then those of its measures that are single numbers and mean something."""
    values = _stacked(measured)
    hidden = {"images", *(figure.needs for figure in protocol.figures)}
    hidden |= {str(figure.column) for figure in protocol.figures if figure.needs and not values[figure.needs].any()}
    shown = [name for name, each in values.items() if each.ndim == 1 and name not in hidden]
    rows = []
    for case, each in zip(cases, measured, strict=True):
        row: Row = {"image": case.name, "group": case.group, "missing": int(case.pred is None)}
        row |= {"label_empty": int(each.label_empty), "pred_empty": int(each.pred_empty)}
        if protocol.strata:
            row |= {"stratum": _stratum(each, protocol.strata), "object_share": each.object_share}
        rows.append(row | {name: each.measures[name] for name in shown})
    return rows


def worst_cases(
    cases: Sequence[Case], measured: Sequence[Measured], protocol: Protocol, count: int = 10
) -> list[tuple[Case, float]]:
    """The cases with the lowest score, with it, the worst first; of equals those with a prediction to look at."""
    scores = [(case, float(each.measures[protocol.key])) for case, each in zip(cases, measured, strict=True)]
    return sorted(scores, key=lambda pair: (pair[1], pair[0].pred is None, pair[0].name))[:count]


def _stacked(measured: Sequence[Measured]) -> dict[str, NDArray[np.float64]]:
    names = measured[0].measures
    values = {name: np.stack([each.measures[name] for each in measured]).astype(float) for name in names}
    return {**values, "images": np.ones(len(measured))}


def _meaningful(protocol: Protocol, values: Values) -> list[Figure]:
    return [figure for figure in protocol.figures if not figure.needs or values[figure.needs].any()]


def _worded(figure: Figure, settings: Settings) -> Figure:
    """The figure with what it was measured by in its words."""
    title, definition = (text.format(tolerance=settings.tolerance) for text in (figure.title, figure.definition))
    return figure._replace(title=title, definition=definition)


def _counts(cases: Sequence[Case], measured: Sequence[Measured]) -> dict[str, int]:
    void = int(sum(float(each.measures.get("void_pixels", 0)) for each in measured))
    return {
        "missing_predictions": sum(case.pred is None for case in cases),
        "empty_labels": sum(each.label_empty for each in measured),
        "empty_predictions": sum(each.pred_empty for each in measured),
        "both_empty": sum(each.label_empty and each.pred_empty for each in measured),
        **({"void_pixels": void} if void else {}),
    }


def _figures(
    figures: Iterable[Figure], values: Values, groups: Sequence[str], empty: NDArray[np.bool_], seed: int
) -> dict[str, Row]:
    """Each figure over some images, with its interval."""
    bootstrap = Bootstrap(groups, RESAMPLES, seed)
    total = {name: each.sum(axis=0)[None] for name, each in values.items()}
    resampled = {name: bootstrap.sums(each) for name, each in values.items()}
    results = {}
    for figure in figures:
        value = float(figure.value(total)[0])
        bounds = interval(figure.value(resampled), CONFIDENCE) if bootstrap.groups > 1 else None
        results[figure.name] = {
            "title": figure.title,
            "value": value if np.isfinite(value) else None,
            "interval": bounds,
            "n": len(groups),
            "n_empty": int(empty.sum()),
            **_spread(figure, values),
            "unit": figure.unit,
            "lower_is_better": figure.lower_is_better,
            "definition": figure.definition,
            "version": __version__,
        }
    return results


def _spread(figure: Figure, values: Values) -> Row:
    """Median and quartiles, for figures that every image has."""
    if figure.column is None:
        return {}
    low, median, high = np.quantile(values[figure.column], [0.25, 0.5, 0.75])
    return {"column": figure.column, "median": float(median), "quartiles": [float(low), float(high)]}


def _strata(
    edges: tuple[float, float],
    measured: Sequence[Measured],
    figures: Iterable[Figure],
    values: Values,
    groups: Sequence[str],
    empty: NDArray[np.bool_],
    seed: int,
) -> dict[str, Row]:
    """The figures by size of the label's objects; images without any object are a stratum of their own."""
    stratum_of = np.array([_stratum(each, edges) for each in measured])
    shares = {"small": [0, edges[0]], "medium": list(edges), "large": [edges[1], 1], "none": None}
    strata = {}
    for name, share in shares.items():
        chosen = np.flatnonzero(stratum_of == name)
        if chosen.size:
            part = {key: each[chosen] for key, each in values.items()}
            metrics = _figures(figures, part, [groups[index] for index in chosen.tolist()], empty[chosen], seed)
            strata[name] = {"object_share": share, "images": int(chosen.size), "metrics": metrics}
    return strata


def _refuse_one_class(results: Row) -> None:
    """Where only one class counts, whatever is predicted is right: then 255 was probably not meant to be void."""
    there = [each for each in results["classes"] if each["label_pixels"]]
    if len(there) == 1 and len(results["classes"]) > 1 and "void_pixels" in results["counts"]:
        raise DataError(
            f"In all labels, only {there[0]['name']} ({there[0]['number']}) is among the classes, and 0 or 255, which "
            "is void; draw classes as their numbers, or evaluate masks of 0 and 255 with --task polyp."
        )


def _stratum(measured: Measured, edges: tuple[float, float]) -> str:
    if measured.object_share is None:
        return "none"
    return ("small", "medium", "large")[int(np.searchsorted(edges, measured.object_share, side="right"))]


def _reliability(bins: NDArray[np.float64]) -> list[Row]:
    return [
        {"probability": probability / pixels, "frequency": foreground / pixels, "pixels": int(pixels)}
        for pixels, probability, foreground in bins.tolist()
        if pixels
    ]


def _classes(counts: NDArray[np.float64], names: Mapping[int, str]) -> list[Row]:
    return [
        {"number": number, "name": name, "iou": None if np.isnan(iou) else float(iou), "label_pixels": int(pixels)}
        for (number, name), iou, pixels in zip(names.items(), class_iou(counts), counts[:, 1], strict=True)
    ]
