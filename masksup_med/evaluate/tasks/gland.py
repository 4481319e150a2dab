"""Glands in histology: masks, and objects as the GlaS challenge scores them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.figures import Figure, Measured, Measures, Protocol, Settings, mean_of
from masksup_med.evaluate.reading import read_objects
from masksup_med.evaluate.tasks.masks import (
    BOUNDARY_FIGURES,
    CALIBRATION_FIGURES,
    OVERLAP_FIGURES,
    mask_measures,
    paper_protocol,
    probability_measures,
)
from masksup_med.metrics.gland import object_dice, object_f1, object_hausdorff, object_sums

__all__ = ["PROTOCOLS"]

_STRATA = (0.05, 0.08)  # about thirds of GlaS

_F1 = "F1 of the objects: found are those whose best-overlapping gland they cover by more than half"
_DICE = "Dice of every object with the one it overlaps most, both ways, weighted by area"
_HAUSDORFF = "Hausdorff distance of every object to the one it overlaps most, or else the nearest, weighted by area"
_OBJECT_FIGURES = (
    Figure("object_f1_pooled", "Object F1, pooled", f"{_F1}; over the whole set, as GlaS scores.", object_f1),
    Figure("object_dice_pooled", "Object Dice, pooled", f"{_DICE}; over the whole set, as GlaS scores.", object_dice),
    Figure(
        "object_hausdorff_pooled",
        "Object Hausdorff, pooled",
        f"{_HAUSDORFF}; over the whole set, as GlaS scores.",
        object_hausdorff,
        unit="px",
        lower_is_better=True,
    ),
    mean_of("object_f1", "Object F1, per image", f"{_F1}; mean over the images.", name="object_f1_mean"),
    mean_of("object_dice", "Object Dice, per image", f"{_DICE}; mean over the images.", name="object_dice_mean"),
    mean_of(
        "object_hausdorff",
        "Object Hausdorff, per image",
        f"{_HAUSDORFF}; mean over the images.",
        name="object_hausdorff_mean",
        unit="px",
        lower_is_better=True,
    ),
)


def _measure(case: Case, settings: Settings) -> Measured:
    pred, label = _read_pair(case, settings)
    measures = {
        **mask_measures(pred > 0, label > 0, settings),
        **_object_measures(pred, label),
        **probability_measures(case, (pred > 0).astype(float), label > 0),
    }
    return _measured(measures, pred, label)


def _measure_as_glas(case: Case, settings: Settings) -> Measured:
    pred, label = _read_pair(case, settings)
    return _measured(_object_measures(pred, label), pred, label)


def _read_pair(case: Case, settings: Settings) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    label = read_objects(case.label)
    return np.zeros_like(label) if case.pred is None else read_objects(case.pred, "prediction"), label


def _read_masks(case: Case, settings: Settings) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    pred, label = _read_pair(case, settings)
    return pred > 0, label > 0


def _object_measures(pred: NDArray[np.integer], label: NDArray[np.integer]) -> Measures:
    sums = object_sums(pred, label)
    figures = {metric.__name__: float(metric(sums)) for metric in (object_f1, object_dice, object_hausdorff)}
    return {**figures, **sums}


def _measured(measures: Measures, pred: NDArray[np.integer], label: NDArray[np.integer]) -> Measured:
    areas = np.bincount(label.ravel())[1:]
    share = float(areas[areas > 0].mean() / label.size) if areas.any() else None
    return Measured(measures, not label.any(), not pred.any(), share)


PROTOCOLS = {
    "native": Protocol(
        "Masks and objects at the label's own size.",
        _measure,
        _read_pair,
        (*OVERLAP_FIGURES, *BOUNDARY_FIGURES, *_OBJECT_FIGURES, *CALIBRATION_FIGURES),
        key="object_dice",
        strata=_STRATA,
    ),
    "paper": paper_protocol(_read_masks, _read_pair),
    "glas": Protocol(
        "The GlaS challenge's three scores, at the label's own size.",
        _measure_as_glas,
        _read_pair,
        _OBJECT_FIGURES,
        key="object_dice",
        strata=_STRATA,
    ),
}
