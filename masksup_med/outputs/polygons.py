"""Predictions as polygons: GeoJSON that QuPath imports, and that any program for geometry reads.

A polygon goes through the middles between the pixels that belong to an object and those that do not, so that
drawing it again gives exactly the mask: a pixel is inside if its middle is. Its rings never touch themselves or each
other, whatever the object.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from contourpy import FillType, contour_generator
from numpy.typing import NDArray

from masksup_med.outputs.atomic import atomic_path

__all__ = ["Ring", "outline", "write_polygons"]

Ring = NDArray[np.float64]
# Above the middle of two diagonal pixels, 0.5, where contourpy joins them as 8-connected objects are joined.
_LEVEL = 0.49


def outline(region: NDArray[np.bool_], corner: tuple[int, int] = (0, 0)) -> list[Ring]:
    """Trace an object.

    Args:
        region: one 8-connected object, shape (H, W).
        corner: x and y of its first pixel in the picture.

    Returns:
        Rings of shape (points, 2), x and y in pixels with (0, 0) the upper left corner of the first pixel, the last
        point again the first: the outer ring, then holes, which run the other way round.

    Example::

        >>> outline(np.ones((1, 1), bool))[0].tolist()
        [[0.0, 0.5], [0.5, 0.0], [1.0, 0.5], [0.5, 1.0], [0.0, 0.5]]
    """
    lines = contour_generator(z=np.pad(region, 1).astype(np.float64), fill_type=FillType.OuterOffset)
    filled: Any = lines.filled(_LEVEL, np.inf)
    (points,), (offsets,) = filled
    halves = np.rint(points * 2) / 2 - 0.5 + corner  # the padding's pixel away, and half of one to the corner
    return [_without_straights(halves[start:end]) for start, end in pairwise(offsets)]


def write_polygons(path: Path, objects: Iterable[tuple[dict[str, Any], list[Ring]]]) -> None:
    """Write objects as a GeoJSON FeatureCollection, one at a time; a file of that name is whole or untouched.

    Args:
        path: where to.
        objects: properties and rings of each.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, (properties, rings) in enumerate(objects):
            geometry = {"type": "Polygon", "coordinates": [_numbers(ring) for ring in rings]}
            feature = {"type": "Feature", "geometry": geometry, "properties": properties}
            file.write(("," if number else "") + "\n" + json.dumps(feature, ensure_ascii=False, allow_nan=False))
        file.write("\n]}\n")


def _without_straights(ring: Ring) -> Ring:
    """Drop the points at which a ring goes straight on; it begins with a corner."""
    points = ring[:-1]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    corners = points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
    return np.concatenate([corners, corners[:1]])


def _numbers(ring: Ring) -> list[list[float]]:
    """Whole numbers without a point, for a file half as large."""
    return [[int(value) if value == int(value) else value for value in point] for point in ring.tolist()]
