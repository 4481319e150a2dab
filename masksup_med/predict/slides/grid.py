"""The tiles of a slide, at the resolution that the bundle takes slides at."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from monai.data.utils import dense_patch_slices
from numpy.typing import NDArray

__all__ = ["Box", "Grid", "grid_of"]

_SIDE = 1536  # of what is predicted at once, in pixels of the bundle
_MARGIN = 1 / 16  # of that, on each side, which a network sees and whose prediction is dropped, for it has seen half
_OVERLAP = 1 / 24  # of what is left, in which tiles are blended


class Box(NamedTuple):
    """Part of a grid: first column and row, and those after the last."""

    left: int
    top: int
    right: int
    bottom: int


class Grid(NamedTuple):
    """A slide at the bundle's resolution."""

    size: tuple[int, int]  # width and height
    tiles: list[Box]  # all of one size, overlapping
    margin: int  # around them that is predicted, too, where the slide has it

    def around(self, tile: Box) -> Box:
        """A tile with its margin."""
        (width, height), margin = self.size, self.margin
        return Box(
            max(tile.left - margin, 0),
            max(tile.top - margin, 0),
            min(tile.right + margin, width),
            min(tile.bottom + margin, height),
        )

    def with_tissue(self, tissue: NDArray[np.bool_]) -> list[int]:
        """Numbers of the tiles in which there is some of a mask (h, w) of the whole slide."""
        height, width = tissue.shape
        across, down = width / self.size[0], height / self.size[1]
        return [
            number
            for number, (left, top, right, bottom) in enumerate(self.tiles)
            if tissue[
                int(top * down) : max(math.ceil(bottom * down), int(top * down) + 1),
                int(left * across) : max(math.ceil(right * across), int(left * across) + 1),
            ].any()
        ]


def grid_of(size: tuple[int, int], mpp: tuple[float, float], wanted: float, max_pixels: float) -> Grid:
    """Lay tiles over a slide.

    Args:
        size: width and height of the slide.
        mpp: µm per pixel, across and down.
        wanted: µm per pixel that the bundle takes slides at.
        max_pixels: that a tile with its margin may have.
    """
    width, height = (max(1, round(length * each / wanted)) for length, each in zip(size, mpp, strict=True))
    side = math.isqrt(int(min(max_pixels, _SIDE**2)))
    margin = round(side * _MARGIN)
    tile = min(side - 2 * margin, width), min(side - 2 * margin, height)
    step = tuple(max(1, round(length * (1 - _OVERLAP))) for length in tile)
    slices = dense_patch_slices((width, height), tile, step)
    tiles = [Box(*map(int, (across.start, down.start, across.stop, down.stop))) for across, down in slices]
    return Grid((width, height), tiles, margin)
