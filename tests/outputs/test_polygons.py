from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import label
from shapely import Polygon, contains_xy
from shapely.geometry import shape

from masksup_med.metrics.objects import Region, objects_of, regions_of
from masksup_med.outputs.overlay import CLASS_COLOURS
from masksup_med.outputs.polygons import Ring, outline, write_polygons
from masksup_med.predict.features import feature

DRAWN = {
    "one pixel": ["#"],
    "one pixel in the middle": ["...", ".#.", "..."],
    "row": ["#####"],
    "column": ["#", "#", "#"],
    "diagonal": ["#..", ".#.", "..#"],
    "other diagonal": ["..#", ".#.", "#.."],
    "chessboard": ["#.#.#", ".#.#.", "#.#.#", ".#.#."],
    "hole": ["###", "#.#", "###"],
    "ring of diagonals": [".#.", "#.#", ".#."],
    "holes that touch diagonally": ["####", "#.##", "##.#", "####"],
    "hole that touches the outside": ["###.", "#.#.", "##.#", "####"],
    "island in a hole": ["#####", "#...#", "#.#.#", "#...#", "#####"],
    "island in an island": ["#######", "#.....#", "#.###.#", "#.#.#.#", "#.###.#", "#.....#", "#######"],
    "edge": ["##..", "#..#", "...#", ".###"],
    "comb": ["#.#.#.#", "#######"],
}


def picture(rows: list[str]) -> np.ndarray:
    return np.array([[cell == "#" for cell in row] for row in rows], np.uint8)


def blobs(seed: int, classes: int = 1) -> np.ndarray:
    """Discs with holes, some with islands in them, on a picture of 40 × 50."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :50]
    result = np.zeros((40, 50), np.uint8)
    for _ in range(5):
        distance = np.hypot(y - rng.integers(40), x - rng.integers(50))
        for radius in sorted(rng.uniform(1, 15, 3), reverse=True):
            result[distance < radius] = rng.integers(classes + 1)
    return result


def holes(mask: np.ndarray) -> int:
    """How many 4-connected parts of what is not an 8-connected object it surrounds."""
    return label(np.pad(~mask, 1, constant_values=True))[1] - 1


def traced(classes: np.ndarray) -> list[tuple[Region, list[Ring]]]:
    return [(region, outline(region.mask, region.corner)) for region in regions_of(classes)]


def drawn(polygon: Polygon, size: tuple[int, ...]) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return contains_xy(polygon, x, y)


def check(classes: np.ndarray) -> None:
    again = np.zeros_like(classes)
    for region, rings in traced(classes):
        polygons = [Polygon(ring) for ring in rings]
        assert [each.exterior.is_ccw for each in polygons] == [True] + [False] * holes(region.mask)
        polygon = Polygon(rings[0], rings[1:])
        assert polygon.is_valid
        for ring in rings:
            assert ring.shape[1] == 2 and (ring[0] == ring[-1]).all() and (ring * 2 == np.rint(ring * 2)).all()
            steps = np.diff(np.concatenate([ring, ring[1:2]]), axis=0)
            turns = steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0]
            assert turns.all()
        inside = drawn(polygon, classes.shape)
        assert not again[inside].any()
        again[inside] = region.class_number
    np.testing.assert_array_equal(again, classes)


@pytest.mark.parametrize("rows", DRAWN.values(), ids=DRAWN)
def test_drawn_masks(rows: list[str]) -> None:
    for turn in range(4):
        check(np.rot90(picture(rows), turn))


@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 1)))
@settings(max_examples=120, derandomize=True, database=None, deadline=None)
def test_any_mask(mask: np.ndarray) -> None:
    check(mask)


@given(arrays.arrays(np.uint8, (7, 6), elements=st.integers(0, 3)))
@settings(max_examples=60, derandomize=True, database=None, deadline=None)
def test_any_classes(classes: np.ndarray) -> None:
    check(classes)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.9])
def test_noise(share: float) -> None:
    check((np.random.default_rng(0).random((30, 25)) < share).astype(np.uint8))


@pytest.mark.parametrize("seed", range(6))
def test_blobs(seed: int) -> None:
    check(blobs(seed))
    check(blobs(seed, classes=3))


def test_full_and_empty_pictures() -> None:
    check(np.ones((5, 4), np.uint8))
    assert traced(np.zeros((5, 4), np.uint8)) == []


def test_an_object_keeps_its_hole_and_what_lies_in_it_is_another() -> None:
    outer, island = traced(picture(DRAWN["island in a hole"]))
    assert [len(outer[1]), len(island[1])] == [2, 1]
    whole = Polygon(outer[1][0], outer[1][1:])
    assert not whole.intersects(Polygon(island[1][0]))


def test_corner() -> None:
    region = picture(DRAWN["hole"]).astype(bool)
    for ring, moved in zip(outline(region), outline(region, (100_000, 7)), strict=True):
        np.testing.assert_array_equal(ring + np.array([100_000, 7]), moved)


def test_outline_leaves_its_region_as_it_was() -> None:
    region = picture(DRAWN["comb"]).astype(bool)
    region.flags.writeable = False
    outline(region)


def written(path: Path, classes: np.ndarray) -> dict[str, Any]:
    write_polygons(path, (({"number": number}, rings) for number, (_, rings) in enumerate(traced(classes))))
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("classes", [blobs(1, 3), picture(DRAWN["island in an island"]), np.zeros((3, 3), np.uint8)])
def test_geojson(tmp_path: Path, classes: np.ndarray) -> None:
    content, expected = written(tmp_path / "a.geojson", classes), traced(classes)
    assert content.keys() == {"type", "features"} and content["type"] == "FeatureCollection"
    assert [found["properties"]["number"] for found in content["features"]] == list(range(len(expected)))
    again = np.zeros_like(classes)
    for found, (region, rings) in zip(content["features"], expected, strict=True):
        assert found["type"] == "Feature" and found["geometry"]["type"] == "Polygon"
        assert found["geometry"]["coordinates"] == [ring.tolist() for ring in rings]
        again[drawn(shape(found["geometry"]), classes.shape)] = region.class_number
    np.testing.assert_array_equal(again, classes)


def test_whole_numbers_have_no_point(tmp_path: Path) -> None:
    written(tmp_path / "a.geojson", np.ones((1, 1), np.uint8))
    assert "[[[0, 0.5], [0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5]]]" in (tmp_path / "a.geojson").read_text()


def test_names_are_utf_8(tmp_path: Path) -> None:
    write_polygons(tmp_path / "a.geojson", [({"name": 'Drüse "腺"'}, outline(np.ones((1, 1), bool)))])
    text = (tmp_path / "a.geojson").read_bytes().decode("utf-8")
    assert "腺" in text and json.loads(text)["features"][0]["properties"]["name"] == 'Drüse "腺"'


def test_an_error_on_the_way_leaves_the_former_file(tmp_path: Path) -> None:
    def objects() -> Iterator[tuple[dict[str, Any], list[Ring]]]:
        yield {}, outline(np.ones((1, 1), bool))
        raise RuntimeError("stopped")

    path = tmp_path / "a.geojson"
    with pytest.raises(RuntimeError, match="stopped"):
        write_polygons(path, objects())
    assert list(tmp_path.iterdir()) == []
    before = written(path, np.ones((2, 2), np.uint8))
    with pytest.raises(RuntimeError, match="stopped"):
        write_polygons(path, objects())
    assert json.loads(path.read_text()) == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_json_has_not_are_refused(tmp_path: Path, number: float) -> None:
    ring = outline(np.ones((1, 1), bool))[0]
    with pytest.raises(ValueError, match="JSON"):
        write_polygons(tmp_path / "a.geojson", [({"solidity": number}, [ring])])
    ring[1, 0] = number
    with pytest.raises((ValueError, OverflowError)):
        write_polygons(tmp_path / "a.geojson", [({}, [ring])])
    assert list(tmp_path.iterdir()) == []


def found(number: int = 1) -> dict[str, Any]:
    classes = np.zeros((5, 6), np.uint8)
    classes[1:3, 2:6] = number
    (one,) = objects_of(classes, np.full((5, 6), 0.75, np.float32))
    return one._asdict() | {"class": f"class {number}"}


def test_feature() -> None:
    properties = feature(found(), None)
    assert properties["objectType"] == "annotation"
    assert properties["classification"] == {"name": "class 1", "color": list(CLASS_COLOURS[0])}
    measurements = properties["measurements"]
    assert not any("mm" in name or "µm" in name for name in measurements)
    assert measurements["Area px^2"] == 8 and measurements["Mean probability"] == 0.75
    assert measurements["Solidity"] == 1 and measurements["Equivalent diameter px"] == found()["equivalent_diameter_px"]
    json.dumps(properties, allow_nan=False)


@pytest.mark.parametrize(
    ("size", "name", "area"),
    [
        ([0.5, 0.25], "Area mm^2", 1),
        ([0.01, 0.01], "Area mm^2", 0.0008),
        ([0.00025, 0.0005], "Area µm^2", 1),
        ([0.5, 0.001], "Area µm^2", 4000),
    ],
)
def test_feature_with_a_known_pixel_size(size: list[float], name: str, area: float) -> None:
    measurements = feature(found(), size)["measurements"]
    physical = {key: value for key, value in measurements.items() if "m^2" in key}
    assert physical == {name: pytest.approx(area)}


def test_colours_repeat() -> None:
    count = len(CLASS_COLOURS)
    colours = [tuple(feature(found(number), None)["classification"]["color"]) for number in range(1, 2 * count + 1)]
    assert colours == [*CLASS_COLOURS, *CLASS_COLOURS]
