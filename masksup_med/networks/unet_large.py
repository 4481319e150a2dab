"""The original U-Net's size, from MONAI."""

from __future__ import annotations

import torch
from monai.networks.nets import BasicUNet
from torch import nn

from masksup_med.networks._sizes import crop_to, pad_to_multiple

__all__ = ["UNetLarge"]


class UNetLarge(nn.Module):
    """U-Net with the original's 64 to 1024 channels (Ronneberger et al., MICCAI 2015): MONAI's ``BasicUNet``.

    Any input size: padded to a multiple of 16.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        spatial_dims: 2 or 3.

    Shapes:
        ``(B, in_channels, H, W[, D])`` to logits ``(B, out_channels, H, W[, D])``.
    """

    def __init__(self, in_channels: int, out_channels: int, spatial_dims: int = 2) -> None:
        super().__init__()
        self.network = BasicUNet(
            spatial_dims, in_channels, out_channels, features=(64, 128, 256, 512, 1024, 64), act="relu", norm="batch"
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return crop_to(self.network(pad_to_multiple(x, 16)), x)
