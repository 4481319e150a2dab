"""What each protocol measures: the right metric, of the right mask."""

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics import f1_score, jaccard_score

from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.figures import Settings
from masksup_med.evaluate.tasks import TASKS
from masksup_med.metrics.gland import object_sums
from masksup_med.metrics.saliency import saliency_measures
from tests.evaluate.masks import square, write


def blobs(seed, size=(90, 120)):
    return gaussian_filter(np.random.default_rng(seed).normal(size=size), 6) > 0.01


@pytest.fixture
def case(tmp_path):
    """A function that writes a prediction, a label and perhaps a map of probabilities, and returns them as a case."""

    def case(label, pred=None, probability=None):
        write(tmp_path, {"label.png": label})
        for name, values in (("pred.png", pred), ("probability.png", probability)):
            if values is not None:
                write(tmp_path, {name: values})
        there = [None if values is None else tmp_path / f"{name}.png"
                 for name, values in (("pred", pred), ("probability", probability))]  # fmt: skip
        return Case("a", tmp_path / "label.png", there[0], "a", probability=there[1])

    return case


def white(mask):
    return mask.astype(np.uint8) * 255


def test_polyp_native(case):
    pred, label = blobs(1), blobs(2)
    measured = TASKS["polyp"]["native"].measure(case(white(label), white(pred)), Settings())
    assert measured.measures["iou"] == pytest.approx(jaccard_score(label.ravel(), pred.ravel()))
    assert measured.measures["dice"] == pytest.approx(f1_score(label.ravel(), pred.ravel()))
    assert measured.measures["soft"] == 0 and not measured.label_empty and not measured.pred_empty
    names = {name for figure in TASKS["polyp"]["native"].figures if (name := figure.column)}
    assert names <= measured.measures.keys()


def test_a_map_is_cut_at_half_and_calibrated(case):
    label = square(5, 5, 20)
    soft = np.where(label > 0, 200, 100).astype(np.uint8)
    measures = TASKS["polyp"]["native"].measure(case(label, soft), Settings()).measures
    assert measures["iou"] == 1 and measures["soft"] == 1
    assert measures["brier"] == pytest.approx(0.2 * (55 / 255) ** 2 + 0.8 * (100 / 255) ** 2)


def test_a_map_beside_the_mask_is_for_calibration_only(case):
    label = square(5, 5, 20)
    soft = np.where(label > 0, 20000, 0).astype(np.uint16)  # the mask was not made by cutting at half
    soft[0, 0] = 1
    measures = TASKS["polyp"]["native"].measure(case(label, label, soft), Settings()).measures
    assert measures["iou"] == 1
    assert measures["brier"] == pytest.approx(0.2 * (45535 / 65535) ** 2, abs=1e-9)


@pytest.mark.parametrize(
    ("task", "protocol"), [(task, protocol) for task in ("polyp", "gland") for protocol in TASKS[task]]
)
def test_missing_prediction_found_nothing(case, task, protocol):
    label, settings = white(blobs(1)), Settings()
    missing = TASKS[task][protocol].measure(case(label), settings)
    black = TASKS[task][protocol].measure(case(label, np.zeros_like(label)), settings)
    assert missing.pred_empty and black.pred_empty
    for name, value in black.measures.items():
        assert np.array_equal(missing.measures[name], value), name
    assert missing.measures[TASKS[task][protocol].key] < 0.5


def test_pranet_takes_the_map_as_it_is(case):
    label, rng = blobs(3), np.random.default_rng(0)
    soft = rng.integers(30, 200, label.shape).astype(np.uint8)
    measures = TASKS["polyp"]["pranet"].measure(case(white(label), soft), Settings()).measures
    for name, value in saliency_measures(soft / 255, label).items():
        assert np.allclose(measures[name], value), name


def test_gland_measures_objects(case):
    label = square(2, 2, 10) // 255 + (square(20, 20, 15) // 255) * 2
    pred = square(2, 2, 10) // 255 * 3 + (square(22, 20, 15) // 255) * 9
    measured = TASKS["gland"]["native"].measure(case(label, pred), Settings())
    for name, value in object_sums(pred, label).items():
        assert measured.measures[name] == value
    assert measured.measures["recall"] == pytest.approx((100 + 15 * 13) / 325)
    assert measured.object_share == pytest.approx(325 / 2 / label.size)


@pytest.mark.parametrize("size", [(288, 384), (500, 301), (224, 224)])
def test_paper_shrinks_as_opencv_does(case, size):
    pred, label = blobs(1, size), blobs(2, size)
    measures = TASKS["polyp"]["paper"].measure(case(white(label), white(pred)), Settings()).measures
    small = [
        cv2.resize(mask.astype(np.uint8), (224, 224), interpolation=cv2.INTER_AREA).ravel() for mask in (label, pred)
    ]
    assert measures["jaccard"] == pytest.approx(jaccard_score(*small), abs=1e-6)
    common, both = (small[0] & small[1]).sum(), small[0].sum() + small[1].sum()
    assert measures["smoothed_dice"] == pytest.approx((2 * common + 1) / (both + 1), abs=1e-6)


def test_paper_takes_predictions_of_its_own_size_and_gives_0_for_two_empty_masks(case):
    label = np.zeros((100, 80), np.uint8)
    protocol = TASKS["polyp"]["paper"]
    measures = protocol.measure(case(label, np.zeros((224, 224), np.uint8)), Settings()).measures
    assert protocol.size == (224, 224)
    assert measures == {"jaccard": 0, "smoothed_dice": 1}


def test_paper_on_objects_is_of_their_masks(case):
    label = square(2, 2, 10) // 255 + (square(20, 20, 15) // 255) * 2
    measures = TASKS["gland"]["paper"].measure(case(label, label), Settings()).measures
    assert measures["jaccard"] == 1


def test_semantic(case):
    rng = np.random.default_rng(0)
    label, pred = rng.integers(0, 5, (30, 40)).astype(np.uint8), rng.integers(1, 5, (30, 40)).astype(np.uint8)
    settings = Settings(classes={number: "" for number in range(1, 5)})  # 0 is void
    measured = TASKS["semantic"]["native"].measure(case(label, pred), settings)
    known = label > 0
    values = {figure.name: figure for figure in TASKS["semantic"]["native"].figures}
    sums = {"counts": np.asarray(measured.measures["counts"])[None].astype(float)}
    assert values["class_mean_iou"].value(sums)[0] == pytest.approx(
        jaccard_score(label[known], pred[known], average="macro", labels=[1, 2, 3, 4])
    )
    assert measured.measures["micro_jaccard"] == pytest.approx(
        jaccard_score(label[known], pred[known], average="micro", labels=[1, 2, 3, 4])
    )


def test_paper_semantic_takes_void_for_the_first_class(case):
    label, pred = np.full((10, 20), 255, np.uint8), np.zeros((10, 20), np.uint8)
    settings = Settings(classes={0: "wall", 1: "floor"})
    assert TASKS["semantic"]["paper"].measure(case(label, pred), settings).measures["micro_jaccard"] == 1
