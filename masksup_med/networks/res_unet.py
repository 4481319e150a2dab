"""ResU-Net."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.layers import Conv
from torch import nn

from masksup_med.networks._residual import ResidualUnit, stem
from masksup_med.networks._sizes import crop_to, pad_to_multiple

__all__ = ["ResUNet"]


class ResUNet(nn.Module):
    """U-Net of pre-activated residual units (Zhang, Liu and Wang, IEEE GRSL 2018).

    The widths, the 3 × 3 convolution beside each unit and the transposed convolutions are those of the network that
    MaskSup was compared with. Any input size: padded to a multiple of 2 per level below the first.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        spatial_dims: 2 or 3.
        features: channels of each level, the finest first.

    Shapes:
        ``(B, in_channels, H, W[, D])`` to logits ``(B, out_channels, H, W[, D])``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        spatial_dims: int = 2,
        features: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        conv, up = Conv[Conv.CONV, spatial_dims], Conv[Conv.CONVTRANS, spatial_dims]
        first = features[0]
        self.stem = stem(spatial_dims, in_channels, first)
        self.stem_skip = conv(in_channels, first, kernel_size=3, padding=1)
        levels, reverse = list(pairwise(features)), list(pairwise(reversed(features)))
        self.encoder = nn.ModuleList([ResidualUnit(spatial_dims, a, b, 2, skip_kernel_size=3) for a, b in levels])
        self.upsample = nn.ModuleList([up(a, a, kernel_size=2, stride=2) for a, _ in reverse])
        self.decoder = nn.ModuleList([ResidualUnit(spatial_dims, a + b, b, skip_kernel_size=3) for a, b in reverse])
        self.head = conv(first, out_channels, kernel_size=1)
        self.multiple = 2 ** len(levels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        h = pad_to_multiple(x, self.multiple)
        h = self.stem(h) + self.stem_skip(h)
        skips: list[torch.Tensor] = []
        for unit in self.encoder:
            skips.append(h)
            h = unit(h)
        for upsample, unit in zip(self.upsample, self.decoder):  # noqa: B905 (TorchScript knows no strict)
            h = unit(torch.cat([upsample(h), skips.pop()], dim=1))
        return crop_to(self.head(h), x)
