"""Maps of many classes, as for NYUDv2."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.figures import Figure, Measured, Measures, Protocol, Settings, mean_of
from masksup_med.evaluate.reading import read_classes
from masksup_med.evaluate.tasks.masks import PAPER_SIZE
from masksup_med.metrics.semantic import (
    class_counts,
    class_mean_iou,
    frequency_weighted_iou,
    mean_accuracy,
    micro_jaccard,
    pixel_accuracy,
)

__all__ = ["PROTOCOLS"]

_MICRO = "intersection over union of all classes' pixels together, which is accuracy / (2 − accuracy)"


def _measure(case: Case, settings: Settings) -> Measured:
    classes = list(settings.classes)
    pred, label = _read_pair(case, settings)
    measures: Measures = {
        "void_pixels": float(np.count_nonzero(~np.isin(label, classes))),
        "counts": class_counts(pred, label, classes),
        "micro_jaccard": micro_jaccard(pred, label, classes),
    }
    return Measured(measures, not np.isin(label, classes).any(), case.pred is None)


def _measure_as_paper(case: Case, settings: Settings) -> Measured:
    classes = list(settings.classes)
    pred, label = (_shrink(each) for each in _read_pair(case, settings))
    label = np.where(np.isin(label, classes), label, classes[0])
    return Measured({"micro_jaccard": micro_jaccard(pred, label, classes)}, False, case.pred is None)


def _read_pair(case: Case, settings: Settings) -> tuple[NDArray[Any], NDArray[Any]]:
    return read_classes(case.pred, case.label, list(settings.classes), case.values)


def _shrink(values: NDArray[Any]) -> NDArray[Any]:
    resized = Image.fromarray(values.astype(np.int32)).resize(PAPER_SIZE, Image.Resampling.NEAREST)
    return np.asarray(resized)


PROTOCOLS = {
    "native": Protocol(
        "Classes at the label's own size; void pixels take no part.",
        _measure,
        _read_pair,
        (
            Figure(
                "class_mean_iou",
                "Class-mean IoU",
                "IoU of each class over the whole set, mean over the classes; what is called mean IoU elsewhere.",
                lambda sums: class_mean_iou(sums["counts"]),
            ),
            Figure(
                "pixel_accuracy",
                "Pixel accuracy",
                "Share of all the set's pixels that are right.",
                lambda sums: pixel_accuracy(sums["counts"]),
            ),
            Figure(
                "mean_accuracy",
                "Mean accuracy",
                "Share of each class's pixels that are right, over the whole set, mean over the classes.",
                lambda sums: mean_accuracy(sums["counts"]),
            ),
            Figure(
                "frequency_weighted_iou",
                "Frequency-weighted IoU",
                "IoU of each class over the whole set, weighted by the class's pixels in the labels.",
                lambda sums: frequency_weighted_iou(sums["counts"]),
            ),
            mean_of("micro_jaccard", "Micro-Jaccard per image", f"Not mean IoU: {_MICRO}; mean over the images."),
        ),
        key="micro_jaccard",
    ),
    "paper": Protocol(
        "MaskSup's published code: classes at 224 × 224 pixels, where void pixels count as the first class.",
        _measure_as_paper,
        _read_pair,
        (
            mean_of(
                "micro_jaccard",
                "Micro-Jaccard per image at 224²",
                f"What the paper calls mean IoU, and is not: {_MICRO}; mean over the images.",
            ),
        ),
        key="micro_jaccard",
        size=PAPER_SIZE,
    ),
}
