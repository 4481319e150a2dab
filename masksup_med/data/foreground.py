"""What is foreground in a label, whichever way people have drawn it; needs neither torch nor MONAI."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksup_med.errors import DataError

__all__ = ["foreground", "is_black_and_white"]

_NEAR_BLACK, _NEAR_WHITE = 32, 223  # JPEG noise stays on the far sides of these
_MOST_BETWEEN = 0.02  # share of pixels; Kvasir-SEG's JPEG masks have 0.0002 at most
_MOST_CHANGES = 0.25  # share of neighbouring pixels that differ; GlaS has 0.017 at most, pictures 0.47 at least


def foreground(label: NDArray[Any], name: object = "array") -> NDArray[np.bool_]:
    """Tell foreground from background in a label image, whichever of three ways it is drawn.

    - background 0 and one other value, such as 0/1 or 0/255: what is not 0 is foreground;
    - black and white with noise, as JPEG leaves it (values up to 255, hardly any between): above 127;
    - instances numbered 1, 2, … n: what is not 0 is foreground.

    Args:
        label: one channel, shape ``(H, W[, D])``.
        name: what the error calls it.

    Raises:
        DataError: when the values are none of these, as in a photograph or a map of several classes with gaps.
    """
    values = np.unique(label)
    if np.count_nonzero(values) <= 1:
        return label != 0
    if is_black_and_white(label):  # before the next: such a mask can have all values from 0 to 255
        return label > 127
    if _is_numbered(values) and not _is_patchwork(label):
        return label != 0
    raise DataError(
        f"Label {name} has {len(values)} different values from {values[0]:g} to {values[-1]:g}: it is "
        "neither a black-and-white mask nor instances numbered from 1; give the mask, not the image."
    )


def is_black_and_white(label: NDArray[Any]) -> bool:
    """Whether a label is near 0 and 255 nearly everywhere, as a JPEG of a mask is."""
    between = np.mean((label >= _NEAR_BLACK) & (label <= _NEAR_WHITE))
    return bool(label.min() >= 0 and _NEAR_WHITE < label.max() <= 255 and between < _MOST_BETWEEN)


def _is_patchwork(label: NDArray[Any]) -> bool:
    """Whether neighbouring pixels differ too often for regions with an outline."""
    return any(
        np.mean(np.diff(label, axis=axis) != 0) > _MOST_CHANGES for axis, side in enumerate(label.shape) if side > 1
    )


def _is_numbered(values: NDArray[Any]) -> bool:
    numbers = values[values != 0]
    return np.array_equal(numbers, np.arange(1, len(numbers) + 1))
