"""Every network can learn four real glands by heart."""

import pytest

from masksup_med.networks import NETWORKS
from tests.benchmarks.overfit_glands import GOAL, overfit

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.mark.parametrize("name", NETWORKS)
def test_overfits_four_glands_in_300_steps(name, real_data):
    _, _, iou = overfit(name, real_data / "glas" / "train", max_steps=300)
    assert iou >= GOAL
