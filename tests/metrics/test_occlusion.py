"""Area under the occlusion curve against scikit-learn's and by hand."""

import numpy as np
import pytest
from sklearn.metrics import auc

from masksup_med.metrics.occlusion import area_under_occlusion


@pytest.mark.parametrize(
    ("ratios", "scores", "expected"),
    [
        ([0, 1], [1, 0], 0.5),
        ([0, 0.25, 0.5, 0.75, 1], [0.8] * 5, 0.8),
        ([0, 0.5, 1], [1, 1, 0], 0.75),
        ([0, 0.1, 0.5], [1, 0.5, 0], (0.1 * 0.75 + 0.4 * 0.25) / 0.5),  # steps and width count, not points
        ([0.2, 0.6], [0.9, 0.3], 0.6),
    ],
)
def test_by_hand(ratios, scores, expected):
    assert area_under_occlusion(ratios, np.array(scores)) == pytest.approx(expected)


@pytest.mark.parametrize("points", [2, 3, 11])
def test_like_scikit_learn(points):
    rng = np.random.default_rng(points)
    ratios, scores = np.sort(rng.random(points)), rng.random((4, 3, points))
    expected = [[auc(ratios, one) / np.ptp(ratios) for one in row] for row in scores]
    np.testing.assert_allclose(area_under_occlusion(ratios.tolist(), scores), expected)
