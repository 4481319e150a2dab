"""The objects of a prediction, measured: where each lies, its size, its shape, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.spatial import ConvexHull
from skimage.measure import label, regionprops

from masksup_med.metrics.disagreement import disagreement

__all__ = ["Object", "Region", "measured", "objects_of", "regions_of", "touches_edge"]


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
    disagreement: float | None = None  # of several views, where there are any


class Region(NamedTuple):
    """A connected region of one class, cut out of a picture."""

    class_number: int
    corner: tuple[int, int]  # x and y of its first column and row in the picture
    mask: NDArray[np.bool_]  # (H, W), which it touches on all sides


def regions_of(classes: NDArray[np.uint8]) -> Iterator[Region]:
    """The 8-connected regions of each class above 0 in class numbers (H, W), class by class and from the top."""
    for number, box in enumerate(find_objects(classes), start=1):
        if box is not None:
            labels = label(classes[box] == number, connectivity=2)
            for region, (rows, columns) in enumerate(find_objects(labels), start=1):
                corner = box[1].start + columns.start, box[0].start + rows.start
                yield Region(number, corner, labels[rows, columns] == region)


def objects_of(classes: NDArray[np.uint8], probability: NDArray[np.float32]) -> list[Object]:
    """Measure all :func:`regions_of` a prediction.

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
    return [measured(region, probability) for region in regions_of(classes)]


def touches_edge(found: Object, shape: tuple[int, int]) -> bool:
    """Whether an object reaches the edge of its picture (H, W), so that part of it may lie beyond."""
    right, bottom = found.box_left + found.box_width, found.box_top + found.box_height
    return found.box_left == 0 or found.box_top == 0 or right == shape[1] or bottom == shape[0]


def measured(
    region: Region,
    probability: NDArray[np.float32],
    distance: NDArray[np.float32] | None = None,
    foreground: NDArray[np.float32] | None = None,
) -> Object:
    """Measure a region.

    Args:
        region: one of :func:`regions_of` a picture.
        probability: of the whole picture, shape (H, W).
        distance: how far views of the picture are apart, and ``foreground``, how much they see; see
            :func:`~masksup_med.metrics.disagreement.disagreement`.
    """
    number, (left, top), mask = region
    height, width = mask.shape
    place = slice(top, top + height), slice(left, left + width)
    (found,) = regionprops(mask.astype(np.uint8), probability[place])
    y, x = found.centroid
    return Object(
        number,
        int(found.area),
        round(float(x) + left, 2),
        round(float(y) + top, 2),
        left,
        top,
        width,
        height,
        round(float(found.equivalent_diameter_area), 4),
        round(float(found.eccentricity), 4),
        round(float(found.area) / _hull_area(mask), 4),
        round(float(found.intensity_mean), 4),
        None
        if distance is None or foreground is None
        else round(disagreement(distance[place][mask], foreground[place][mask]), 4),
    )


def _hull_area(region: NDArray[np.bool_]) -> float:
    """Area of the convex hull of a region's pixels, each a square; scikit-image's counts pixels, which takes long."""
    top = np.arange(len(region))
    left, right = region.argmax(axis=1), region.shape[1] - region[:, ::-1].argmax(axis=1)  # the ends of each row
    corners = [np.stack([rows, columns], axis=1) for rows in (top, top + 1) for columns in (left, right)]
    return float(ConvexHull(np.concatenate(corners)).volume)  # as Qhull calls the area in two dimensions
