"""The line that each epoch leaves in the log."""

import logging

import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import IgniteMetricHandler, ValidationHandler, from_engine
from monai.metrics import MSEMetric
from torch import nn

from masksup_med.handlers import Progress
from masksup_med.handlers.progress import _duration


def test_one_line_per_epoch_with_the_best_and_the_time_left(caplog):
    network = nn.Linear(2, 1)
    data = [{"image": torch.ones(1, 2), "label": torch.ones(1, 1)}]
    metric = IgniteMetricHandler(MSEMetric(), output_transform=from_engine(["pred", "label"]))
    evaluator = SupervisedEvaluator("cpu", data, network, key_val_metric={"val_mse": metric})
    handlers = [ValidationHandler(2, evaluator), Progress(evaluator)]
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    trainer = SupervisedTrainer("cpu", 2, data, network, optimizer, nn.MSELoss(), train_handlers=handlers)
    with caplog.at_level(logging.INFO, "masksup_med"):
        trainer.run()
    first, second = [record.message for record in caplog.records if record.name == "masksup_med"]
    assert first.startswith("epoch 1/2") and "val_mse" not in first
    assert second.startswith("epoch 2/2  val_mse 0.") and "(best 0." in second and second.endswith("0 s left")


def test_durations_are_told_in_two_units():
    assert [_duration(s) for s in (0, 59.6, 61, 3661)] == ["0 s", "1 min 0 s", "1 min 1 s", "1 h 1 min"]
