"""Trainings that several tests look at."""

from __future__ import annotations

import contextlib
import functools
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from masksup_med.data.decode import read_label
from tests.train.made import coloured, train, write

COLOURS = [(0, 0, 0), (255, 0, 0), (0, 0, 255)]


class Trained(NamedTuple):
    images: Path
    labels: Path
    bundle: Path
    said: str


@pytest.fixture(scope="session", autouse=True)
def stored(empty_store: Path) -> Iterator[None]:
    """MLflow takes seconds to make a store: each bundle starts with a copy of an empty one."""
    from masksup_med.train import run

    begin = run.begin

    def with_store(folder: Path, *others):
        seen = begin(folder, *others)
        shutil.copy(empty_store, folder / "eval")
        return seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "begin", with_store)
        yield


@pytest.fixture(scope="session")
def trained(phantoms: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """A function that gives a bundle trained on ten phantoms: on ``masks``, ``classes`` or ``colours``."""

    @functools.cache
    def make(kind: str) -> Trained:
        folder = tmp_path_factory.mktemp(kind)
        images = phantoms("polyp") / "images"
        for path in sorted((phantoms("polyp") / "labels").iterdir()):
            write(folder / "labels" / f"{path.stem}_mask.png", drawn_as(kind, read_label(path)))
        more = {"masks": (), "classes": ("--classes", "1:left", "2:right"), "colours": ()}[kind]
        with contextlib.redirect_stdout(io.StringIO()) as said:
            assert train(images, folder / "labels", folder / "made" / "my_bundle", *more) == 0
        return Trained(images, folder / "labels", folder / "made" / "my_bundle", said.getvalue())

    return make


def drawn_as(kind: str, mask: np.ndarray) -> np.ndarray:
    if kind == "masks":
        return mask
    classes = (mask > 0).astype(np.uint8)
    classes[:, classes.shape[1] // 2 :] *= 2  # what is on the right half is of another class
    return classes if kind == "classes" else coloured(classes, COLOURS)


def opened(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))
