"""How much several views of an image disagree about a picture or a part of it, as one number.

Example::

    >>> plain, flipped = np.array([[1.0, 1.0, 0.0]]), np.array([[1.0, 0.0, 0.0]])
    >>> print(round(disagreement(np.abs(plain - flipped), (plain + flipped) / 2), 3))
    0.333
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["disagreement"]

_SMOOTH = 1e-4  # of the pixels: what a network that sees nothing says in sum, which is no reason for doubt

_Sum = NDArray[np.floating] | np.floating


def disagreement(distance: _Sum, foreground: _Sum, pixels: int = 0) -> float:
    """Disagreement from 0, the views are of one mind, to 1, they share nothing.

    For one foreground this is one minus the soft Dice coefficient, 2·Σ min(p, q) / Σ (p + q), of the plain view p with
    the others q (Sørensen's coefficient of 1948, for sets that things belong to in part).

    Args:
        distance: how far the views are apart, from :func:`masksup_med.inferers.disagreement.compared`, of any shape;
            or its sum.
        foreground: mean probability of the foreground, likewise.
        pixels: of the picture; a ten-thousandth of them is added to what the views have found, so that a picture
            in which all have found next to nothing is no doubtful one. 0 for a part.
    """
    found = 2 * float(np.sum(foreground, dtype=np.float64)) + _SMOOTH * pixels
    return min(1.0, float(np.sum(distance, dtype=np.float64)) / found) if found else 0.0
