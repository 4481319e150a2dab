"""Any size of image through a network that wants multiples of some number: pad before, cut after."""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = ["crop_to", "linear_mode", "pad_to_multiple", "resize_to"]


def pad_to_multiple(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Repeat the last pixels of every spatial axis until its length is a multiple.

    Args:
        x: ``(B, C, H, W[, D])``.
        multiple: what the lengths shall be multiples of.

    Returns:
        The padded tensor, ``x`` itself where nothing is missing.
    """
    pads: list[int] = []
    for axis in range(x.dim() - 1, 1, -1):  # F.pad begins with the last axis
        pads.extend([0, -x.shape[axis] % multiple])
    return F.pad(x, pads, mode="replicate") if max(pads) > 0 else x


def crop_to(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Cut ``x``, ``(B, C, H, W[, D])``, at its far ends to the spatial size of ``like``."""
    for axis in range(2, x.dim()):
        x = x.narrow(axis, 0, like.shape[axis])
    return x


def resize_to(x: torch.Tensor, like: torch.Tensor, align_corners: bool = False) -> torch.Tensor:
    """Interpolate ``x``, ``(B, C, H, W[, D])``, linearly to the spatial size of ``like``."""
    return F.interpolate(x, size=like.shape[2:], mode=linear_mode(x.dim() - 2), align_corners=align_corners)


def linear_mode(spatial_dims: int) -> str:
    """Return torch's name of linear interpolation along so many axes."""
    return "trilinear" if spatial_dims == 3 else "bilinear"
