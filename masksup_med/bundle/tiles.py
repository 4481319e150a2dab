"""Pictures that are too large to predict at once: in overlapping tiles, whose probabilities are blended."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.utils import BlendMode
from numpy.typing import NDArray

__all__ = ["blend"]

_OVERLAP = 0.25  # of a tile's side, as in MONAI's SlidingWindowInferer


def blend(
    picture: NDArray[np.uint8], max_pixels: float, maps_of: Callable[[NDArray[np.uint8]], torch.Tensor]
) -> torch.Tensor:
    """Predict tiles of a picture, and average their probabilities, those near a tile's middle weighing more.

    Args:
        picture: shape (H, W, 3).
        max_pixels: of a tile, whose sides are equal unless the picture is narrower.
        maps_of: from a tile (h, w, 3) to its probabilities (classes, w, h), or to any maps of its size.

    Returns:
        Probabilities of shape (classes, W, H).
    """
    size = picture.shape[1::-1]
    side = math.isqrt(int(max_pixels))
    tile = tuple(min(side, length) for length in size)
    step = tuple(max(1, round(length * (1 - _OVERLAP))) for length in tile)
    weight = compute_importance_map(tile, mode=BlendMode.GAUSSIAN)
    total, weights = torch.zeros(0), torch.zeros(size)
    for across, down in dense_patch_slices(size, tile, step):
        maps = maps_of(picture[down, across])
        if not len(total):
            total = torch.zeros(len(maps), *size)
        total[:, across, down] += maps * weight
        weights[across, down] += weight
    return total / weights
