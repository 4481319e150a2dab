"""From a batch of the loader to what the network sees: augmented, and with part hidden."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, Randomizable
from monai.utils import convert_to_tensor

from masksup_med.transforms import RandMaskd

__all__ = ["PrepareViews"]


class PrepareViews(Randomizable):
    """Prepare a batch for :class:`~masksup_med.engines.MaskSupTrainer`, on the device that trains.

    Args:
        transforms: of whole batches, dictionaries with ``image`` and ``label`` of shape (B, C, H, W[, D]): those of
            :mod:`masksup_med.transforms.batch`, or MONAI's that treat each pixel by itself.
        hiding: hides a part of each image; None where nothing is to be hidden.
    """

    def __init__(self, transforms: Sequence[Callable] = (), hiding: RandMaskd | None = None) -> None:
        self.transforms = Compose(list(transforms))
        self.hiding = hiding

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> PrepareViews:
        """Set the random state of everything that is random here."""
        super().set_random_state(seed, state)
        for part in (self.transforms, *([] if self.hiding is None else [self.hiding])):
            part.set_random_state(state=self.R)
        return self

    def __call__(
        self, batchdata: Mapping[str, Any], device: Any = None, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...], dict[str, Any]]:
        """Return image, label, what else the network is to see, and no settings, as MONAI's engines take them."""
        batch = _plain(batchdata)
        batch = {key: each.to(device, non_blocking=non_blocking, **kwargs) for key, each in batch.items()}
        batch = _plain(self.transforms(batch))  # MONAI's transforms bring the metadata back
        masked = () if self.hiding is None else (self.hiding.mask.hide_batch(batch["image"])[0],)
        return batch["image"], batch["label"].float(), masked, {}  # some losses take no integers


def _plain(batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Image and label without metadata, which only cost time from here on."""
    return {key: convert_to_tensor(batch[key], track_meta=False) for key in ("image", "label")}
