"""Attention U-Net, from MONAI."""

from __future__ import annotations

import torch
from monai.networks import nets
from torch import nn

from masksup_med.networks._sizes import crop_to, pad_to_multiple

__all__ = ["AttentionUNet"]


class AttentionUNet(nn.Module):
    """U-Net whose skips pass an attention gate (Oktay et al., MIDL 2018): MONAI's ``AttentionUnet``.

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
        self.network = nets.AttentionUnet(
            spatial_dims, in_channels, out_channels, channels=(64, 128, 256, 512, 1024), strides=(2, 2, 2, 2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return crop_to(self.network(pad_to_multiple(x, 16)), x)
