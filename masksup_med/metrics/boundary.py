"""Distance between the outlines of a predicted mask and its label.

An outline are the mask's pixels that have a neighbour outside it, above, below, left or right; beyond the picture is
outside. Distances are Euclidean, between pixel centres, in pixels. Empty masks: both empty, all distances are 0; one
empty, they are the picture's diagonal, so that a missed or invented object costs what the worst outline would.

Example::

    >>> label, pred = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    >>> label[2:5, 2:5], pred[2:5, 3:6] = True, True  # one pixel to the right
    >>> distances = outline_distances(pred, label)
    >>> hd95(distances), assd(distances), nsd(distances, tolerance=1)
    (1.0, 0.5, 1.0)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, find_objects
from scipy.spatial import cKDTree

__all__ = ["OutlineDistances", "assd", "hd95", "nsd", "outline_distances"]

Mask = NDArray[np.bool_]


class OutlineDistances(NamedTuple):
    """From every outline pixel of one mask to the nearest of the other's; the metrics below are made of these."""

    from_pred: NDArray[np.float64]
    from_label: NDArray[np.float64]


def outline_distances(pred: Mask, label: Mask) -> OutlineDistances:
    """Measure both ways between the outlines of two masks of shape (H, W).

    With one mask empty, every outline pixel of the other is the picture's diagonal away; with both empty there are
    no distances.
    """
    points = [_outline(mask) for mask in (pred, label)]
    if any(len(each) == 0 for each in points):
        diagonal = math.hypot(*label.shape)
        return OutlineDistances(*(np.full(len(each), diagonal) for each in points))
    trees = [cKDTree(each) for each in points]
    return OutlineDistances(trees[1].query(points[0])[0], trees[0].query(points[1])[0])


def hd95(distances: OutlineDistances) -> float:
    """95 % Hausdorff distance in pixels: the larger of both directions' 95th percentiles (as MONAI has it)."""
    return max((float(np.percentile(each, 95)) for each in distances if each.size), default=0.0)


def assd(distances: OutlineDistances) -> float:
    """Average symmetric surface distance in pixels: the mean of all distances, both ways together."""
    both = np.concatenate(distances)
    return float(both.mean()) if both.size else 0.0


def nsd(distances: OutlineDistances, tolerance: float) -> float:
    """Normalised surface Dice: share of both outlines within ``tolerance`` pixels of the other, 0 to 1.

    Nikolov et al., "Clinically applicable segmentation of head and neck anatomy", JMIR 2021 (arXiv:1809.04430), with
    pixels of the outline counted instead of its length measured. With one mask empty it is 0, whatever the tolerance.
    """
    if 0 in (distances.from_pred.size, distances.from_label.size):
        return 0.0 if distances.from_pred.size or distances.from_label.size else 1.0
    return float(np.mean(np.concatenate(distances) <= tolerance))


def _outline(mask: Mask) -> NDArray[np.intp]:
    """Positions of the outline's pixels, shape (N, 2)."""
    boxes = find_objects(mask.astype(np.uint8))
    if not boxes:
        return np.empty((0, 2), np.intp)
    region = mask[boxes[0]]
    return np.argwhere(region & ~binary_erosion(region)) + [side.start for side in boxes[0]]
