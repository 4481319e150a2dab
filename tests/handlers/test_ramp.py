"""The weights of the masked view over the epochs."""

import pytest
import torch
from monai.losses import DiceCELoss

from masksup_med.engines import MaskSupTrainer, PrepareViews
from masksup_med.errors import SettingError
from masksup_med.handlers import ContextRamp
from masksup_med.losses import MaskSupLoss
from masksup_med.transforms import RandPatchMaskd


def weights_of(factors, epochs, first=0):
    loss, seen = MaskSupLoss(DiceCELoss(sigmoid=True), context_weight=2, similarity_weight=0.5), []
    network = torch.nn.Conv2d(3, 1, 3, padding=1)
    batch = {"image": torch.rand(2, 3, 16, 16), "label": torch.ones(2, 1, 16, 16)}
    trainer = MaskSupTrainer(
        "cpu", epochs, [batch], network, torch.optim.SGD(network.parameters(), 0.1), loss,
        prepare_batch=PrepareViews([], RandPatchMaskd("image", 0.5, patch_size=8)),
        train_handlers=[ContextRamp(loss, factors)],
    )  # fmt: skip
    trainer.add_event_handler(
        "ITERATION_COMPLETED", lambda _: seen.append((loss.context_weight, loss.similarity_weight))
    )
    trainer.state.epoch = first
    trainer.run()
    return seen


def test_they_change_evenly_from_first_to_last():
    assert weights_of((0, 1), 3) == [(0, 0), (1, 0.25), (2, 0.5)]
    assert weights_of((1, 0), 3) == [(2, 0.5), (1, 0.25), (0, 0)]
    assert weights_of((1, 1), 2) == [(2, 0.5)] * 2
    assert weights_of((0.5, 1), 1) == [(1, 0.25)]


@pytest.mark.parametrize("factors", [(1,), (0, 1, 0), (-1, 1)])
def test_other_ramps_are_refused(factors):
    with pytest.raises(SettingError, match="give two factors from 0"):
        ContextRamp(MaskSupLoss(DiceCELoss(sigmoid=True)), factors)
