"""The model that a server answers with: a working copy of a bundle, opened again when its weights have changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masksup_med.bundle.bundle import Bundle
from masksup_med.bundle.predictor import Predictor
from masksup_med.data.decode import read_image
from masksup_med.errors import SettingError
from masksup_med.inferers.views import View

__all__ = ["Served"]


class Served:
    """Predicts with the weights that are there when it is asked.

    Args:
        folder: of the bundle.
        device: such as ``cpu``; what the bundle chooses by default.
        views: beside the picture as it is.
    """

    def __init__(self, folder: Path, device: str | None = None, views: Sequence[View] = ()) -> None:
        self._folder, self._device, self._views = folder, device, views
        self._stamp: tuple[int, int] | None = None
        self.predictor = self._opened()

    def __call__(self, image: Path, box: Sequence[int] | None = None) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Predict an image, or a part of it.

        Args:
            image: its file.
            box: left, top, width and height of the part, in pixels; what lies beyond the image is left out.

        Returns:
            Class numbers, shape (H, W), and x and y of the first of them in the image.

        Raises:
            DataError: the image cannot be read.
            SettingError: the part lies beyond it.
        """
        picture = read_image(image)
        left, top, right, bottom = _inside(box, picture.shape) if box else (0, 0, *picture.shape[1::-1])
        predictor = self.current()
        return predictor(np.ascontiguousarray(picture[top:bottom, left:right])).classes, (left, top)

    def current(self) -> Predictor:
        """The predictor with the weights as they are now."""
        if self._stamp != self._seen():
            self.predictor = self._opened()
        return self.predictor

    def _opened(self) -> Predictor:
        self._stamp = self._seen()
        return Predictor(Bundle(self._folder), self._device, self._views)

    def _seen(self) -> tuple[int, int] | None:
        weights = self._folder / "models" / "model.pt"
        state = weights.stat()
        return state.st_mtime_ns, state.st_size


def _inside(box: Sequence[int], shape: Sequence[int]) -> tuple[int, int, int, int]:
    left, top, width, height = box
    edges = max(left, 0), max(top, 0), min(left + width, shape[1]), min(top + height, shape[0])
    if edges[0] >= edges[2] or edges[1] >= edges[3]:
        raise SettingError(
            f"The region at {left}, {top} of {width} × {height} pixels lies beyond the image, which has {shape[1]} × "
            f"{shape[0]}."
        )
    return edges
