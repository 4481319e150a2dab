"""Resample a picture as MONAI's ``Resize`` and ``Zoom`` do, with two sparse matrices in place of filters."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from monai.networks.layers import gaussian_1d
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["interpolation", "resample"]


def resample(picture: NDArray[np.uint8], size: tuple[int, int], anti_aliasing: bool) -> NDArray[np.float32]:
    """Resample bilinearly, as ``torch.nn.functional.interpolate`` with ``align_corners=False``.

    Args:
        picture: shape (H, W, C).
        size: width and height to resample to.
        anti_aliasing: first smooth along each side that shrinks by a factor f > 1, with a Gaussian of
            sigma (f - 1) / 2 in pixels of the picture, beyond whose edge all is black, as MONAI does.

    Returns:
        Array of shape (C, width, height), MONAI's order of axes.
    """
    (height, width, channels), (new_width, new_height) = picture.shape, size
    smooth = anti_aliasing and (new_width < width or new_height < height)
    rows = _operator(height, new_height, smooth) @ picture.reshape(height, -1).astype(np.float32)
    columns = np.ascontiguousarray(rows.reshape(new_height, width, channels).transpose(1, 2, 0))
    resampled = _operator(width, new_width, smooth) @ columns.reshape(width, -1)
    return np.ascontiguousarray(resampled.reshape(new_width, channels, new_height).swapaxes(0, 1))


def interpolation(old: int, new: int) -> sparse.csr_array:
    """The matrix, shape (new, old), that resamples a row of numbers as :func:`resample` does, without smoothing."""
    return _operator(old, new, smooth=False)


@lru_cache(maxsize=256)
def _operator(old: int, new: int, smooth: bool) -> sparse.csr_array:
    """The matrix, shape (new, old), that resamples one side."""
    # rounded as torch rounds: the scale to single precision, and so the fused multiplication and addition
    position = np.maximum((float(np.float32(old / new)) * (np.arange(new) + 0.5) - 0.5).astype(np.float32), 0)
    left = np.floor(position).astype(int)
    right = np.minimum(left + 1, old - 1)
    share = position - left
    entries = np.concatenate([1 - share, share]), (np.tile(np.arange(new), 2), np.concatenate([left, right]))
    matrix = sparse.csr_array(entries, shape=(new, old))  # equal places are added up
    if smooth and old > new:
        kernel = gaussian_1d(torch.tensor((old / new - 1) / 2), approx="erf").numpy()
        reach = range(-(len(kernel) // 2), len(kernel) // 2 + 1)
        diagonals = {offset: weight for offset, weight in zip(reach, kernel, strict=True) if abs(offset) < old}
        matrix @= sparse.diags_array(list(diagonals.values()), offsets=list(diagonals), shape=(old, old))
    return sparse.csr_array(matrix, dtype=np.float32)
