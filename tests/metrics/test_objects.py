"""Objects against SciPy, against counting by hand, and against shapes whose figures are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from masksup_med.metrics.objects import Object, objects_of, touches_edge

EIGHT = np.ones((3, 3))


def drawn(*rows: str) -> np.ndarray:
    """Class numbers from digits; dots are background."""
    return np.array([[0 if letter == "." else int(letter) for letter in row] for row in rows], np.uint8)


def measured(classes: np.ndarray, probability: np.ndarray | None = None) -> list[Object]:
    return objects_of(classes, np.ones(classes.shape, np.float32) if probability is None else probability)


def regions_by_hand(classes: np.ndarray) -> list[tuple[int, list[tuple[int, int]]]]:
    """Class and pixels (y, x) of each region: neighbours are found one by one."""
    left = {(int(y), int(x)) for y, x in np.argwhere(classes > 0)}
    regions = []
    for number in sorted(set(classes[classes > 0].tolist())):
        for start in sorted(place for place in left if classes[place] == number):
            if start not in left:
                continue
            region, waiting = [], [start]
            left.discard(start)
            while waiting:
                y, x = waiting.pop()
                region.append((y, x))
                around = {(y + down, x + right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
                near = {place for place in around & left if classes[place] == number}
                left -= near
                waiting += near
            regions.append((number, region))
    return regions


def hull_by_hand(pixels: list[tuple[int, int]]) -> float:
    """Area of the convex hull of pixels, each a square: Andrew's monotone chain and the shoelace formula."""
    corners = sorted({(y + down, x + right) for y, x in pixels for down in (0, 1) for right in (0, 1)})

    def chain(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
        kept: list[tuple[int, int]] = []
        for point in points:
            while len(kept) > 1 and turn(kept[-2], kept[-1], point) <= 0:
                kept.pop()
            kept.append(point)
        return kept[:-1]

    def turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    hull = chain(corners) + chain(corners[::-1])
    return abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(hull, hull[1:] + hull[:1], strict=True))) / 2


MASKS = st.builds(
    lambda height, width, classes, share, seed: (
        np.random.default_rng(seed).integers(1, classes + 1, (height, width))
        * (np.random.default_rng(seed + 1).random((height, width)) < share)
    ).astype(np.uint8),
    st.integers(1, 14), st.integers(1, 14), st.integers(1, 4), st.floats(0, 1), st.integers(0, 10**6),
)  # fmt: skip


@given(MASKS)
@settings(max_examples=80, deadline=None, derandomize=True, database=None)
def test_as_counted_by_hand_and_as_scipy(classes: np.ndarray) -> None:
    probability = np.random.default_rng(classes.size).random(classes.shape, np.float32)
    found, expected = objects_of(classes, probability), regions_by_hand(classes)
    assert [each.class_number for each in found] == [number for number, _ in expected]
    assert [each.area_px for each in found] == [len(pixels) for _, pixels in expected]
    for each, (_, pixels) in zip(found, expected, strict=True):
        y, x = np.array(pixels).T
        assert (each.box_left, each.box_top) == (x.min(), y.min())
        assert (each.box_width, each.box_height) == (np.ptp(x) + 1, np.ptp(y) + 1)
        assert (each.centroid_x, each.centroid_y) == pytest.approx((x.mean(), y.mean()), abs=0.0051)
        assert each.mean_probability == pytest.approx(probability[y, x].mean(dtype=float), abs=6e-5)
        assert each.equivalent_diameter_px == pytest.approx(math.sqrt(4 * len(pixels) / math.pi), abs=6e-5)
        assert 0 <= each.eccentricity <= 1
        assert each.solidity == pytest.approx(len(pixels) / hull_by_hand(pixels), abs=6e-5)
        edge = x.min() == 0 or y.min() == 0 or x.max() == classes.shape[1] - 1 or y.max() == classes.shape[0] - 1
        assert touches_edge(each, classes.shape) == edge
    for number in set(classes[classes > 0].tolist()):
        regions, count = ndimage.label(classes == number, EIGHT)
        of_class = [each for each in found if each.class_number == number]
        assert len(of_class) == count
        areas = ndimage.sum_labels(classes > 0, regions, range(1, count + 1))
        assert [each.area_px for each in of_class] == areas.tolist()
        means = ndimage.mean(probability, regions, range(1, count + 1))
        np.testing.assert_allclose([each.mean_probability for each in of_class], means, atol=6e-5)


def test_by_hand() -> None:
    classes = drawn(
        ".11...",
        ".1....",
        "....1.",
        "...1..",
        "......",
    )
    probability = np.zeros(classes.shape, np.float32)
    probability[0, 1], probability[0, 2], probability[1, 1] = 0.9, 0.6, 0.75
    probability[2, 4], probability[3, 3] = 1, 0.5
    first, second = objects_of(classes, probability)
    assert first[:8] == (1, 3, 1.33, 0.33, 1, 0, 2, 2)  # x and y of the middle, then left, top, width, height
    assert second[:8] == (1, 2, 3.5, 2.5, 3, 2, 2, 2)
    assert first.mean_probability == 0.75 and second.mean_probability == 0.75
    assert [touches_edge(each, classes.shape) for each in (first, second)] == [True, False]
    assert all(type(value) in (int, float) for each in (first, second) for value in each[:-1])


def test_corners_connect_and_classes_do_not() -> None:
    assert [each.area_px for each in measured(drawn("1..", ".1.", "..1"))] == [3]
    assert [each[:2] for each in measured(drawn("12", "21"))] == [(1, 2), (2, 2)]
    assert [each[:2] for each in measured(drawn("1.1", "...", "222"))] == [(1, 1), (1, 1), (2, 3)]
    assert [each[:2] for each in measured(drawn("3.1"))] == [(1, 1), (3, 1)]  # class by class


def test_nothing_is_no_object() -> None:
    assert measured(np.zeros((5, 7), np.uint8)) == []
    assert measured(np.zeros((1, 1), np.uint8)) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (40, 50)], ids=str)
def test_all_of_the_picture(shape: tuple[int, int]) -> None:
    (found,) = measured(np.ones(shape, np.uint8))
    assert found.area_px == math.prod(shape)
    assert found[4:8] == (0, 0, shape[1], shape[0])
    assert found.solidity == 1 and touches_edge(found, shape)


@pytest.mark.parametrize(
    ("box", "touches"),
    [
        ((0, 3, 5, 7), True), ((2, 3, 10, 7), True), ((2, 0, 5, 7), True), ((2, 3, 5, 12), True),
        ((1, 1, 9, 11), False), ((2, 3, 5, 7), False),
    ],
    ids=["top", "bottom", "left", "right", "one pixel from each", "inside"],
)  # fmt: skip
def test_touches_edge(box: tuple[int, int, int, int], touches: bool) -> None:
    classes = np.zeros((10, 12), np.uint8)
    classes[box[0] : box[2], box[1] : box[3]] = 1
    (found,) = measured(classes)
    assert touches_edge(found, (10, 12)) is touches


def ellipse(a: float, b: float, angle: float = 0) -> np.ndarray:
    y, x = np.mgrid[-60:61, -60:61]
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    return ((along / a) ** 2 + (across / b) ** 2 <= 1).astype(np.uint8)


def test_shapes_with_known_figures() -> None:
    (circle,) = measured(ellipse(50, 50))
    assert circle.eccentricity == pytest.approx(0, abs=0.02)
    assert circle.equivalent_diameter_px == pytest.approx(100, abs=0.3)
    assert circle.solidity == pytest.approx(1, abs=0.03) and (circle.centroid_x, circle.centroid_y) == (60, 60)
    for angle in (0, 0.5, math.pi / 2):
        (oval,) = measured(ellipse(50, 30, angle))
        assert oval.eccentricity == pytest.approx(0.8, abs=0.005)  # sqrt(1 - (30 / 50)²)
    (line,) = measured(np.ones((1, 40), np.uint8))
    assert line.eccentricity == pytest.approx(1, abs=1e-3) and line.solidity == 1
    # n equally spaced points have the variance (n² - 1) / 12
    (square,) = measured(np.pad(np.ones((12, 12), np.uint8), 3))
    assert square.eccentricity == 0 and square.solidity == 1
    (bar,) = measured(np.pad(np.ones((10, 30), np.uint8), 3))
    assert bar.eccentricity == pytest.approx(math.sqrt(1 - 99 / 899), abs=5e-5)


def test_solidity_of_an_l_and_a_ring() -> None:
    corner = np.zeros((24, 24), np.uint8)
    corner[2:22, 2:22] = 1
    corner[2:12, 12:22] = 0  # a quarter is missing; the hull cuts it by half: 300 of 350
    (found,) = measured(corner)
    assert found.area_px == 300 and found.solidity == round(300 / 350, 4)
    ring = np.pad(np.ones((20, 20), np.uint8), 2)
    ring[7:17, 7:17] = 0
    (found,) = measured(ring)
    assert found.solidity == 0.75 and found.area_px == 300


def test_numbers_are_rounded_for_people() -> None:
    (found,) = measured(drawn("11.", ".11", "..1"), np.full((3, 3), 1 / 3, np.float32))
    assert found.mean_probability == 0.3333
    assert all(value == round(value, 4) for value in found[:-1]) and found.centroid_x == round(found.centroid_x, 2)


def test_high_class_numbers() -> None:
    classes = np.zeros((4, 600), np.uint8)
    classes[:, 10:20], classes[:, 500:] = 255, 254
    assert [each[:2] for each in measured(classes)] == [(254, 400), (255, 40)]
