"""Distances of outlines against MONAI, all pairs of outline pixels, and values by hand."""

import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from scipy.spatial.distance import cdist

from masksup_med.metrics.boundary import assd, hd95, nsd, outline_distances
from tests.metrics.cases import PAIRS, drawn

TOLERANCES = (0, 1, 2.5)
OF_TWO_OBJECTS = {name: pair for name, pair in PAIRS.items() if all(mask.any() for mask in pair)}

each_pair_of_two = pytest.mark.parametrize(("pred", "label"), OF_TWO_OBJECTS.values(), ids=OF_TWO_OBJECTS)


def outline(mask):
    around = np.pad(mask, 1)
    inside = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return np.argwhere(mask & ~inside)


@each_pair_of_two
def test_like_monai(pred, label):
    masks = [torch.from_numpy(mask)[None, None] for mask in (pred, label)]
    distances = outline_distances(pred, label)
    expected = compute_hausdorff_distance(*masks, include_background=True, percentile=95).item()
    assert hd95(distances) == pytest.approx(expected, rel=1e-5)  # torch finds the quantile's place in 32 bits
    expected = compute_average_surface_distance(*masks, include_background=True, symmetric=True).item()
    assert assd(distances) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    for tolerance in TOLERANCES:
        expected = compute_surface_dice(*masks, class_thresholds=[tolerance], include_background=True).item()
        assert nsd(distances, tolerance) == pytest.approx(expected, abs=1e-6), tolerance


@each_pair_of_two
def test_like_all_pairs_of_outline_pixels(pred, label):
    between = cdist(outline(pred), outline(label))
    from_pred, from_label = between.min(axis=1), between.min(axis=0)
    both = [*from_pred, *from_label]
    distances = outline_distances(pred, label)
    assert np.sort(distances.from_pred) == pytest.approx(np.sort(from_pred), abs=1e-12)
    assert np.sort(distances.from_label) == pytest.approx(np.sort(from_label), abs=1e-12)
    expected = max(torch.from_numpy(each).quantile(0.95).item() for each in (from_pred, from_label))
    assert hd95(distances) == pytest.approx(expected, abs=1e-12)
    assert assd(distances) == pytest.approx(math.fsum(both) / len(both), abs=1e-12)
    for tolerance in TOLERANCES:
        within = sum(each <= tolerance for each in both)
        assert nsd(distances, tolerance) == pytest.approx(within / len(both), abs=1e-12), tolerance


def test_percentile_and_mean_by_hand():
    distances = outline_distances(*drawn((1, 20), [np.s_[0, :10], (0, 19)], [np.s_[0, :10]]))
    assert hd95(distances) == pytest.approx(5)  # of ten zeros and a 10: halfway between the last two
    assert assd(distances) == pytest.approx(10 / 21)
    assert nsd(distances, 1) == pytest.approx(20 / 21)


def test_tolerance_holds_its_edge():
    distances = outline_distances(*drawn((9, 9), [(1, 1)], [(4, 5)]))
    assert hd95(distances) == assd(distances) == 5
    assert nsd(distances, 5) == 1
    assert nsd(distances, 4.99) == 0


@pytest.mark.parametrize("shape", [(3, 4), (1, 40), (1, 1), (21, 34)])
def test_one_empty_mask_is_the_diagonal_away(shape):
    full, empty = np.ones(shape, bool), np.zeros(shape, bool)
    for masks in ((full, empty), (empty, full)):
        distances = outline_distances(*masks)
        assert [hd95(distances), assd(distances)] == pytest.approx([math.sqrt(shape[0] ** 2 + shape[1] ** 2)] * 2)
        assert [nsd(distances, tolerance) for tolerance in (*TOLERANCES, 1000)] == [0, 0, 0, 0]


def test_two_empty_masks_are_alike():
    distances = outline_distances(*np.zeros((2, 5, 7), bool))
    assert (hd95(distances), assd(distances), nsd(distances, 0)) == (0, 0, 1)


def test_nothing_is_further_than_the_diagonal():
    pred, label = PAIRS["pixels in opposite corners"]
    assert hd95(outline_distances(pred, label)) < hd95(outline_distances(pred, np.zeros_like(pred)))
