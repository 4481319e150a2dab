"""Folders of images without labels: what goes into inference, and the masks that come out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.config import PathLike
from monai.data import PILWriter

from masksup_med.data.datalist import load_datalist, part
from masksup_med.data.layouts import list_pairs
from masksup_med.data.pairing import files_of
from masksup_med.errors import MissingDataError
from masksup_med.outputs.atomic import atomic_path

__all__ = ["AtomicPILWriter", "list_images", "training_images"]


def list_images(folder: str | os.PathLike[str]) -> list[dict[str, str]]:
    """List the images in a folder and its sub-folders, as MONAI's datasets take them.

    Args:
        folder: searched for PNG, JPEG, BMP and TIFF files, hidden ones left out.

    Returns:
        One ``{"image": absolute path}`` per file, in the order of the paths.

    Raises:
        MissingDataError: there is no such folder, or no image in it.
        DataError: two files differ in their suffix only, so that their masks would have one name.
    """
    return [{"image": str(path)} for path in files_of(folder, "images").values()]


def training_images(
    dataset_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], validation: float = 0.2, seed: int = 0
) -> list[dict[str, str]]:
    """List images to learn from without labels.

    Args:
        dataset_dir: data sets, as :func:`~masksup_med.data.load_datalist` takes them, of which only those images are
            listed that it has for training; or a folder of images.
        validation, seed: as for :func:`~masksup_med.data.load_datalist`.

    Raises:
        MissingDataError: there is no such folder, or no image in it.
        DataError: it is a data set whose files do not pair up or cannot be read.
    """
    if isinstance(dataset_dir, str | os.PathLike) and not _is_data_set(dataset_dir):
        return list_images(dataset_dir)
    return [{"image": item["image"]} for item in part(load_datalist(dataset_dir, validation, seed), "training")]


def _is_data_set(path: str | os.PathLike[str]) -> bool:
    if Path(path).suffix.lower() == ".json":
        return True
    try:
        list_pairs(Path(path).expanduser())
    except MissingDataError:
        return False
    return True


class AtomicPILWriter(PILWriter):
    """MONAI's writer of PNG files, which writes them whole or not at all."""

    def write(self, filename: PathLike, verbose: bool = False, **kwargs: Any) -> None:
        """Write to a temporary name, then give the file its own."""
        with atomic_path(filename) as temporary:
            super().write(temporary, verbose=verbose, **kwargs)
