"""Medical Transformer (MedT)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from masksup_med.networks._axial import AxialStem, AxialTrunk, UpConv, axial_stage
from masksup_med.networks._sizes import crop_to, pad_to_multiple

__all__ = ["MedT"]


class MedT(nn.Module):
    """A shallow branch of gated axial attention sees the image, a deep one without positions its tiles; both are added.

    Valanarasu et al., "Medical Transformer", MICCAI 2021. Any input size: padded to a multiple of 32, and the tables of
    relative positions interpolated. The local branch takes every tile of 32 × 32 pixels, the size it has in the
    published code at 128 × 128; there, a larger image's tiles beyond the first 128 pixels are left out. Gates are
    learned from the start. The 35 570 parameters that the published code declares and never uses (2.3 %) are left out.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        image_size: side in pixels of the images that the tables are made for; best that of training.

    Shapes:
        ``(B, in_channels, H, W)`` to logits ``(B, out_channels, H, W)``.
    """

    def __init__(self, in_channels: int, out_channels: int, image_size: int = 128) -> None:
        super().__init__()
        self.tile = 32
        self.stem = AxialStem(in_channels, 8)
        self.stage1 = axial_stage(8, 16, 1, image_size // 2, stride=1, gated=True)
        self.stage2 = axial_stage(32, 32, 2, image_size // 2, gated=True)
        self.up1 = UpConv(64, 32)
        self.up2 = UpConv(32, 16)
        self.local = AxialTrunk(in_channels, 64, length=None)
        self.merge = nn.Conv2d(16, 16, kernel_size=3, padding=1)
        self.head = nn.Conv2d(16, out_channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        h = pad_to_multiple(x, self.tile)
        x1 = self.stage1(self.stem(h))
        whole = self.up2(self.up1(self.stage2(x1)) + x1)
        tiles = _from_tiles(self.local(_to_tiles(h, self.tile)), h)
        return crop_to(self.head(F.relu(self.merge(whole + tiles))), x)


def _to_tiles(x: torch.Tensor, side: int) -> torch.Tensor:
    """Cut ``(B, C, H, W)`` into ``(B · tiles, C, side, side)``."""
    x = x.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # (B, C, rows, side, columns, side)
    return x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def _from_tiles(tiles: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Put the tiles of an image together; its batch and size are those of ``like``."""
    batch, _, height, width = like.shape
    x = tiles.unflatten(0, (batch, height // tiles.shape[2], width // tiles.shape[3]))
    return x.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
