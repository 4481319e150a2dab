from __future__ import annotations

from math import hypot
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.ndimage import label as connected_components
from scipy.spatial.distance import directed_hausdorff

from masksup_med.errors import DataError
from masksup_med.metrics.gland import object_dice, object_f1, object_hausdorff, object_sums

AGGREGATES = object_f1, object_dice, object_hausdorff
Map = NDArray[Any]


def rectangles(*places: tuple[int, int, int, int, int], size: tuple[int, int] = (64, 64)) -> Map:
    """A map of objects, each given by number, top, left, height and width."""
    objects = np.zeros(size, int)
    for number, top, left, height, width in places:
        objects[top : top + height, left : left + width] = number
    return objects


def blobs(seed: int, sigma: float = 1.5, share: float = 0.4, size: tuple[int, int] = (23, 31)) -> Map:
    """Random objects: with holes, cut in touching halves at a column, in several pieces, of one pixel."""
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.normal(size=size), sigma)
    pieces, n = connected_components(noise > np.quantile(noise, 1 - share))
    pieces[:, size[1] // 2 :] += n * (pieces[:, size[1] // 2 :] > 0)
    numbers = rng.integers(1, 70_000, 2 * n + 1)
    numbers[rng.integers(1, 2 * n + 1, n // 2)] = 300
    objects = np.where(pieces, numbers[pieces], 0)
    objects[rng.integers(size[0]), rng.integers(size[1])] = 65_536  # 0 in 16 bits
    return objects


def many(seed: int, columns: tuple[int, int]) -> Map:
    """300 discs within some columns of an image; some lie apart, some cut into others."""
    rng = np.random.default_rng(seed)
    objects = np.zeros((260, 390), int)
    for number in range(1, 301):
        y, x, radius = rng.integers((8, columns[0] + 8, 2), (252, columns[1] - 8, 8))
        rows, shape = slice(y - radius, y + radius + 1), np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1])
        objects[rows, x - radius : x + radius + 1][shape <= radius] = number
    return objects


def values(pred: Map, label: Map) -> tuple[float, float, float]:
    sums = object_sums(pred, label)
    return object_f1(sums), object_dice(sums), object_hausdorff(sums)


def naive_values(pred: Map, label: Map) -> tuple[float, float, float]:
    """The three of one image from their definitions, over sets of pixels."""
    found, true = ([np.argwhere(m == k) for k in np.unique(m) if k] for m in (pred, label))
    if not (found and true):
        return (0.0, 0.0, hypot(*label.shape)) if found or true else (1.0, 1.0, 0.0)
    hits = sum(shared_of(s, g) / len(g) > 0.5 for s in found for g in [partner_of(s, true)] if g is not None)
    f1 = 2 * hits / (len(found) + len(true))
    dice = (weighted(true, found, dice_of) + weighted(found, true, dice_of)) / 2
    return f1, dice, (weighted(true, found, hausdorff_of) + weighted(found, true, hausdorff_of)) / 2


def weighted(ones: list[Map], others: list[Map], measure: Any) -> float:
    return sum(len(one) * measure(one, others) for one in ones) / sum(len(one) for one in ones)


def shared_of(one: Map, other: Map) -> int:
    return len(set(map(tuple, one)) & set(map(tuple, other)))


def partner_of(one: Map, others: list[Map]) -> Map | None:
    partner = max(others, key=lambda other: shared_of(one, other))
    return partner if shared_of(one, partner) else None


def dice_of(one: Map, others: list[Map]) -> float:
    partner = partner_of(one, others)
    return 0.0 if partner is None else 2 * shared_of(one, partner) / (len(one) + len(partner))


def hausdorff_of(one: Map, others: list[Map]) -> float:
    partner = partner_of(one, others)
    candidates = others if partner is None else [partner]
    return min(max(directed_hausdorff(one, c)[0], directed_hausdorff(c, one)[0]) for c in candidates)


FOUR_OF_FOUR = (
    rectangles((1, 2, 2, 30, 30), (2, 4, 40, 16, 7), (3, 44, 8, 16, 16), (5, 24, 48, 6, 6)),
    rectangles((1, 4, 4, 20, 20), (2, 4, 40, 16, 16), (3, 40, 4, 16, 16), (4, 40, 40, 8, 8)),
)
ONE_OF_TWO = rectangles((1, 8, 8, 12, 28)), rectangles((1, 8, 8, 12, 12), (2, 8, 24, 12, 12))
ONE_OF_ONE = rectangles((1, 8, 8, 8, 8)), rectangles((1, 8, 8, 8, 8))


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        (FOUR_OF_FOUR, ("0.500000", "0.573422", "10.004369")),
        (ONE_OF_TWO, ("0.666667", "0.600000", "16.000000")),
        (ONE_OF_ONE, ("1.000000", "1.000000", "0.000000")),
    ],
)
def test_reference_values_of_single_images(maps: tuple[Map, Map], expected: tuple[str, ...]) -> None:
    assert tuple(f"{value:.6f}" for value in values(*maps)) == expected


def test_reference_values_of_a_set() -> None:
    sums = [object_sums(*maps) for maps in (FOUR_OF_FOUR, ONE_OF_TWO, ONE_OF_ONE)]
    pooled = {key: sum(one[key] for one in sums) for key in sums[0]}
    assert [f"{aggregate(pooled):.6f}" for aggregate in AGGREGATES] == ["0.615385", "0.597427", "10.820181"]
    means = [np.mean([aggregate(one) for one in sums]) for aggregate in AGGREGATES]
    assert [f"{mean:.6f}" for mean in means] == ["0.722222", "0.724474", "8.668123"]


def test_counts_of_the_reference() -> None:
    sums = object_sums(*FOUR_OF_FOUR)
    assert [sums[f"{kind}s"] for kind in ("true_positive", "false_positive", "false_negative")] == [2, 2, 2]
    assert sums["label_area"] == 400 + 256 + 256 + 64
    assert sums["pred_area"] == 900 + 112 + 256 + 36


@pytest.mark.parametrize("seed", range(60))
def test_blobs_give_what_the_definition_gives(seed: int) -> None:
    sigma, share = [(1.0, 0.3), (1.5, 0.5), (2.5, 0.2), (1.0, 0.06)][seed % 4]
    pred, label = blobs(seed, sigma=sigma, share=share), blobs(seed + 1000, sigma=1.5, share=0.3)
    assert values(pred, label) == pytest.approx(naive_values(pred, label), rel=1e-12)


NUMBERS = st.sampled_from([0, 0, 1, 2, 255, 256, 257, 65_536])
SMALL_MAPS = st.tuples(st.integers(1, 6), st.integers(1, 9)).flatmap(
    lambda size: st.tuples(*[arrays(np.int64, size, elements=NUMBERS, fill=st.sampled_from([0, 3, 256]))] * 2)
)


@settings(deadline=None, max_examples=100)
@given(SMALL_MAPS)
def test_any_map_gives_what_the_definition_gives(maps: tuple[Map, Map]) -> None:
    assert values(*maps) == pytest.approx(naive_values(*maps), rel=1e-12)


def test_farthest_pixel_may_be_inside_an_object() -> None:
    """A disc in a ring: its centre is farther from the ring than any pixel of its border."""
    y, x = np.mgrid[-10:11, -12:13]
    distance = np.hypot(y, x)
    ring, disc = ((distance >= 8) & (distance <= 9)) * 1, (distance <= 6) * 1
    assert values(disc, ring) == naive_values(disc, ring) == (0, 0, 8)


def test_nearest_object_is_not_the_one_of_the_nearest_box() -> None:
    """The L has the smaller bound by its box, but misses the corner of that box where the object is."""
    label = rectangles((1, 30, 30, 12, 12), size=(70, 70))
    pred = rectangles((1, 22, 22, 24, 2), (1, 22, 22, 2, 24), (2, 43, 31, 10, 10), size=(70, 70))
    assert object_sums(pred, label)["label_dice"] == 0
    assert values(pred, label) == pytest.approx(naive_values(pred, label))


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("size", [(30, 40), (1, 1), (5, 1)])
def test_empty_maps(aggregate: Any, size: tuple[int, int]) -> None:
    empty, full = np.zeros(size, int), np.ones(size, int)
    perfect, worst = {object_f1: (1, 0), object_dice: (1, 0), object_hausdorff: (0, hypot(*size))}[aggregate]
    assert aggregate(object_sums(empty, empty)) == perfect
    assert aggregate(object_sums(full, full)) == perfect
    assert aggregate(object_sums(full, empty)) == worst
    assert aggregate(object_sums(empty, full)) == worst


def test_empty_image_in_a_set_is_the_diagonal_for_each_pixel_of_its_objects() -> None:
    """One object of 100 pixels missed, another found: over true objects the mean is half of the diagonal, 50."""
    size = (30, 40)
    square = rectangles((1, 5, 5, 10, 10), size=size)
    missed, perfect = object_sums(np.zeros_like(square), square), object_sums(square, square)
    pooled = {key: missed[key] + perfect[key] for key in missed}
    assert object_hausdorff(pooled) == pytest.approx((50 / 2 + 0) / 2)
    assert object_dice(pooled) == pytest.approx((0.5 + 1) / 2)
    assert object_f1(pooled) == pytest.approx(2 / 3)


def test_half_of_an_object_is_not_enough() -> None:
    label = rectangles((1, 0, 0, 4, 10))
    assert object_sums(rectangles((1, 0, 0, 4, 5)), label)["true_positives"] == 0
    assert object_sums(rectangles((1, 0, 0, 4, 6)), label)["true_positives"] == 1


def test_of_equal_overlaps_the_smallest_number_is_the_partner() -> None:
    """Half of what was found lies on a small object, half on a large one; only the small one is covered."""
    pred = rectangles((9, 0, 10, 2, 10))
    assert object_sums(pred, rectangles((3, 0, 8, 2, 7), (500, 0, 15, 6, 20)))["true_positives"] == 1
    assert object_sums(pred, rectangles((700, 0, 8, 2, 7), (500, 0, 15, 6, 20)))["true_positives"] == 0


@pytest.mark.parametrize("seed", range(4))
def test_identity_is_perfect(seed: int) -> None:
    objects = blobs(seed)
    assert values(objects, objects) == (1, 1, 0)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint32, np.uint64, np.uint16])
def test_other_numbers_and_types_change_nothing(seed: int, dtype: type) -> None:
    """No two objects share an equal area with a third, so that nothing depends on the order of their numbers."""
    rng = np.random.default_rng(seed)
    pred = rectangles((1, 2, 2, 30, 31), (2, 4, 40, 16, 7), (3, 45, 8, 15, 14), (4, 24, 48, 6, 6), (5, 60, 60, 1, 1))
    label = rectangles((1, 4, 4, 20, 20), (2, 2, 26, 9, 17), (3, 40, 4, 16, 16), (4, 40, 40, 8, 8))
    expected = object_sums(pred, label)
    for _ in range(3):
        other, another = (np.append(0, rng.choice(np.arange(1, 65_536), 5, replace=False)) for _ in range(2))
        sums = object_sums(other[pred].astype(dtype), another[label].astype(dtype))
        assert sums == pytest.approx(expected, rel=1e-12)


def test_masks_and_negative_numbers_are_objects() -> None:
    square, shifted = rectangles((1, 5, 5, 10, 10)), rectangles((1, 5, 8, 10, 10))
    assert object_sums(square > 0, shifted > 0) == object_sums(square, shifted)
    assert object_sums(-square, shifted * 70_000) == object_sums(square, shifted)


@pytest.mark.parametrize("turn", [np.transpose, np.flipud, np.fliplr])
def test_turning_both_maps_changes_nothing(turn: Any) -> None:
    pred, label = FOUR_OF_FOUR
    assert object_sums(turn(pred), turn(label)) == pytest.approx(object_sums(pred, label))


def test_maps_are_not_changed() -> None:
    pred, label = blobs(1), blobs(2)
    before = pred.copy(), label.copy()
    pred.flags.writeable = label.flags.writeable = False
    object_sums(pred, label)
    assert np.array_equal(pred, before[0]) and np.array_equal(label, before[1])


def test_300_objects_do_not_wrap_around() -> None:
    """A grid of 300 squares, each of its own size: all found, one missed, all found as one."""
    places = [(i + 1, i // 20 * 12, i % 20 * 12, 4 + i % 7, 5 + i % 5) for i in range(300)]
    objects = rectangles(*places, size=(180, 240))
    assert values(objects, objects * 233) == (1, 1, 0)
    sums = object_sums(objects * (objects != 256), objects)
    assert (sums["true_positives"], sums["false_negatives"]) == (299, 1)
    assert values(objects, (objects > 0) * 256)[0] == 0


@pytest.mark.parametrize("columns", [(0, 390), (200, 390)])
def test_nearest_of_300_objects(columns: tuple[int, int]) -> None:
    """The label's objects lie in the left half; those without partner are compared with all that were found."""
    label, pred = many(0, (0, 190)), many(1, columns)
    found = [np.argwhere(pred == k) for k in np.unique(pred[pred > 0])]
    lonely = [k for k in np.unique(label[label > 0]) if not pred[label == k].any()]
    for number in lonely[:: len(lonely) // 2]:
        alone = label * (label == number)
        area = np.count_nonzero(alone)
        assert object_sums(pred, alone)["label_hausdorff"] == area * hausdorff_of(np.argwhere(alone), found)
    assert object_sums(pred, label)["label_area"] == np.count_nonzero(label)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("shape", [(9,), (3, 3), (0,)])
def test_aggregates_of_arrays_are_those_of_their_entries(aggregate: Any, shape: tuple[int, ...]) -> None:
    empty = np.zeros((23, 31), int)
    pairs = [(blobs(i), blobs(i + 50)) for i in range(6)] + [(empty, empty), (blobs(7), empty), (empty, blobs(8))]
    sums = [object_sums(*pair) for pair in pairs][: int(np.prod(shape))]
    stacked = {key: np.reshape([one[key] for one in sums], shape) for key in object_sums(empty, empty)}
    result = aggregate(stacked)
    assert result.shape == shape
    assert result.ravel().tolist() == [aggregate(one) for one in sums]


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_aggregates_of_numbers_are_floats(aggregate: Any) -> None:
    sums = object_sums(*FOUR_OF_FOUR)
    assert {type(value) for value in sums.values()} == {float}
    assert type(aggregate(sums)) is float
    assert type(aggregate({key: np.float64(value) for key, value in sums.items()})) is float


@pytest.mark.parametrize(
    ("pred", "label", "named"),
    [
        (np.zeros((4, 5), int), np.zeros((5, 4), int), r"\(4, 5\).*\(5, 4\)"),
        (np.zeros((1, 4, 5), int), np.zeros((1, 4, 5), int), r"\(1, 4, 5\)"),
        (np.zeros((4, 5), int), np.zeros((4, 5), np.float32), "float32"),
    ],
)
def test_maps_that_cannot_be_compared_are_named(pred: Map, label: Map, named: str) -> None:
    with pytest.raises(DataError, match=named):
        object_sums(pred, label)
