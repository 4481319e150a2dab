"""From measured images to figures: what they rest on is always told."""

import numpy as np
import pytest
from scipy import stats

from masksup_med.evaluate.cases import list_cases
from masksup_med.evaluate.figures import Settings
from masksup_med.evaluate.measure import measure_cases
from masksup_med.evaluate.results import per_image_rows, summarise, worst_cases
from masksup_med.evaluate.tasks import TASKS
from tests.evaluate.masks import LABELS, PREDS, square, write

SETTINGS = Settings()


@pytest.fixture
def evaluated(tmp_path):
    """A function that evaluates predictions and labels; by default those of masks.py."""

    def evaluated(preds=PREDS, labels=LABELS, task="polyp", protocol="native", groups=None, settings=SETTINGS):
        folders = write(tmp_path / "preds", preds), write(tmp_path / "labels", labels)
        cases = list_cases(*folders)
        if groups:
            cases = [case._replace(group=group) for case, group in zip(cases, groups, strict=True)]
        measured = measure_cases(cases, task, protocol, settings)
        return cases, measured, TASKS[task][protocol], settings

    return evaluated


def test_counts_stand_beside_the_means(evaluated):
    results = summarise(*evaluated(), seed=0)
    assert results["counts"] == {"missing_predictions": 1, "empty_labels": 1, "empty_predictions": 2, "both_empty": 1}
    assert results["images"] == results["groups"] == 4
    iou, hd95 = results["metrics"]["iou"], results["metrics"]["hd95"]
    assert iou["value"] == pytest.approx((1 + 0.25 + 0 + 1) / 4) and iou["n"] == 4 and iou["n_empty"] == 2
    assert hd95["value"] == pytest.approx((0 + measured_hd95() + np.hypot(40, 50) + 0) / 4)
    assert iou["quartiles"] == pytest.approx(np.quantile([0, 0.25, 1, 1], [0.25, 0.75]).tolist())
    assert iou["median"] == pytest.approx(0.625) and iou["interval"][0] < iou["value"] < iou["interval"][1]
    assert all(metric["definition"] and metric["version"] for metric in results["metrics"].values())


def measured_hd95():
    """Of b: a square of 20 and its upper left quarter."""
    from monai.metrics import compute_hausdorff_distance

    masks = [(square(10, 20, side) > 0)[None, None] for side in (10, 20)]
    return float(compute_hausdorff_distance(*masks, include_background=True, percentile=95))


def test_pooled_figures_are_of_sums(evaluated):
    metrics = summarise(*evaluated(), seed=0)["metrics"]
    assert metrics["lesion_sensitivity"]["value"] == pytest.approx(1 / 3)  # a found, b too small, d missing
    assert metrics["lesion_f1"]["value"] == pytest.approx(2 * 1 / (3 + 2))
    assert metrics["false_positive_lesions"]["value"] == pytest.approx(1 / 4)
    assert "median" not in metrics["lesion_f1"]


def test_interval_is_that_of_scipy(evaluated):
    rng = np.random.default_rng(0)
    labels = {f"{number}.png": square(0, 0, 30) for number in range(40)}
    preds = {name: square(0, 0, int(rng.integers(10, 31))) for name in labels}
    parts = evaluated(preds, labels)
    values = [each.measures["iou"] for each in parts[1]]
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20000, rng=1).confidence_interval
    assert summarise(*parts, seed=0)["metrics"]["iou"]["interval"] == pytest.approx(tuple(theirs), abs=0.01)


def test_undefined_figures_are_none_not_nan(evaluated):
    black = {"a.png": np.zeros((40, 50), np.uint8), "b.png": np.zeros((40, 50), np.uint8)}
    metrics = summarise(*evaluated(black, black), seed=0)["metrics"]
    assert metrics["lesion_sensitivity"]["value"] is None and metrics["lesion_sensitivity"]["interval"] is None
    assert metrics["dice"]["value"] == 1 and metrics["dice"]["n_empty"] == 2


def test_one_group_has_no_interval(evaluated):
    results = summarise(*evaluated(groups="1111"), seed=0)
    assert results["groups"] == 1 and results["metrics"]["iou"]["interval"] is None


def test_groups_are_drawn_as_wholes(evaluated):
    labels = {f"{number:02}.png": square(0, 0, 20) for number in range(40)}
    preds = {name: square(0, 0, 20 if number < 20 else 10) for number, name in enumerate(labels)}
    widths = []
    for groups in (None, [str(number // 10) for number in range(40)]):
        low, high = summarise(*evaluated(preds, labels, groups=groups), seed=0)["metrics"]["iou"]["interval"]
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_strata_by_object_size(evaluated):
    results = summarise(*evaluated(), seed=0)
    strata = results["strata"]
    assert {name: stratum["images"] for name, stratum in strata.items()} == {
        "small": 1, "medium": 1, "large": 1, "none": 1,
    }  # fmt: skip
    assert strata["small"]["metrics"]["iou"]["value"] == 0 and strata["none"]["metrics"]["iou"]["value"] == 1
    assert sum(stratum["images"] for stratum in strata.values()) == results["images"]


def test_calibration_only_where_there_are_probabilities(evaluated):
    results = summarise(*evaluated(), seed=0)
    assert "ece" not in results["metrics"] and "brier" not in results["metrics"] and "reliability" not in results
    soft = {**PREDS, "a.png": np.full((40, 50), 51, np.uint8)}
    results = summarise(*evaluated(soft), seed=0)
    assert sum(row["pixels"] for row in results["reliability"]) == 4 * 40 * 50
    assert results["reliability"][-1] == {"probability": 1, "frequency": 1, "pixels": 100}
    # a: 0.2 where 5 % are foreground; b: 300 pixels missed; d: 16 pixels missed
    expected = abs(2000 * 0.2 - 100) + abs(0 - 300 - 16)
    assert results["metrics"]["ece"]["value"] == pytest.approx(expected / 8000)


def test_classes_one_by_one(evaluated):
    label = np.array([[0, 0, 1, 1, 9]], np.uint8).repeat(40, 0)
    pred = np.array([[0, 1, 1, 1, 1]], np.uint8).repeat(40, 0)
    label[label == 9] = 255
    settings = Settings(classes={0: "wall", 1: "floor", 2: "bed"})
    results = summarise(*evaluated({"a.png": pred}, {"a.png": label}, "semantic", settings=settings), seed=0)
    assert [(row["name"], row["iou"], row["label_pixels"]) for row in results["classes"]] == [
        ("wall", 0.5, 80), ("floor", pytest.approx(2 / 3), 80), ("bed", None, 0),
    ]  # fmt: skip
    assert results["metrics"]["class_mean_iou"]["value"] == pytest.approx((0.5 + 2 / 3) / 2)
    assert "strata" not in results


def test_rows_and_worst(evaluated):
    cases, measured, protocol, _ = evaluated()
    rows = per_image_rows(cases, measured, protocol)
    assert [(row["image"], row["missing"], row["stratum"]) for row in rows] == [
        ("a", 0, "medium"), ("b", 0, "large"), ("d", 1, "small"), ("deep/c", 0, "none"),
    ]  # fmt: skip
    assert rows[3]["object_share"] is None and rows[1]["iou"] == 0.25
    assert [case.name for case, _ in worst_cases(cases, measured, protocol, 2)] == ["d", "b"]


def test_processes_measure_as_one_does(evaluated, monkeypatch):
    cases, measured, _, settings = evaluated()
    monkeypatch.setattr("masksup_med.evaluate.measure._PER_PROCESS", 2)
    monkeypatch.setattr("masksup_med.evaluate.measure._cores", lambda: 2)
    for one, other in zip(measured, measure_cases(cases, "polyp", "native", settings), strict=True):
        assert one.measures.keys() == other.measures.keys()
        assert all(np.array_equal(value, other.measures[name]) for name, value in one.measures.items())
