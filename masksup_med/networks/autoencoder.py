"""Masked autoencoders, which teach a network for segmentation without labels: they fill in what is hidden of an image.

Each is called with an image, ``(B, C, H, W[, D])``, and returns what it makes of all of it, of the same shape, and what
was hidden from it, 1 there, ``(B, 1, H, W[, D])``. What it learns is in the network that it was given.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.nets import UNETR, MaskedAutoEncoderViT
from torch import nn

from masksup_med.transforms import RandMaskd

__all__ = ["ConvMaskedAutoencoder", "ViTMaskedAutoencoder", "masked_autoencoder"]

_VIT_RATIO = 0.75  # of patches that a transformer does not see, as in He et al. 2022
_DECODER_LAYERS = 4


def masked_autoencoder(network: nn.Module, hiding: RandMaskd) -> ConvMaskedAutoencoder | ViTMaskedAutoencoder:
    """Return the masked autoencoder that suits a network.

    Args:
        network: to be taught; one with convolutions needs as many channels out as in.
        hiding: what hides from networks with convolutions; transformers leave patches out by themselves.
    """
    return ViTMaskedAutoencoder(network) if isinstance(network, UNETR) else ConvMaskedAutoencoder(network, hiding)


class ConvMaskedAutoencoder(nn.Module):
    """Any network for segmentation, given images with parts filled, in the manner of SimMIM (Xie et al., CVPR 2022).

    Args:
        network: with as many channels out as in.
        hiding: hides a part of each image.
    """

    def __init__(self, network: nn.Module, hiding: RandMaskd) -> None:
        super().__init__()
        self.network = network
        self._hiding = hiding

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the whole image as the network imagines it, and what was hidden."""
        masked, hidden = self._hiding.mask.hide_batch(image)
        return self.network(masked), hidden

    def learnt(self) -> dict[str, torch.Tensor]:
        """The network's weights."""
        return self.network.state_dict()


class ViTMaskedAutoencoder(nn.Module):
    """MONAI's masked autoencoder around the transformer of its ``UNETR``, in two dimensions.

    He et al., CVPR 2022 (arXiv:2111.06377). The transformer sees a quarter of the patches; a smaller one, used for
    nothing else, makes pixels of what it says. Seeds of torch decide which patches.

    Args:
        network: whose transformer is to be taught.
    """

    def __init__(self, network: UNETR) -> None:
        super().__init__()
        vit: Any = network.vit
        stem, block = vit.patch_embedding.patch_embeddings, vit.blocks[0]
        self._grid, self._patch = network.feat_size, network.patch_size[0]
        self._vit = [network.vit]  # in a list, so that its weights are not there twice
        self.autoencoder = MaskedAutoEncoderViT(
            in_channels=stem.in_channels,
            img_size=[side * self._patch for side in self._grid],
            patch_size=self._patch,
            hidden_size=network.hidden_size,
            mlp_dim=block.mlp.linear1.out_features,
            num_layers=len(vit.blocks),
            num_heads=block.attn.num_heads,
            masking_ratio=_VIT_RATIO,
            decoder_hidden_size=network.hidden_size,
            decoder_mlp_dim=block.mlp.linear1.out_features,
            decoder_num_layers=_DECODER_LAYERS,
            decoder_num_heads=block.attn.num_heads,
            spatial_dims=2,
        )
        self.autoencoder.patch_embedding = vit.patch_embedding
        self.autoencoder.blocks = nn.Sequential(*vit.blocks, vit.norm)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the whole image as the transformers imagine it, and what was hidden."""
        patches, hidden = self.autoencoder(image)
        reconstruction = F.pixel_shuffle(patches.mT.unflatten(2, self._grid), self._patch)
        hidden = hidden.to(image.dtype).unflatten(1, self._grid)[:, None]
        return reconstruction, F.interpolate(hidden, scale_factor=self._patch)

    def learnt(self) -> dict[str, torch.Tensor]:
        """The transformer's weights, as the network names them."""
        return {f"vit.{name}": value for name, value in self._vit[0].state_dict().items()}
