"""What a score of doubt is worth, from images whose true IoU is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from masksup_med.evaluate.results import CONFIDENCE
from masksup_med.metrics.doubt import auroc, risk_coverage_area, spearman, threshold_for
from masksup_med.metrics.statistics import Bootstrap, interval

__all__ = ["BAD", "FEWEST", "gain", "threshold_figures", "worth"]

BAD = 0.5  # an IoU below is that of a bad prediction
FEWEST = 5  # bad images, below which no threshold is set
_Values = NDArray[np.float64]


def worth(doubt: _Values, iou: _Values, bootstrap: Bootstrap) -> dict[str, Any]:
    """How well a score tells bad predictions from good ones, with intervals from the resamples that have both.

    Args:
        doubt: shape (images,).
        iou: shape (images,).
        bootstrap: of the images.
    """
    figures: dict[str, Callable[[_Values, _Values], np.float64]] = {
        "spearman": spearman,
        "auroc": lambda doubt, iou: auroc(doubt, iou < BAD),
        "risk_coverage": lambda doubt, iou: risk_coverage_area(doubt, 1 - iou),
    }
    drawn = [np.array([figure(doubt[at], iou[at]) for figure in figures.values()]) for at in bootstrap.draws()]
    result: dict[str, Any] = {}
    bad = np.count_nonzero(iou < BAD)
    for (name, figure), estimates in zip(figures.items(), np.transpose(drawn), strict=True):
        value, known = float(figure(doubt, iou)), estimates[np.isfinite(estimates)]
        enough = bootstrap.groups > 1 and len(known) > len(estimates) / 2 and np.isfinite(value)
        enough &= name != "auroc" or min(bad, len(iou) - bad) >= FEWEST
        result[name] = value if np.isfinite(value) else None
        result[f"{name}_interval"] = interval(known, CONFIDENCE) if enough else None
    return result


def gain(averaged: _Values, plain: _Values, bootstrap: Bootstrap) -> dict[str, Any]:
    """Mean IoU of averaged views, and by how much it is above that of the plain one; shapes (images,)."""
    ones = np.ones(len(plain))
    resampled = bootstrap.sums(averaged - plain) / bootstrap.sums(ones)
    return {
        "iou": float(averaged.mean()),
        "gain": float((averaged - plain).mean()),
        "gain_interval": interval(resampled, CONFIDENCE) if bootstrap.groups > 1 else None,
    }


def threshold_figures(doubt: _Values, iou: _Values, groups: Sequence[str], sensitivity: float) -> dict[str, Any]:
    """A threshold for flags, and what it flags.

    Args:
        doubt: shape (images,).
        iou: shape (images,), at least :data:`FEWEST` of them bad.
        groups: of the images.
        sensitivity: share of the bad images to flag at least.

    Returns:
        The threshold; the share of bad images that it flags, of good ones, and of all; and the share of bad images
        flagged with a threshold that was set without their own patient or sequence. None stands for what cannot be
        said: with bad images of one group only, or with no good one.
    """
    is_bad = iou < BAD
    threshold = threshold_for(doubt, is_bad, sensitivity)
    flagged = doubt >= threshold
    names, held_back = np.asarray(groups), np.zeros(len(doubt), bool)
    bad_groups = np.unique(names[is_bad])
    for own in (names == group for group in bad_groups if len(bad_groups) > 1):
        held_back |= own & (doubt >= threshold_for(doubt[~own], is_bad[~own], sensitivity))
    several = len(bad_groups) > 1
    return {
        "threshold": threshold,
        "sensitivity": float(flagged[is_bad].mean()),
        "sensitivity_held_back": float(held_back[is_bad].mean()) if several else None,
        "sensitivity_interval": _share_interval(held_back[is_bad]) if several else None,
        "false_alarms": float(flagged[~is_bad].mean()) if (~is_bad).any() else None,
        "flagged": float(flagged.mean()),
    }


def _share_interval(holds: NDArray[np.bool_]) -> tuple[float, float]:
    """Wilson's interval of a share."""
    bounds = binomtest(int(holds.sum()), len(holds)).proportion_ci(CONFIDENCE, method="wilson")
    return float(bounds.low), float(bounds.high)
