"""Small masks in folders, as the tests of this folder want them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masksup_med.evaluate.reports import evaluation


def square(top: int, left: int, side: int, size: tuple[int, int] = (40, 50)) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[top : top + side, left : left + side] = 255
    return mask


def write(folder: Path, pictures: Mapping[str, np.ndarray]) -> Path:
    for name, picture in pictures.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return folder


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@contextmanager
def without_plots() -> Iterator[None]:
    """Evaluations without their reports' plots, which take most of the time where masks are small and few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "_histograms", lambda *_: [])
        patch.setattr(evaluation, "_plots", lambda *_: [])
        yield


LABELS = {
    "a.png": square(5, 5, 10),
    "b.png": square(10, 20, 20),
    "deep/c.png": np.zeros((40, 50), np.uint8),
    "d.png": square(2, 2, 4),
}
PREDS = {
    "a.png": square(5, 5, 10),  # all of it
    "b.png": square(10, 20, 10),  # a quarter of it
    "deep/c.png": np.zeros((40, 50), np.uint8),  # rightly nothing
}  # d is missing
