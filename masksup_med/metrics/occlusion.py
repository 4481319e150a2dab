"""How well an object is still found when part of the picture is hidden."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid

__all__ = ["area_under_occlusion"]


def area_under_occlusion(ratios: Sequence[float], scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean score over the hidden share: the area under the curve by trapezes, divided by its width.

    A network that what is hidden does not disturb keeps its score throughout; the IoU of one that finds no more than
    it sees falls off in a straight line.

    Args:
        ratios: hidden shares of the picture, rising.
        scores: the score at each of them, such as IoU, shape (…, ratios).

    Returns:
        Shape (…), in the scores' unit.

    Example::

        >>> print(area_under_occlusion([0, 0.5, 1], np.array([1, 0.5, 0])))
        0.5
    """
    return trapezoid(scores, ratios, axis=-1) / (ratios[-1] - ratios[0])
