"""How well a masked autoencoder fills in what was hidden."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["ReconstructionLoss"]

_SMALLEST_VARIANCE = 1e-6  # a patch of one colour has none


class ReconstructionLoss(nn.Module):
    """Mean squared error over hidden pixels, each patch of the image normalised by its own mean and variance.

    He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022 (arXiv:2111.06377), section 3, where these
    targets serve better than plain pixels.

    Args:
        patch_size: side of the patches in pixels; those at the far borders are cut.

    Example::

        loss = ReconstructionLoss(patch_size=16)(autoencoder(image), image)
    """

    def __init__(self, patch_size: int = 16) -> None:
        super().__init__()
        self.patch_size = patch_size

    def forward(self, output: tuple[torch.Tensor, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
        """Return the loss.

        Args:
            output: what an autoencoder makes of the image, (B, C, H, W[, D]), and what was hidden from it, true or 1
                there, (B, 1, H, W[, D]).
            image: as it is, (B, C, H, W[, D]).
        """
        reconstruction, hidden = output
        mean = self._patch_means(image)
        variance = self._patch_means((image - mean) ** 2)
        errors = (reconstruction - (image - mean) / (variance + _SMALLEST_VARIANCE).sqrt()) ** 2
        hidden = hidden.to(errors.dtype)
        return (errors * hidden).sum() / (hidden.sum() * image.shape[1]).clamp(min=1)

    def _patch_means(self, image: torch.Tensor) -> torch.Tensor:
        """The mean over channels and pixels of each pixel's patch, (B, 1, H, W[, D])."""
        size = image.shape[2:]
        pool = F.avg_pool2d if len(size) == 2 else F.avg_pool3d
        means = pool(image.mean(1, keepdim=True), self.patch_size, ceil_mode=True, count_include_pad=False)
        for axis, length in enumerate(size, start=2):
            means = means.repeat_interleave(self.patch_size, axis).narrow(axis, 0, length)
        return means
