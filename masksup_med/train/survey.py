"""What a data set looks like: sizes, colours, classes, how large and how frequent things are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import label as pieces_of
from tqdm import tqdm

from masksup_med.data.classes import as_number, packed_colours
from masksup_med.data.decode import read_image, read_label
from masksup_med.data.splits import Item
from masksup_med.errors import DataError, MaskSupError
from masksup_med.train.labels import Drawn, Seen, decide, look

__all__ = ["Picture", "Survey", "survey"]

_THUMBNAIL = (32, 32)
_Result = TypeVar("_Result")
_Label: TypeAlias = tuple[Seen, list[tuple[int, float]], bool]  # with diameters, and whether it is coloured


class Picture(NamedTuple):
    """What is kept of an image."""

    size: tuple[int, int]  # width and height
    histogram: NDArray[np.int64]  # (3, 256)
    grey: bool
    digest: str  # of its pixels
    thumbnail: NDArray[np.float32]  # flat, of mean 0 and length 1


class Survey(NamedTuple):
    """What a data set looks like."""

    pictures: list[Picture]
    drawn: Drawn
    shares: tuple[float, ...]  # of all pixels, by class, the background first
    present: NDArray[np.bool_]  # which label each class is in, (labels, classes)
    diameter: float  # median of all objects, that of a disc of the same area, in pixels

    @property
    def size(self) -> tuple[int, int]:
        """Median width and height."""
        width, height = np.median([picture.size for picture in self.pictures], axis=0)
        return round(width), round(height)

    @property
    def sizes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The smallest and the largest image, by area."""
        ordered = sorted((picture.size for picture in self.pictures), key=lambda size: size[0] * size[1])
        return ordered[0], ordered[-1]

    @property
    def empty(self) -> int:
        """How many labels have background only."""
        return int((~self.present[:, 1:].any(axis=1)).sum())

    @property
    def histogram(self) -> NDArray[np.int64]:
        """Of each channel's values in all images, (3, 256)."""
        return np.sum([picture.histogram for picture in self.pictures], axis=0)

    @property
    def mean_and_deviation(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of each channel."""
        values, weights = np.arange(256), self.histogram / self.histogram.sum(axis=1, keepdims=True)
        mean = weights @ values
        return mean, np.sqrt(weights @ values**2 - mean**2)

    def percentiles(self, *shares: float) -> tuple[int, ...]:
        """Below which value these shares of all values lie."""
        cumulated = self.histogram.sum(axis=0).cumsum() / self.histogram.sum()
        return tuple(int(np.searchsorted(cumulated, share)) for share in shares)

    @property
    def grey(self) -> bool:
        """Whether no image has colours."""
        return all(picture.grey for picture in self.pictures)


def survey(items: Sequence[Item], classes: Sequence[str] = ()) -> Survey:
    """Look at all images and labels.

    Args:
        items: with the paths ``image`` and ``label``.
        classes: what people say about the labels; see :func:`masksup_med.train.labels.parse_classes`.

    Raises:
        DataError: files cannot be read, or labels show nothing, or mean nothing.
        SettingError: it cannot be told what labels mean, or ``classes`` cannot be understood.
    """
    pictures, labels = zip(*_all(_look_at, items, "look"), strict=True)
    colours = any(coloured for *_, coloured in labels)
    if colours:
        labels = tuple(_all(partial(_label, colours=True), items, "look again, at colours"))
    seen, diameters, _ = zip(*labels, strict=True)
    if not any(value for each in seen for value in each.counts):
        raise DataError(
            f"All {len(seen)} labels are empty, such as {seen[0].path}; give labels in which something is marked."
        )
    drawn = decide(seen, colours, classes)
    background = as_number(drawn.values[0]) if drawn.values else 0
    counts = np.array([_of_classes(each, drawn) for each in seen])
    return Survey(
        list(pictures),
        drawn,
        tuple((counts.sum(axis=0) / counts.sum()).tolist()),
        counts > 0,
        float(np.median([size for found in diameters for value, size in found if value != background])),
    )


def _all(function: Callable[[Item], _Result], items: Sequence[Item], what: str) -> list[_Result]:
    """Call a function for all items, side by side, and say how many it fails for."""

    def attempt(item: Item) -> _Result | MaskSupError:
        try:
            return function(item)
        except MaskSupError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(tqdm(pool.map(attempt, items), desc=what, total=len(items), unit="image", disable=None))
    results = [outcome for outcome in outcomes if not isinstance(outcome, MaskSupError)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, MaskSupError)]
    if failures:
        others = f" (This is the first of {len(failures)} among {len(items)} images.)" if len(failures) > 1 else ""
        raise DataError(f"{failures[0]}{others}") from failures[0]
    return results


def _look_at(item: Item) -> tuple[Picture, _Label]:
    return _picture(read_image(item["image"])), _label(item)


def _label(item: Item, colours: bool = False) -> _Label:
    path = item["label"]
    try:
        pixels = packed_colours(path) if colours else read_label(path)
        coloured = colours
    except DataError:
        pixels, coloured = packed_colours(path), True  # if these cannot be read either, its error is the one to show
    seen = look(path, pixels, coloured)
    return seen, _diameters((pixels > 127).astype(np.uint8) if seen.noisy else pixels), coloured


def _picture(image: NDArray[np.uint8]) -> Picture:
    small = Image.fromarray(image).convert("L").resize(_THUMBNAIL, Image.Resampling.BOX)
    thumbnail = np.asarray(small, np.float32).ravel()
    thumbnail = thumbnail - thumbnail.mean()
    return Picture(
        (image.shape[1], image.shape[0]),
        np.stack([np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(3)]),
        bool((image[..., :2] == image[..., 1:]).all()),
        hashlib.sha256(image.tobytes()).hexdigest(),
        thumbnail / max(float(np.linalg.norm(thumbnail)), 1e-6),
    )


def _diameters(pixels: NDArray[Any]) -> list[tuple[int, float]]:
    """Of all pieces of one value, from their areas, each with the value; that of the background is not known yet."""
    _, first, areas = np.unique(pieces_of(pixels, background=-1), return_index=True, return_counts=True)
    return list(zip(pixels.ravel()[first].tolist(), np.sqrt(4 * areas / np.pi).tolist(), strict=True))


def _of_classes(seen: Seen, drawn: Drawn) -> list[int]:
    """How many pixels each class has in a label, the background first."""
    if drawn.kind == "values":
        counts = [seen.counts.get(as_number(value), 0) for value in drawn.values]
        return counts if len(drawn.names) > 1 else [counts[0], sum(counts[1:])]
    least = 128 if seen.noisy else 1
    foreground = sum(count for value, count in seen.counts.items() if value >= least)
    return [sum(seen.counts.values()) - foreground, foreground]
