"""Figures of what scores of doubt are worth, against what they must be for images of which all is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from masksup_med.evaluate.quality.figures import gain, threshold_figures, worth
from masksup_med.metrics.statistics import Bootstrap, interval

NAMES = ["spearman", "auroc", "risk_coverage"]


def images(count: int = 40, noise: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Doubt and IoU, which go about together."""
    random = np.random.default_rng(0)
    iou = random.random(count)
    return np.clip(1 - iou + random.normal(0, noise, count), 0, 1), iou


def bootstrap(count: int = 40, groups: int = 40, resamples: int = 100) -> Bootstrap:
    return Bootstrap([f"{number % groups}" for number in range(count)], resamples, seed=0)


def test_figures_as_scipy_and_scikit_learn() -> None:
    doubt, iou = images()
    figures = worth(doubt, iou, bootstrap())
    assert list(figures) == [key for name in NAMES for key in (name, f"{name}_interval")]
    assert figures["spearman"] == pytest.approx(spearmanr(doubt, iou).statistic)
    assert figures["auroc"] == pytest.approx(roc_auc_score(iou < 0.5, doubt))
    for name in NAMES:
        low, high = figures[f"{name}_interval"]
        assert low < figures[name] < high


def test_intervals_are_of_resamples_of_whole_groups() -> None:
    doubt, iou = images()
    drawn = bootstrap(groups=8)
    expected = [spearmanr(doubt[at], iou[at]).statistic for at in drawn.draws()]
    assert worth(doubt, iou, drawn)["spearman_interval"] == pytest.approx(interval(np.array(expected)))
    sizes = {tuple(np.bincount(at % 8, minlength=8) % 5) for at in drawn.draws()}  # five images in each group
    assert sizes == {(0,) * 8}


def test_what_is_not_defined_has_neither_value_nor_interval() -> None:
    doubt, iou = images()
    alike, good = worth(np.ones(40), iou, bootstrap()), worth(doubt, np.maximum(iou, 0.5), bootstrap())
    assert alike["spearman"] is None and alike["spearman_interval"] is None and alike["auroc"] == 0.5
    assert good["auroc"] is None and good["auroc_interval"] is None and good["risk_coverage"] is not None


def test_one_group_has_no_interval() -> None:
    figures = worth(*images(), bootstrap(groups=1))
    assert all(figures[name] is not None and figures[f"{name}_interval"] is None for name in NAMES)
    assert gain(images()[1], images()[1], bootstrap(groups=1))["gain_interval"] is None


def test_the_auroc_of_fewer_than_five_bad_or_good_images_has_no_interval() -> None:
    doubt, iou = images()
    for order in (iou, 1 - iou):
        few = np.where(np.argsort(np.argsort(order)) < 4, order / 4, np.maximum(order, 0.6))
        figures = worth(doubt, few if order is iou else 1 - few, bootstrap())
        assert figures["auroc"] is not None and figures["auroc_interval"] is None
        assert figures["spearman_interval"] is not None


def test_gain() -> None:
    plain = np.array([0.2, 0.4, 0.6])
    figures = gain(plain + 0.1, plain, Bootstrap(["a", "b", "c"], 50, 0))
    assert figures["iou"] == pytest.approx(0.5) and figures["gain"] == pytest.approx(0.1)
    assert figures["gain_interval"] == pytest.approx((0.1, 0.1))


def test_a_score_that_knows_everything_flags_the_bad_alone() -> None:
    iou = np.array([0.1, 0.2, 0.3, 0.4, 0.45, 0.6, 0.7, 0.8, 0.9, 1.0])
    figures = threshold_figures(1 - iou, iou, [f"{number}" for number in range(10)], 1.0)
    assert figures["threshold"] == pytest.approx(0.55) and figures["sensitivity"] == 1 and figures["flagged"] == 0.5
    assert figures["false_alarms"] == 0 and figures["sensitivity_held_back"] == 0.8  # the last sets the threshold
    assert figures["sensitivity_interval"][0] < 0.8 < figures["sensitivity_interval"][1]


def test_a_score_that_knows_nothing_flags_the_good_as_often_as_the_bad() -> None:
    random = np.random.default_rng(0)
    figures = threshold_figures(random.random(4000), random.random(4000), [str(n // 4) for n in range(4000)], 0.9)
    for name in ("sensitivity", "sensitivity_held_back", "false_alarms", "flagged"):
        assert figures[name] == pytest.approx(0.9, abs=0.03)


def test_held_back_is_without_all_images_of_the_own_group() -> None:
    doubt, iou = np.array([0.9, 0.8, 0.1, 0.1, 0.1]), np.zeros(5)
    alone = threshold_figures(doubt, iou, list("abcde"), 1.0)
    grouped = threshold_figures(doubt, iou, list("abccc"), 1.0)
    assert alone["sensitivity_held_back"] == 1  # another has 0.1, too
    assert grouped["sensitivity_held_back"] == pytest.approx(0.4)  # without c the threshold is 0.8


def test_bad_images_of_one_group_cannot_be_held_back() -> None:
    doubt, iou = np.array([0.9, 0.8, 0.1]), np.array([0, 0.2, 0.9])
    figures = threshold_figures(doubt, iou, ["a", "a", "b"], 1.0)
    assert (figures["threshold"], figures["sensitivity"], figures["sensitivity_held_back"]) == (0.8, 1, None)
    assert figures["sensitivity_interval"] is None


def test_of_false_alarms_nothing_can_be_said_without_a_good_image() -> None:
    figures = threshold_figures(np.arange(6) / 6, np.zeros(6), list("abcdef"), 0.5)
    assert figures["false_alarms"] is None and figures["sensitivity"] == 0.5
