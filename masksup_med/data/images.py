"""Folders of images without labels: what goes into inference, and the masks that come out."""

from __future__ import annotations

import os
from typing import Any

from monai.config import PathLike
from monai.data import PILWriter

from masksup_med.data.pairing import files_of
from masksup_med.outputs.atomic import atomic_path

__all__ = ["AtomicPILWriter", "list_images"]


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


class AtomicPILWriter(PILWriter):
    """MONAI's writer of PNG files, which writes them whole or not at all."""

    def write(self, filename: PathLike, verbose: bool = False, **kwargs: Any) -> None:
        """Write to a temporary name, then give the file its own."""
        with atomic_path(filename) as temporary:
            super().write(temporary, verbose=verbose, **kwargs)
