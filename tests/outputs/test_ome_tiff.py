from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tifffile import TiffFile

from masksup_med.outputs.ome_tiff import TILE, write_ome_tiff

UUID = "0e9f7f2c-2b57-5f7e-8f6b-b0f6b8a3b0aa"
SIDES = st.integers(1, 40) | st.sampled_from([TILE - 1, TILE, TILE + 1, 1025, 1300])


def bands(classes: np.ndarray) -> Iterator[np.ndarray]:
    for top in range(0, len(classes), TILE):
        yield classes[top : top + TILE]


def write(path: Path, classes: np.ndarray, mpp: tuple[float, float] = (0.25, 0.5)) -> Path:
    write_ome_tiff(path, bands(classes), classes.shape[::-1], mpp, UUID)
    return path


@given(SIDES, SIDES, st.integers(0, 9))
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
def test_a_mask_comes_back(tmp_path_factory: pytest.TempPathFactory, width: int, height: int, seed: int) -> None:
    classes = np.random.default_rng(seed).integers(0, 4, (height, width)).astype(np.uint8)
    path = write(tmp_path_factory.mktemp("masks") / "a.ome.tif", classes)
    with TiffFile(path) as tiff:
        assert tiff.is_ome and tiff.is_bigtiff
        (series,) = tiff.series
        np.testing.assert_array_equal(series.asarray(), classes)
        for level in series.levels[1:]:
            classes = classes[min(2, len(classes) - 1) :: 4, min(2, classes.shape[1] - 1) :: 4]
            np.testing.assert_array_equal(level.asarray(), classes)
        assert max(classes.shape) <= 1024


def test_pixels_have_a_size_and_the_same_mask_gives_the_same_file(tmp_path: Path) -> None:
    classes = np.eye(700, dtype=np.uint8)
    one, two = write(tmp_path / "a.ome.tif", classes), write(tmp_path / "b.ome.tif", classes)
    assert one.read_bytes() == two.read_bytes()
    with TiffFile(one) as tiff:
        text = tiff.ome_metadata
    for attribute in ('PhysicalSizeX="0.25"', 'PhysicalSizeY="0.5"', 'PhysicalSizeXUnit="µm"', 'SizeX="700"'):
        assert attribute in text


def test_an_error_leaves_the_former_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ome.tif", np.ones((600, 30), np.uint8))
    former = path.read_bytes()

    def broken() -> Iterator[np.ndarray]:
        yield np.zeros((TILE, 30), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_ome_tiff(path, broken(), (30, 600), (1, 1), UUID)
    assert path.read_bytes() == former and len(list(tmp_path.iterdir())) == 1
