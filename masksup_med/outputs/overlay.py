"""Contours of a prediction, and of its label, drawn over the picture they belong to."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import find_objects, minimum_filter

from masksup_med.errors import DataError
from masksup_med.outputs.atomic import atomic_path

__all__ = ["CLASS_COLOURS", "LABEL_COLOUR", "draw_overlay", "write_picture"]

# Okabe & Ito, "Color Universal Design" (2008): told apart with every kind of colour vision. Sky blue and
# yellow come first because they also stand out from mucosa and from haematoxylin-eosin.
_LONGEST = 65_500  # side of a JPEG, in libjpeg
LABEL_COLOUR = (240, 228, 66)
CLASS_COLOURS = ((86, 180, 233), (0, 158, 115), (204, 121, 167), (0, 114, 178), (230, 159, 0), (213, 94, 0))


def draw_overlay(
    image: NDArray[np.uint8], pred: NDArray[Any], label: NDArray[Any] | None = None, *, width: int | None = None
) -> NDArray[np.uint8]:
    """Draw the contours of ``pred`` over ``image``, above those of ``label``.

    Every class above 0 has its own colour (they repeat after six); the label has one colour for all classes.
    Lines lie inside the region they surround.

    Args:
        image: RGB picture, shape ``(H, W, 3)``, uint8. It is not changed.
        pred: mask or class numbers, shape ``(H, W)``, bool or integer.
        label: the truth, as ``pred``; left out where it is not known.
        width: of the lines in pixels; by default 1/200 of the shorter side, 1 at least.

    Returns:
        A new picture, shape ``(H, W, 3)``, uint8.

    Raises:
        DataError: a mask has another height or width than the picture.

    Example::

        >>> picture, mask = np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), bool)
        >>> draw_overlay(picture, mask)[0, 0].tolist(), draw_overlay(picture, mask)[1, 1].tolist()
        ([86, 180, 233], [0, 0, 0])
    """
    width = width or max(1, round(min(image.shape[:2]) / 200))
    picture = image.copy()
    if label is not None:
        _draw_contours(picture, label, (LABEL_COLOUR,), width)
    _draw_contours(picture, pred, CLASS_COLOURS, width)
    return picture


def write_picture(path: str | os.PathLike[str], picture: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
    """Write a picture in the format that the suffix names; a file of that name is either whole or untouched.

    Args:
        path: where to, ending in ``.png``, ``.jpg`` or ``.jpeg``.
        picture: shape ``(H, W, 3)`` or ``(H, W)``, uint8; for PNG also ``(H, W)``, uint16.

    Returns:
        The SHA-256 of the file.
    """
    file = io.BytesIO()
    kind = "PNG" if Path(path).suffix.lower() == ".png" else "JPEG"
    image = Image.fromarray(picture)
    if kind == "JPEG":
        image.thumbnail((_LONGEST, _LONGEST))  # if it is longer
    # fast compression, since masks are small anyway; thin coloured outlines do not survive halved colour
    image.save(file, kind, quality=92, subsampling=0, compress_level=1)
    with atomic_path(path) as temporary:
        temporary.write_bytes(file.getbuffer())
    return hashlib.sha256(file.getbuffer()).hexdigest()


def _draw_contours(
    picture: NDArray[np.uint8],
    classes: NDArray[Any],
    colours: tuple[tuple[int, int, int], ...],
    width: int,
) -> None:
    if classes.shape != picture.shape[:2]:
        raise DataError(f"A mask of shape {classes.shape} does not fit a picture of shape {picture.shape}.")
    numbers = classes.astype(np.uint8) if classes.dtype == bool else classes
    for number, box in enumerate(find_objects(numbers), start=1):
        if box is not None:
            region = classes[box] == number
            # beyond the box there is none of it, so that a region at the edge of the picture has its contour there
            inside = minimum_filter(region, 2 * width + 1, mode="constant", cval=False)
            picture[box][region & ~inside] = colours[(number - 1) % len(colours)]
