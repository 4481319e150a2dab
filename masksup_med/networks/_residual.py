"""What ResU-Net and ResU-Net++ share."""

from __future__ import annotations

import torch
from monai.networks.layers import Conv, Norm
from torch import nn

__all__ = ["ResidualUnit", "stem"]


def stem(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Sequential:
    """Return two 3 × 3 convolutions, with normalisation and ReLU between them."""
    conv = Conv[Conv.CONV, spatial_dims]
    return nn.Sequential(
        conv(in_channels, out_channels, kernel_size=3, padding=1),
        Norm[Norm.BATCH, spatial_dims](out_channels),
        nn.ReLU(),
        conv(out_channels, out_channels, kernel_size=3, padding=1),
    )


class ResidualUnit(nn.Module):
    """Two 3 × 3 convolutions, each after normalisation and ReLU, beside a convolution that carries the input.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution and of the one beside.
        skip_kernel_size: of the convolution beside.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, stride: int = 1, skip_kernel_size: int = 1
    ) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        self.main = nn.Sequential(
            norm(in_channels),
            nn.ReLU(),
            conv(in_channels, out_channels, kernel_size=3, stride=stride, padding=1),
            norm(out_channels),
            nn.ReLU(),
            conv(out_channels, out_channels, kernel_size=3, padding=1),
        )
        self.skip = nn.Sequential(
            conv(in_channels, out_channels, skip_kernel_size, stride=stride, padding=skip_kernel_size // 2),
            norm(out_channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of both ways."""
        return self.main(x) + self.skip(x)
