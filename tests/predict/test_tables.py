"""images.csv and measurements.csv, from lines of the manifest."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from masksup_med.metrics.objects import Object
from masksup_med.predict.tables import IMAGES, MEASUREMENTS, write_tables

OBJECT = Object(1, 120, 10.5, 20.25, 5, 15, 12, 11, 12.3608, 0.4, 0.95, 0.875)
OBJECT_COLUMNS = [
    "image", "object", "class", "area_px", "area_mm2", "area_um2", "centroid_x", "centroid_y", "box_left", "box_top",
    "box_width", "box_height", "equivalent_diameter_px", "eccentricity", "solidity", "mean_probability",
    "disagreement",
]  # fmt: skip
IMAGE_COLUMNS = [
    "image",
    "frame",
    "status",
    "width",
    "height",
    "objects",
    "area_share",
    "tissue_share",
    "mean_confidence",
    "disagreement",
    "flags",
    "error",
]


def done(
    image: str, *objects: dict[str, Any], pixel_size: tuple[float, float] | None = None, **more: Any
) -> dict[str, Any]:
    measured = {"width": 40, "height": 30, "pixel_size_mm": pixel_size, "area_share": 0.1, "mean_confidence": 0.9}
    line = {"image": image, "status": "done", **measured, "flags": [], "objects": list(objects), "error": None}
    return {**line, "outputs": {}, "seconds": 1.5, "bundle": "b", "input_sha256": "0", **more}


def named(name: str, found: Object = OBJECT) -> dict[str, Any]:
    return {"class": name, **found._asdict()}


def failed(image: str, error: str) -> dict[str, Any]:
    return {"image": image, "status": "failed", "outputs": {}, "seconds": 0, "error": error}


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_row_for_each_image_and_each_object(tmp_path: Path) -> None:
    lines = [
        done("a.png", named("polyp"), named("lesion", OBJECT._replace(area_px=7)), flags=["at_edge", "tiled"]),
        done("b/c, d.png", flags=["nothing_found"], area_share=0.0),
        failed("e.png", 'Cannot read image e.png: it is "empty"; copy it again.'),
    ]
    write_tables(tmp_path, iter(lines))
    images = rows(tmp_path / IMAGES)
    assert list(images[0]) == IMAGE_COLUMNS
    assert [tuple(row.values()) for row in images] == [
        ("a.png", "", "done", "40", "30", "2", "0.1", "", "0.9", "", "at_edge tiled", ""),
        ("b/c, d.png", "", "done", "40", "30", "0", "0.0", "", "0.9", "", "nothing_found", ""),
        (
            "e.png",
            "",
            "failed",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            'Cannot read image e.png: it is "empty"; copy it again.',
        ),
    ]
    objects = rows(tmp_path / MEASUREMENTS)
    assert list(objects[0]) == OBJECT_COLUMNS
    first = [
        "a.png",
        "1",
        "polyp",
        "120",
        "",
        "",
        "10.5",
        "20.25",
        "5",
        "15",
        "12",
        "11",
        "12.3608",
        "0.4",
        "0.95",
        "0.875",
        "",
    ]
    assert list(objects[0].values()) == first
    assert [(row["image"], row["object"], row["class"], row["area_px"]) for row in objects] == [
        ("a.png", "1", "polyp", "120"),
        ("a.png", "2", "lesion", "7"),
    ]
    assert [path.name for path in sorted(tmp_path.iterdir())] == [IMAGES, MEASUREMENTS]


def test_tables_of_nothing_have_their_headings(tmp_path: Path) -> None:
    write_tables(tmp_path, [])
    assert (tmp_path / IMAGES).read_text() == ",".join(IMAGE_COLUMNS) + "\n"
    assert (tmp_path / MEASUREMENTS).read_text() == ",".join(OBJECT_COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("pixel_size", "mm2", "um2"),
    [
        (None, "", ""),
        ((0.2, 0.2), "4.8", ""),
        ((0.5, 0.25), "15.0", ""),
        ((0.01, 0.01), "0.012", ""),  # a hundredth of a millimetre is not smaller than that
        ((0.00062, 0.00062), "", "46.128"),  # GlaS: 120 × 0.62² µm²
        ((0.005, 0.02), "", "12000.0"),
        ([0.1, 0.1], "1.2", ""),  # as JSON gives it back
    ],
)
def test_physical_areas(tmp_path: Path, pixel_size: Any, mm2: str, um2: str) -> None:
    write_tables(tmp_path, [done("a", named("polyp"), pixel_size=pixel_size)])
    (row,) = rows(tmp_path / MEASUREMENTS)
    assert (row["area_mm2"], row["area_um2"]) == (mm2, um2)
    assert row["area_px"] == "120"


def test_names_that_are_no_utf_8_and_those_that_break_lines(tmp_path: Path) -> None:
    write_tables(tmp_path, [done("\udcff.png", named("polyp")), done("a\nb.png"), done("ü.png")])
    assert [row["image"] for row in rows(tmp_path / IMAGES)] == ["\\udcff.png", "a\nb.png", "ü.png"]
    assert rows(tmp_path / MEASUREMENTS)[0]["image"] == "\\udcff.png"


def test_both_take_their_places_together_or_not_at_all(tmp_path: Path) -> None:
    write_tables(tmp_path, [done("old")])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def breaking_off() -> Any:
        yield done("new", named("polyp"))
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_tables(tmp_path, breaking_off())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_lines_are_gone_through_once_and_not_kept(tmp_path: Path) -> None:
    """Memory does not grow with their number: each is dropped before the next but one is asked for."""
    import weakref

    class Line(dict):  # type: ignore[type-arg]
        pass

    alive: list[weakref.ref[Line]] = []

    def lines() -> Any:
        for number in range(50):
            each = Line(done(f"{number:02}", named("polyp")))
            alive.append(weakref.ref(each))
            yield each
            del each
            assert sum(reference() is not None for reference in alive) <= 2

    write_tables(tmp_path, lines())
    assert len(rows(tmp_path / IMAGES)) == 50
