"""Object-level F1, Dice and Hausdorff distance of the GlaS challenge, for one image and for a set of them.

Definitions: Sirinukunwattana et al., "Gland segmentation in colon histology images: The GlaS challenge contest",
Medical Image Analysis 35, 2017. Each is a ratio of sums over objects. The challenge's page adds the sums up over
all test images ("pooled"), its Matlab files give a value per image; here both come from :func:`object_sums`:

    sums = [object_sums(pred, label) for pred, label in images]
    per_image = [object_dice(one) for one in sums]
    pooled = object_dice({key: sum(one[key] for one in sums) for key in sums[0]})

Empty maps follow the rule of all metrics here: two are perfect (F1 1, Dice 1, Hausdorff 0), one is the worst (F1 0,
Dice 0, Hausdorff the diagonal of the image). It is our decision; the challenge's ``ObjectHausdorff.m`` has no guard.
So an object is the diagonal away from a map without objects, and the half over the true or over the found objects
counts alone where the image, or the set, has none of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from math import hypot
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.spatial import cKDTree

from masksup_med.errors import DataError

__all__ = ["object_dice", "object_f1", "object_hausdorff", "object_sums"]

Sums = Mapping[str, float | NDArray[Any]]


def object_sums(pred: NDArray[Any], label: NDArray[Any]) -> dict[str, float]:
    """Return what F1, object Dice and object Hausdorff of one image are made of; add them up over images to pool.

    The partner of an object is the object of the other map that covers most of it, of equals the one with the
    smallest number. A predicted object is a true positive if it covers more than half of its partner.

    Args:
        pred: found objects, integer or bool, shape ``(H, W)``: 0 is background, the pixels of any other value are
            one object, in however many pieces.
        label: true objects, as ``pred``.

    Returns:
        ``true_positives``, ``false_positives`` and ``false_negatives``; and over true and over found objects the
        sums of area (``label_area``, ``pred_area``), of area × Dice with the partner, 0 without (``label_dice``,
        ``pred_dice``), and of area × Hausdorff distance in pixels to the partner, all pixels of both taken, or
        without one to the nearest object of the other map (``label_hausdorff``, ``pred_hausdorff``).

    Raises:
        DataError: the maps are not two-dimensional, of one shape and of whole numbers.

    Example::

        >>> pred, label = np.zeros((2, 20, 20), int)
        >>> label[:, :10], pred[:, :15] = 7, 1
        >>> sums = object_sums(pred, label)
        >>> object_f1(sums), object_dice(sums), object_hausdorff(sums)
        (1.0, 0.8, 5.0)
    """
    _check(pred, label)
    true, found = _Objects(label), _Objects(pred)
    shared = _shared_areas(true, found)
    positives = np.count_nonzero(_of_partner(true.areas < 2 * shared.T, shared.T))
    dice = 2 * shared / np.add.outer(true.areas, found.areas)
    to_found, to_true = _hausdorff(true, found, shared)
    return {
        "true_positives": float(positives),
        "false_positives": float(len(found.areas) - positives),
        "false_negatives": float(len(true.areas) - positives),
        "label_area": float(true.areas.sum()),
        "pred_area": float(found.areas.sum()),
        "label_dice": float(true.areas @ _of_partner(dice, shared)),
        "pred_dice": float(found.areas @ _of_partner(dice.T, shared.T)),
        "label_hausdorff": float(true.areas @ to_found),
        "pred_hausdorff": float(found.areas @ to_true),
    }


def object_f1(sums: Sums) -> Any:
    """F1 of detection, 2 TP / (2 TP + FP + FN): of one image or, from added sums, of a set.

    Args:
        sums: as :func:`object_sums` returns them, or arrays of one shape, for instance one entry per resample.

    Returns:
        A float or an array of that shape; 1 where no map has an object.
    """
    hits = 2.0 * np.asarray(sums["true_positives"])
    return _ratio(hits, hits + sums["false_positives"] + sums["false_negatives"], empty=1.0)


def object_dice(sums: Sums) -> Any:
    """Dice per object, weighted with its area: the mean of the one over true and the one over found objects.

    Arguments and result are those of :func:`object_f1`.
    """
    return _mean_of_halves(sums, "dice", empty=1.0)


def object_hausdorff(sums: Sums) -> Any:
    """Hausdorff distance per object in pixels, weighted as in :func:`object_dice`; 0 where there is no object.

    Arguments and result are those of :func:`object_f1`.
    """
    return _mean_of_halves(sums, "hausdorff", empty=0.0)


def _mean_of_halves(sums: Sums, name: str, empty: float) -> Any:
    areas = np.asarray([sums["label_area"], sums["pred_area"]], float)
    totals = np.asarray([sums[f"label_{name}"], sums[f"pred_{name}"]], float)
    return _ratio(_ratio(totals, areas, empty=0.0).sum(axis=0), np.count_nonzero(areas, axis=0), empty)


def _ratio(part: NDArray[Any], whole: NDArray[Any], empty: float) -> Any:
    ratio = np.divide(part, whole, out=np.full(np.shape(whole), empty), where=whole != 0)
    return ratio if ratio.ndim else float(ratio)


class _Objects:
    """The objects of a map of shape (H, W), numbered anew: from 0 in the order of their values, background -1."""

    def __init__(self, values: NDArray[Any]) -> None:
        names = np.unique(values[values != 0])
        self.numbers = np.where(values != 0, np.searchsorted(names, values), -1)
        self.areas = np.bincount(self.numbers[values != 0], minlength=len(names))
        boxes = [[y.start, y.stop, x.start, x.stop] for y, x in find_objects(self.numbers + 1)]
        self.sides = np.asarray(boxes, np.intp).reshape(-1, 4)

    @cached_property
    def borders(self) -> list[NDArray[np.intp]]:
        """The pixels of each object, shape (n, 2), that have one of their four neighbours outside it."""
        around = np.pad(self.numbers, 1, constant_values=-1)
        sides = around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]
        points = np.argwhere((self.numbers >= 0) & np.any([side != self.numbers for side in sides], axis=0))
        owners = self.numbers[tuple(points.T)]
        return np.split(points[np.argsort(owners, kind="stable")], np.bincount(owners).cumsum()[:-1])

    @cached_property
    def trees(self) -> list[cKDTree]:
        """Search trees over the borders, since the pixel nearest to a place outside an object is on its border."""
        return [cKDTree(border) for border in self.borders]


def _shared_areas(true: _Objects, found: _Objects) -> NDArray[np.intp]:
    rows, columns = len(true.areas), len(found.areas)
    pairs = (true.numbers * columns + found.numbers)[(true.numbers >= 0) & (found.numbers >= 0)]
    return np.bincount(pairs, minlength=rows * columns).reshape(rows, columns)


def _of_partner(values: NDArray[Any], shared: NDArray[np.intp]) -> NDArray[Any]:
    """Of every row the value at the first of the largest shared areas; 0 in rows of no columns."""
    rows, columns = shared.shape
    return values[np.arange(rows), shared.argmax(axis=1)] if columns else np.zeros(rows)


def _hausdorff(true: _Objects, found: _Objects, shared: NDArray[np.intp]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Distance of every true object to its partner or else to the nearest found one, and the same turned round."""
    between = cache(lambda i, j: max(_reach(true, i, found, j), _reach(found, j, true, i)))
    to_found = _distances(true, found, shared, between)
    return to_found, _distances(found, true, shared.T, lambda j, i: between(i, j))


def _distances(
    one: _Objects, other: _Objects, shared: NDArray[np.intp], between: Callable[[int, int], float]
) -> NDArray[np.float64]:
    distances = np.full(len(shared), hypot(*one.numbers.shape))
    for i, row in enumerate(shared):
        # objects are at least as far apart as the sides of their boxes, since a pixel touches each side
        bounds = np.abs(one.sides[i] - other.sides).max(axis=1)
        for j in [int(row.argmax())] if row.any() else np.argsort(bounds, kind="stable").tolist():
            if bounds[j] >= distances[i]:
                break
            distances[i] = min(distances[i], between(i, j))
    return distances


def _reach(one: _Objects, i: int, other: _Objects, j: int) -> float:
    """Largest distance from a pixel of object i to the nearest pixel of object j of the other map.

    Beyond the box of j, a step away from it leads farther from all of j, so that only border pixels of i can be
    the farthest there; inside the box, where j may surround them, all pixels of i are asked.
    """
    both = np.stack([one.sides[i], other.sides[j]])
    corner = both[:, ::2].max(axis=0)
    window = tuple(map(slice, corner, both[:, 1::2].min(axis=0)))  # empty where the boxes lie apart
    inside = np.argwhere((one.numbers[window] == i) & (other.numbers[window] != j))
    points = np.concatenate([one.borders[i], inside + corner])
    points = points[other.numbers[tuple(points.T)] != j]
    return float(other.trees[j].query(points)[0].max(initial=0.0))


def _check(pred: NDArray[Any], label: NDArray[Any]) -> None:
    if pred.shape != label.shape or pred.ndim != 2 or {pred.dtype.kind, label.dtype.kind} - set("bui"):
        given = f"{pred.shape} {pred.dtype} and {label.shape} {label.dtype}"
        raise DataError(f"Maps of objects are {given}; give two of one shape (H, W) that hold whole numbers.")
