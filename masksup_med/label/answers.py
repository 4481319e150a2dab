"""What a server answers with: the outlines of what was found, in the formats of the programs that ask.

A polygon goes as :func:`masksup_med.outputs.polygons.outline` draws it. Where a format has no word for holes, each hole
is joined to what is around it by a cut without width, so that filling the polygon leaves the hole empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from masksup_med.metrics.objects import regions_of
from masksup_med.outputs.overlay import CLASS_COLOURS
from masksup_med.outputs.page import css_colour
from masksup_med.outputs.polygons import Ring, outline

__all__ = ["Found", "asap", "cvat", "dsa", "found_in", "joined"]


class Found(NamedTuple):
    """An object."""

    name: str  # of its class
    colour: tuple[int, int, int]
    rings: list[Ring]  # the outer one, then its holes


def found_in(classes: NDArray[np.uint8], names: dict[int, str], corner: tuple[int, int] = (0, 0)) -> list[Found]:
    """The objects in class numbers, shape (H, W).

    Args:
        classes: the class numbers.
        names: of the classes.
        corner: x and y, in the whole picture, of the first pixel.
    """
    return [
        Found(
            names[number],
            CLASS_COLOURS[(number - 1) % len(CLASS_COLOURS)],
            outline(mask, (left + corner[0], top + corner[1])),
        )
        for number, (left, top), mask in regions_of(classes)
    ]


def cvat(found: Sequence[Found]) -> list[dict[str, Any]]:
    """What the detector of MONAI Label's plugin for CVAT reads: contours by label."""
    elements = [{"label": each.name, "contours": [joined(each.rings).tolist()]} for each in found]
    return [{"annotation": {"name": "masksup", "elements": elements}}]


def asap(found: Sequence[Found]) -> str:
    """ASAP's XML, which MONAI Label's extension for QuPath reads, and :mod:`masksup_med.label.annotations`, too."""
    root = ElementTree.Element("ASAP_Annotations")
    annotations = ElementTree.SubElement(root, "Annotations")
    for each in found:
        colour = css_colour(each.colour)
        attributes = {"Name": each.name, "Type": "Polygon", "PartOfGroup": each.name, "Color": colour}
        coordinates = ElementTree.SubElement(
            ElementTree.SubElement(annotations, "Annotation", attributes), "Coordinates"
        )
        for order, (x, y) in enumerate(joined(each.rings)[:-1]):
            place = {"Order": str(order), "X": f"{x:g}", "Y": f"{y:g}"}
            ElementTree.SubElement(coordinates, "Coordinate", place)
    groups = ElementTree.SubElement(root, "AnnotationGroups")
    for name, colour in {each.name: css_colour(each.colour) for each in found}.items():
        group = ElementTree.SubElement(groups, "Group", {"Name": name, "PartOfGroup": "None", "Color": colour})
        ElementTree.SubElement(group, "Attributes")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def dsa(found: Sequence[Found], name: str) -> dict[str, Any]:
    """An annotation of the Digital Slide Archive, whose polygons may have holes."""
    return {
        "name": name,
        "elements": [
            {
                "type": "polyline",
                "closed": True,
                "group": each.name,
                "label": {"value": each.name},
                "lineColor": "rgb({}, {}, {})".format(*each.colour),
                "lineWidth": 2,
                "points": _flat(each.rings[0]),
                "holes": [_flat(ring) for ring in each.rings[1:]],
            }
            for each in found
        ],
    }


def joined(rings: Sequence[Ring]) -> Ring:
    """One closed ring in place of several: each hole is cut open to the left, from its leftmost point.

    Args:
        rings: of shape (points, 2), closed; the outer one, then holes.
    """
    merged = rings[0]
    for hole in sorted(rings[1:], key=lambda ring: ring[:, 0].min()):  # what is left of it is merged by then
        start = int(hole[:-1, 0].argmin())
        opened = np.roll(hole[:-1], -start, axis=0)
        edge, place = _left_of(merged, opened[0])
        merged = np.concatenate([merged[: edge + 1], [place], opened, opened[:1], [place], merged[edge + 1 :]])
    return merged


def _left_of(ring: Ring, point: NDArray[np.float64]) -> tuple[int, NDArray[np.float64]]:
    """Where a line from a point to the left meets a ring first: after which of its points, and the place."""
    (x1, y1), (x2, y2) = ring[:-1].T, ring[1:].T
    crosses = (np.minimum(y1, y2) <= point[1]) & (point[1] <= np.maximum(y1, y2)) & (y1 != y2)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(crosses, x1 + (point[1] - y1) * (x2 - x1) / (y2 - y1), np.inf)
    x[x > point[0]] = -np.inf
    x[~crosses] = -np.inf
    edge = int(x.argmax())
    return edge, np.array([x[edge], point[1]])


def _flat(ring: Ring) -> list[list[float]]:
    """Points as the Digital Slide Archive has them, with a height."""
    return [[x, y, 0] for x, y in ring[:-1].tolist()]
