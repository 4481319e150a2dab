"""KiU-Net."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers import Conv, Norm, Pool
from torch import nn

from masksup_med.networks._sizes import crop_to, linear_mode, pad_to_multiple, resize_to

__all__ = ["KiUNet"]


class KiUNet(nn.Module):
    """A U-Net beside a branch that magnifies, joined at every level (Valanarasu et al., MICCAI 2020).

    The magnifying branch works at up to 8 times the image's size, so that memory and time are those of an image of 64
    times as many pixels (512 times in 3D): give it small ones. The published code declares 74 112 parameters (of
    291 234 for 2 classes) for one more junction that it never uses, and ends in a ReLU; here are neither. Any input
    size: padded to a multiple of 2 per level.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        spatial_dims: 2 or 3.
        features: channels of each level, the one nearest to the image first.

    Shapes:
        ``(B, in_channels, H, W[, D])`` to logits ``(B, out_channels, H, W[, D])``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, spatial_dims: int = 2, features: Sequence[int] = (16, 32, 64)
    ) -> None:
        super().__init__()
        shrink = Pool[Pool.MAX, spatial_dims](2)
        magnify = nn.Upsample(scale_factor=2.0, mode=linear_mode(spatial_dims))
        last = features[0] // 2
        down, up = list(pairwise([in_channels, *features])), list(pairwise(reversed(features)))

        def levels(widths: Sequence[tuple[int, int]], resample: nn.Module) -> nn.ModuleList:
            return nn.ModuleList([_level(spatial_dims, a, b, resample) for a, b in widths])

        self.u_encoder, self.ki_encoder = levels(down, shrink), levels(down, magnify)
        self.u_decoder, self.ki_decoder = levels(up, magnify), levels(up, shrink)
        self.encoder_junctions = nn.ModuleList([_Junction(spatial_dims, b) for _, b in down])
        self.decoder_junctions = nn.ModuleList([_Junction(spatial_dims, b) for _, b in up])
        self.u_last = _level(spatial_dims, features[0], last, magnify)
        self.ki_last = _level(spatial_dims, features[0], last, shrink)
        self.head = Conv[Conv.CONV, spatial_dims](last, out_channels, kernel_size=1)
        self.multiple = 2 ** len(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        u = ki = pad_to_multiple(x, self.multiple)
        skips: list[tuple[torch.Tensor, torch.Tensor]] = []
        for u_level, ki_level, junction in zip(self.u_encoder, self.ki_encoder, self.encoder_junctions):  # noqa: B905
            u, ki = junction(u_level(u), ki_level(ki))
            skips.append((u, ki))
        skips.pop()
        for u_level, ki_level, junction in zip(self.u_decoder, self.ki_decoder, self.decoder_junctions):  # noqa: B905
            u, ki = junction(u_level(u), ki_level(ki))
            u_skip, ki_skip = skips.pop()
            u, ki = u + u_skip, ki + ki_skip
        return crop_to(self.head(self.u_last(u) + self.ki_last(ki)), x)


def _level(spatial_dims: int, in_channels: int, out_channels: int, resample: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        Conv[Conv.CONV, spatial_dims](in_channels, out_channels, kernel_size=3, padding=1),
        resample,
        Norm[Norm.BATCH, spatial_dims](out_channels),
        nn.ReLU(),
    )


class _Junction(nn.Module):
    """Each branch gets the other's features, through a convolution, at its own size."""

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.to_u = Convolution(spatial_dims, channels, channels, act="relu", norm="batch")
        self.to_ki = Convolution(spatial_dims, channels, channels, act="relu", norm="batch")

    def forward(self, u: torch.Tensor, ki: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return u + resize_to(self.to_u(ki), u), ki + resize_to(self.to_ki(u), ki)
