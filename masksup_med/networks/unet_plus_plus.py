"""U-Net++, from MONAI."""

from __future__ import annotations

import torch
from monai.networks.nets import BasicUNetPlusPlus
from torch import nn

from masksup_med.networks._sizes import crop_to, pad_to_multiple

__all__ = ["UNetPlusPlus"]


class UNetPlusPlus(nn.Module):
    """U-Net with nested, dense skips (Zhou et al., DLMIA 2018): MONAI's ``BasicUNetPlusPlus``.

    Any input size: padded to a multiple of 16.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        spatial_dims: 2 or 3.
        deep_supervision: whether training sees the logits of all four depths, as a list, the deepest last; in
            evaluation there is always one tensor, that of the deepest. The segmentation loss must then take lists, as
            ``monai.losses.DeepSupervisionLoss`` around another loss does; by default it weighs the first depth most.

    Shapes:
        ``(B, in_channels, H, W[, D])`` to logits ``(B, out_channels, H, W[, D])``.
    """

    __constants__ = ("deep_supervision",)  # lets TorchScript see that one of the two returns is dead

    def __init__(
        self, in_channels: int, out_channels: int, spatial_dims: int = 2, deep_supervision: bool = False
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        self.network = BasicUNetPlusPlus(
            spatial_dims,
            in_channels,
            out_channels,
            features=(32, 64, 128, 256, 512, 32),
            deep_supervision=deep_supervision,
            act="relu",
            norm="batch",
        )
        if not deep_supervision:  # MONAI's heads of the lower depths would be parameters that nothing uses
            for depth in (1, 2, 3):
                setattr(self.network, f"final_conv_0_{depth}", nn.Identity())

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Return logits, of all depths in training with deep supervision."""
        outputs = [crop_to(output, x) for output in self.network(pad_to_multiple(x, 16))]
        if self.deep_supervision and self.training:
            return outputs
        return outputs[-1]
