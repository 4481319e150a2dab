"""Axial attention U-Net."""

from __future__ import annotations

import torch
from torch import nn

from masksup_med.networks._axial import AxialTrunk
from masksup_med.networks._sizes import crop_to, pad_to_multiple

__all__ = ["AxialUNet"]


class AxialUNet(nn.Module):
    """U-Net whose encoder attends along the height and the width in turn: MedT's baseline without gates or patches.

    Valanarasu et al., "Medical Transformer", MICCAI 2021. Any input size: padded to a multiple of 32, and the tables
    of relative positions interpolated.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        image_size: side in pixels of the images that the tables are made for; best that of training.

    Shapes:
        ``(B, in_channels, H, W)`` to logits ``(B, out_channels, H, W)``.
    """

    def __init__(self, in_channels: int, out_channels: int, image_size: int = 128) -> None:
        super().__init__()
        self.trunk = AxialTrunk(in_channels, 8, image_size)
        self.head = nn.Conv2d(16, out_channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return crop_to(self.head(self.trunk(pad_to_multiple(x, 32))), x)
