"""The objects of a prediction, measured: where each lies, its size, its shape, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.spatial import ConvexHull
from skimage.measure import label, regionprops

__all__ = ["Object", "objects_of", "touches_edge"]


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
    solidity: float  # share of the convex hull of its pixels, each a square, that it fills
    mean_probability: float


def objects_of(classes: NDArray[np.uint8], probability: NDArray[np.float32]) -> list[Object]:
    """Measure the 8-connected regions of each class above 0, class by class and from the top.

    Args:
        classes: class numbers, shape (H, W).
        probability: of the class at each pixel, shape (H, W).

    Example::

        >>> classes = np.zeros((5, 6), np.uint8)
        >>> classes[1:3, 2:6] = 1
        >>> found = objects_of(classes, np.full((5, 6), 0.75, np.float32))[0]
        >>> found.area_px, found.centroid_x, found.centroid_y, found.solidity, found.mean_probability
        (8, 3.5, 1.5, 1.0, 0.75)
    """
    return [
        found
        for number, box in enumerate(find_objects(classes), start=1)
        if box is not None
        for found in _objects(classes[box] == number, probability[box], number, (box[1].start, box[0].start))
    ]


def touches_edge(found: Object, shape: tuple[int, int]) -> bool:
    """Whether an object reaches the edge of its picture (H, W), so that part of it may lie beyond."""
    right, bottom = found.box_left + found.box_width, found.box_top + found.box_height
    return found.box_left == 0 or found.box_top == 0 or right == shape[1] or bottom == shape[0]


def _objects(
    mask: NDArray[np.bool_], probability: NDArray[np.float32], number: int, corner: tuple[int, int]
) -> Iterator[Object]:
    """Measure the objects in a part of a picture, whose first pixel lies at (x, y)."""
    for region in regionprops(label(mask, connectivity=2), probability):
        (y, x), (top, left, bottom, right) = region.centroid, region.bbox
        yield Object(
            number,
            int(region.area),
            round(float(x) + corner[0], 2),
            round(float(y) + corner[1], 2),
            left + corner[0],
            top + corner[1],
            right - left,
            bottom - top,
            round(float(region.equivalent_diameter_area), 4),
            round(float(region.eccentricity), 4),
            round(float(region.area) / _hull_area(region.image), 4),
            round(float(region.intensity_mean), 4),
        )


def _hull_area(region: NDArray[np.bool_]) -> float:
    """Area of the convex hull of a region's pixels, each a square; scikit-image's counts pixels, which takes long."""
    top = np.arange(len(region))
    left, right = region.argmax(axis=1), region.shape[1] - region[:, ::-1].argmax(axis=1)  # the ends of each row
    corners = [np.stack([rows, columns], axis=1) for rows in (top, top + 1) for columns in (left, right)]
    return float(ConvexHull(np.concatenate(corners)).volume)  # as Qhull calls the area in two dimensions
