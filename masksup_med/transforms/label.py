"""Label images as people have them, turned into foreground and background."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_numpy

from masksup_med.data.foreground import foreground

__all__ = ["ForegroundLabel", "ForegroundLabelD", "ForegroundLabelDict", "ForegroundLabeld"]


class ForegroundLabel(Transform):
    """Tell foreground from background in a label image; see :func:`masksup_med.data.foreground.foreground`.

    Takes ``(1, H, W[, D])`` of any type and returns the same shape and type with 0 and 1.

    Raises:
        DataError: when the values are neither of a mask nor of numbered instances.
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012 (MONAI's way to declare it)

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """Return 1 where the label is foreground and 0 elsewhere."""
        label = convert_to_numpy(img)
        name = getattr(img, "meta", {}).get("filename_or_obj", "array")
        return convert_to_dst_type(foreground(label[0], name)[None], img)[0]


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
