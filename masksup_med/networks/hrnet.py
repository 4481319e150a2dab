"""HRNet: features at four resolutions side by side, from timm."""

from __future__ import annotations

import torch
from monai.networks.blocks import Convolution
from torch import nn

from masksup_med.errors import SettingError
from masksup_med.networks._encoders import create_encoder
from masksup_med.networks._sizes import crop_to, pad_to_multiple, resize_to

__all__ = ["HRNet"]


class HRNet(nn.Module):
    """High-resolution network (Wang et al., TPAMI 2021): timm's, with the authors' head for segmentation.

    The head joins the four resolutions at the finest, a quarter of the image's, and its logits are interpolated. Any
    input size: padded to a multiple of 32. To TorchScript by tracing, for one size: timm's HRNet cannot be scripted.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        encoder: ``"hrnet_w18_small_v2"`` (3.86 million parameters without the head), ``"hrnet_w18"`` (9.56 million), or
            another of timm's.
        weights: of the encoder: a file in timm's naming; ``"imagenet"`` for timm's, downloaded if need be; None for
            random ones. ImageNet weights expect intensities with ImageNet's mean and standard deviation.

    Shapes:
        ``(B, in_channels, H, W)`` to logits ``(B, out_channels, H, W)``.

    Raises:
        SettingError: when timm knows no such HRNet.
        MissingDataError: when there are no such weights.
        CheckpointError: when the weights do not fit.
    """

    def __init__(
        self, in_channels: int, out_channels: int, encoder: str = "hrnet_w18_small_v2", weights: str | None = None
    ) -> None:
        super().__init__()
        if not encoder.startswith("hrnet"):
            raise SettingError(f"encoder is {encoder!r}; choose one of timm's HRNets, such as 'hrnet_w18'.")
        self.encoder = create_encoder(
            encoder, in_channels, weights, features_only=True, feature_location="", out_indices=(1, 2, 3, 4)
        )
        width = sum(self.encoder.feature_info.channels())
        self.head = nn.Sequential(
            Convolution(2, width, width, kernel_size=1, act="relu", norm="batch"),
            nn.Conv2d(width, out_channels, kernel_size=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        padded = pad_to_multiple(x, 32)
        features = self.encoder(padded)
        finest = features[0]
        joined = torch.cat([resize_to(feature, finest) for feature in features], dim=1)
        return crop_to(resize_to(self.head(joined), padded), x)
