"""Overlap against scikit-learn and MONAI; both empty is 1 by policy."""

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric, MeanIoU
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from masksup_med.metrics.overlap import dice, iou, precision, recall
from tests.metrics.cases import each_pair


@each_pair
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(iou, jaccard_score), (dice, f1_score), (precision, precision_score), (recall, recall_score)],
)
def test_like_scikit_learn(ours, theirs, pred, label):
    nothing = not pred.any() and not label.any()
    expected = theirs(label.ravel(), pred.ravel(), zero_division=1 if nothing else 0)
    assert ours(pred, label) == pytest.approx(expected, abs=1e-12)
    assert type(ours(pred, label)) is float


@each_pair
@pytest.mark.parametrize(("ours", "theirs"), [(iou, MeanIoU), (dice, DiceMetric)])
def test_like_monai(ours, theirs, pred, label):
    batch = [torch.from_numpy(np.asarray(mask, float))[None, None] for mask in (pred, label)]
    expected = theirs(ignore_empty=False)(*batch).item()
    assert ours(pred, label) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("metric", [iou, dice, precision, recall])
def test_empty_masks(metric):
    empty, some = np.zeros((4, 5), bool), np.eye(4, 5, dtype=bool)
    assert metric(empty, empty) == 1
    assert metric(empty, some) == 0
    assert metric(some, empty) == 0
    assert metric(some, some) == 1
