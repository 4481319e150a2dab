"""Lesions found, missed and invented: the objects of two masks, matched one to one.

The objects of a mask are its 8-connected components, whatever their size. A predicted object finds a lesion if their
IoU is above 0.5; then no second one can, so that the match is unique (Kirillov et al., "Panoptic Segmentation", CVPR
2019, section 4.1).

Example::

    >>> label, pred = np.array([[1, 1, 0, 1, 0, 0]], bool), np.array([[1, 1, 0, 0, 0, 1]], bool)
    >>> count_lesions(objects_of(pred), objects_of(label))
    {'lesions': 2, 'lesions_found': 1, 'false_positive_lesions': 1}
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label as connected_components

__all__ = ["count_lesions", "objects_of"]

Objects = NDArray[np.int32]


def objects_of(mask: NDArray[np.bool_]) -> Objects:
    """Number the 8-connected components of a mask of shape (H, W) from 1."""
    numbered, _ = connected_components(mask, structure=np.ones((3, 3)), output=np.int32)
    return numbered


def count_lesions(pred: Objects, label: Objects) -> dict[str, int]:
    """Count the lesions of an image, those that were found, and the predicted objects that are none.

    Args:
        pred: the predicted objects, numbered from 1 without gaps, shape (H, W).
        label: the lesions, likewise.
    """
    area_pred, area_label = np.bincount(pred.ravel()), np.bincount(label.ravel())
    pairs, common = np.unique(np.stack([pred, label])[:, (pred > 0) & (label > 0)], axis=1, return_counts=True)
    union = area_pred[pairs[0]] + area_label[pairs[1]] - common
    lesions, predicted, found = len(area_label) - 1, len(area_pred) - 1, int(np.count_nonzero(2 * common > union))
    return {"lesions": lesions, "lesions_found": found, "false_positive_lesions": predicted - found}
