"""U-Net on any of timm's encoders."""

from __future__ import annotations

from itertools import pairwise

import torch
from monai.networks.nets.basic_unet import UpCat
from torch import nn

from masksup_med.errors import SettingError
from masksup_med.networks._encoders import create_encoder
from masksup_med.networks._sizes import crop_to, pad_to_multiple, resize_to

__all__ = ["TimmUNet"]


class TimmUNet(nn.Module):
    """U-Net decoder on an encoder from timm that gives features at several resolutions.

    Every level doubles the size, joins the encoder's features and has two convolutions. The last is at the encoder's
    finest resolution, from which the logits are interpolated. Any input size: padded to a multiple of the encoder's
    coarsest stride.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        encoder: timm's name, such as ``"resnet34"``, ``"convnext_tiny"`` or ``"pvt_v2_b2"``.
        weights: of the encoder: a file in timm's naming; ``"imagenet"`` for timm's, downloaded if need be, or a
            package's; None for random ones. Most ImageNet weights expect intensities with ImageNet's mean and
            standard deviation, those of ``"tf_efficientnet_lite0"`` from -1 to 1.
        decoder_channels: of the coarsest level's convolutions; each finer level has half as many.

    Shapes:
        ``(B, in_channels, H, W)`` to logits ``(B, out_channels, H, W)``.

    Raises:
        SettingError: when timm knows no such encoder, it takes one image size only, or its features do not halve in
            size from one to the next.
        MissingDataError: when there are no such weights.
        CheckpointError: when the weights do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        encoder: str = "resnet34",
        weights: str | None = None,
        decoder_channels: int = 256,
    ) -> None:
        super().__init__()
        self.encoder = create_encoder(encoder, in_channels, weights, features_only=True)
        if self.encoder.pretrained_cfg["fixed_input_size"]:
            raise SettingError(
                f"{encoder!r} takes images of one size only; choose another encoder, such as 'resnet34'."
            )
        info = self.encoder.feature_info
        strides = info.reduction()
        if any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
            raise SettingError(
                f"The features of {encoder!r} have strides {strides}, each of which should be twice the one before; "
                "choose another encoder, such as 'resnet34'."
            )
        self.multiple = strides[-1]
        *skips, width = info.channels()
        self.decoder = nn.ModuleList()
        for level, skip in enumerate(reversed(skips)):
            out = decoder_channels >> level
            self.decoder.append(_up(width, skip, out))
            width = out
        self.head = nn.Conv2d(width, out_channels, kernel_size=3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        padded = pad_to_multiple(x, self.multiple)
        features = self.encoder(padded)
        h = features.pop()
        for level in self.decoder:
            h = level(h, features.pop())
        return crop_to(resize_to(self.head(h), padded), x)


def _up(width: int, skip: int, out: int) -> UpCat:
    return UpCat(2, width, skip, out, "relu", "batch", bias=False, upsample="nontrainable", pre_conv=None, is_pad=False)
