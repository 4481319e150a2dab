"""Which pixels to hide: random masks of three kinds, in any number of spatial dimensions.

Each function takes the size of an image, the share of it to hide and a random state, and returns a boolean
tensor of that size that is true where the image is to be hidden. The same random state gives the same mask.

    >>> import numpy as np
    >>> hidden = patch_mask((64, 64), ratio=0.5, patch_size=16, random_state=np.random.RandomState(0))
    >>> hidden.shape, hidden.float().mean().item()
    (torch.Size([64, 64]), 0.5)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt

from masksup_med.errors import SettingError

__all__ = ["LEVELS", "block_mask", "patch_mask", "ratio_range", "scribble_mask"]

#: Named shares of hidden pixels. ``low`` and ``high`` are the two of the MaskSup paper (the outer bins of
#: Liu et al. 2018's irregular masks), ``medium`` lies between them.
LEVELS: dict[str, tuple[float, float]] = {"low": (0.01, 0.10), "medium": (0.25, 0.35), "high": (0.50, 0.60)}

_SMALLEST_BLOCK = 4  # grid cells; BEiT uses 16 of 196
_LONGEST_BLOCK = 1 / 0.3  # sides of a block differ by at most this factor, as in BEiT
_STROKE_WIDTH = (0.03, 0.10)  # of the shorter image side
_GRID = 40  # points to the shorter side, at most
_STROKES = 6  # are drawn at once
_STROKE_LINES = (4, 12)
_STROKE_TURN = 0.6  # standard deviation of a change of direction, relative to the first


def ratio_range(ratio: float | str | Sequence[float]) -> tuple[float, float]:
    """Return the lowest and highest share of hidden pixels that ``ratio`` stands for.

    Args:
        ratio: a share, a pair (lowest, highest), or the name of one of :data:`LEVELS`.

    Raises:
        SettingError: when a share is not inside (0, 1), the pair is not ordered, or the name is unknown.
    """
    if isinstance(ratio, str):
        if ratio not in LEVELS:
            raise SettingError(f"ratio is {ratio!r}; give a share, a pair of shares, or one of {', '.join(LEVELS)}.")
        return LEVELS[ratio]
    pair = (ratio, ratio) if isinstance(ratio, (int, float)) else tuple(ratio)
    if len(pair) != 2 or not 0 < pair[0] <= pair[1] < 1:
        raise SettingError(f"ratio is {ratio}; give the share of pixels to hide, above 0 and below 1 (0.3, say).")
    return float(pair[0]), float(pair[1])


def patch_mask(
    spatial_size: Sequence[int], ratio: float, patch_size: int, random_state: np.random.RandomState
) -> torch.Tensor:
    """Hide square patches of a regular grid, chosen at random (He et al. 2022, arXiv:2111.06377, 3).

    Args:
        spatial_size: ``(H, W[, D])`` in pixels; patches at the far borders are cut where it is no multiple.
        ratio: share of pixels to hide; the mask has it to within one patch.
        patch_size: side of a patch in pixels.
        random_state: source of all randomness.

    Returns:
        Boolean tensor of shape ``spatial_size``.

    Raises:
        SettingError: when the patch is larger than the image.
    """
    grid = _grid(spatial_size, patch_size)
    return _hide_cells(random_state.permutation(math.prod(grid)), ratio, spatial_size, patch_size)


def block_mask(
    spatial_size: Sequence[int], ratio: float, patch_size: int, random_state: np.random.RandomState
) -> torch.Tensor:
    """Hide rectangular blocks of neighbouring patches (Bao et al. 2022, BEiT, arXiv:2106.08254, algorithm 1).

    Blocks of at least four patches, their sides up to 3.3 : 1, are drawn until they cover ``ratio``; the last
    one is cut short, so that the mask has the ratio to within one patch.

    Args and errors are those of :func:`patch_mask`.
    """
    grid = _grid(spatial_size, patch_size)
    wanted = ratio * math.prod(grid)
    taken = np.zeros(grid, dtype=bool)
    cells = np.arange(taken.size).reshape(grid)
    order: list[int] = []
    while len(order) <= wanted:
        block = _random_block(grid, wanted - len(order), random_state)
        order.extend(cells[block][~taken[block]])
        taken[block] = True
    # Border patches can be smaller than the rest: the cells not drawn stand by, should the blocks fall short.
    order.extend(random_state.permutation(cells[~taken]))
    return _hide_cells(np.asarray(order), ratio, spatial_size, patch_size)


def scribble_mask(spatial_size: Sequence[int], ratio: float, random_state: np.random.RandomState) -> torch.Tensor:
    """Hide under free-form strokes, in the manner of Liu et al. 2018's irregular masks (arXiv:1804.07723).

    Random polylines of differing width are drawn until they should cover ``ratio``; then all are widened or
    thinned by one common factor, so that the mask has the ratio to within one pixel. They are laid out on a grid of
    at most 40 points to the shorter side, and drawn from there at full size, which takes less time.

    Args:
        spatial_size: ``(H, W[, D])`` in pixels.
        ratio: share of pixels to hide.
        random_state: source of all randomness.

    Returns:
        Boolean tensor of shape ``spatial_size``.
    """
    pixels = math.prod(spatial_size)
    wanted = min(max(1, round(ratio * pixels)), pixels - 1)
    grid = np.ceil(np.asarray(spatial_size) / math.ceil(min(spatial_size) / _GRID)).astype(int)
    distance = torch.from_numpy(_distance_to_strokes(grid, ratio, random_state))
    if tuple(grid) != tuple(spatial_size):
        mode = "bilinear" if len(grid) == 2 else "trilinear"
        distance = F.interpolate(distance[None, None], tuple(spatial_size), mode=mode)[0, 0]
    nearest = np.argpartition(distance.flatten().numpy(), wanted)[:wanted]
    hidden = np.zeros(pixels, dtype=bool)
    hidden[nearest] = True
    return torch.from_numpy(hidden.reshape(spatial_size))


def _distance_to_strokes(size: np.ndarray, ratio: float, random_state: np.random.RandomState) -> np.ndarray:
    """Draw strokes that should cover ``ratio``; how far each point is from the nearest, in half its width."""
    wanted = ratio * size.prod()
    half_width = np.zeros(size, dtype=np.float32)  # of the stroke whose centre line passes here
    covered = 0.0
    while covered < wanted:
        points, stroke = _random_strokes(size, random_state)
        radius = np.maximum(0.5, random_state.uniform(*_STROKE_WIDTH, size=_STROKES) * size.min() / 2)
        areas = np.bincount(stroke) * (2 * radius if size.size == 2 else math.pi * radius**2)
        reached = covered + areas.cumsum()
        last = np.searchsorted(reached[:-1], wanted)
        needed = stroke <= last
        half_width[tuple(points[needed].T)] = radius[stroke[needed]]
        covered = reached[last]
    distance, nearest = distance_transform_edt(half_width == 0, return_indices=True)
    return distance.astype(np.float32) / half_width[tuple(nearest)]


def _grid(spatial_size: Sequence[int], patch_size: int) -> tuple[int, ...]:
    if not 1 <= patch_size <= min(spatial_size):
        raise SettingError(
            f"patch_size is {patch_size} for an image of {' x '.join(map(str, spatial_size))} pixels; "
            f"choose one from 1 to {min(spatial_size)}."
        )
    return tuple(math.ceil(side / patch_size) for side in spatial_size)


def _hide_cells(order: np.ndarray, ratio: float, spatial_size: Sequence[int], patch_size: int) -> torch.Tensor:
    """Hide the first cells of ``order``, as many as come nearest to ``ratio``: at least one, never all."""
    grid = _grid(spatial_size, patch_size)
    sides = [
        np.minimum(patch_size, side - patch_size * np.arange(count))
        for side, count in zip(spatial_size, grid, strict=True)
    ]
    area = reduce(np.multiply.outer, sides).ravel()[order]
    nearest = int(np.abs(area.cumsum() - ratio * math.prod(spatial_size)).argmin()) + 1
    hidden = np.zeros(len(order), dtype=bool)
    hidden[order[: min(nearest, len(order) - 1)]] = True
    hidden = hidden.reshape(grid)
    for axis, lengths in enumerate(sides):
        hidden = hidden.repeat(lengths, axis)
    return torch.from_numpy(hidden)


def _random_block(grid: tuple[int, ...], room: float, random_state: np.random.RandomState) -> tuple[slice, ...]:
    """Draw a block of the grid that holds about ``room`` cells at most."""
    cells = random_state.uniform(_SMALLEST_BLOCK, max(_SMALLEST_BLOCK, room))
    stretch = random_state.uniform(-0.5, 0.5, size=len(grid)) * math.log(_LONGEST_BLOCK)
    sides = np.exp(stretch - stretch.mean()) * cells ** (1 / len(grid))
    sides = np.clip(np.rint(sides).astype(int), 1, grid)
    corner = [random_state.randint(0, most + 1) for most in np.asarray(grid) - sides]
    return tuple(slice(start, start + side) for start, side in zip(corner, sides, strict=True))


def _random_strokes(size: np.ndarray, random_state: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Draw polylines that bounce off the borders.

    Returns:
        ``(N, dimensions)`` pixel positions, a pixel apart, and ``(N)`` numbers of the strokes that they belong to.
    """
    fewest, most = _STROKE_LINES
    lengths = random_state.uniform(0.05, 0.3, size=(_STROKES, most)) * size.min()
    steps = np.ceil(lengths).astype(int)
    steps[np.arange(most) >= random_state.randint(fewest, most + 1, size=(_STROKES, 1))] = 0
    turns = _STROKE_TURN * random_state.standard_normal((_STROKES, most, size.size))
    turns[:, 0] /= _STROKE_TURN
    directions = turns.cumsum(axis=1)
    lines = directions * (lengths / np.linalg.norm(directions, axis=2))[..., None]
    starts = random_state.uniform(0, size, size=(_STROKES, 1, size.size)) + lines.cumsum(axis=1) - lines
    points = _points(starts.reshape(-1, size.size), lines.reshape(-1, size.size), steps.ravel())
    period = 2 * np.maximum(size - 1, 1)
    folded = np.abs((points + period / 2) % period - period / 2)
    return np.minimum(np.rint(folded).astype(int), size - 1), np.repeat(np.arange(_STROKES), steps.sum(axis=1))


def _points(starts: np.ndarray, lines: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Points along lines, as many as ``steps`` says of each, without its end."""
    offset = np.arange(steps.sum()) - np.repeat(steps.cumsum() - steps, steps)
    return np.repeat(starts, steps, axis=0) + offset[:, None] * np.repeat(
        lines / np.maximum(steps, 1)[:, None], steps, axis=0
    )
