"""Small data sets to train on, made from arrays, and the command as its users run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masksup_med.cli import main
from masksup_med.train.choices import Choice
from masksup_med.train.labels import Drawn
from masksup_med.train.survey import Picture, Survey

Array = NDArray[Any]


def write(path: Path, pixels: Array, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)
    return path


def noise(seed: int, size: tuple[int, int] = (64, 64)) -> Array:
    """An image like no other: patches of random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


def squares(*values: int, size: tuple[int, int] = (64, 64), side: int = 16) -> Array:
    """A label of 0 with a square of each value, one beside the other."""
    label = np.zeros(size, np.uint16 if max(values, default=0) > 255 else np.uint8)
    columns = size[1] // (side + 4)
    for place, value in enumerate(values):
        row, column = (2 + (side + 4) * part for part in divmod(place, columns))
        label[row : row + side, column : column + side] = value
    return label


def data_set(folder: Path, labels: Sequence[Array]) -> tuple[Path, Path]:
    """Folders of images and labels of the same names, and of the labels' sizes."""
    for number, label in enumerate(labels):
        write(folder / "images" / f"{number:02}.png", noise(number, label.shape[:2]))
        write(folder / "labels" / f"{number:02}.png", label)
    return folder / "images", folder / "labels"


def items_of(folders: tuple[Path, Path]) -> list[dict[str, str]]:
    """What a datalist would hold of such a data set, without groups."""
    images, labels = folders
    return [{"image": str(path), "label": str(labels / path.name)} for path in sorted(images.iterdir())]


def coloured(label: Array, colours: Sequence[tuple[int, int, int]]) -> Array:
    """A label of class numbers in colours."""
    return np.array(colours, np.uint8)[label]


def train(images: Path | str, labels: Path | str, folder: Path, *more: object, epochs: int = 2) -> int:
    return main(["train", *map(str, (images, labels, "-o", folder, "--epochs", epochs, *more))])


def drawn(*names: str, kind: str = "mask", values: Sequence[int | str] = ()) -> Drawn:
    return Drawn(kind, tuple(values), names or ("polyp",), "so they are")


def surveyed(
    size: tuple[int, int] = (128, 128), diameter: float = 40, levels: tuple[int, int] = (0, 255), **others: Any
) -> Survey:
    """A survey of one image whose values are spread evenly between two levels."""
    histogram = np.zeros((3, 256), np.int64)
    histogram[:, levels[0] : levels[1] + 1] = 10
    picture = Picture(size, histogram, False, "", np.zeros(1024, np.float32))
    given = {
        "drawn": drawn(),
        "shares": (0.9, 0.1),
        "present": np.array([[True, True]]),
        "diameter": diameter,
        **others,
    }
    return Survey([picture], **given)


def settings_of(choices: Sequence[Choice]) -> Mapping[str, Any]:
    return {key: value for choice in choices for key, value in choice.settings.items()}
