"""The small U-Net, of 3 million parameters, that the MaskSup paper trains."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from monai.networks.layers import Conv, Pool
from torch import nn

from masksup_med.networks._sizes import crop_to, linear_mode, pad_to_multiple

__all__ = ["UNet"]


class UNet(nn.Module):
    """U-Net with one convolution per level, no normalisation, and skips that are added.

    The "3M U-Net" of MaskSup (Zunair and Ben Hamza, BMVC 2022) is the network that KiU-Net (Valanarasu et al., MICCAI
    2020) was compared with. As published, the last level works at half resolution and its logits are interpolated; the
    published ReLU on the logits is left out. Any input size: padded to a multiple of 2 per level.

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
        features: Sequence[int] = (32, 64, 128, 256, 512),
    ) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        down, up = [in_channels, *features], [*reversed(features)]
        self.encoder = nn.ModuleList([conv(a, b, kernel_size=3, padding=1) for a, b in pairwise(down)])
        self.decoder = nn.ModuleList([conv(a, b, kernel_size=3, padding=1) for a, b in pairwise(up)])
        self.head = conv(features[0], out_channels, kernel_size=3, padding=1)
        self.pool = Pool[Pool.MAX, spatial_dims](2)
        self.upsample = nn.Upsample(scale_factor=2.0, mode=linear_mode(spatial_dims))
        self.multiple = 2 ** len(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        h = pad_to_multiple(x, self.multiple)
        skips: list[torch.Tensor] = []
        for conv in self.encoder:
            h = F.relu(self.pool(conv(h)))
            skips.append(h)
        skips.pop()
        for conv in self.decoder:
            h = F.relu(self.upsample(conv(h))) + skips.pop()
        return crop_to(self.upsample(self.head(h)), x)
