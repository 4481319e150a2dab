"""Augmentation of whole batches: one call for all images, each with random numbers of its own.

What that takes of a step: ``python -m tests.benchmarks.train``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.utils import ensure_tuple_rep

__all__ = ["RandBatchAffined", "RandBatchGammad", "RandBatchIntensityd"]

Batch = Mapping[Hashable, torch.Tensor]


class RandBatchAffined(MapTransform, Randomizable):
    """Turn, mirror, scale and shift the 2D images of a batch, all ``keys`` of one image alike.

    Args:
        keys: of tensors ``(B, C, H, W)``; what comes out is float32.
        mode: how each key is interpolated, ``"bilinear"`` or ``"nearest"``.
        prob: of each image, that it is turned, scaled and shifted.
        rotate_range: turned by -rotate_range to rotate_range radians.
        scale_range: shown larger or smaller by a factor of up to 1 + scale_range.
        translate_range: shifted by up to this share of each side.
        flip_prob: of each image and axis, that it is mirrored.
        spatial_size: of what comes out, cut from the middle; by default that of the images.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mode: str | Sequence[str] = "bilinear",
        prob: float = 1.0,
        rotate_range: float = 0.0,
        scale_range: float = 0.0,
        translate_range: float = 0.0,
        flip_prob: float = 0.0,
        spatial_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__(keys)
        self.mode = ensure_tuple_rep(mode, len(self.keys))
        self.prob, self.flip_prob = prob, flip_prob
        self.rotate_range, self.scale_range, self.translate_range = rotate_range, scale_range, translate_range
        self.spatial_size = None if spatial_size is None else tuple(spatial_size)

    def __call__(self, data: Batch) -> dict[Hashable, torch.Tensor]:
        """Return the batch with its images moved."""
        d = dict(data)
        first = d[self.keys[0]]
        size = self.spatial_size or tuple(first.shape[2:])
        matrices = torch.from_numpy(self._matrices(len(first), tuple(first.shape[2:]), size)).to(first.device)
        grid = F.affine_grid(matrices, [len(first), 1, *size], align_corners=False)
        for key, mode in zip(self.keys, self.mode, strict=True):
            d[key] = F.grid_sample(d[key].float(), grid, mode, padding_mode="reflection", align_corners=False)
        return d

    def _matrices(self, count: int, size: tuple[int, ...], new_size: tuple[int, ...]) -> np.ndarray:
        """Where each pixel comes from, ``(count, 2, 3)``, in torch's way: x first, from -1 to 1."""
        moved = self.R.rand(count) < self.prob
        angle = moved * self.R.uniform(-self.rotate_range, self.rotate_range, count)
        zoom = (1 + self.scale_range) ** (moved * self.R.uniform(-1, 1, count))
        shift = moved[:, None] * self.R.uniform(-2, 2, (count, 2)) * self.translate_range
        mirror = 1 - 2 * (self.R.rand(count, 1, 2) < self.flip_prob)
        turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1).reshape(-1, 2, 2)
        new_sides, sides = np.array(new_size[::-1]), np.array(size[::-1])  # for angles between pixels, not shares
        linear = turn * mirror / zoom[:, None, None] * new_sides / sides[:, None]
        return np.concatenate([linear, shift[..., None]], -1).astype(np.float32)


class RandBatchGammad(MapTransform, Randomizable):
    """Raise the intensities of each image of a batch to a power, each channel by itself; black and white stay.

    Of stained tissue in bright field that scales the optical density, as if more or less of a stain were there.

    Args:
        keys: of tensors ``(B, C, H, W[, D])`` with intensities from -1 to 1; others are brought there.
        prob: of each image.
        gamma: the greatest power, above 1; powers lie between its inverse and it, evenly on a logarithmic scale.
    """

    def __init__(self, keys: KeysCollection, prob: float = 1.0, gamma: float = 1.0) -> None:
        super().__init__(keys)
        self.prob, self.gamma = prob, gamma

    def __call__(self, data: Batch) -> dict[Hashable, torch.Tensor]:
        """Return the batch with other intensities."""
        d = dict(data)
        for key in self.key_iterator(d):
            images = d[key]
            count, channels, *space = images.shape
            powers = self.gamma ** (self.R.uniform(-1, 1, (count, channels)) * (self.R.rand(count, 1) < self.prob))
            exponent = torch.from_numpy(powers.astype(np.float32)).to(images.device)
            light = ((images + 1) / 2).clamp(0, 1)
            d[key] = light ** exponent[(..., *[None] * len(space))] * 2 - 1
        return d


class RandBatchIntensityd(MapTransform, Randomizable):
    """Scale and shift the intensities of each image of a batch, each channel by itself.

    Args:
        keys: of tensors ``(B, C, H, W[, D])``.
        prob: of each image, that it is scaled, and again that it is shifted.
        factors: intensities are multiplied by 1 - factors to 1 + factors.
        offsets: then -offsets to offsets is added.
    """

    def __init__(self, keys: KeysCollection, prob: float = 1.0, factors: float = 0.0, offsets: float = 0.0) -> None:
        super().__init__(keys)
        self.prob, self.factors, self.offsets = prob, factors, offsets

    def __call__(self, data: Batch) -> dict[Hashable, torch.Tensor]:
        """Return the batch with other intensities."""
        d = dict(data)
        for key in self.key_iterator(d):
            images = d[key]
            shape = (*images.shape[:2], *[1] * (images.ndim - 2))
            factor, offset = self._draw(shape, self.factors), self._draw(shape, self.offsets)
            d[key] = images * (1 + factor).to(images.device) + offset.to(images.device)
        return d

    def _draw(self, shape: tuple[int, ...], limit: float) -> torch.Tensor:
        changed = self.R.rand(shape[0], *[1] * (len(shape) - 1)) < self.prob
        return torch.from_numpy((changed * self.R.uniform(-limit, limit, shape)).astype(np.float32))
