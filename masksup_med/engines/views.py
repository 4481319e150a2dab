"""From a batch of the loader to what the network sees: augmented, and with part hidden where it learns from labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, Randomizable
from monai.utils import convert_to_tensor

from masksup_med.transforms import RandMaskd

__all__ = ["PrepareImages", "PrepareViews"]

Batch = dict[str, torch.Tensor]


class PrepareImages(Randomizable):
    """Prepare a batch for a masked autoencoder, on the device that trains: images, which are also what it should give.

    Args:
        transforms: of whole batches, dictionaries with ``image`` of shape (B, C, H, W[, D]): those of
            :mod:`masksup_med.transforms.batch`, or MONAI's that treat each pixel by itself.
    """

    keys: tuple[str, ...] = ("image",)

    def __init__(self, transforms: Sequence[Callable] = ()) -> None:
        self.transforms = Compose(list(transforms))

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> PrepareImages:
        """Set the random state of everything that is random here."""
        super().set_random_state(seed, state)
        self.transforms.set_random_state(state=self.R)
        return self

    def __call__(
        self, batchdata: Mapping[str, Any], device: Any = None, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Any, ...]:
        """Return the image twice, as MONAI's engines take image and label."""
        image = self.prepared(batchdata, device, non_blocking, **kwargs)["image"]
        return image, image

    def prepared(self, batchdata: Mapping[str, Any], device: Any, non_blocking: bool, **kwargs: Any) -> Batch:
        """The batch on its device, transformed, without metadata, which would only cost time from here on."""
        batch = self._plain(batchdata)
        batch = {key: each.to(device, non_blocking=non_blocking, **kwargs) for key, each in batch.items()}
        return self._plain(self.transforms(batch))  # MONAI's transforms bring the metadata back

    def _plain(self, batch: Mapping[str, Any]) -> Batch:
        return {key: convert_to_tensor(batch[key], track_meta=False) for key in self.keys}


class PrepareViews(PrepareImages):
    """Prepare a batch for :class:`~masksup_med.engines.MaskSupTrainer`, on the device that trains.

    Args:
        transforms: of whole batches, dictionaries with ``image`` and ``label`` of shape (B, C, H, W[, D]): those of
            :mod:`masksup_med.transforms.batch`, or MONAI's that treat each pixel by itself.
        hiding: hides a part of each image; None where nothing is to be hidden.
    """

    keys = ("image", "label")

    def __init__(self, transforms: Sequence[Callable] = (), hiding: RandMaskd | None = None) -> None:
        super().__init__(transforms)
        self.hiding = hiding

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> PrepareViews:
        """Set the random state of everything that is random here."""
        super().set_random_state(seed, state)
        if self.hiding is not None:
            self.hiding.set_random_state(state=self.R)
        return self

    def __call__(
        self, batchdata: Mapping[str, Any], device: Any = None, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...], dict[str, Any]]:
        """Return image, label, what else the network is to see, and no settings, as MONAI's engines take them."""
        batch = self.prepared(batchdata, device, non_blocking, **kwargs)
        masked = () if self.hiding is None else (self.hiding.mask.hide_batch(batch["image"])[0],)
        return batch["image"], batch["label"].float(), masked, {}  # some losses take no integers
