"""Split a data set so that no patient, video sequence or other group is on both sides."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksup_med.errors import DataError, SettingError

__all__ = ["check_split_settings", "split_by_group"]

Item = dict[str, Any]


def split_by_group(items: Sequence[Item], validation: float = 0.2, seed: int = 0) -> tuple[list[Item], list[Item]]:
    """Split items into training and validation by their ``group``.

    The number of validation items is as near to ``validation * len(items)`` as whole groups allow, with one
    group at least on either side; which groups they are depends on ``seed``, but not on the order of the items.

    Returns:
        Training and validation items, each in the order in which they were given.

    Raises:
        SettingError: ``validation`` is not between 0 and 1, or ``seed`` is negative.
        DataError: there are fewer than two groups.

    Example::

        training, validation = split_by_group(items, validation=0.25, seed=3)
    """
    check_split_settings(validation, seed)
    sizes = Counter(str(item["group"]) for item in items)
    if len(sizes) < 2:
        raise DataError(
            f"Cannot split images of one group ({', '.join(sizes) or 'none'}) into training and validation; add "
            "images of another patient or sequence, or give the validation images in a folder 'validation' beside a "
            "folder 'train'."
        )
    names = sorted(sizes)
    shuffled = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    picks = _nearest_subset([sizes[name] for name in shuffled], validation * len(items))
    held_out = {shuffled[i] for i in picks}
    return (
        [item for item in items if str(item["group"]) not in held_out],
        [item for item in items if str(item["group"]) in held_out],
    )


def check_split_settings(validation: float, seed: int) -> None:
    """Raise SettingError unless ``validation`` is between 0 and 1 and ``seed`` a whole number from 0."""
    if not (isinstance(validation, int | float) and 0 < validation < 1):
        raise SettingError(f"validation={validation!r} is no share of images; give a number between 0 and 1.")
    if not isinstance(seed, int) or seed < 0:
        raise SettingError(f"seed={seed!r} seeds no random numbers; give a whole number from 0.")


def _nearest_subset(sizes: Sequence[int], target: float) -> Iterable[int]:
    """Indices of some sizes, neither none nor all, whose sum is nearest to the target.

    Subset sum by dynamic programming: ``last[s]`` is the index with which the sum s was first reached, so
    walking back from s meets falling indices and never one twice.
    """
    # adding one by one passes the target by less than the largest, so no better sum lies beyond that
    limit = min(sum(sizes) - 1, math.ceil(target) + max(sizes))
    last: NDArray[np.int64] = np.full(limit + 1, -1, np.int64)
    last[0] = len(sizes)  # reached with nothing
    for index, size in enumerate(sizes):
        fresh = (last[:-size] >= 0) & (last[size:] < 0)
        last[size:][fresh] = index
    sums = np.flatnonzero(last[1:] >= 0) + 1
    rest = int(sums[np.argmin(np.abs(sums - target))])
    while rest:
        yield int(last[rest])
        rest -= sizes[last[rest]]
