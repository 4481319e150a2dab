"""Attention along one image axis at a time, and the blocks that Axial U-Net and MedT build from it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["AxialStem", "AxialTrunk", "UpConv", "axial_stage"]


class AxialTrunk(nn.Module):
    """U-Net with an encoder of axial attention, up to its last features.

    Args:
        in_channels: channels of the image.
        stem_channels: channels that leave the stem.
        length: side in pixels of the images that the tables of relative positions are made for; None to do without
            positions.

    Shapes:
        ``(B, in_channels, H, W)``, multiples of 32, to ``(B, 16, H, W)``.
    """

    def __init__(self, in_channels: int, stem_channels: int, length: int | None) -> None:
        super().__init__()
        self.stem = AxialStem(in_channels, stem_channels)
        lengths = [None if length is None else length // s for s in (2, 2, 4, 8)]
        self.stage1 = axial_stage(stem_channels, 16, 1, lengths[0], stride=1)
        self.stage2 = axial_stage(32, 32, 2, lengths[1])
        self.stage3 = axial_stage(64, 64, 4, lengths[2])
        self.stage4 = axial_stage(128, 128, 1, lengths[3])
        self.up1 = UpConv(256, 256, stride=2)
        self.up2 = UpConv(256, 128)
        self.up3 = UpConv(128, 64)
        self.up4 = UpConv(64, 32)
        self.up5 = UpConv(32, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features."""
        x1 = self.stage1(self.stem(x))
        x2 = self.stage2(x1)
        x3 = self.stage3(x2)
        x4 = self.stage4(x3)
        h = self.up1(x4) + x4
        h = self.up2(h) + x3
        h = self.up3(h) + x2
        h = self.up4(h) + x1
        return self.up5(h)


class AxialStem(nn.Sequential):
    """Three convolutions, of which the first halves the image: ``(B, in, H, W)`` to ``(B, out, H / 2, W / 2)``."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size=7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, 128, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )


class UpConv(nn.Module):
    """Convolution, then twice the size, then ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of twice the size over the stride."""
        return F.relu(F.interpolate(self.conv(x), scale_factor=2.0, mode="bilinear"))


def axial_stage(
    in_channels: int, channels: int, blocks: int, length: int | None, stride: int = 2, gated: bool = False
) -> nn.Sequential:
    """Return blocks of axial attention, the first of which divides the size by ``stride``; twice ``channels`` leave.

    Args:
        in_channels: channels of the input.
        channels: channels of the attention.
        blocks: how many.
        length: of the first block's axes, in pixels, that positions are made for; None to do without positions.
        stride: of the first block.
        gated: whether positions pass learned gates.
    """
    first = _AxialBlock(in_channels, channels, length, stride, gated)
    rest = None if length is None else length // stride
    return nn.Sequential(first, *[_AxialBlock(2 * channels, channels, rest, 1, gated) for _ in range(blocks - 1)])


class _AxialBlock(nn.Module):
    """Residual bottleneck: 1 × 1 convolution, attention along the height, then along the width, 1 × 1 convolution."""

    def __init__(self, in_channels: int, channels: int, length: int | None, stride: int, gated: bool) -> None:
        super().__init__()
        out_channels = 2 * channels
        self.main = nn.Sequential(
            nn.Conv2d(in_channels, channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            _AxialAttention(channels, 2, length, gated),
            _AxialAttention(channels, 3, length, gated),
            nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
            nn.ReLU(),
            nn.Conv2d(channels, out_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.skip = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.main(x) + self.skip(x))


class _AxialAttention(nn.Module):
    """Self-attention of every row or column with itself, with relative positions (Wang et al., ECCV 2020).

    The tables of positions are interpolated to the axis' length. Gates, one per term that positions enter (Valanarasu
    et al., MICCAI 2021, equation 3), come after the normalisations; the published code has them before, where in
    training the normalisation undoes them.
    """

    def __init__(self, channels: int, axis: int, length: int | None, gated: bool) -> None:
        super().__init__()
        self.axis = axis
        self.groups = 8
        self.width = channels // self.groups
        self.qkv = nn.Conv1d(channels, 2 * channels, kernel_size=1, bias=False)
        nn.init.normal_(self.qkv.weight, std=channels**-0.5)
        self.norm_qkv = nn.BatchNorm1d(2 * channels)
        self.norm_qk, self.norm_sv = nn.BatchNorm2d(self.groups), nn.BatchNorm1d(channels)
        self.positions = None
        if length is not None:
            self.positions = _RelativePositions(self.width, length)
            self.norm_qr, self.norm_kr = nn.BatchNorm2d(self.groups), nn.BatchNorm2d(self.groups)
            self.norm_sr = nn.BatchNorm1d(channels)
        self.gates = nn.Parameter(torch.tensor([0.1, 0.1, 1.0, 0.1])) if gated else None  # of qr, kr, sv and sr

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lines = x.permute(0, 5 - self.axis, 1, self.axis)  # (B, the other axis, C, this axis)
        batch, others, channels, length = lines.shape
        qkv = self.norm_qkv(self.qkv(lines.reshape(batch * others, channels, length)))
        half = self.width // 2
        q, k, v = qkv.reshape(-1, self.groups, 2 * self.width, length).split([half, half, self.width], dim=2)
        similarity = self.norm_qk(torch.einsum("bgci,bgcj->bgij", q, k))
        if self.positions is None:
            out = self.norm_sv(torch.einsum("bgij,bgcj->bgci", similarity.softmax(3), v).flatten(1, 2))
        else:
            q_at, k_at, v_at = self.positions(length).split([half, half, self.width], dim=0)
            qr = self.norm_qr(torch.einsum("bgci,cij->bgij", q, q_at))
            kr = self.norm_kr(torch.einsum("bgci,cij->bgji", k, k_at))
            if self.gates is not None:
                qr, kr = self.gates[0] * qr, self.gates[1] * kr
            weights = (similarity + qr + kr).softmax(3)
            sv = self.norm_sv(torch.einsum("bgij,bgcj->bgci", weights, v).flatten(1, 2))
            sr = self.norm_sr(torch.einsum("bgij,cij->bgci", weights, v_at).flatten(1, 2))
            if self.gates is not None:
                sv, sr = self.gates[2] * sv, self.gates[3] * sr
            out = sv + sr
        return out.reshape(batch, others, channels, length).permute(self._way_back())

    def _way_back(self) -> list[int]:
        return [0, 2, 3, 1] if self.axis == 2 else [0, 2, 1, 3]


class _RelativePositions(nn.Module):
    """A learned vector for every distance between two places on an axis, for queries, keys and values."""

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(2 * width, 2 * length - 1) * width**-0.5)

    def forward(self, length: int) -> torch.Tensor:
        """Return ``(2 width, length, length)``, whose last axes are this place and the other."""
        table: torch.Tensor = self.table
        if table.shape[1] != 2 * length - 1:
            table = F.interpolate(table[None], size=2 * length - 1, mode="linear", align_corners=True)[0]
        place = torch.arange(length, device=table.device)
        distance = place[:, None] - place[None, :] + length - 1
        return table[:, distance]
