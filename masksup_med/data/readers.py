"""MONAI image readers for 2D pictures and their labels.

Example, in a bundle's config::

    - _target_: LoadImaged
      keys: image
      reader: masksup_med.data.ImageFileReader
    - _target_: LoadImaged
      keys: label
      reader: masksup_med.data.LabelFileReader
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import PILReader
from monai.utils import ensure_tuple
from numpy.typing import NDArray
from PIL import Image

from masksup_med.data.classes import Value, read_class_label
from masksup_med.data.decode import read_image, read_label

__all__ = ["ClassFileReader", "ImageFileReader", "LabelFileReader"]


class _FileReader(PILReader, ABC):
    """MONAI's PILReader with this project's decoders, which refuse what they cannot read right.

    Args:
        reverse_indexing: give arrays as (W, H[, C]), as all readers of MONAI do and its writers expect.
    """

    def __init__(self, reverse_indexing: bool = True) -> None:
        super().__init__(reverse_indexing=reverse_indexing)

    def read(self, data: Sequence[PathLike] | PathLike | np.ndarray, **kwargs: Any) -> list[Path]:
        """Take the paths only; :meth:`get_data` decodes them.

        When ``read`` fails, MONAI's LoadImage tries its other readers, which scramble the very files that are
        refused here. What fails in ``get_data`` stays failed.
        """
        return [Path(path) for path in ensure_tuple(data)]

    def get_data(self, img: Sequence[Path]) -> tuple[np.ndarray, dict]:
        """Decode files, several of them stacked as channels.

        Returns:
            Array of shape (W, H, 3) for images and (W, H) for labels, and MONAI's metadata.

        Raises:
            MissingDataError: there is no such file.
            DataError: a file cannot be read, or not for certain.
        """
        return super().get_data([Image.fromarray(self._decode(path)) for path in img])

    @abstractmethod
    def _decode(self, path: Path) -> NDArray[Any]: ...


class ImageFileReader(_FileReader):
    """Read pictures as 8-bit RGB, whatever they were; see :func:`masksup_med.data.read_image`."""

    def _decode(self, path: Path) -> NDArray[Any]:
        return read_image(path)


class LabelFileReader(_FileReader):
    """Read labels as one channel of unchanged integers; see :func:`masksup_med.data.read_label`."""

    def _decode(self, path: Path) -> NDArray[Any]:
        return read_label(path)


class ClassFileReader(_FileReader):
    """Read labels as class numbers; see :func:`masksup_med.data.classes.read_class_label`.

    Args:
        values: which value, or colour, stands for class 0, 1, ….
    """

    def __init__(self, values: Sequence[Value]) -> None:
        super().__init__()
        self.values = values

    def _decode(self, path: Path) -> NDArray[Any]:
        return read_class_label(path, self.values)
