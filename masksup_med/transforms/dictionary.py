"""The hiding transforms for dictionaries: ``image`` stays, ``image_masked`` and ``hidden`` are added."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, Randomizable

from masksup_med.errors import SettingError
from masksup_med.transforms.array import (
    RandBlockMask,
    RandFileMask,
    RandMask,
    RandPatchMask,
    RandScribbleMask,
)

__all__ = [
    "RandBlockMaskD",
    "RandBlockMaskDict",
    "RandBlockMaskd",
    "RandFileMaskD",
    "RandFileMaskDict",
    "RandFileMaskd",
    "RandMaskd",
    "RandPatchMaskD",
    "RandPatchMaskDict",
    "RandPatchMaskd",
    "RandScribbleMaskD",
    "RandScribbleMaskDict",
    "RandScribbleMaskd",
]


class RandMaskd(MapTransform, Randomizable):
    """Hide the same random part of every ``key``: write ``<key>_masked`` for each, and one ``hidden``.

    Args:
        keys: images to hide a part of, all of one spatial size.
        mask: the array transform that draws and applies the mask.
        allow_missing_keys: whether a key that is not there is passed over.

    Raises:
        SettingError: when called with images whose spatial sizes differ.
    """

    def __init__(self, keys: KeysCollection, mask: RandMask, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask = mask
        self.backend = mask.backend

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandMaskd:
        """Set the random state, which is that of the array transform."""
        super().set_random_state(seed, state)
        self.mask.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Return ``data`` with ``<key>_masked`` and ``hidden`` added."""
        d = dict(data)
        keys = list(self.key_iterator(d))
        sizes = {key: tuple(d[key].shape[1:]) for key in keys}
        if len(set(sizes.values())) > 1:
            raise SettingError(f"Cannot hide the same part of images of different sizes: {sizes}; resize them first.")
        for i, key in enumerate(keys):
            d[f"{key}_masked"], d["hidden"] = self.mask(d[key], randomize=i == 0)
        return d


class RandPatchMaskd(RandMaskd):
    """Dictionary version of :class:`~masksup_med.transforms.array.RandPatchMask`."""

    def __init__(
        self,
        keys: KeysCollection,
        ratio: float | str | Sequence[float],
        patch_size: int = 16,
        fill: float | str = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandPatchMask(ratio, patch_size, fill), allow_missing_keys)


class RandBlockMaskd(RandMaskd):
    """Dictionary version of :class:`~masksup_med.transforms.array.RandBlockMask`."""

    def __init__(
        self,
        keys: KeysCollection,
        ratio: float | str | Sequence[float],
        patch_size: int = 16,
        fill: float | str = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandBlockMask(ratio, patch_size, fill), allow_missing_keys)


class RandScribbleMaskd(RandMaskd):
    """Dictionary version of :class:`~masksup_med.transforms.array.RandScribbleMask`."""

    def __init__(
        self,
        keys: KeysCollection,
        ratio: float | str | Sequence[float],
        fill: float | str = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandScribbleMask(ratio, fill), allow_missing_keys)


class RandFileMaskd(RandMaskd):
    """Dictionary version of :class:`~masksup_med.transforms.array.RandFileMask`."""

    def __init__(
        self,
        keys: KeysCollection,
        mask_dir: str | os.PathLike,
        ratio: float | str | Sequence[float],
        hole: str = "white",
        fill: float | str = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandFileMask(mask_dir, ratio, hole, fill), allow_missing_keys)


RandPatchMaskD = RandPatchMaskDict = RandPatchMaskd
RandBlockMaskD = RandBlockMaskDict = RandBlockMaskd
RandScribbleMaskD = RandScribbleMaskDict = RandScribbleMaskd
RandFileMaskD = RandFileMaskDict = RandFileMaskd
