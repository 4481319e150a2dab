"""LeViT-UNet: a LeViT encoder, at any image size, with a convolutional decoder."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.nets.basic_unet import TwoConv
from torch import nn

from masksup_med.errors import SettingError
from masksup_med.networks._encoders import create_encoder
from masksup_med.networks._sizes import crop_to, pad_to_multiple, resize_to

__all__ = ["LeViTUNet"]

_DROP_PATH = {"levit_128s": 0.0, "levit_192": 0.0, "levit_384": 0.1}  # as published for training


class LeViTUNet(nn.Module):
    """LeViT as the encoder of a U-Net (Xu et al., "LeViT-UNet", PRCV 2023).

    Its largest is the strongest network of MaskSup's paper on glands and polyps. Structure and parameters are the
    published ones, which take 224 × 224 pixels only; here any input size: padded to a multiple of 16, and the tables of
    attention biases interpolated, which at 224 × 224 changes nothing.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        encoder: ``"levit_128s"``, ``"levit_192"`` or ``"levit_384"``.
        weights: of the encoder: a file, timm's or Meta's; ``"imagenet"`` for timm's, downloaded if need be; None for
            random ones. ImageNet weights expect intensities with ImageNet's mean and standard deviation.

    Shapes:
        ``(B, in_channels, H, W)`` to logits ``(B, out_channels, H, W)``.

    Raises:
        SettingError: when there is no such encoder.
        MissingDataError: when there are no such weights.
        CheckpointError: when the weights do not fit.
    """

    def __init__(
        self, in_channels: int, out_channels: int, encoder: str = "levit_384", weights: str | None = None
    ) -> None:
        super().__init__()
        if encoder not in _DROP_PATH:
            raise SettingError(f"encoder is {encoder!r}; choose one of {', '.join(_DROP_PATH)}.")
        # The variant that timm writes with 1 x 1 convolutions for linear layers keeps the image's two axes apart.
        name = encoder.replace("levit", "levit_conv")
        levit = create_encoder(name, in_channels, weights, drop_path_rate=_DROP_PATH[encoder])
        self.stem, self.stages = levit.stem, levit.stages
        _free_of_size(self.stages)
        stem, widths = levit.embed_dim[0], levit.embed_dim
        self.up = nn.UpsamplingBilinear2d(scale_factor=2)
        self.decoder1 = _up_block(stem + sum(widths), 512)
        self.decoder2 = _up_block(512 + stem // 2, 256)
        self.decoder3 = _up_block(256 + stem // 4, 128)
        self.head = nn.Conv2d(128 + stem // 8, out_channels, kernel_size=3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        stem1, stem2, stem3, stem4, stage1, stage2, stage3 = self.features(pad_to_multiple(x, 16))
        stage2 = resize_to(self.up(stage2), stage1, align_corners=True)
        stage3 = resize_to(self.up(self.up(stage3)), stage1, align_corners=True)
        h = self.decoder1(torch.cat([stem4, stage1, stage2, stage3], dim=1))
        h = self.decoder2(torch.cat([h, stem3], dim=1))
        h = self.decoder3(torch.cat([h, stem2], dim=1))
        return crop_to(self.up(self.head(torch.cat([h, stem1], dim=1))), x)

    @torch.jit.export
    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the encoder's features: four of the stem, at strides 2 to 16, and three stages, at 16, 32 and 64."""
        stem1 = self.stem.act1(self.stem.conv1(x))
        stem2 = self.stem.act2(self.stem.conv2(stem1))
        stem3 = self.stem.act3(self.stem.conv3(stem2))
        stem4 = self.stem.conv4(stem3)
        stage1 = self.stages[0](stem4)
        stage2 = self.stages[1](stage1)
        return [stem1, stem2, stem3, stem4, stage1, stage2, self.stages[2](stage2)]


def _up_block(in_channels: int, out_channels: int) -> nn.Sequential:
    convolutions = TwoConv(2, in_channels, out_channels, act="relu", norm="batch", bias=False)
    return nn.Sequential(nn.UpsamplingBilinear2d(scale_factor=2), convolutions)


def _free_of_size(stages: Any) -> None:
    """Replace timm's attention by attention that takes any size of image; parameters and their names stay."""
    for stage in stages:
        for block in stage.blocks:
            block.attn = _Attention(block.attn)
        if not isinstance(stage.downsample, nn.Identity):
            stage.downsample.attn_downsample = _AttentionDownsample(stage.downsample.attn_downsample)


class _PositionBias(nn.Module):
    """What both kinds of attention share: learned biases for the distance between two places, on both axes."""

    def __init__(self, timm_attention: Any) -> None:
        super().__init__()
        self.attention_biases = timm_attention.attention_biases
        self.heads = timm_attention.num_heads
        self.scale = timm_attention.scale
        self.rows, self.columns = timm_attention.resolution

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Return ``(B, heads, C, queries)`` for q, k and v of ``(B, heads, C, places)``."""
        weights = (q.transpose(-2, -1) @ k * self.scale + bias).softmax(-1)
        return v @ weights.transpose(-2, -1)

    def bias(self, height: int, width: int, stride: int) -> torch.Tensor:
        """Return ``(heads, queries, height · width)``, where queries are every ``stride``-th place on both axes."""
        table = self.attention_biases.unflatten(1, (self.rows, self.columns))
        if height != self.rows or width != self.columns:
            table = F.interpolate(table[None], size=[height, width], mode="bilinear", align_corners=True)[0]
        rows = _distances(height, stride, table.device)
        columns = _distances(width, stride, table.device)
        return table[:, rows[:, None, :, None], columns[None, :, None, :]].flatten(3, 4).flatten(1, 2)


class _Attention(_PositionBias):
    """LeViT's self-attention (Graham et al., ICCV 2021)."""

    def __init__(self, timm_attention: Any) -> None:
        super().__init__(timm_attention)
        self.qkv, self.proj = timm_attention.qkv, timm_attention.proj
        self.split = [timm_attention.key_dim, timm_attention.key_dim, timm_attention.val_dim]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        q, k, v = self.qkv(x).flatten(2).unflatten(1, (self.heads, -1)).split(self.split, dim=2)
        out = self.attend(q, k, v, self.bias(height, width, 1))
        return self.proj(out.flatten(1, 2).unflatten(2, (height, width)))


class _AttentionDownsample(_PositionBias):
    """LeViT's attention between stages: the queries are every second place on both axes."""

    def __init__(self, timm_attention: Any) -> None:
        super().__init__(timm_attention)
        self.kv, self.q, self.proj = timm_attention.kv, timm_attention.q, timm_attention.proj
        self.stride = timm_attention.stride
        self.split = [timm_attention.key_dim, timm_attention.val_dim]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        queries = self.q(x)
        k, v = self.kv(x).flatten(2).unflatten(1, (self.heads, -1)).split(self.split, dim=2)
        q = queries.flatten(2).unflatten(1, (self.heads, -1))
        out = self.attend(q, k, v, self.bias(height, width, self.stride))
        return self.proj(out.flatten(1, 2).unflatten(2, queries.shape[2:]))


def _distances(length: int, stride: int, device: torch.device) -> torch.Tensor:
    """Return ``(queries, length)``: how far every query's place is from every place."""
    places = torch.arange(length, device=device)
    return (places[::stride, None] - places[None, :]).abs()
