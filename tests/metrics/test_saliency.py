from __future__ import annotations

import numpy as np
import py_sod_metrics as sod
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from py_sod_metrics.fmeasurev2 import DICEHandler, IOUHandler
from scipy.ndimage import gaussian_filter

from masksup_med.errors import DataError
from masksup_med.metrics.saliency import (
    e_measure_curve,
    mean_absolute_error,
    min_max,
    overlap_curves,
    s_measure,
    saliency_measures,
    weighted_f,
)


class FiniteSmeasure(sod.Smeasure):
    """The reference, but a quarter without pixels counts 0 and not NaN."""

    def ssim(self, pred, gt):
        return super().ssim(pred, gt) if pred.size else 0.0


class Reference:
    """The figures of py_sod_metrics over the pairs it was given."""

    def __init__(self, *pairs) -> None:
        overlaps = {"dice": DICEHandler(True, False), "iou": IOUHandler(True, False)}
        judges = sod.FmeasureV2(overlaps), FiniteSmeasure(), sod.Emeasure(), sod.WeightedFmeasure(), sod.MAE()
        for pred, label in pairs:
            for judge in judges:
                judge.step(pred, label, normalize=False)
        self.dice, self.iou = (np.mean(overlaps[name].dynamic_results, axis=0) for name in ("dice", "iou"))
        self.s, self.e = judges[1].get_results()["sm"], judges[2].get_results()["em"]["curve"]
        self.weighted_f, self.mae = judges[3].get_results()["wfm"], judges[4].get_results()["mae"]


def soft_pair(height: int, width: int, seed: int, sharpness: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """A label of blobs and a network-like 8-bit map of it."""
    random = np.random.default_rng(seed)
    truth, noise = (gaussian_filter(random.standard_normal((height, width)), s) for s in (5, 2))
    field = truth / (truth.std() + 1e-9) - random.uniform(0, 1.2)
    score = field + 0.4 * noise / (noise.std() + 1e-9)
    return np.round(255 / (1 + np.exp(-sharpness * score))) / 255, field > 0


def scattered_pair(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.random((height, width)) ** 3, random.random((height, width)) < random.random()


def label_at(shape: tuple[int, int], *pixels: tuple[int, int]) -> np.ndarray:
    label = np.zeros(shape, bool)
    for pixel in pixels:
        label[pixel] = True
    return label


NOISE = np.random.default_rng(7).random((9, 12))
STEPS = np.arange(256).reshape(8, 32) / 255
HALF = np.arange(256).reshape(8, 32) % 5 > 2
LABELS = {
    "empty": np.zeros((9, 12), bool),
    "full": np.ones((9, 12), bool),
    "one pixel": label_at((9, 12), (4, 3)),
    "all but one": ~label_at((9, 12), (4, 3)),
    "top left": label_at((9, 12), (0, 0)),
    "bottom right": label_at((9, 12), (8, 11)),
    "last row": label_at((9, 12), (8, 2), (8, 3)),
    "last column": label_at((9, 12), (3, 11)),
    "apart": label_at((9, 12), (0, 0), (8, 11)),
    "between rows": label_at((9, 12), (2, 3), (3, 3), (2, 4), (3, 4)),
    "left half": np.arange(12) < np.full((9, 1), 6),
}
MAPS = {f"all {value}": np.full((9, 12), value) for value in (0.0, 1.0, 0.01, 0.1, 1 / 3)} | {
    "noise": NOISE,
    "faint": 0.01 + 1e-3 * NOISE,
    "nearly constant": 0.5 + 1e-12 * NOISE,
    "tiny": 1e-200 * NOISE,
    "sure": (NOISE > 0.5).astype(float),
}
CASES = {
    **{f"{m} / {n}": (pred, label) for m, pred in MAPS.items() for n, label in LABELS.items()},
    **{f"soft {h}x{w}": soft_pair(h, w, h + w) for h, w in [(40, 40), (31, 57), (64, 20), (8, 90)]},
    **{f"sharp {seed}": soft_pair(48, 36, seed, sharpness=30) for seed in range(3)},
    **{
        f"scattered {h}x{w}": scattered_pair(h, w, 5 * h + w)
        for h, w in [(7, 7), (1, 9), (9, 1), (1, 2), (2, 2), (23, 6)]
    },
    **{f"1x1 {p} / {g}": (np.array([[p]]), np.array([[g]])) for p in (0.0, 0.3, 1.0) for g in (False, True)},
    "exact": (HALF.astype(float), HALF),
    "inverted": ((~HALF).astype(float), HALF),
    "steps": (STEPS, HALF),
    "below steps": (np.maximum(np.nextafter(STEPS, 0), 0), HALF),
    "above steps": (np.minimum(np.nextafter(STEPS, 1), 1), HALF),
    "one row": (STEPS[:1], HALF[:1]),
    "not contiguous": (np.asfortranarray(NOISE), np.asfortranarray(LABELS["left half"])),
    "strided": (NOISE[::2, ::-1], LABELS["apart"][::2, ::-1]),
}
every_case = pytest.mark.parametrize(("pred", "label"), CASES.values(), ids=CASES)
cases_beyond_the_centroid = pytest.mark.parametrize("name", ["last row", "last column", "bottom right"])


def assert_same(value, expected) -> None:
    assert_allclose(value, expected, rtol=1e-10, atol=1e-11)


@every_case
def test_every_function_equals_py_sod_metrics(pred: np.ndarray, label: np.ndarray) -> None:
    expected = Reference((pred, label))
    assert_array_equal(overlap_curves(pred, label), (expected.dice, expected.iou))
    assert_same(e_measure_curve(pred, label), expected.e)
    assert_same(s_measure(pred, label), expected.s)
    assert_same(weighted_f(pred, label), expected.weighted_f)
    assert_same(mean_absolute_error(pred, label), expected.mae)


@every_case
def test_all_measures_equal_py_sod_metrics_on_both_maps(pred: np.ndarray, label: np.ndarray) -> None:
    spread = pred.max() - pred.min()
    stretched = (pred - pred.min()) / spread if spread else pred
    assert_array_equal(min_max(pred), stretched)
    measures = saliency_measures(pred, label)
    for suffix, expected in ("", Reference((pred, label))), ("_min_max", Reference((stretched, label))):
        assert_same(measures["mean_dice" + suffix], expected.dice.mean())
        assert_same(measures["mean_iou" + suffix], expected.iou.mean())
        assert_same(measures["weighted_f" + suffix], expected.weighted_f)
        assert_same(measures["s_measure" + suffix], expected.s)
        assert_same(measures["e_curve" + suffix], expected.e)
        assert_same(measures["mae" + suffix], expected.mae)
    assert len(measures) == 12


def test_means_over_images_are_the_figures_of_the_set() -> None:
    pairs = [soft_pair(40, 50, seed, sharpness=2 + 3 * seed) for seed in range(5)] + [CASES["noise / empty"]]
    images, expected = [saliency_measures(*pair) for pair in pairs], Reference(*pairs)
    means = {name: np.mean([image[name] for image in images], axis=0) for name in images[0]}
    assert_same(means["mean_dice"], expected.dice.mean())
    assert_same(means["mean_iou"], expected.iou.mean())
    assert_same(means["e_curve"].max(), expected.e.max())
    assert_same([means[n] for n in ("s_measure", "weighted_f", "mae")], [expected.s, expected.weighted_f, expected.mae])
    assert means["e_curve"].max() < np.mean([image["e_curve"].max() for image in images]) - 0.01


def test_overlap_curves_by_hand() -> None:
    """Levels 255 and 51 inside the label, 127 and 0 outside."""
    dice, iou = overlap_curves(np.array([[1.0, 0.5], [0.2, 0.0]]), np.array([[True, False], [True, False]]))
    runs = [128, 76, 51, 1]  # thresholds 255..128, 127..52, 51..1 and 0
    assert_allclose(dice, np.repeat([2 / 3, 2 / 4, 4 / 5, 4 / 6], runs))
    assert_allclose(iou, np.repeat([1 / 2, 1 / 3, 2 / 3, 2 / 4], runs))


def test_stretching_turns_a_confident_negative_into_foreground() -> None:
    measures = saliency_measures(MAPS["faint"], LABELS["empty"])
    assert measures["s_measure"] > 0.98 > 0.6 > measures["s_measure_min_max"]
    assert measures["mae"] < 0.02 < 0.4 < measures["mae_min_max"]


@cases_beyond_the_centroid
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_s_measure_is_finite_where_the_published_codes_are_not(name: str) -> None:
    published = sod.Smeasure()
    published.step(NOISE, LABELS[name], normalize=False)
    assert np.isnan(published.get_results()["sm"])
    assert 0 <= s_measure(NOISE, LABELS[name]) <= 1
    assert s_measure(LABELS[name].astype(float), LABELS[name]) == pytest.approx(1)


def test_inputs_are_not_changed() -> None:
    pred, label = NOISE.copy(), LABELS["left half"].copy()
    saliency_measures(pred, label)
    assert_array_equal(pred, NOISE)
    assert_array_equal(label, LABELS["left half"])


@pytest.mark.parametrize(
    ("pred", "label", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2), bool), r"\(2, 3\) and bool \(3, 2\)"),
        (np.zeros((2, 3), np.float32), np.zeros((2, 3), bool), "float32"),
        (np.zeros((2, 3)), np.zeros((2, 3), np.uint8), "uint8"),
        (np.zeros((1, 2, 3)), np.zeros((1, 2, 3), bool), r"\(1, 2, 3\)"),
        (np.zeros((0, 3)), np.zeros((0, 3), bool), r"\(0, 3\)"),
        (np.array([[0.0, 1.5]]), np.zeros((1, 2), bool), r"0\.0\.\.1\.5"),
        (np.array([[-0.1, 1.0]]), np.zeros((1, 2), bool), r"-0\.1\.\.1\.0"),
        (np.array([[np.nan, 1.0]]), np.zeros((1, 2), bool), "nan"),
    ],
)
def test_other_input_is_refused(pred: np.ndarray, label: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        saliency_measures(pred, label)
