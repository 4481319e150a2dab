"""Foreground from label images drawn in different ways, and refusal of what is no label."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from masksup_med.errors import DataError
from masksup_med.transforms import ForegroundLabel, ForegroundLabeld

SQUARE = np.zeros((1, 40, 40), dtype=np.float32)
SQUARE[:, 10:30, 5:25] = 1


def noisy(mask, seed=0):
    noise = np.random.RandomState(seed).randint(0, 12, mask.shape)
    return np.where(mask > 0, 255 - noise, noise).astype(np.float32)


def numbered(mask, count):
    """Cut the foreground into stripes numbered from 1."""
    rows = np.arange(mask.shape[1]) * count // mask.shape[1]
    return np.where(mask > 0, rows[None, :, None] + 1, 0)


@pytest.mark.parametrize("value", [1, 5, 255, 65535])
def test_two_values(value):
    np.testing.assert_array_equal(ForegroundLabel()(SQUARE * value), SQUARE)


@pytest.mark.parametrize("value", [0, 255])
def test_all_background_or_all_foreground(value):
    np.testing.assert_array_equal(ForegroundLabel()(np.full_like(SQUARE, value)), np.full_like(SQUARE, value > 0))


def test_noise_of_jpeg():
    np.testing.assert_array_equal(ForegroundLabel()(noisy(SQUARE)), SQUARE)


@pytest.mark.parametrize("count", [2, 3, 20])
def test_numbered_instances(count):
    label = np.zeros((1, 400, 40), dtype=np.float32)
    label[:, 50:350] = numbered(np.ones((1, 300, 40)), count)
    np.testing.assert_array_equal(ForegroundLabel()(label), label > 0)


def test_three_hundred_instances_are_not_taken_for_noise():
    label = numbered(np.ones((1, 1800, 30)), 300).astype(np.float32)
    label[:, :, :10] = 0
    np.testing.assert_array_equal(ForegroundLabel()(label), label > 0)


def test_photograph_or_gaps_are_refused_with_the_file_named():
    photo = MetaTensor(torch.randint(0, 256, (1, 64, 64)).float(), meta={"filename_or_obj": "frame.png"})
    with pytest.raises(DataError, match=r"Label frame\.png has 256 different values"):
        ForegroundLabel()(photo)
    with pytest.raises(DataError, match="3 different values from 0 to 7"):
        ForegroundLabel()(np.where(SQUARE > 0, 7, 0) - np.roll(SQUARE, 5) * (SQUARE > 0) * 4)


def test_dictionary_keeps_metatensor_and_other_keys():
    label = MetaTensor(torch.from_numpy(SQUARE * 255), meta={"filename_or_obj": "a.png"})
    result = ForegroundLabeld(keys="label")({"label": label, "image": 1})
    assert result["image"] == 1
    assert isinstance(result["label"], MetaTensor) and result["label"].meta["filename_or_obj"] == "a.png"
    np.testing.assert_array_equal(result["label"], SQUARE)
