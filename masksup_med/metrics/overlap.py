"""Overlap of a predicted mask with its label.

One rule for empty masks, here and in all metrics of this package: nothing to find and nothing found is perfect,
one of the two empty is the worst value there is. No image is left out.

Example::

    >>> label, pred = np.array([[1, 1, 0]], bool), np.array([[0, 1, 0]], bool)
    >>> iou(pred, label), dice(pred, label), precision(pred, label), recall(pred, label)
    (0.5, 0.6666666666666666, 1.0, 0.5)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["dice", "iou", "precision", "recall"]

Mask = NDArray[np.bool_]


def iou(pred: Mask, label: Mask) -> float:
    """Intersection over union (Jaccard index), 0 to 1, of two masks of shape (H, W)."""
    return _share(_common(pred, label), np.count_nonzero(pred | label), pred, label)


def dice(pred: Mask, label: Mask) -> float:
    """Twice the intersection over the sum of both areas (F1 of the pixels), 0 to 1; masks of shape (H, W)."""
    return _share(2 * _common(pred, label), np.count_nonzero(pred) + np.count_nonzero(label), pred, label)


def precision(pred: Mask, label: Mask) -> float:
    """Share of the predicted pixels that are right, 0 to 1; masks of shape (H, W)."""
    return _share(_common(pred, label), np.count_nonzero(pred), pred, label)


def recall(pred: Mask, label: Mask) -> float:
    """Share of the label's pixels that were found (sensitivity), 0 to 1; masks of shape (H, W)."""
    return _share(_common(pred, label), np.count_nonzero(label), pred, label)


def _common(pred: Mask, label: Mask) -> int:
    return int(np.count_nonzero(pred & label))


def _share(part: int, whole: int | np.integer, pred: Mask, label: Mask) -> float:
    if whole:
        return float(part / whole)
    return 0.0 if pred.any() or label.any() else 1.0
