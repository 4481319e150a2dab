"""What tasks with a foreground and a background have in common: their measures, figures and the paper's protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize_local_mean

from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.figures import Figure, Measured, Measures, Protocol, Settings, mean_of
from masksup_med.evaluate.reading import read_foreground, read_probability
from masksup_med.metrics.boundary import assd, hd95, nsd, outline_distances
from masksup_med.metrics.calibration import brier, expected_calibration_error, reliability_bins
from masksup_med.metrics.lesion import objects_of
from masksup_med.metrics.overlap import dice, iou, precision, recall

__all__ = [
    "BOUNDARY_FIGURES",
    "CALIBRATION_FIGURES",
    "OVERLAP_FIGURES",
    "PAPER_SIZE",
    "mask_measures",
    "object_share",
    "paper_protocol",
    "probability_measures",
    "read_map",
    "read_masks",
    "read_pair",
]

Read = Callable[[Case, Settings], tuple[NDArray[Any], NDArray[Any]]]

PAPER_SIZE = (224, 224)
_HALF = 0.5 + 1e-6  # a pixel that is half covered is background, as it is to OpenCV's rounding

OVERLAP_FIGURES = (
    mean_of("iou", "IoU", "Intersection over union of the masks, mean over the images."),
    mean_of("dice", "Dice", "Twice the intersection over the sum of both areas, mean over the images."),
    mean_of("precision", "Precision", "Share of predicted pixels that are right, mean over the images."),
    mean_of("recall", "Recall", "Share of the label's pixels that were found, mean over the images."),
)
BOUNDARY_FIGURES = (
    mean_of(
        "hd95",
        "HD95",
        "95 % Hausdorff distance of the outlines, the larger direction; the picture's diagonal if one mask is empty.",
        unit="px",
        lower_is_better=True,
    ),
    mean_of(
        "assd",
        "ASSD",
        "Mean distance of both outlines' pixels to the other outline; the diagonal if one mask is empty.",
        unit="px",
        lower_is_better=True,
    ),
    mean_of(
        "nsd",
        "NSD at {tolerance:g} px",
        "Normalised surface Dice: share of both outlines' pixels within {tolerance:g} pixels of the other outline.",
    ),
)
CALIBRATION_FIGURES = (
    mean_of(
        "brier",
        "Brier score",
        "Mean squared difference of the foreground's probability and the label, over an image's pixels.",
        lower_is_better=True,
        needs="soft",
    ),
    Figure(
        "ece",
        "ECE",
        "Expected calibration error of the foreground's probability over all pixels of the set, 15 equal bins.",
        lambda sums: expected_calibration_error(sums["reliability"]),
        lower_is_better=True,
        needs="soft",
    ),
)
_PAPER_FIGURES = (
    mean_of(
        "jaccard",
        "Jaccard at 224²",
        "Mean over the images of scikit-learn's Jaccard index at 224 × 224; 0 where both masks are empty.",
    ),
    mean_of(
        "smoothed_dice",
        "Smoothed Dice at 224²",
        "Mean over the images of (2·common + 1) / (both areas + 1) at 224 × 224.",
    ),
)


def read_pair(case: Case, settings: Settings) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The prediction as 0 to 1 and the label, both (H, W); a missing prediction found nothing."""
    label = read_foreground(case.label, case.values)
    pred = np.zeros(label.shape) if case.pred is None else read_probability(case.pred, settings.numbers)
    return pred, label


def read_masks(case: Case, settings: Settings) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The prediction cut at half and the label, both (H, W)."""
    pred, label = read_pair(case, settings)
    return pred > 0.5, label


def mask_measures(pred: NDArray[np.bool_], label: NDArray[np.bool_], settings: Settings) -> Measures:
    """Overlap and boundary."""
    distances = outline_distances(pred, label)
    return {
        **{metric.__name__: metric(pred, label) for metric in (iou, dice, precision, recall)},
        "hd95": hd95(distances),
        "assd": assd(distances),
        "nsd": nsd(distances, settings.tolerance),
    }


def read_map(case: Case, pred: NDArray[np.float64]) -> NDArray[np.float64]:
    """The map of probabilities that comes beside a prediction, or else the prediction itself."""
    return pred if case.probability is None else read_probability(case.probability, numbers=False)


def probability_measures(case: Case, pred: NDArray[np.float64], label: NDArray[np.bool_]) -> Measures:
    """Calibration; ``soft`` tells whether there is anything but 0 and 1, since that of a mere mask says nothing."""
    probability = read_map(case, pred)
    return {
        "brier": brier(probability, label),
        "reliability": reliability_bins(probability, label),
        "soft": float(np.any((probability > 0) & (probability < 1))),
    }


def object_share(label: NDArray[np.bool_]) -> float | None:
    """The mean area of a label's objects as a share of the picture; None without objects."""
    objects = int(objects_of(label).max())
    return np.count_nonzero(label) / objects / label.size if objects else None


def paper_protocol(read: Read, show: Read) -> Protocol:
    """The paper's protocol, for masks or maps that ``read`` gives as 0 to 1 beside their label."""

    def measure(case: Case, settings: Settings) -> Measured:
        pred, label = (_shrink(each) for each in read(case, settings))
        common, both = np.count_nonzero(pred & label), np.count_nonzero(pred) + np.count_nonzero(label)
        measures: Measures = {
            "jaccard": common / (both - common) if both else 0.0,
            "smoothed_dice": (2 * common + 1) / (both + 1),
        }
        return Measured(measures, not label.any(), not pred.any())

    return Protocol(
        "MaskSup's published code: masks at 224 × 224 pixels, shrunk by area and cut at half.",
        measure,
        show,
        _PAPER_FIGURES,
        key="jaccard",
        size=PAPER_SIZE,
    )


def _shrink(mask: NDArray[Any]) -> NDArray[np.bool_]:
    if mask.shape == PAPER_SIZE[::-1]:
        return mask > _HALF
    return resize_local_mean(mask.astype(float), PAPER_SIZE[::-1]) > _HALF
