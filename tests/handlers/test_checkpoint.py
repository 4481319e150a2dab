"""Checkpoints: written whole or not at all, read only when they fit, continued where they ended."""

import os

import pytest
import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import IgniteMetricHandler, LrScheduleHandler, ValidationHandler, from_engine
from monai.metrics import MSEMetric
from torch import nn

from masksup_med.errors import CheckpointError, MissingDataError
from masksup_med.handlers import BestModelSaver, EpochSeed, TrainingState, WeightsLoader
from masksup_med.networks.weights import load_weights


class Scripted:
    """A metric for an evaluator that takes given values in turn."""

    def __init__(self, values):
        self.values = iter(values)

    def attach(self, engine, name):
        from ignite.engine import Events

        def set_metric(engine):
            engine.state.metrics[name] = next(self.values)

        engine.add_event_handler(Events.EPOCH_COMPLETED, set_metric)


def parts(values=(0.5, 0.7, 0.6), seed=0):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    data = [{"image": torch.full((2, 3), float(i)), "label": torch.ones(2, 1)} for i in range(4)]
    evaluator = SupervisedEvaluator("cpu", data, network, key_val_metric={"score": Scripted(values)})
    return network, optimizer, scheduler, evaluator, data


def train(path, epochs, values=(0.5, 0.7, 0.6, 0.4), resume=False, die_after=None, seed=0):
    network, optimizer, scheduler, evaluator, data = parts(values, seed)
    objects = {"network": network, "optimizer": optimizer, "lr_scheduler": scheduler, "validator": evaluator}
    BestModelSaver(path / "models" / "model.pt", network).attach(evaluator)
    trainer = SupervisedTrainer(
        "cpu", epochs, data, network, optimizer, nn.MSELoss(),
        train_handlers=[
            EpochSeed(3, []),
            TrainingState(path / "checkpoint.pt", objects, resume),
            ValidationHandler(1, evaluator),
            LrScheduleHandler(scheduler, print_lr=False),
        ],
    )  # fmt: skip
    if die_after is not None:
        from ignite.engine import Events

        @trainer.on(Events.EPOCH_STARTED)
        def die(engine):
            if engine.state.epoch > die_after:
                raise SystemExit

        with pytest.raises(SystemExit):
            trainer.run()
    else:
        trainer.run()
    return network, trainer, evaluator, optimizer


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_resumed_training_equals_an_undisturbed_one(tmp_path):
    whole, *_ = train(tmp_path / "whole", epochs=4)
    train(tmp_path / "cut", epochs=4, die_after=2)
    resumed, trainer, evaluator, optimizer = train(tmp_path / "cut", 4, values=(0.6, 0.4), resume=True, seed=9)
    assert torch.equal(weights(whole), weights(resumed))  # dropout draws random numbers in every step
    assert trainer.state.epoch == 4 and trainer.state.iteration == 16
    assert evaluator.state.best_metric == 0.7 and evaluator.state.best_metric_epoch == 2
    assert optimizer.state_dict()["state"][0]["step"] == 16


def test_best_weights_are_kept_across_a_resume(tmp_path):
    train(tmp_path, epochs=4, die_after=2)  # scores 0.5, 0.7
    best = (tmp_path / "models" / "model.pt").read_bytes()
    train(tmp_path, epochs=4, values=(0.6, 0.4), resume=True)
    assert (tmp_path / "models" / "model.pt").read_bytes() == best


def test_best_weights_are_a_plain_state_dict(tmp_path):
    network, *_ = train(tmp_path, epochs=1)
    state = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert list(state) == list(network.state_dict())


def test_nothing_to_resume_starts_afresh(tmp_path):
    _, trainer, *_ = train(tmp_path, epochs=1, resume=True)
    assert trainer.state.epoch == 1


def test_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    train(tmp_path, epochs=1)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def disk_full(content, file, **kwargs):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(OSError, match="No space left"):
        train(tmp_path, epochs=2, resume=True)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.pt", "models"]


def test_what_a_killed_process_left_is_swept(tmp_path):
    (tmp_path / ".checkpoint.abc123.part.pt").write_bytes(b"half")
    (tmp_path / "other.pt").write_bytes(b"not ours")
    train(tmp_path, epochs=1)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.pt", "models", "other.pt"]


def test_weights_loader_loads_before_the_first_batch(tmp_path):
    train(tmp_path, epochs=2)
    state = torch.load(tmp_path / "models" / "model.pt")
    network, _, _, _, data = parts(seed=5)
    metric = IgniteMetricHandler(MSEMetric(), output_transform=from_engine(["pred", "label"]))
    loader = WeightsLoader(tmp_path / "models" / "model.pt", network)
    evaluator = SupervisedEvaluator("cpu", data, network, key_val_metric={"mse": metric}, val_handlers=[loader])
    evaluator.run()
    torch.testing.assert_close(dict(network.state_dict()), dict(state))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("2.bias"), r"'2.bias' is missing in the file and of shape \(1,\) in the network"),
        (lambda s: s.update({"0.weight": torch.zeros(4, 5)}), r"'0.weight' is of shape \(4, 5\) in the file"),
        (
            lambda s: s.update(extra=torch.zeros(1)),
            r"'extra' is of shape \(1,\) in the file and missing in the network",
        ),
    ],
)
def test_weights_that_do_not_fit_name_the_first_key(tmp_path, change, message):
    network, *_ = parts()
    state = dict(network.state_dict())
    change(state)
    torch.save(state, tmp_path / "model.pt")
    before = weights(network).clone()
    with pytest.raises(CheckpointError, match=message):
        load_weights(tmp_path / "model.pt", network)
    assert torch.equal(weights(network), before)


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04 half a zip"])
def test_damaged_file_is_one_sentence(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"Cannot read .*model\.pt as a checkpoint"):
        load_weights(tmp_path / "model.pt", parts()[0])


def test_pickled_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    torch.save({"0.weight": Evil()}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="Cannot read"):
        load_weights(tmp_path / "model.pt", parts()[0])
    assert not (tmp_path / "pwned").exists()


def test_missing_file_and_wrong_content(tmp_path):
    with pytest.raises(MissingDataError, match="No weights at"):
        load_weights(tmp_path / "model.pt", parts()[0])
    torch.save([1], tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        load_weights(tmp_path / "model.pt", parts()[0])


def test_state_made_with_other_settings_is_refused(tmp_path):
    torch.save({"epoch": 1, "network": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="lacks optimizer, lr_scheduler, validator"):
        train(tmp_path, epochs=2, resume=True)
