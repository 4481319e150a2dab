"""Properties of the random masks: ratio, determinism, alignment, any size, two and three dimensions."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from masksup_med.errors import SettingError
from masksup_med.transforms import LEVELS, block_mask, patch_mask, ratio_range, scribble_mask

SIZES = st.one_of(
    st.tuples(*[st.integers(16, 120)] * 2),
    st.tuples(*[st.integers(8, 32)] * 3),
)
RATIOS = st.floats(0.01, 0.95)
SEEDS = st.integers(0, 2**31)


def draw(kind, size, ratio, seed, patch_size=4):
    state = np.random.RandomState(seed)
    if kind is scribble_mask:
        return kind(size, ratio, state)
    return kind(size, ratio, patch_size, state)


@pytest.mark.parametrize("kind", [patch_mask, block_mask, scribble_mask])
@settings(max_examples=60, deadline=None)
@given(size=SIZES, ratio=RATIOS, seed=SEEDS)
def test_is_deterministic_and_of_the_right_shape_and_type(kind, size, ratio, seed):
    mask = draw(kind, size, ratio, seed)
    assert mask.shape == size
    assert mask.dtype == torch.bool
    assert torch.equal(mask, draw(kind, size, ratio, seed))
    assert mask.any()
    assert not mask.all()


@pytest.mark.parametrize("kind", [patch_mask, block_mask])
@settings(max_examples=100, deadline=None)
@given(size=SIZES, ratio=RATIOS, seed=SEEDS, patch_size=st.integers(1, 8))
def test_patches_have_the_ratio_to_within_one_patch(kind, size, ratio, seed, patch_size):
    hidden = draw(kind, size, ratio, seed, patch_size).sum().item()
    assert abs(hidden - ratio * math.prod(size)) <= patch_size ** len(size)


@settings(max_examples=60, deadline=None)
@given(size=SIZES, ratio=RATIOS, seed=SEEDS)
def test_scribbles_have_the_ratio_to_within_one_pixel(size, ratio, seed):
    hidden = draw(scribble_mask, size, ratio, seed).sum().item()
    assert abs(hidden - ratio * math.prod(size)) <= 1


@pytest.mark.parametrize("kind", [patch_mask, block_mask])
@settings(max_examples=60, deadline=None)
@given(size=SIZES, ratio=RATIOS, seed=SEEDS, patch_size=st.integers(2, 8))
def test_patches_lie_on_the_grid(kind, size, ratio, seed, patch_size):
    mask = draw(kind, size, ratio, seed, patch_size).numpy()
    corners = mask[tuple(slice(None, None, patch_size) for _ in size)]  # the first pixel of each patch
    for axis in range(mask.ndim):
        corners = np.repeat(corners, patch_size, axis=axis)
    np.testing.assert_array_equal(mask, corners[tuple(slice(0, side) for side in size)])


def hidden_cell_by_cell(size, ratio, patch_size, seed):
    """What a patch mask is: whole cells in a random order, as many as come nearest to the ratio."""
    corners = list(itertools.product(*(range(0, side, patch_size) for side in size)))
    best, mask = np.zeros(size, bool), np.zeros(size, bool)
    order = np.random.RandomState(seed).permutation(len(corners))
    for number, cell in enumerate(order[:-1]):  # never all
        mask[tuple(slice(start, start + patch_size) for start in corners[cell])] = True
        if number == 0 or abs(mask.sum() - ratio * mask.size) < abs(best.sum() - ratio * mask.size):
            best = mask.copy()
    return best


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.55, 0.95])
@pytest.mark.parametrize(
    ("size", "patch_size"), [((64, 64), 16), ((100, 37), 16), ((33, 50), 7), ((12, 20, 15), 6), ((2, 2), 1)]
)
def test_patches_are_whole_cells_in_random_order(size, patch_size, ratio):
    for seed in range(3):
        found = draw(patch_mask, size, ratio, seed, patch_size).numpy()
        np.testing.assert_array_equal(found, hidden_cell_by_cell(size, ratio, patch_size, seed))


@pytest.mark.parametrize(
    "size", [(64, 64), (100, 37), (352, 352), (1, 300), (48, 49), (20, 30, 40), (60, 50, 97), (3, 5)]
)
@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.55, 0.9])
def test_scribbles_hide_the_exact_number_of_pixels(size, ratio):
    masks = [draw(scribble_mask, size, ratio, seed) for seed in range(3)]
    assert [mask.sum() for mask in masks] == [max(1, round(ratio * math.prod(size)))] * 3
    assert all(mask.shape == size for mask in masks)


def test_scribbles_leave_a_pixel_of_tiny_images():
    assert not draw(scribble_mask, (3, 5), 0.97, 0).all()


def test_scribbles_are_strokes_at_full_size_too():
    """Few pieces, whose borders are not those of the coarse grid."""
    for seed in range(5):
        mask = draw(scribble_mask, (352, 352), 0.3, seed).numpy()
        assert label(mask)[1] < 40
        steps = np.flatnonzero((mask[:, 1:] != mask[:, :-1]).any(0)) % 8
        assert np.bincount(steps, minlength=8).min() > 0


def test_blocks_are_larger_than_scattered_patches():
    def regions(kind):
        return np.mean([label(draw(kind, (128, 128), 0.3, seed).numpy())[1] for seed in range(20)])

    assert regions(block_mask) < regions(patch_mask) / 3


def test_masks_reach_every_part_of_the_image():
    for kind in (patch_mask, block_mask, scribble_mask):
        often = torch.stack([draw(kind, (64, 48), 0.3, seed) for seed in range(300)]).float().mean(0)
        assert often.min() > 0.03, kind
        assert often.max() < 0.75, kind


def test_different_states_give_different_masks():
    for kind in (patch_mask, block_mask, scribble_mask):
        assert not torch.equal(draw(kind, (64, 64), 0.3, 0), draw(kind, (64, 64), 0.3, 1))


@pytest.mark.parametrize("kind", [patch_mask, block_mask])
@pytest.mark.parametrize("patch_size", [0, 33])
def test_patch_must_fit_the_image(kind, patch_size):
    with pytest.raises(SettingError, match=f"patch_size is {patch_size} for an image of 32 x 48"):
        draw(kind, (32, 48), 0.3, 0, patch_size)


def test_levels_are_those_of_the_design():
    assert LEVELS == {"low": (0.01, 0.10), "medium": (0.25, 0.35), "high": (0.50, 0.60)}


@pytest.mark.parametrize(("ratio", "expected"), [(0.3, (0.3, 0.3)), ([0.1, 0.2], (0.1, 0.2)), ("high", (0.50, 0.60))])
def test_ratio_is_a_share_a_range_or_a_level(ratio, expected):
    assert ratio_range(ratio) == expected


@pytest.mark.parametrize(
    "ratio", [0, 1, -0.1, 1.5, (0.5, 0.2), (0, 0.5), (0.5, 1), "medum", float("nan"), (0.1, 0.2, 0.3), ()]
)
def test_impossible_ratio_is_refused_by_value(ratio):
    with pytest.raises(SettingError, match="ratio is"):
        ratio_range(ratio)
