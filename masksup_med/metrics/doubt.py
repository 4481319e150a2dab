"""How well a score of doubt tells bad predictions from good ones, and where to draw the line.

A score is the higher the less a prediction is to be trusted. Example::

    >>> doubt, iou = np.array([0.02, 0.05, 0.30, 0.40]), np.array([0.95, 0.90, 0.30, 0.85])
    >>> print(spearman(doubt, iou).round(3), auroc(doubt, iou < 0.5).round(3))
    -0.8 0.667
    >>> print(risk_coverage_area(doubt, risk=1 - iou).round(3))
    0.165
    >>> threshold_for(doubt, iou < 0.5, sensitivity=0.9)
    0.3
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

__all__ = ["auroc", "risk_coverage_area", "risk_coverage_curve", "spearman", "threshold_for"]


def spearman(doubt: NDArray[np.floating], quality: NDArray[np.floating]) -> np.float64:
    """Spearman's rank correlation, -1 to 1, of arrays of shape (images,); NaN if one of them is constant."""
    first, second = (rankdata(values) - (len(values) + 1) / 2 for values in (doubt, quality))
    norm = math.sqrt(float((first**2).sum() * (second**2).sum()))
    return np.float64((first * second).sum() / norm) if norm else np.float64(np.nan)


def auroc(doubt: NDArray[np.floating], is_bad: NDArray[np.bool_]) -> np.float64:
    """Chance that a bad image has more doubt than a good one, ties counting half, 0 to 1; NaN if all are alike.

    Hanley and McNeil, "The meaning and use of the area under a ROC curve", Radiology 143, 1982.
    """
    bad, good = np.count_nonzero(is_bad), np.count_nonzero(~is_bad)
    if not bad or not good:
        return np.float64(np.nan)
    return np.float64((rankdata(doubt)[is_bad].sum() - bad * (bad + 1) / 2) / (bad * good))


def risk_coverage_curve(doubt: NDArray[np.floating], risk: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean risk of the least doubtful image, of the two least doubtful ones, and so on to all, shape (images,).

    Images of equal doubt count with their mean risk, so that their order does not matter.

    Args:
        doubt: shape (images,).
        risk: what a wrong decision costs, such as one minus the IoU, shape (images,).
    """
    _, group = np.unique(doubt, return_inverse=True)
    shared = (np.bincount(group, risk) / np.bincount(group))[group]
    return np.cumsum(shared[np.argsort(doubt, kind="stable")]) / np.arange(1, len(doubt) + 1)


def risk_coverage_area(doubt: NDArray[np.floating], risk: NDArray[np.floating]) -> np.float64:
    """Mean of the :func:`risk_coverage_curve`, 0 the best.

    Geifman et al., "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019.
    """
    return np.float64(risk_coverage_curve(doubt, risk).mean())


def threshold_for(doubt: NDArray[np.floating], is_bad: NDArray[np.bool_], sensitivity: float) -> float:
    """The highest threshold at or above which there is this share of the bad images; at least one is bad."""
    bad = np.sort(doubt[is_bad])[::-1]
    return float(bad[math.ceil(round(sensitivity * len(bad), 9)) - 1])  # 0.28 · 25 is a little above 7
