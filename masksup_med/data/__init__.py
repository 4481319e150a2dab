"""Readers, the layouts of public data sets, and grouped splits; the readers alone need MONAI."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from masksup_med.data.datalist import check_datalist, datalist_digest, load_datalist, part, save_datalist
from masksup_med.data.decode import frames, image_size, pixel_size, read_image, read_label
from masksup_med.data.layouts import list_pairs
from masksup_med.data.splits import split_by_group

if TYPE_CHECKING:
    from masksup_med.data.images import AtomicPILWriter, list_images, training_images
    from masksup_med.data.readers import ClassFileReader, ImageFileReader, LabelFileReader

__all__ = [
    "AtomicPILWriter",
    "ClassFileReader",
    "ImageFileReader",
    "LabelFileReader",
    "check_datalist",
    "datalist_digest",
    "frames",
    "image_size",
    "list_images",
    "list_pairs",
    "load_datalist",
    "part",
    "pixel_size",
    "read_image",
    "read_label",
    "save_datalist",
    "split_by_group",
    "training_images",
]

for _name in ("tifffile", "nibabel.global"):  # what they log may quote a file, and is in the error if it matters
    logging.getLogger(_name).setLevel(logging.CRITICAL)


def __getattr__(name: str) -> Any:
    """Import MONAI, which takes seconds, for those only who ask for what is built on it."""
    if name in ("ClassFileReader", "ImageFileReader", "LabelFileReader"):
        from masksup_med.data import readers

        return getattr(readers, name)
    if name in ("AtomicPILWriter", "list_images", "training_images"):
        from masksup_med.data import images

        return getattr(images, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
