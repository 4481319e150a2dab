"""Components against scikit-image, matches against MONAI's panoptic quality, and cases by hand."""

import numpy as np
import pytest
import torch
from monai.metrics import compute_panoptic_quality
from skimage import measure

from masksup_med.metrics.lesion import count_lesions, objects_of
from tests.metrics.cases import drawn, each_pair


def monai_counts(pred, label):
    maps = [torch.from_numpy(np.array(numbers)) for numbers in (pred, label)]
    found, invented, missed, _ = compute_panoptic_quality(*maps, output_confusion_matrix=True).int().tolist()
    return {"lesions": found + missed, "lesions_found": found, "false_positive_lesions": invented}


def tiles(shape, count, seed):
    """Objects that touch, numbered from 1 without gaps: the pixels nearest to each of some random points."""
    points = np.random.default_rng(seed).uniform(0, shape, (count, 2))
    nearest = np.linalg.norm(np.argwhere(np.ones(shape))[:, None] - points, axis=-1).argmin(axis=1)
    return np.unique(nearest, return_inverse=True)[1].reshape(shape).astype(np.int32)


@each_pair
def test_components_like_scikit_image(pred, label):
    for mask in (pred, label):
        ours, theirs = objects_of(mask), measure.label(mask, connectivity=2)
        couples = np.unique(np.stack([ours, theirs])[:, mask], axis=1)
        np.testing.assert_array_equal(ours > 0, mask)
        np.testing.assert_array_equal(couples[0], np.arange(theirs.max()) + 1)  # without gaps, each in one couple
        assert len(np.unique(couples[1])) == theirs.max()


@each_pair
def test_like_monai(pred, label):
    pred, label = measure.label(pred, connectivity=2), measure.label(label, connectivity=2)
    counts = count_lesions(pred, label)
    assert counts == monai_counts(pred, label)
    assert all(type(count) is int for count in counts.values())


@pytest.mark.parametrize("seed", range(4))
def test_objects_that_touch_like_monai(seed):
    label = tiles((30, 41), 12, seed)
    pred = np.roll(label, (2, 1), axis=(0, 1))
    counts = count_lesions(pred, label)
    assert counts == monai_counts(pred, label)
    assert 0 < counts["lesions_found"] < counts["lesions"]


@pytest.mark.parametrize(
    ("pred", "label", "expected"),
    [
        ([np.s_[:, :4]], [np.s_[:, :8]], (1, 0, 1)),  # IoU exactly a half finds nothing
        ([np.s_[:, :5]], [np.s_[:, :8]], (1, 1, 0)),
        ([np.s_[:, :8]], [np.s_[:, :5]], (1, 1, 0)),
        ([np.s_[:, 2:8]], [np.s_[:, :6]], (1, 0, 1)),  # 4 of 8 columns
        ([np.s_[:, :4], np.s_[:, 5:9]], [np.s_[:, :9]], (1, 0, 2)),  # neither half is enough
        ([np.s_[:, :9]], [np.s_[:, :6], np.s_[:, 7:9]], (2, 1, 0)),  # one object finds one lesion at most
        ([], [np.s_[:, :3], np.s_[:, 5:7]], (2, 0, 0)),
        ([np.s_[:, :3], np.s_[:, 5:7]], [], (0, 0, 2)),
        ([], [], (0, 0, 0)),
    ],
)
def test_by_hand(pred, label, expected):
    pred, label = drawn((3, 12), pred, label)
    assert tuple(count_lesions(objects_of(pred), objects_of(label)).values()) == expected


def test_corners_join_and_more_than_255_objects_stay_apart():
    assert objects_of(np.eye(5, dtype=bool)).max() == 1
    grid = np.zeros((60, 80), bool)
    grid[::2, ::2] = True
    assert objects_of(grid).max() == 1200
    assert count_lesions(objects_of(grid), objects_of(grid))["lesions_found"] == 1200
