"""Probabilities of a slide's tiles on disk, blended and brought to the slide's own pixels part by part."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.utils import compute_importance_map
from monai.utils import BlendMode
from numpy.typing import NDArray

from masksup_med.bundle import Predictor
from masksup_med.bundle.processing import Prediction
from masksup_med.bundle.resampling import interpolation
from masksup_med.errors import DataError
from masksup_med.outputs.atomic import atomic_path
from masksup_med.predict.slides.grid import Box, Grid

__all__ = ["Assembled", "TileStore"]

_FULL = 65535  # as which a probability of 1 is stored
_CACHED = 128 << 20  # bytes
_PART = 2048  # pixels along a side that are decided on at once


class TileStore:
    """Tiles in a folder, each a file that is there whole or not at all; used by several threads.

    Args:
        folder: for the tiles of one slide, predicted with one model; it is made if need be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache: OrderedDict[int, NDArray[np.uint16]] = OrderedDict()
        self._lock = threading.Lock()

    def has(self, number: int) -> bool:
        """Whether a tile was predicted."""
        return self._path(number).exists()

    def put(self, number: int, probabilities: torch.Tensor) -> None:
        """Store the probabilities of a tile, and maps that go with them, shape (maps, width, height)."""
        stored = np.rint(probabilities.clamp(0, 1).numpy() * np.float64(_FULL)).astype(np.uint16)
        with atomic_path(self._path(number)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, stored)

    def get(self, number: int) -> NDArray[np.uint16]:
        """What was stored of a tile, from 0 to 65535, shape (maps, width, height).

        Raises:
            DataError: its file is damaged.
        """
        with self._lock:
            if number not in self._cache:
                self._cache[number] = self._read(number)
                while len(self._cache) > 1 and len(self._cache) * self._cache[number].nbytes > _CACHED:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(number)
            return self._cache[number]

    def _read(self, number: int) -> NDArray[np.uint16]:
        try:
            with np.load(self._path(number), allow_pickle=False) as content:
                return content["arr_0"]
        except Exception:  # of several classes
            self._path(number).unlink(missing_ok=True)
            raise DataError("A tile on disk was damaged, and is removed; give the same command again.") from None

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.npz"


class Assembled:
    """A slide's prediction in the slide's own pixels, made where it is asked for.

    Args:
        grid: of its tiles.
        predicted: numbers of those that were predicted; elsewhere there is background.
        store: that has them.
        predictor: that decides.
        size: width and height of the slide.
    """

    def __init__(
        self, grid: Grid, predicted: Sequence[int], store: TileStore, predictor: Predictor, size: tuple[int, int]
    ) -> None:
        self._store, self._predictor = store, predictor
        self._numbers = np.array(predicted, int)
        self._boxes = np.array(grid.tiles)[self._numbers].reshape(-1, 4)
        self.size = size
        self._across, self._down = (interpolation(old, new) for old, new in zip(grid.size, size, strict=True))
        first = grid.tiles[0]
        self._weight = compute_importance_map(
            (first.right - first.left, first.bottom - first.top), mode=BlendMode.GAUSSIAN
        ).numpy()

    def predict(self, box: Box, step: int = 1) -> Prediction:
        """Decide what is in a part of the slide, at every ``step``-th pixel of every ``step``-th row."""
        rows = [self._row(Box(box.left, top, box.right, bottom), step) for top, bottom in _parts(*box[1::2], step)]
        return _joined(rows, axis=0)

    def _row(self, box: Box, step: int) -> Prediction:
        parts = [self._part(Box(left, box.top, right, box.bottom), step) for left, right in _parts(*box[::2], step)]
        return _joined(parts, axis=1)

    def _part(self, box: Box, step: int) -> Prediction:
        """Decide at once, for which probabilities of the whole part are in memory."""
        across, down = self._across[box.left : box.right : step], self._down[box.top : box.bottom : step]
        (left, right), (top, bottom) = (_span(matrix.indices) for matrix in (across, down))
        blended = self._blended(Box(left, top, right, bottom))
        if blended is None:
            shape = down.shape[0], across.shape[0]
            nothing = np.zeros(shape, np.float32)
            return Prediction(nothing.astype(np.uint8), nothing, *((nothing, nothing) if self._predictor.views else ()))
        probabilities, is_known = blended
        across, down = across[:, left:right], down[:, top:bottom]
        native = np.stack([(across @ each) @ down.T for each in probabilities])
        finished = self._predictor.decide(torch.from_numpy(native))
        known = ((across @ is_known) @ down.T > 0).T
        distance, foreground = (None if each is None else each * known for each in finished[2:])
        return Prediction(finished.classes * known, finished.probability * known, distance, foreground)

    def _blended(self, box: Box) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Probabilities (classes, width, height) of a part of the grid, and where there are any; None if nowhere."""
        total: NDArray[np.float32] | None = None
        weights = np.zeros((box.right - box.left, box.bottom - box.top), np.float32)
        corners, ends = np.maximum(self._boxes[:, :2], box[:2]), np.minimum(self._boxes[:, 2:], box[2:])
        for index in np.flatnonzero((corners < ends).all(axis=1)):
            stored = self._store.get(int(self._numbers[index]))
            if total is None:
                total = np.zeros((len(stored), *weights.shape), np.float32)
            inside = _slices(corners[index] - self._boxes[index, :2], ends[index] - self._boxes[index, :2])
            there = _slices(corners[index] - box[:2], ends[index] - box[:2])
            total[(slice(None), *there)] += stored[(slice(None), *inside)] * (self._weight[inside] / np.float32(_FULL))
            weights[there] += self._weight[inside]
        if total is None:
            return None
        total /= np.maximum(weights, np.finfo(np.float32).tiny)
        return total, (weights > 0).astype(np.float32)


def _joined(parts: Sequence[Prediction], axis: int) -> Prediction:
    def joined(name: str) -> Any:
        arrays = [getattr(part, name) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays, axis)

    return Prediction(*map(joined, Prediction._fields))


def _parts(start: int, end: int, step: int) -> list[tuple[int, int]]:
    """Parts of a side that are small enough, each beginning at a pixel that is seen."""
    length = max(step, _PART // step * step)
    return [(first, min(first + length, end)) for first in range(start, end, length)]


def _slices(start: NDArray[np.integer], end: NDArray[np.integer]) -> tuple[slice, slice]:
    return slice(start[0], end[0]), slice(start[1], end[1])


def _span(indices: NDArray[np.integer]) -> tuple[int, int]:
    return int(indices.min()), int(indices.max()) + 1
