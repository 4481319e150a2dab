"""Contours of a prediction, and of its label, drawn over the picture they belong to."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.morphology import isotropic_erosion

from masksup_med.errors import DataError
from masksup_med.outputs.atomic import atomic_path

__all__ = ["CLASS_COLOURS", "LABEL_COLOUR", "draw_overlay", "write_picture"]

# Okabe & Ito, "Color Universal Design" (2008): told apart with every kind of colour vision. Sky blue and
# yellow come first because they also stand out from mucosa and from haematoxylin-eosin.
LABEL_COLOUR = (240, 228, 66)
CLASS_COLOURS = ((86, 180, 233), (0, 158, 115), (204, 121, 167), (0, 114, 178), (230, 159, 0), (213, 94, 0))


def draw_overlay(image: NDArray[np.uint8], pred: NDArray[Any], label: NDArray[Any] | None = None) -> NDArray[np.uint8]:
    """Draw the contours of ``pred`` over ``image``, above those of ``label``.

    Every class above 0 has its own colour (they repeat after six); the label has one colour for all classes.
    Lines lie inside the region they surround and are as wide as 1/200 of the shorter side, 1 pixel at least.

    Args:
        image: RGB picture, shape ``(H, W, 3)``, uint8. It is not changed.
        pred: mask or class numbers, shape ``(H, W)``, bool or integer.
        label: the truth, as ``pred``; left out where it is not known.

    Returns:
        A new picture, shape ``(H, W, 3)``, uint8.

    Raises:
        DataError: a mask has another height or width than the picture.

    Example::

        >>> picture, mask = np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), bool)
        >>> draw_overlay(picture, mask)[0, 0].tolist(), draw_overlay(picture, mask)[1, 1].tolist()
        ([86, 180, 233], [0, 0, 0])
    """
    width = max(1, round(min(image.shape[:2]) / 200))
    picture = image.copy()
    if label is not None:
        _draw_contours(picture, label, (LABEL_COLOUR,), width)
    _draw_contours(picture, pred, CLASS_COLOURS, width)
    return picture


def write_picture(path: str | os.PathLike[str], picture: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write a picture in the format that the suffix names; a file of that name is either whole or untouched.

    Args:
        path: where to, ending in ``.png``, ``.jpg`` or ``.jpeg``.
        picture: shape ``(H, W, 3)`` or ``(H, W)``, uint8; for PNG also ``(H, W)``, uint16.
    """
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, quality=92)


def _draw_contours(
    picture: NDArray[np.uint8],
    classes: NDArray[Any],
    colours: tuple[tuple[int, int, int], ...],
    width: int,
) -> None:
    if classes.shape != picture.shape[:2]:
        raise DataError(f"A mask of shape {classes.shape} does not fit a picture of shape {picture.shape}.")
    for number in np.unique(classes[classes > 0]).astype(int):
        region = classes == number
        picture[region & ~_eroded(region, width)] = colours[(number - 1) % len(colours)]


def _eroded(region: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    # The padding lets a region that touches the edge of the picture have its contour there.
    return isotropic_erosion(np.pad(region, 1), width)[1:-1, 1:-1]
