"""The objects of a prediction, measured: where each lies, its size, its shape, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label, regionprops_table

__all__ = ["Object", "objects_of", "touches_edge"]

_PROPERTIES = (
    "area",
    "centroid",
    "bbox",
    "equivalent_diameter_area",
    "eccentricity",
    "solidity",
    "intensity_mean",
)


class Object(NamedTuple):
    """A connected region of one class; places and lengths in pixels, the middle of the first pixel at (0, 0)."""

    class_number: int
    area_px: int
    centroid_x: float
    centroid_y: float
    box_left: int
    box_top: int
    box_width: int
    box_height: int
    equivalent_diameter_px: float  # of the circle of the same area
    eccentricity: float  # of the ellipse with the same second moments: 0 for a circle, near 1 for a line
    solidity: float  # share of its convex hull that it fills
    mean_probability: float


def objects_of(classes: NDArray[np.uint8], probability: NDArray[np.float32]) -> list[Object]:
    """Measure the 8-connected regions of each class above 0, class by class and from the top.

    Args:
        classes: class numbers, shape (H, W).
        probability: of the class at each pixel, shape (H, W).
    """
    return [found for number in np.unique(classes[classes > 0]) for found in _objects(classes, probability, number)]


def touches_edge(found: Object, shape: tuple[int, int]) -> bool:
    """Whether an object reaches the edge of its picture (H, W), so that part of it may lie beyond."""
    right, bottom = found.box_left + found.box_width, found.box_top + found.box_height
    return found.box_left == 0 or found.box_top == 0 or right == shape[1] or bottom == shape[0]


def _objects(classes: NDArray[np.uint8], probability: NDArray[np.float32], number: int) -> Iterator[Object]:
    regions = label(classes == number, connectivity=2)
    table: dict[str, Any] = regionprops_table(regions, probability, properties=_PROPERTIES)
    for area, y, x, top, left, bottom, right, *shape in zip(*(each.tolist() for each in table.values()), strict=True):
        shape = [round(value, 4) for value in shape]
        yield Object(int(number), int(area), round(x, 2), round(y, 2), left, top, right - left, bottom - top, *shape)
