"""U-Net on any of timm's encoders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from monai.networks.nets.basic_unet import UpCat
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

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
            standard deviation, those of ``"tf_efficientnet_lite2"`` from -1 to 1.
        decoder_channels: of the coarsest level's convolutions; each finer level has half as many.
        norm: of the decoder, as in MONAI, such as ``"instance"`` or ``("group", {"num_groups": 8})``.
        out_indices: which of the encoder's features to use, finest first, as in timm; by default all.
        frozen: names of the encoder's parts that training leaves as they are, such as ``"blocks.0"``. Where they are
            its first, training takes neither the time nor the memory to go back through them.
        fixed_statistics: whether the encoder's batch norms keep the statistics of its weights, also in training, so
            that images of a batch, among them those with parts hidden, do not change each other's features.

    Shapes:
        ``(B, in_channels, H, W)`` to logits ``(B, out_channels, H, W)``.

    Raises:
        SettingError: when timm knows no such encoder, it takes one image size only, its features do not halve in
            size from one to the next, or it has no part of a frozen one's name.
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
        norm: str | tuple = "batch",
        out_indices: Sequence[int] | None = None,
        frozen: Sequence[str] = (),
        fixed_statistics: bool = False,
    ) -> None:
        super().__init__()
        chosen = {} if out_indices is None else {"out_indices": tuple(out_indices)}
        self.encoder = create_encoder(encoder, in_channels, weights, features_only=True, **chosen)
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
            self.decoder.append(_up(width, skip, out, norm))
            width = out
        self.head = nn.Conv2d(width, out_channels, kernel_size=3, padding=1)
        self.fixed_statistics = fixed_statistics
        for name in frozen:
            _part(self.encoder, name).requires_grad_(False)

    def train(self, mode: bool = True) -> TimmUNet:
        """Set the mode of all but what keeps its statistics."""
        super().train(mode)
        if self.fixed_statistics:
            for module in self.encoder.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        padded = pad_to_multiple(x, self.multiple)
        features = self.encoder(padded)
        h = features.pop()
        for level in self.decoder:
            h = level(h, features.pop())
        return crop_to(resize_to(self.head(h), padded), x)


def _up(width: int, skip: int, out: int, norm: str | tuple) -> UpCat:
    return UpCat(2, width, skip, out, "relu", norm, bias=False, upsample="nontrainable", pre_conv=None, is_pad=False)


def _part(encoder: Any, name: str) -> nn.Module:
    try:
        return encoder.get_submodule(name)
    except AttributeError:
        parts = ", ".join(part for part, _ in encoder.named_children())
        raise SettingError(f"The encoder has no part {name!r} to freeze; name one of {parts}, or of theirs.") from None
