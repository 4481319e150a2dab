"""The objects of a slide: found band by band, then each cut out and measured as those of pictures are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label

from masksup_med.metrics.objects import Object, measured, regions_of
from masksup_med.outputs.polygons import Ring, outline
from masksup_med.predict.slides.grid import Box
from masksup_med.predict.slides.probabilities import Assembled

__all__ = ["ObjectFinder", "cut_out"]

_MOST_PIXELS = 1 << 24  # of an object's box; a larger object is measured in less detail


class ObjectFinder:
    """Finds the 8-connected regions of a slide from bands of its class numbers, from the top to the bottom."""

    def __init__(self) -> None:
        self._top = 0
        self._boxes: list[NDArray[np.int64]] = [np.zeros((0, 5), np.int64)]  # class, left, top, right, bottom
        self._count = 0
        self._pairs: list[NDArray[np.int64]] = [np.zeros((2, 0), np.int64)]  # parts that are one
        self._last: tuple[NDArray[np.uint8], NDArray[np.int64]] | None = None  # classes and parts of the last row

    def add(self, band: NDArray[np.uint8]) -> None:
        """Take the next rows of the slide, shape (rows, width)."""
        parts = label(band, connectivity=2)
        found = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in find_objects(parts)]
        if found:
            top, left, bottom, right = np.array(found, np.int64).T
            classes = np.zeros(len(found) + 1, np.int64)
            classes[parts] = band
            self._boxes.append(np.stack([classes[1:], left, top + self._top, right, bottom + self._top], axis=1))
        edges = parts[[0, -1]].astype(np.int64)
        numbers = np.where(edges > 0, edges + self._count, 0)  # from 1, over all bands
        if self._last is not None:
            self._join(*self._last, band[0], numbers[0])
        self._last = band[-1], numbers[1]
        self._top += len(band)
        self._count += len(found)

    def boxes(self) -> list[tuple[int, Box]]:
        """Class and place of each object, class by class and from the top."""
        first, second = np.concatenate(self._pairs, axis=1) - 1
        graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(self._count, self._count))
        count, of_part = connected_components(graph, directed=False) if self._count else (0, np.zeros(0, int))
        parts = np.concatenate(self._boxes)
        boxes = np.zeros((count, 5), np.int64)
        boxes[:, 1:3] = np.iinfo(np.int64).max
        boxes[of_part, 0] = parts[:, 0]
        np.minimum.at(boxes[:, 1:3], of_part, parts[:, 1:3])
        np.maximum.at(boxes[:, 3:5], of_part, parts[:, 3:5])
        order = np.lexsort((boxes[:, 1], boxes[:, 2], boxes[:, 0]))
        return [(int(number), Box(*map(int, box))) for number, *box in boxes[order]]

    def _join(
        self,
        classes: NDArray[np.uint8],
        parts: NDArray[np.int64],
        next_classes: NDArray[np.uint8],
        next_parts: NDArray[np.int64],
    ) -> None:
        """Note which parts touch across the seam between two rows, diagonals included."""
        width = len(parts)
        for shift in (-1, 0, 1):
            above, below = slice(max(0, -shift), width - max(0, shift)), slice(max(0, shift), width + min(0, shift))
            touch = (classes[above] == next_classes[below]) & (parts[above] > 0)
            self._pairs.append(np.unique(np.stack([parts[above][touch], next_parts[below][touch]]), axis=1))


class Cut(NamedTuple):
    """An object, and the rings of its polygon."""

    measures: Object
    rings: list[Ring]


def cut_out(assembled: Assembled, number: int, box: Box) -> Iterator[Cut]:
    """Measure and trace the object of a class that fills a box.

    One whose box has more than 17 million pixels is seen at every n-th pixel, where it may fall into parts: the largest
    stands for it. Its figures are those of the slide's pixels all the same.
    """
    width, height = box.right - box.left, box.bottom - box.top
    step = math.ceil(math.sqrt(width * height / _MOST_PIXELS))
    prediction = assembled.predict(box, step)
    regions = list(regions_of((prediction.classes == number).astype(np.uint8)))
    if step == 1:
        regions = [region for region in regions if region.mask.shape == (height, width)]
    if regions:
        region = max(regions, key=lambda region: np.count_nonzero(region.mask))
        found = measured(region, *prediction[1:])._replace(class_number=number)
        corner = np.array([box.left, box.top]) - (step - 1) / 2  # what is seen is the middle of what it stands for
        rings = [ring * step + corner for ring in outline(region.mask, region.corner)]
        yield Cut(_placed(found, box, step), rings)


def _placed(found: Object, box: Box, step: int) -> Object:
    """From pixels of a part, of which every n-th was seen, to those of the slide."""
    return found._replace(
        area_px=found.area_px * step**2,
        centroid_x=round(found.centroid_x * step + box.left, 2),
        centroid_y=round(found.centroid_y * step + box.top, 2),
        box_left=box.left,
        box_top=box.top,
        box_width=box.right - box.left,
        box_height=box.bottom - box.top,
        equivalent_diameter_px=round(found.equivalent_diameter_px * step, 4),
    )
