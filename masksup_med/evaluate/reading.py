"""What the numbers in files of predictions and labels mean, for each task.

============================  =====================================================================================
binary label                  0 and one other value; black and white with JPEG's noise; or instances from 1
binary prediction             0/1, if no file of the folder has more than 1; else a map from 0 to white, cut at half
objects (label, prediction)   several values: each one object. One value, or black and white: 8-connected components
classes                       class numbers; pixels whose label is 255, or 0 where that is no class, are void
============================  =====================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as equal_valued_pieces

from masksup_med.data.classes import Value, read_class_label
from masksup_med.data.decode import read_label
from masksup_med.data.foreground import foreground, is_black_and_white
from masksup_med.errors import DataError
from masksup_med.metrics.lesion import objects_of

__all__ = ["holds_numbers", "read_classes", "read_foreground", "read_numbers", "read_objects", "read_probability"]

_MOST_CLASSES = 15  # a folder whose largest value is at most this holds class numbers, no map of probabilities
_MOST_PIECES = 3  # for each object on average: some may be torn, but not all
_MOST_STEEP = 0.2  # objects have 0 unless they touch; maps of probabilities 0.35 at least, or many pieces
_VOID = (0, 255)


def holds_numbers(files: Iterable[Path]) -> bool:
    """Whether binary predictions are drawn as 0 and 1: whether no file of the folder holds more.

    The question cannot be answered file by file: in a map of probabilities that found nothing, 1 may be the largest
    value. The first map that found something answers it.

    Raises:
        DataError: values show that it is neither masks nor maps but classes, or that masks are drawn in two ways.
    """
    drawn: dict[float, Path] = {}  # by the largest value, inf for white: the first file that has it
    for path in files:
        values = read_label(path, "prediction")
        top = int(values.max())
        if top > _MOST_CLASSES and not _has_two_values(values):
            return False
        drawn.setdefault(math.inf if top == np.iinfo(values.dtype).max else top, path)
    highest = max(drawn, default=0)
    if 1 < highest < math.inf:
        raise DataError(
            f"The largest value in the predictions is {highest}, in {drawn[highest]}: they are neither masks of "
            "0 and 1, nor of 0 and 255, nor maps up to white; write the foreground as one of these."
        )
    if math.inf in drawn and 1 in drawn:
        raise DataError(
            f"Masks are drawn in two ways, {drawn[1]} with 0 and 1, {drawn[highest]} with 0 and white; draw all in one."
        )
    return highest <= 1


def read_foreground(path: Path, values: Sequence[Value] = ()) -> NDArray[np.bool_]:
    """Read a binary label, shape (H, W); ``values`` are those of background and foreground, if it says so."""
    return read_class_label(path, values) > 0 if values else foreground(read_label(path), path)


def read_probability(path: Path, numbers: bool) -> NDArray[np.float64]:
    """Read a binary prediction as 0 to 1, shape (H, W); ``numbers`` is what :func:`holds_numbers` said.

    Raises:
        DataError: it has two values, of which the larger is not white.
    """
    values = read_label(path, "prediction")
    white = 1 if numbers else np.iinfo(values.dtype).max
    if 1 < values.max() < white and _has_two_values(values):
        raise DataError(
            f"Prediction {path} has the values 0 and {values.max()} only: it is neither a mask of 0 and {white} nor a "
            f"map of probabilities from 0 to {white}; write its foreground as {white}."
        )
    return values / white


def read_objects(path: Path, kind: str = "label") -> NDArray[np.integer]:
    """Read a map of objects, 0 background, shape (H, W); ``kind`` is what errors call it.

    Raises:
        DataError: its values run into each other, as in a picture or a map of probabilities.
    """
    values = read_label(path, kind)
    numbers = np.count_nonzero(np.unique(values))
    if numbers <= 1:
        return objects_of(values != 0)
    if equal_valued_pieces(values).max() > _MOST_PIECES * numbers or _steepness(values) > _MOST_STEEP:
        if is_black_and_white(values):
            return objects_of(values > 127)
        raise DataError(
            f"{path} is neither a mask nor a map of objects: its {numbers} values run into each other as in a picture "
            "or a map of probabilities; give each object one number, or draw all of them white."
        )
    return values


def _has_two_values(values: NDArray[np.integer]) -> bool:
    return bool(values.min() == 0 and ((values == 0) | (values == values.max())).all())


def _steepness(values: NDArray[np.integer]) -> float:
    """How often side by side pixels differ where both are above 0; where both have the highest value does not count."""
    left, right = values[:, :-1], values[:, 1:]
    inside = (left > 0) & (right > 0) & (np.minimum(left, right) < values.max())
    return float(np.mean(left[inside] != right[inside])) if inside.any() else 0.0


def read_numbers(path: Path, values: Sequence[Value] = ()) -> NDArray[np.integer]:
    """Read a label of classes as their numbers, shape (H, W); ``values`` are those that stand for class 0, 1, …."""
    return read_class_label(path, values) if values else read_label(path)


def read_classes(
    pred: Path | None, label: Path, classes: Sequence[int], values: Sequence[Value] = ()
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Read a prediction and a label of classes, both (H, W); a missing prediction is -1 everywhere.

    ``values`` are those of the label that stand for class 0, 1, …; by default the classes' own numbers.

    Raises:
        DataError: the label has a value that is neither a class nor void, or the prediction has one that is no class
            where the label is not void.
    """
    truth = read_numbers(label, values)
    _refuse_unknown(label, truth, [*classes, *_VOID], classes)
    if pred is None:
        return np.full(truth.shape, -1), truth
    guess = read_label(pred, "prediction")
    counted = guess[np.isin(truth, classes)] if guess.shape == truth.shape else guess
    _refuse_unknown(pred, counted, classes, classes)
    return guess, truth


def _refuse_unknown(path: Path, values: NDArray[Any], known: Sequence[int], classes: Sequence[int]) -> None:
    if strange := sorted(set(np.unique(values).tolist()) - set(known)):
        raise DataError(
            f"{path} has the value {strange[0]}, which is none of the {len(classes)} classes from {min(classes)} to "
            f"{max(classes)}; correct the file, or give all classes as --classes."
        )
