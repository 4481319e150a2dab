"""Labels of several classes: which value, or colour, of a file stands for which class; needs neither torch nor MONAI.

Example::

    read_class_label("mask.png", [0, 127, 255]).max()  # 2
    read_class_label("mask.png", ["000000", "ff0000", "00ff00"]).max()  # 2
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksup_med.data.decode import read_label, read_label_colours
from masksup_med.errors import DataError
from masksup_med.outputs.overlay import write_picture

__all__ = ["Value", "as_number", "packed_colours", "read_class_label", "shown", "write_class_label"]

Value = (
    int | str
)  # a number as it stands in the file, or a colour such as "ff0000": MONAI's configs take # for their own


def read_class_label(path: str | os.PathLike[str], values: Sequence[Value]) -> NDArray[Any]:
    """Read a label as class numbers, shape (H, W), uint8 or for more classes uint16.

    Args:
        path: of the file.
        values: what stands for class 0, 1, …; all numbers, or all colours.

    Raises:
        MissingDataError: there is no such file.
        DataError: it cannot be read, or has another value.
    """
    colours = isinstance(values[0], str)
    pixels = packed_colours(path) if colours else read_label(path)
    known = np.array([as_number(value) for value in values])
    order = np.argsort(known)
    place = np.minimum(np.searchsorted(known, pixels, sorter=order), len(known) - 1)
    classes = order[place].astype(np.uint8 if len(values) <= 256 else np.uint16)
    strange = known[classes] != pixels
    if strange.any():
        value = int(pixels[strange][0])
        raise DataError(
            f"Label {path} has {f'the colour #{value:06x}' if colours else f'the value {value}'} at "
            f"{np.count_nonzero(strange)} pixels, which stands for no class; known are "
            f"{', '.join(map(shown, values))}: correct the label, or name the class."
        )
    return classes


def write_class_label(path: str | os.PathLike[str], classes: NDArray[np.uint8], values: Sequence[Value]) -> None:
    """Write class numbers, shape (H, W), so that :func:`read_class_label` reads them back: PNG, 8 or 16 bits or RGB."""
    drawn: NDArray[Any] = np.array([as_number(value) for value in values])[classes]
    if isinstance(values[0], str):
        drawn = np.stack([drawn >> shift & 255 for shift in (16, 8, 0)], axis=-1)
    write_picture(path, drawn.astype(np.uint8) if drawn.max() < 256 else drawn.astype(np.uint16))


def packed_colours(path: str | os.PathLike[str]) -> NDArray[np.uint32]:
    """Read a label's colours as one number for each pixel, 0xRRGGBB, shape (H, W).

    Raises:
        MissingDataError: there is no such file.
        DataError: it cannot be read.
    """
    red, green, blue = np.moveaxis(read_label_colours(path).astype(np.uint32), -1, 0)
    return red << 16 | green << 8 | blue


def as_number(value: Value) -> int:
    """A value as :func:`read_label` gives it, or a colour as :func:`packed_colours` does."""
    return int(value, 16) if isinstance(value, str) else value


def shown(value: Value) -> str:
    """A value for people to read: ``7``, or ``#ff0000``."""
    return f"#{value}" if isinstance(value, str) else str(value)
