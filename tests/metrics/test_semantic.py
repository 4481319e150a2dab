"""Scores of many classes against scikit-learn's confusion matrix and scores, and cases by hand."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score, recall_score

from masksup_med.metrics.semantic import (
    class_counts,
    class_iou,
    class_mean_iou,
    frequency_weighted_iou,
    mean_accuracy,
    micro_jaccard,
    pixel_accuracy,
)

SCORES = [pixel_accuracy, mean_accuracy, class_iou, class_mean_iou, frequency_weighted_iou]

# classes, numbers in the label, numbers in the prediction
SETS = {
    "two classes": (range(2), range(2), range(2)),
    "void 255": (range(4), [0, 1, 2, 3, 255], range(4)),
    "void 0 of 40 classes": (range(1, 41), range(41), range(1, 41)),
    "void predicted": (range(1, 41), range(41), range(41)),
    "no prediction in places": (range(4), [0, 1, 2, 3, 255], [-1, 0, 1, 2, 3]),
    "classes nowhere": (range(10), [0, 4, 255], [0, 4]),
    "classes in labels only": (range(6), [0, 1, 2, 3], [0, 1]),
    "classes in predictions only": (range(6), [1, 2], range(6)),
    "numbers out of order": ([7, 300, 2], [2, 7, 300, 5], [300, 7, 2]),
    "one class": ([1], [0, 1], [0, 1]),
}


def maps(name, seed=0, shape=(17, 22)):
    """Classes, prediction and label, of which about a half agrees where both have the number."""
    classes, of_label, of_pred = SETS[name]
    rng = np.random.default_rng(seed)
    label, pred = rng.choice(of_label, shape), rng.choice(of_pred, shape)
    return list(classes), np.where(np.isin(label, of_pred) & (rng.random(shape) < 0.5), label, pred), label


def known(classes, pred, label):
    """Labels and predictions of the pixels that are not void; what is no class is predicted as -1."""
    pixels = np.isin(label, classes)
    return label[pixels], np.where(np.isin(pred, classes), pred, -1)[pixels]


@pytest.mark.parametrize("shape", [(17, 22), (1, 30)])
@pytest.mark.parametrize("name", SETS)
def test_like_scikit_learn(name, shape):
    classes, pred, label = maps(name, shape=shape)
    both = known(classes, pred, label)
    matrix = confusion_matrix(*both, labels=[*classes, -1])
    counts = class_counts(pred, label, classes)
    np.testing.assert_array_equal(counts, np.stack([matrix.diagonal(), matrix.sum(1), matrix.sum(0)], axis=1)[:-1])

    in_label = np.intersect1d(both[0], classes)
    anywhere = np.intersect1d(np.concatenate(both), classes)
    of_class = jaccard_score(*both, labels=classes, average=None, zero_division=0)
    np.testing.assert_allclose(class_iou(counts), np.where(np.isin(classes, anywhere), of_class, np.nan))
    assert pixel_accuracy(counts) == pytest.approx(accuracy_score(*both))
    assert mean_accuracy(counts) == pytest.approx(recall_score(*both, labels=in_label, average="macro"))
    assert class_mean_iou(counts) == pytest.approx(jaccard_score(*both, labels=anywhere, average="macro"))
    weighted = jaccard_score(*both, labels=in_label, average="weighted")
    assert frequency_weighted_iou(counts) == pytest.approx(weighted)


@pytest.mark.parametrize("name", SETS)
def test_micro_jaccard_is_a_function_of_accuracy(name):
    classes, pred, label = maps(name)
    score = micro_jaccard(pred, label, classes)
    assert score == pytest.approx(jaccard_score(*known(classes, pred, label), average="micro"))
    accuracy = pixel_accuracy(class_counts(pred, label, classes))
    assert score == pytest.approx(accuracy / (2 - accuracy))


@pytest.mark.parametrize("name", SETS)
def test_counts_of_several_images_add_up(name):
    images = [maps(name, seed) for seed in range(3)]
    classes = images[0][0]
    of_images = np.stack([class_counts(pred, label, classes) for _, pred, label in images])
    joined = class_counts(*(np.concatenate([each[k] for each in images]) for k in (1, 2)), classes)
    np.testing.assert_array_equal(of_images.sum(axis=0), joined)
    for score in SCORES:
        np.testing.assert_allclose(score(of_images), [score(one) for one in of_images], err_msg=score.__name__)
        assert score(of_images[None]).shape[:2] == (1, 3)


@pytest.mark.filterwarnings("error")
def test_void_alone():
    label = np.full((4, 5), 255)
    counts = class_counts(np.ones_like(label), label, [0, 1])
    assert not counts.any()
    assert all(np.isnan(score(counts)).all() for score in SCORES)
    assert micro_jaccard(np.ones_like(label), label, [0, 1]) == 1
    # in a stack, such an image does no harm to its neighbours
    stack = np.stack([counts, class_counts(np.eye(2), np.eye(2), [0, 1])])
    np.testing.assert_array_equal(class_mean_iou(stack), [np.nan, 1])


def test_no_prediction_at_all_is_wrong_everywhere():
    label = np.array([[1, 2, 2, 0]], np.uint8)
    pred = np.full((1, 4), -1)
    counts = class_counts(pred, label, [1, 2])
    np.testing.assert_array_equal(counts, [[0, 1, 0], [0, 2, 0]])
    assert pixel_accuracy(counts) == mean_accuracy(counts) == class_mean_iou(counts) == 0
    assert frequency_weighted_iou(counts) == micro_jaccard(pred, label, [1, 2]) == 0


def test_by_hand():
    label = np.array([[1, 1, 1, 1, 2, 2, 0, 0]])
    pred = np.array([[1, 1, 1, 2, 2, 3, 1, 2]])  # class 3 in no label, class 4 nowhere
    counts = class_counts(pred, label, [1, 2, 3, 4])
    np.testing.assert_array_equal(counts, [[3, 4, 3], [1, 2, 2], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_allclose(class_iou(counts), [3 / 4, 1 / 3, 0, np.nan])
    assert pixel_accuracy(counts) == pytest.approx(4 / 6)
    assert mean_accuracy(counts) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert class_mean_iou(counts) == pytest.approx((3 / 4 + 1 / 3 + 0) / 3)
    assert frequency_weighted_iou(counts) == pytest.approx((4 * 3 / 4 + 2 / 3) / 6)
    assert micro_jaccard(pred, label, [1, 2, 3, 4]) == pytest.approx(4 / 8)
