"""Whether pixels that are given a probability of 0.8 are foreground in 8 of 10 cases.

Example::

    >>> probability, label = np.array([[0.9, 0.9, 0.1, 0.1]]), np.array([[True, False, False, False]])
    >>> bins = reliability_bins(probability, label)
    >>> print(expected_calibration_error(bins).round(3), round(brier(probability, label), 3))
    0.25 0.21
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "brier", "expected_calibration_error", "reliability_bins"]

#: Bins of equal width that probabilities are sorted into.
BINS = 15


def brier(probability: NDArray[np.floating], label: NDArray[np.bool_]) -> float:
    """Mean squared difference between the foreground's probability and the label (1 or 0), 0 to 1, 0 the best.

    Args:
        probability: of the foreground, 0 to 1, shape (H, W).
        label: shape (H, W).

    Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950.
    """
    return float(np.mean(np.square(probability - label)))


def reliability_bins(probability: NDArray[np.floating], label: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Sort pixels by probability; the bins of several images add up.

    Args:
        probability: of the foreground, 0 to 1, shape (H, W).
        label: shape (H, W).

    Returns:
        Shape (:data:`BINS`, 3): number of pixels, sum of their probabilities, number of foreground pixels. A bin
        holds its lower edge, the last one both its edges.
    """
    number = np.minimum((probability * BINS).astype(np.intp), BINS - 1).ravel()
    columns = (None, probability.ravel(), label.ravel())
    return np.stack([np.bincount(number, weights, minlength=BINS) for weights in columns], axis=-1)


def expected_calibration_error(bins: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean distance between probability and frequency of the foreground, over all pixels, 0 to 1, 0 the best.

    Args:
        bins: sums of :func:`reliability_bins`, shape (…, BINS, 3).

    Returns:
        Shape (…).

    Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015, for the foreground's
    probability rather than that of the likelier class.
    """
    pixels, probability, foreground = np.moveaxis(bins, -1, 0)
    return np.abs(probability - foreground).sum(-1) / pixels.sum(-1)
