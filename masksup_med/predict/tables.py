"""The manifest as two tables: a row for each image, and one for each object."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from masksup_med.metrics.objects import Object
from masksup_med.outputs.atomic import atomic_paths
from masksup_med.predict.manifest import Line

__all__ = ["IMAGES", "MEASUREMENTS", "physical_area", "write_tables"]

IMAGES, MEASUREMENTS = "images.csv", "measurements.csv"
_IMAGE = (
    *("image", "frame", "status", "width", "height", "objects", "area_share", "tissue_share"),
    *("mean_confidence", "disagreement", "flags", "error"),
)
_OBJECT = ("image", "object", "class", "area_px", "area_mm2", "area_um2", *Object._fields[2:])


def write_tables(folder: Path, lines: Iterable[Line]) -> None:
    """Write both tables, from lines that are gone through once; the two files take their places together."""
    with atomic_paths(folder, IMAGES, MEASUREMENTS) as paths, ExitStack() as stack:
        images, objects = (stack.enter_context(_table(*each)) for each in zip(paths, (_IMAGE, _OBJECT), strict=True))
        for line in lines:
            images.writerow(_image_row(line))
            objects.writerows(_object_rows(line))


@contextmanager
def _table(path: Path, columns: Sequence[str]) -> Iterator[csv.DictWriter[str]]:
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        yield table


def _image_row(line: Line) -> dict[str, Any]:
    row = {name: line.get(name) for name in _IMAGE}
    if line["status"] == "done":
        row |= {"objects": len(line["objects"]), "flags": " ".join(line["flags"])}
    return row


def _object_rows(line: Line) -> Iterator[dict[str, Any]]:
    for number, found in enumerate(line.get("objects", ()), start=1):
        row = {name: value for name, value in found.items() if name in _OBJECT}
        row |= physical_area(found["area_px"], line["pixel_size_mm"])
        yield {"image": line["image"], "object": number, **row}


def physical_area(area: int, pixel_size: list[float] | None) -> dict[str, float]:
    """The area in mm², or in µm² where a pixel is smaller than a hundredth of a millimetre."""
    if pixel_size is None:
        return {}
    square_mm = area * pixel_size[0] * pixel_size[1]
    microscopic = min(pixel_size) < 0.01
    return {"area_um2": round(square_mm * 1e6, 4)} if microscopic else {"area_mm2": round(square_mm, 6)}
