"""Figures of a score of doubt, against SciPy, scikit-learn and plain loops."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from masksup_med.metrics.doubt import auroc, risk_coverage_area, spearman, threshold_for

SOME = settings(max_examples=80, deadline=None, derandomize=True, database=None)
SCORES = {"images": st.integers(2, 40), "levels": st.integers(2, 40), "seed": st.integers(0, 2**32 - 1)}


def scores(images: int, levels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Doubt and IoU of some images; with few levels there are many ties."""
    random = np.random.default_rng(seed)
    doubt, iou = random.integers(0, levels, (2, images)) / levels
    return doubt, iou


@given(**SCORES)
@SOME
def test_spearman_as_scipy(images: int, levels: int, seed: int) -> None:
    doubt, iou = scores(images, levels, seed)
    assume(np.ptp(doubt) and np.ptp(iou))
    assert spearman(doubt, iou) == pytest.approx(spearmanr(doubt, iou).statistic, abs=1e-12)
    assert spearman(doubt, doubt) == pytest.approx(1) and spearman(doubt, -(doubt**3)) == pytest.approx(-1)


@given(**SCORES)
@SOME
def test_auroc_as_scikit_learn(images: int, levels: int, seed: int) -> None:
    doubt, iou = scores(images, levels, seed)
    is_bad = iou < 0.5
    assume(0 < is_bad.sum() < images)
    assert auroc(doubt, is_bad) == pytest.approx(roc_auc_score(is_bad, doubt), abs=1e-12)
    assert auroc(-doubt, is_bad) == pytest.approx(1 - auroc(doubt, is_bad), abs=1e-12)


def test_what_is_not_defined_is_nan() -> None:
    one, two = np.array([0.3]), np.array([0.1, 0.2])
    assert np.isnan(spearman(one, one)) and np.isnan(spearman(two, np.ones(2))) and np.isnan(spearman(np.ones(2), two))
    assert np.isnan(auroc(two, two > 1)) and np.isnan(auroc(two, two < 1))
    assert risk_coverage_area(one, np.array([0.7])) == 0.7


@given(images=SCORES["images"], seed=SCORES["seed"])
@SOME
def test_risk_coverage_area_as_a_loop(images: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    doubt, risk = random.permutation(images) / images, random.random(images)
    kept, means = [], []
    for image in sorted(range(images), key=lambda image: doubt[image]):
        kept.append(risk[image])
        means.append(sum(kept) / len(kept))
    assert risk_coverage_area(doubt, risk) == pytest.approx(sum(means) / len(means), abs=1e-12)


@given(**SCORES)
@SOME
def test_the_order_of_images_does_not_matter(images: int, levels: int, seed: int) -> None:
    doubt, iou = scores(images, levels, seed)
    order = np.random.default_rng(seed).permutation(images)
    assert risk_coverage_area(doubt[order], iou[order]) == pytest.approx(risk_coverage_area(doubt, iou), abs=1e-12)
    if np.ptp(doubt) and np.ptp(iou):
        assert spearman(doubt[order], iou[order]) == pytest.approx(spearman(doubt, iou), abs=1e-12)


@given(**SCORES)
@SOME
def test_only_the_order_of_doubts_counts(images: int, levels: int, seed: int) -> None:
    doubt, iou = scores(images, levels, seed)
    assert risk_coverage_area(np.exp(doubt), iou) == risk_coverage_area(doubt, iou)
    assert np.array_equal(spearman(np.exp(doubt), iou), spearman(doubt, iou), equal_nan=True)
    assert np.array_equal(auroc(np.exp(doubt), iou < 0.5), auroc(doubt, iou < 0.5), equal_nan=True)


def test_no_order_is_better_than_the_perfect_one_and_none_worse_than_its_contrary() -> None:
    random = np.random.default_rng(0)
    risk = random.random(30)
    others = [risk_coverage_area(random.random(30), risk) for _ in range(50)]
    assert risk_coverage_area(risk, risk) < min(others) and max(others) < risk_coverage_area(-risk, risk)
    assert risk_coverage_area(np.zeros(30), risk) == pytest.approx(risk.mean())  # no order at all


def check_threshold(doubt: np.ndarray, is_bad: np.ndarray, sensitivity: Fraction) -> None:
    """As many bad ones are flagged as was asked for, and with any higher threshold there are fewer."""
    threshold, bad = threshold_for(doubt, is_bad, float(sensitivity)), doubt[is_bad]
    wanted = math.ceil(sensitivity * len(bad))
    assert np.count_nonzero(bad >= threshold) >= wanted
    assert all(np.count_nonzero(bad >= higher) < wanted for higher in doubt[doubt > threshold])


@given(**SCORES, quarters=st.integers(1, 16))
@SOME
def test_the_threshold_is_the_highest_that_flags_as_much_as_was_asked_for(
    images: int, levels: int, seed: int, quarters: int
) -> None:
    doubt, iou = scores(images, levels, seed)
    is_bad = iou < 0.5
    assume(is_bad.any())
    check_threshold(doubt, is_bad, Fraction(quarters, 16))


@pytest.mark.parametrize("bad", [1, 5, 9, 10, 11, 100])
@pytest.mark.parametrize("percent", [1, 50, 80, 90, 95, 99, 100])
def test_the_threshold_for_common_shares(bad: int, percent: int) -> None:
    doubt = np.random.default_rng(0).permutation(bad + 20) / 200
    check_threshold(doubt, np.arange(bad + 20) < bad, Fraction(percent, 100))


@pytest.mark.parametrize(("bad", "percent"), [(25, 28), (100, 7), (100, 14)])
def test_the_threshold_for_shares_that_are_no_binary_fractions(bad: int, percent: int) -> None:
    check_threshold(np.arange(bad) / bad, np.ones(bad, bool), Fraction(percent, 100))


def test_a_tie_at_the_threshold_is_flagged() -> None:
    doubt, is_bad = np.array([0.3, 0.3, 0.3, 0.1]), np.array([True, True, False, True])
    assert threshold_for(doubt, is_bad, 0.5) == 0.3 and threshold_for(doubt, is_bad, 0.9) == 0.1
