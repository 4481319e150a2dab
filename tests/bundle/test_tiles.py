"""Large pictures in tiles: no pixel is missed, no tile too large, no seam seen."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masksup_med.bundle import Bundle, Predictor
from masksup_med.bundle.processing import MonaiProcessing
from masksup_med.bundle.tiles import blend
from tests.bundle.bundles import FIRST, HALF, INVERT, LOAD, SCALE, SIGMOID, brightness_bundle, processing, zoomed

SIDES = st.one_of(st.integers(1, 8), st.integers(1, 70))
SETTINGS = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def picture_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def colours(picture: np.ndarray) -> torch.Tensor:
    """Probabilities of three classes that depend on the pixel alone, shape (3, W, H)."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 1, 0)).astype(np.float32) / 255)


@given(height=SIDES, width=SIDES, limit=st.integers(1, 5000), seed=st.integers(0, 1000))
@SETTINGS
def test_what_depends_on_the_pixel_alone_is_as_of_the_whole_picture(
    height: int, width: int, limit: int, seed: int
) -> None:
    picture = picture_of(height, width, seed)
    blended = blend(picture, limit, colours)
    assert blended.shape == (3, width, height) and blended.dtype == torch.float32
    torch.testing.assert_close(blended, colours(picture), rtol=0, atol=1e-6)


@given(height=SIDES, width=SIDES, limit=st.one_of(st.integers(1, 5000), st.floats(1, 5000)))
@SETTINGS
def test_tiles_are_within_the_limit_cover_all_and_overlap_by_a_quarter(height: int, width: int, limit: float) -> None:
    number = np.arange(height * width, dtype=np.uint32).reshape(height, width)
    picture = np.stack([number >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)  # where a pixel lies
    seen = np.zeros(height * width, int)
    tiles = []

    def note(tile: np.ndarray) -> torch.Tensor:
        places = (tile.astype(np.uint32) << np.array([0, 8, 16], np.uint32)).sum(axis=-1)
        seen[places.ravel()] += 1
        tiles.append((*tile.shape[:2], *divmod(int(places[0, 0]), width)))
        return torch.ones(1, *tile.shape[1::-1])

    assert blend(picture, limit, note).allclose(torch.ones(1))
    assert seen.min() >= 1
    side = math.isqrt(int(limit))
    assert {tile[:2] for tile in tiles} == {(min(side, height), min(side, width))}
    assert max(high * wide for high, wide, *_ in tiles) <= limit
    assert len(set(tiles)) == len(tiles)
    for axis, length in ((2, height), (3, width)):
        starts = sorted({tile[axis] for tile in tiles})
        tile = min(side, length)
        assert starts[0] == 0 and starts[-1] == length - tile
        assert all(after - before <= max(1, round(0.75 * tile)) for before, after in pairwise(starts))


def test_tiles_are_views_of_the_picture_in_its_own_order() -> None:
    picture, tiles = picture_of(6, 20), []
    blend(picture, 36, lambda tile: (tiles.append(tile), colours(tile))[1])
    assert all(np.shares_memory(tile, picture) for tile in tiles)
    np.testing.assert_array_equal(tiles[0], picture[:, :6])
    np.testing.assert_array_equal(tiles[-1], picture[:, -6:])


def test_errors_near_the_edge_of_a_tile_are_damped() -> None:
    """Each tile errs by 1 in a frame 2 pixels wide; where tiles overlap, what others say outweighs it."""

    def erring(tile: np.ndarray) -> torch.Tensor:
        wrong = torch.ones(1, *tile.shape[1::-1])
        wrong[:, 2:-2, 2:-2] = 0
        return wrong

    error = blend(picture_of(100, 100), 32 * 32, erring)[0]
    assert error[0].min() == 1  # the picture's own frame belongs to one tile alone
    across = error[2:-2, 16]  # through the middle of tiles
    assert 0 < across.max() < 0.05  # of tiles that weigh alike it would be a half
    inside = error[2:-2, 2:-2]
    assert inside.max() <= 0.5 + 1e-6  # where four tiles meet, MONAI's weights are all alike
    assert inside.mean() < 0.03


def test_seam_between_tiles_that_disagree_is_a_slope() -> None:
    """Tiles that say 0 and 1 by turns: from one to the next there is no step, but a ramp over all they share."""
    said = iter(range(1000))
    blended = blend(
        picture_of(32, 200), 32 * 32, lambda tile: torch.full((1, *tile.shape[1::-1]), next(said) % 2 * 1.0)
    )
    row = blended[0, :, 16]
    assert row.min() < 1e-3 and row.max() > 1 - 1e-3
    assert (row[1:] - row[:-1]).abs().max() < 0.4  # of tiles that weigh alike it would be a half


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor(Bundle.open(brightness_bundle(tmp_path_factory.mktemp("bundles") / "small", max_pixels=600)))


@pytest.mark.parametrize(
    ("size", "tiled"),
    [((20, 30), False), ((30, 20), False), ((1, 600), False), ((1, 601), True), ((25, 25), True)],
    ids=str,
)
def test_predictor_tiles_above_the_limit_only(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], tiled: bool
) -> None:
    inputs = []
    infer = predictor.infer
    monkeypatch.setattr(predictor, "infer", lambda images: (inputs.extend(images), infer(images))[1])
    picture = picture_of(*size)
    assert predictor.needs_tiles(picture) == tiled
    prediction = predictor(picture)
    np.testing.assert_array_equal(prediction.classes, picture.sum(axis=-1, dtype=int) > 382)
    assert (len(inputs) > 1) == tiled
    assert max(image.shape[1] * image.shape[2] for image in inputs) <= 600


def test_tiles_by_way_of_monai(tmp_path: Path) -> None:
    clipping = processing((LOAD, FIRST, zoomed(2.0), {**SCALE, "clip": True}), (SIGMOID, INVERT, HALF))
    bundle = Bundle.open(brightness_bundle(tmp_path / "bundle", max_pixels=600, **clipping))
    predictor, picture = Predictor(bundle), np.full((40, 50, 3), 20, np.uint8)
    picture[10:30, 15:40] = 230
    assert isinstance(predictor._processing, MonaiProcessing)
    np.testing.assert_array_equal(predictor(picture).classes, picture[..., 0] > 127)


def test_predictor_never_tiles_for_a_bundle_without_a_limit(tmp_path: Path) -> None:
    predictor = Predictor(Bundle.open(brightness_bundle(tmp_path / "bundle")))
    assert predictor.bundle.max_pixels == math.inf
    assert not predictor.needs_tiles(np.broadcast_to(np.uint8(0), (100000, 100000, 3)))
