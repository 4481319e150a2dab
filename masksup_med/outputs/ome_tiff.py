"""Masks of slides as pyramidal OME-TIFF, which QuPath, OMERO and napari open at any magnification."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffWriter

from masksup_med.outputs.atomic import atomic_path

__all__ = ["TILE", "write_ome_tiff"]

TILE = 512  # rows and columns
_FACTOR = 4  # from one level to the next
_SMALLEST = 1024  # longest side that needs no smaller level
_COMPRESSION = "zlib"


def write_ome_tiff(
    path: Path, bands: Iterable[NDArray[np.uint8]], size: tuple[int, int], mpp: tuple[float, float], identifier: str
) -> None:
    """Write class numbers band by band, so that only one of them, and the smaller levels, are in memory.

    Args:
        path: where to; a file of that name is whole or untouched.
        bands: parts of :data:`TILE` rows, the last perhaps of fewer, from the top, shape (rows, width).
        size: width and height.
        mpp: µm per pixel, across and down.
        identifier: a UUID, so that the same mask gives the same file.
    """
    width, height = size
    levels = max(0, math.ceil(math.log(max(size) / _SMALLEST, _FACTOR)))
    smaller: list[NDArray[np.uint8]] = []
    options: dict[str, Any] = {"tile": (TILE, TILE), "compression": _COMPRESSION, "photometric": "minisblack"}
    resolution: dict[str, Any] = {"resolution": (1e4 / mpp[0], 1e4 / mpp[1]), "resolutionunit": "CENTIMETER"}
    about = {
        "axes": "YX",
        "UUID": identifier,
        **{"PhysicalSizeX": mpp[0], "PhysicalSizeXUnit": "µm", "PhysicalSizeY": mpp[1], "PhysicalSizeYUnit": "µm"},
    }
    with atomic_path(path) as temporary, TiffWriter(temporary, ome=True, bigtiff=True) as tiff:
        tiles = _tiles(_thinned_beside(bands, height, smaller))
        tiff.write(
            tiles, shape=(height, width), dtype=np.uint8, subifds=levels, metadata=about, **resolution, **options
        )
        level = np.concatenate(smaller)
        for _ in range(levels):
            tiff.write(_tiles([level]), shape=level.shape, dtype=np.uint8, subfiletype=1, metadata=None, **options)
            level = _thinned(level, len(level))


def _thinned_beside(
    bands: Iterable[NDArray[np.uint8]], height: int, smaller: list[NDArray[np.uint8]]
) -> Iterator[NDArray[np.uint8]]:
    """Pass bands on, and keep them for the next level."""
    for band in bands:
        smaller.append(_thinned(band, height))
        yield band


def _thinned(classes: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """Every fourth pixel of every fourth row of a picture's band, from the middle of what they stand for."""
    rows, columns = (min(_FACTOR // 2, length - 1) for length in (height, classes.shape[1]))
    return classes[rows::_FACTOR, columns::_FACTOR].copy()


def _tiles(bands: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Tiles from left to right and from top to bottom, filled up with zeros."""
    for band in bands:
        for top in range(0, len(band), TILE):
            for left in range(0, band.shape[1], TILE):
                tile = np.zeros((TILE, TILE), np.uint8)
                part = band[top : top + TILE, left : left + TILE]
                tile[: len(part), : part.shape[1]] = part
                yield tile
