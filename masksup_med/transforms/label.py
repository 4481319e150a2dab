"""Label images as people have them, turned into foreground and background."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_numpy

from masksup_med.errors import DataError

__all__ = ["ForegroundLabel", "ForegroundLabelD", "ForegroundLabelDict", "ForegroundLabeld"]

_NEAR_BLACK, _NEAR_WHITE = 32, 223  # JPEG noise stays on the far sides of these
_MOST_BETWEEN = 0.02  # share of pixels; Kvasir-SEG's JPEG masks have 0.0002 at most
_MOST_CHANGES = 0.25  # share of neighbouring pixels that differ; GlaS has 0.017 at most, pictures 0.47 at least


class ForegroundLabel(Transform):
    """Tell foreground from background in a label image, whichever of three ways it is drawn.

    - background 0 and one other value, such as 0/1 or 0/255: what is not 0 is foreground;
    - black and white with noise, as JPEG leaves it (values up to 255, hardly any between): above 127;
    - instances numbered 1, 2, … n: what is not 0 is foreground.

    Takes ``(1, H, W[, D])`` of any type and returns the same shape and type with 0 and 1.

    Raises:
        DataError: when the values are none of these, as in a photograph or a map of several classes with gaps.
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012 (MONAI's way to declare it)

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """Return 1 where the label is foreground and 0 elsewhere."""
        label = convert_to_numpy(img)
        values = np.unique(label)
        if np.count_nonzero(values) <= 1:
            foreground = label != 0
        elif _is_noisy_black_and_white(label):  # before the next: such a mask can have all values from 0 to 255
            foreground = label > 127
        elif _is_numbered(values) and not _is_patchwork(label):
            foreground = label != 0
        else:
            name = getattr(img, "meta", {}).get("filename_or_obj", "array")
            raise DataError(
                f"Label {name} has {len(values)} different values from {values[0]:g} to {values[-1]:g}: it is "
                "neither a black-and-white mask nor instances numbered from 1; give the mask, not the image."
            )
        return convert_to_dst_type(foreground, img)[0]


class ForegroundLabeld(MapTransform):
    """Dictionary version of :class:`ForegroundLabel`."""

    backend = ForegroundLabel.backend

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.foreground = ForegroundLabel()

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Return ``data`` with its labels as 0 and 1."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.foreground(d[key])
        return d


ForegroundLabelD = ForegroundLabelDict = ForegroundLabeld


def _is_numbered(values: np.ndarray) -> bool:
    numbers = values[values != 0]
    return np.array_equal(numbers, np.arange(1, len(numbers) + 1))


def _is_patchwork(label: np.ndarray) -> bool:
    """Whether neighbouring pixels differ too often for regions with an outline."""
    return any(np.mean(np.diff(label, axis=axis) != 0) > _MOST_CHANGES for axis in range(1, label.ndim))


def _is_noisy_black_and_white(label: np.ndarray) -> bool:
    between = np.mean((label >= _NEAR_BLACK) & (label <= _NEAR_WHITE))
    return bool(label.min() >= 0 and _NEAR_WHITE < label.max() <= 255 and between < _MOST_BETWEEN)
