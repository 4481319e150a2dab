from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masksup_med.data import split_by_group
from masksup_med.errors import DataError, SettingError


def items_of(sizes: list[int]) -> list[dict]:
    return [{"image": f"{g}_{i}", "group": f"g{g}"} for g, size in enumerate(sizes) for i in range(size)]


SIZES = st.lists(st.integers(1, 9), min_size=2, max_size=9)
SHARES = st.floats(0.01, 0.99)
SEEDS = st.integers(0, 2**32)


@settings(deadline=None)
@given(sizes=SIZES, share=SHARES, seed=SEEDS)
def test_every_item_is_on_one_side_and_no_group_on_both(sizes: list[int], share: float, seed: int) -> None:
    items = items_of(sizes)
    training, validation = split_by_group(items, share, seed)
    assert sorted(item["image"] for item in training + validation) == sorted(item["image"] for item in items)
    assert not {item["group"] for item in training} & {item["group"] for item in validation}
    assert training
    assert validation


@settings(deadline=None)
@given(sizes=SIZES, share=SHARES, seed=SEEDS)
def test_share_is_the_nearest_of_all_subsets_of_groups(sizes: list[int], share: float, seed: int) -> None:
    counts = [sum(s) for n in range(1, len(sizes)) for s in itertools.combinations(sizes, n)]
    target = share * sum(sizes)
    _, validation = split_by_group(items_of(sizes), share, seed)
    assert abs(len(validation) - target) == pytest.approx(min(abs(count - target) for count in counts))


@settings(deadline=None)
@given(sizes=SIZES, share=SHARES, seed=SEEDS, data=st.data())
def test_same_seed_same_split_in_any_order(sizes: list[int], share: float, seed: int, data: st.DataObject) -> None:
    items = items_of(sizes)
    shuffled = data.draw(st.permutations(items))
    sides = [{item["image"] for item in side} for side in split_by_group(items, share, seed)]
    assert [{item["image"] for item in side} for side in split_by_group(shuffled, share, seed)] == sides


def test_items_keep_their_order() -> None:
    items = items_of([3, 2, 4])[::-1]
    for side in split_by_group(items, 0.4, 1):
        assert side == [item for item in items if item in side]


def test_seeds_choose_all_groups_alike() -> None:
    """Of ten equal groups each is held out in a fifth of the splits, give or take four standard deviations."""
    items, n = items_of([2] * 10), 500
    held_out = [{item["group"] for item in split_by_group(items, 0.2, seed)[1]} for seed in range(n)]
    times = [sum(f"g{group}" in groups for groups in held_out) for group in range(10)]
    np.testing.assert_allclose(times, 0.2 * n, atol=4 * np.sqrt(n * 0.2 * 0.8))


@pytest.mark.parametrize("sizes", [[], [5]])
def test_too_few_groups(sizes: list[int]) -> None:
    with pytest.raises(DataError, match=r"Cannot split .* group .*; add images of another patient"):
        split_by_group(items_of(sizes))


@pytest.mark.parametrize("validation", [0, 1, -0.1, 1.5, float("nan"), "0.2", None])
def test_bad_share(validation: float) -> None:
    with pytest.raises(SettingError, match=f"validation={validation!r}"):
        split_by_group(items_of([1, 1]), validation)


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_bad_seed(seed: int) -> None:
    with pytest.raises(SettingError, match=f"seed={seed!r}"):
        split_by_group(items_of([1, 1]), seed=seed)
