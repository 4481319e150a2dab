"""What a file holds once it is decoded, whatever its format."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Raster", "upright"]


class Raster(NamedTuple):
    """What a file holds, upright: samples (H, W, C), C = 1 to 4 for grey, grey + alpha, RGB, RGB + alpha."""

    samples: NDArray[Any]  # bool, uint8 or uint16
    palette: NDArray[np.uint8] | None = None  # (N, 3)
    doubt: str = ""  # why the samples may not be the numbers a label was drawn with


def upright(samples: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn (H, W, C) samples as the EXIF standard's orientations 2 to 8 ask; others leave it as it is."""
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return samples
