"""A small residual U-Net, from MONAI."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks import nets
from torch import nn

from masksup_med.networks._sizes import crop_to, pad_to_multiple

__all__ = ["ResidualUNet"]


class ResidualUNet(nn.Module):
    """Small U-Net of residual units (Kerfoot et al., STACOM 2018): MONAI's ``UNet`` with two units at each level.

    Any input size: padded to a multiple of 2 to the power of the levels less one, 16 by default.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        channels: of each level, finest first.
        norm: as in MONAI.

    Shapes:
        ``(B, in_channels, H, W)`` to logits ``(B, out_channels, H, W)``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        norm: str | tuple = "instance",
    ) -> None:
        super().__init__()
        strides = [2] * (len(channels) - 1)
        self.multiple = 2 ** len(strides)
        self.network = nets.UNet(
            2, in_channels, out_channels, channels=channels, strides=strides, num_res_units=2, norm=norm
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return crop_to(self.network(pad_to_multiple(x, self.multiple)), x)
