"""Scores of maps with many classes, as for NYUDv2; pixels whose label is void take no part.

The usual four (Long et al., "Fully convolutional networks for semantic segmentation", CVPR 2015, section 5) are made
from counts over the whole set. The fifth, :func:`micro_jaccard`, is what the MaskSup paper's published code calls
mean IoU: it ignores the classes and is a function of pixel accuracy alone, so that it cannot be compared with them.

Example::

    >>> label, pred = np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 1]])
    >>> counts = class_counts(pred, label, classes=[0, 1])
    >>> print(pixel_accuracy(counts).round(3), mean_accuracy(counts), class_mean_iou(counts))
    0.667 0.75 0.5
    >>> micro_jaccard(pred, label, classes=[0, 1])
    0.5
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "class_counts",
    "class_iou",
    "class_mean_iou",
    "frequency_weighted_iou",
    "mean_accuracy",
    "micro_jaccard",
    "pixel_accuracy",
]

Counts = NDArray[np.floating]


def class_counts(pred: NDArray[Any], label: NDArray[Any], classes: Sequence[int]) -> Counts:
    """Count an image's pixels per class; the counts of several images add up.

    Args:
        pred: class numbers, shape (H, W).
        label: class numbers, shape (H, W); a number that is not among ``classes`` is void.
        classes: the C classes' numbers.

    Returns:
        Shape (C, 3): pixels that are of the class both in label and prediction, in the label, and in the prediction.
    """
    of_pred = pred[np.isin(label, classes)]
    return np.stack([_per_class(values, classes) for values in (label[pred == label], label, of_pred)], axis=-1)


def pixel_accuracy(counts: Counts) -> NDArray[np.float64]:
    """Share of all pixels that are right; counts of shape (…, C, 3), result of shape (…)."""
    return _divide(counts[..., 0].sum(-1), counts[..., 1].sum(-1))


def mean_accuracy(counts: Counts) -> NDArray[np.float64]:
    """Mean over the classes of the share of their pixels that are right; classes that no label has are left out."""
    return _mean(_divide(counts[..., 0], counts[..., 1]))


def class_iou(counts: Counts) -> NDArray[np.float64]:
    """IoU of every class, shape (…, C), over the whole set; NaN for a class that is in no label or prediction."""
    common, of_label, of_pred = np.moveaxis(counts, -1, 0)
    return _divide(common, of_label + of_pred - common)


def class_mean_iou(counts: Counts) -> NDArray[np.float64]:
    """Mean of the classes' IoU; classes that are in no label and no prediction are left out."""
    return _mean(class_iou(counts))


def frequency_weighted_iou(counts: Counts) -> NDArray[np.float64]:
    """Mean of the classes' IoU, weighted by the classes' pixels in the labels."""
    return _divide(np.nansum(class_iou(counts) * counts[..., 1], axis=-1), counts[..., 1].sum(-1))


def micro_jaccard(pred: NDArray[Any], label: NDArray[Any], classes: Sequence[int]) -> float:
    """One image's intersection over union of all classes' pixels together: accuracy / (2 − accuracy).

    A prediction that is none of the classes is one more class, always wrong. An image with void pixels only counts as
    1: there is nothing to find in it.
    """
    known = np.isin(label, classes)
    total, right = np.count_nonzero(known), np.count_nonzero(known & (pred == label))
    return float(right / (2 * total - right)) if total else 1.0


def _per_class(values: NDArray[Any], classes: Sequence[int]) -> NDArray[np.intp]:
    return np.array([np.count_nonzero(values == number) for number in classes])


def _mean(of_classes: NDArray[np.float64]) -> NDArray[np.float64]:
    return _divide(np.nansum(of_classes, axis=-1), np.isfinite(of_classes).sum(-1))


def _divide(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
