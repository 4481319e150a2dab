"""Masks and maps of probabilities as grey levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from masksup_med.outputs.maps import mask_picture, probability_picture
from masksup_med.outputs.overlay import write_picture

RNG = np.random.default_rng(0)


def test_masks_hold_class_numbers_or_black_and_white() -> None:
    classes = RNG.integers(0, 6, (7, 9), np.uint8)
    np.testing.assert_array_equal(mask_picture(classes, 1), classes)
    black_and_white = mask_picture((classes > 2).astype(np.uint8), 255)
    np.testing.assert_array_equal(black_and_white, np.where(classes > 2, 255, 0))
    assert mask_picture(classes, 1).dtype == black_and_white.dtype == np.uint8
    assert mask_picture(classes, 40).tolist() == (classes.astype(int) * 40).tolist()


def test_masks_do_not_change_the_classes() -> None:
    classes = np.ones((2, 2), np.uint8)
    picture = mask_picture(classes, 1)
    picture[:] = 7
    assert classes.max() == 1


@pytest.mark.parametrize(
    ("probability", "level"),
    [
        (0, 0), (1, 65535), (0.5, 32768), (0.25, 16384), (1 / 65535, 1), (0.4 / 65535, 0), (0.6 / 65535, 1), (1e-12, 0),
        (np.nextafter(np.float32(0.5), np.float32(0)), 32767), (np.nextafter(np.float32(1), np.float32(0)), 65535),
    ],
)  # fmt: skip
def test_levels_of_probabilities(probability: float, level: int) -> None:
    picture = probability_picture(np.full((1, 1), probability, np.float32))
    assert picture.dtype == np.uint16 and picture.tolist() == [[level]]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_cut_at_half_is_the_mask_and_no_level_is_farther_than_half_a_step(values: list[float]) -> None:
    probability = np.array([values], np.float32)
    picture = probability_picture(probability)
    np.testing.assert_array_equal(picture > 32767, probability >= 0.5)
    assert np.abs(picture / 65535 - probability.astype(float)).max() <= 0.5 / 65535 + 1e-12
    order = np.argsort(probability[0], kind="stable")
    assert (np.diff(picture[0][order].astype(int)) >= 0).all()


def test_every_float_next_to_half() -> None:
    bits = np.float32(0.5).view(np.uint32) + np.arange(-5000, 5000, dtype=np.int64)
    probability = bits.astype(np.uint32).view(np.float32)[None]
    np.testing.assert_array_equal(probability_picture(probability) > 32767, probability >= 0.5)


def test_pictures_are_files_of_as_many_bits(tmp_path: Path) -> None:
    probability = RNG.random((7, 9), np.float32)
    write_picture(tmp_path / "p.png", probability_picture(probability))
    write_picture(tmp_path / "m.png", mask_picture((probability > 0.5).astype(np.uint8), 255))
    with Image.open(tmp_path / "p.png") as file:
        assert file.mode == "I;16" and file.size == (9, 7)
        np.testing.assert_allclose(np.asarray(file) / 65535, probability, atol=0.5 / 65535 + 1e-9)
    with Image.open(tmp_path / "m.png") as file:
        assert file.mode == "L" and set(np.unique(np.asarray(file))) == {0, 255}
