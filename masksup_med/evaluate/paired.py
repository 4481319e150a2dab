"""How far two models are apart that were measured on the same images, each trained with several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from masksup_med.metrics.statistics import Bootstrap, group_means, interval, paired_test

__all__ = ["Difference", "difference", "resampled_means"]

_SAME = 1e-12  # differences below are rounding


class Difference(NamedTuple):
    """How much a second model's figure differs from the first's."""

    mean: float
    interval: tuple[float, float] | None  # None where there is one group only
    rises: int  # images whose figure is greater with the second
    falls: int
    units: int  # groups, that the test is over
    p: float  # by Wilcoxon's test


def resampled_means(
    values: NDArray[np.float64], bootstrap: Bootstrap, draws: np.random.Generator
) -> NDArray[np.float64]:
    """The mean over images and seeds in every resample of both.

    Args:
        values: of shape (images, seeds).
        bootstrap: draws the groups of images, the same for all models.
        draws: draws the seeds, for each model its own.

    Returns:
        Shape (resamples,).
    """
    by_seed = bootstrap.sums(values) / bootstrap.sums(np.ones((len(values), 1)))
    seeds = values.shape[1]
    return (by_seed * draws.multinomial(seeds, np.full(seeds, 1 / seeds), len(by_seed))).sum(1) / seeds


def difference(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    means: tuple[NDArray[np.float64], NDArray[np.float64]],
    groups: Sequence[str],
) -> Difference:
    """Compare two models image by image.

    An image's value is its mean over a model's seeds, so that three seeds do not count as three times as many images.
    The test takes one difference for each group.

    Args:
        first: figures of shape (images, seeds).
        second: those of the other model, whose seeds may be more or fewer.
        means: of both, as :func:`resampled_means` gives them.
        groups: of the images.
    """
    differences = second.mean(axis=1) - first.mean(axis=1)
    units = group_means(differences, groups)
    return Difference(
        float(differences.mean()),
        interval(means[1] - means[0]) if len(units) > 1 else None,
        int((differences > _SAME).sum()),
        int((differences < -_SAME).sum()),
        len(units),
        paired_test(units),
    )
