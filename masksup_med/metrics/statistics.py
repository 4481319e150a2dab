"""How sure a mean is: intervals by resampling whole patients, and tests of paired differences.

Images of one patient or video sequence resemble each other, so that their number says little about certainty. The
bootstrap here draws groups, each with all its images. Whatever can be computed from sums over images can be
resampled: multiply the sums by how often each group was drawn.

Example::

    >>> bootstrap = Bootstrap(["ann", "ann", "bob", "cyd"], resamples=1000, seed=0)
    >>> values = np.array([0.9, 0.8, 0.7, 0.4])
    >>> print(*np.round(interval(bootstrap.sums(values) / bootstrap.sums(np.ones(4))), 3))
    0.4 0.85
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

__all__ = ["Bootstrap", "group_means", "holm", "interval", "paired_test"]


class Bootstrap:
    """Draw groups of images with replacement, as many as there are, many times over.

    Args:
        groups: the group of every image.
        resamples: how many times.
        seed: the same seed and groups give the same draws.
    """

    def __init__(self, groups: Sequence[str], resamples: int = 2000, seed: int = 0) -> None:
        names, self._group_of = np.unique(np.asarray(groups), return_inverse=True)
        self.groups = len(names)
        generator = np.random.default_rng(seed)
        self._drawn = generator.multinomial(self.groups, np.full(self.groups, 1 / self.groups), size=resamples)

    def sums(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Sums over the images of each resample; values of shape (images, …), result of shape (resamples, …)."""
        of_groups = np.zeros((self.groups, *values.shape[1:]))
        np.add.at(of_groups, self._group_of, values)
        return np.tensordot(self._drawn.astype(float), of_groups, axes=1)

    def draws(self) -> Iterator[NDArray[np.intp]]:
        """The images of each resample, by their numbers, for what cannot be computed from sums."""
        for drawn in self._drawn:
            yield np.repeat(np.arange(len(self._group_of)), drawn[self._group_of])


def interval(estimates: NDArray[np.floating], confidence: float = 0.95) -> tuple[float, float] | None:
    """The estimates' central part (Efron's percentile interval); None if one of them is undefined.

    Args:
        estimates: the figure for every resample, shape (resamples,).
        confidence: share of the estimates between the bounds.
    """
    if not np.isfinite(estimates).all():
        return None
    low, high = np.quantile(estimates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def group_means(values: NDArray[np.floating], groups: Sequence[str]) -> NDArray[np.float64]:
    """One mean for each group, in the order of their names; values of shape (images,)."""
    _, group_of, count = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    return np.bincount(group_of, values) / count


def paired_test(differences: NDArray[np.floating]) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test that the differences are around zero; 1 if all are zero.

    Differences of zero, to 12 decimals, are left out as Wilcoxon did; SciPy's test is then exact for up to 50
    others without ties.

    Args:
        differences: one for each independent unit, an image or a patient; shape (N,).
    """
    differences = np.round(differences, 12)
    return float(wilcoxon(differences[differences != 0]).pvalue) if differences.any() else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of a family of tests, so that the chance of any false alarm stays at the level each is read at.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    order = np.argsort(p_values)
    factors = np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(np.asarray(p_values, float)[order] * factors), 1)
    return adjusted.tolist()
