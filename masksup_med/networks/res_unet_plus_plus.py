"""ResU-Net++."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.blocks import ChannelSELayer
from monai.networks.layers import Conv, Norm, Pool
from torch import nn

from masksup_med.networks._residual import ResidualUnit, stem
from masksup_med.networks._sizes import crop_to, pad_to_multiple

__all__ = ["ResUNetPlusPlus"]


class ResUNetPlusPlus(nn.Module):
    """ResU-Net with squeeze and excitation, atrous pyramids and attention in the decoder (Jha et al., ISM 2019).

    Widths as in the authors' PyTorch version. Squeeze and excitation are MONAI's, whose linear layers have a bias: 522
    parameters more, of 4.06 million. Any input size: padded to a multiple of 2 per level below the first.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        spatial_dims: 2 or 3.
        features: channels of each level, the finest first, and of the bridge.

    Shapes:
        ``(B, in_channels, H, W[, D])`` to logits ``(B, out_channels, H, W[, D])``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        spatial_dims: int = 2,
        features: Sequence[int] = (16, 32, 64, 128, 256),
    ) -> None:
        super().__init__()
        *levels, bridge = features
        self.stem = _Stem(spatial_dims, in_channels, levels[0])
        self.encoder = nn.ModuleList([_unit(spatial_dims, a, b, stride=2) for a, b in pairwise(levels)])
        self.bridge = _AtrousPyramid(spatial_dims, levels[-1], bridge)
        deep = [bridge, *reversed(levels[1:])]  # from which, to which, with which skip
        skips = [*reversed(levels[:-1])]
        self.decoder = nn.ModuleList(
            [_Decoder(spatial_dims, a, b, skip) for (a, b), skip in zip(pairwise(deep), skips, strict=True)]
        )
        self.pyramid = _AtrousPyramid(spatial_dims, deep[-1], levels[0])
        self.head = Conv[Conv.CONV, spatial_dims](levels[0], out_channels, kernel_size=1)
        self.multiple = 2 ** (len(levels) - 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        h = self.stem(pad_to_multiple(x, self.multiple))
        skips: list[torch.Tensor] = []
        for unit in self.encoder:
            skips.append(h)
            h = unit(h)
        h = self.bridge(h)
        for decoder in self.decoder:
            h = decoder(h, skips.pop())
        return crop_to(self.head(self.pyramid(h)), x)


def _unit(spatial_dims: int, in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        ResidualUnit(spatial_dims, in_channels, out_channels, stride), ChannelSELayer(spatial_dims, out_channels, r=8)
    )


class _Stem(nn.Module):
    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        self.main = stem(spatial_dims, in_channels, out_channels)
        self.skip = nn.Sequential(conv(in_channels, out_channels, kernel_size=1), norm(out_channels))
        self.excite = ChannelSELayer(spatial_dims, out_channels, r=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.excite(self.main(x) + self.skip(x))


class _AtrousPyramid(nn.Module):
    """The sum of convolutions at four dilations, then a 1 × 1 convolution."""

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        self.branches = nn.ModuleList(
            [
                nn.Sequential(conv(in_channels, out_channels, kernel_size=3, padding=d, dilation=d), norm(out_channels))
                for d in (1, 6, 12, 18)
            ]
        )
        self.merge = conv(out_channels, out_channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.merge(torch.stack([branch(x) for branch in self.branches]).sum(0))


class _Decoder(nn.Module):
    """Weigh the deeper features by attention to the skip, double their size, and join both in a residual unit."""

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, skip_channels: int) -> None:
        super().__init__()
        self.from_skip = nn.Sequential(
            _activated(spatial_dims, skip_channels, in_channels), Pool[Pool.MAX, spatial_dims](2)
        )
        self.from_deep = _activated(spatial_dims, in_channels, in_channels)
        self.attention = _activated(spatial_dims, in_channels, in_channels)
        self.upsample = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.unit = _unit(spatial_dims, in_channels + skip_channels, out_channels)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        weighed = self.attention(self.from_skip(skip) + self.from_deep(x)) * x
        return self.unit(torch.cat([self.upsample(weighed), skip], dim=1))


def _activated(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        Norm[Norm.BATCH, spatial_dims](in_channels),
        nn.ReLU(),
        Conv[Conv.CONV, spatial_dims](in_channels, out_channels, kernel_size=3, padding=1),
    )
