"""Real MLflow, real MONAI engines."""

import contextlib
import json
import logging
import os
import signal
from pathlib import Path

import pytest
import torch
import yaml
from ignite.engine import Events
from mlflow import MlflowClient
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import MeanIoUHandler, StatsHandler, ValidationHandler, from_engine
from monai.transforms import AsDiscreted, Compose
from PIL import Image

from masksup_med.errors import SettingError
from masksup_med.handlers.provenance import read_passport
from masksup_med.handlers.tracking import MLflowTracker


class Fail:
    """Handler that raises, or does something as bad, in the second epoch."""

    def __init__(self, act, event=Events.ITERATION_STARTED):
        self.act, self.event = act, event

    def attach(self, engine):
        engine.add_event_handler(self.event, self)

    def __call__(self, engine):
        if engine.state.epoch == 2:
            self.act()


class SaveBest:
    def __init__(self, path, network):
        self.path, self.network = path, network

    def attach(self, engine):
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine):
        if engine.state.best_metric_epoch == engine.state.epoch:
            torch.save(self.network.state_dict(), self.path)


class EpochLoss:
    def attach(self, engine):
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine):
        engine.state.metrics["train_loss"] = 1 / engine.state.epoch
        engine.state.metrics["per_class"] = torch.ones(2)


def sigint():
    signal.raise_signal(signal.SIGINT)


def sigkill():
    os.kill(os.getpid(), signal.SIGKILL)


def raiser(error):
    def act():
        raise error

    return act


def make_data(folder, count=5):
    items = []
    for number in range(count):
        path = folder / f"frame{number}.png"
        Image.new("RGB", (24, 16), (90, 60, 50)).save(path)
        image = MetaTensor(torch.rand(3, 24, 16), meta={"filename_or_obj": str(path)})
        items.append({"image": image, "label": (torch.rand(1, 24, 16) > 0.5).float()})
    return items


def make_evaluator(items, network, handlers):
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=2),
        network=network,
        postprocessing=Compose([AsDiscreted(keys="pred", threshold=0)]),
        key_val_metric={
            "val_iou": MeanIoUHandler(include_background=True, output_transform=from_engine(["pred", "label"]))
        },
        val_handlers=handlers,
    )


def train(tracker, items, epochs=2, trainer_handlers=(), validator_handlers=(), load=None, weights=None, stats=True):
    """Train as a bundle does: loader, validation, then, before the tracker, MONAI's StatsHandler."""
    network = torch.nn.Conv2d(3, 1, 3, padding=1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    save = [SaveBest(weights, network)] if weights else []
    validator = make_evaluator(items, network, [*validator_handlers, *save, tracker])
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(Dataset(items), batch_size=2),
        network=network,
        optimizer=optimizer,
        loss_function=torch.nn.BCEWithLogitsLoss(),
        train_handlers=[
            ValidationHandler(interval=1, validator=validator, exec_at_start=False),
            EpochLoss(),
            *trainer_handlers,
            *([StatsHandler(output_transform=from_engine(["loss"], first=True))] if stats else []),
        ],
    )
    if load:
        trainer.add_event_handler(Events.STARTED, lambda: tracker.load_state_dict(load))
    tracker.attach(trainer)
    trainer.run()
    return validator


def evaluate(tracker, items):
    make_evaluator(items, torch.nn.Conv2d(3, 1, 3, padding=1), [tracker]).run()


@pytest.fixture(scope="module")
def output_dir(tmp_path_factory):
    """One store for all tests, as its creation takes a second; each has its own experiment."""
    return tmp_path_factory.mktemp("my output ü")


@pytest.fixture(scope="module")
def items(output_dir):
    torch.manual_seed(0)
    return make_data(output_dir)


@pytest.fixture
def tracker_of(output_dir, request):
    def make(**arguments):
        return MLflowTracker(output_dir, **{"experiment_name": request.node.name, **arguments})

    return make


@pytest.fixture
def client(output_dir):
    return MlflowClient(f"sqlite:///{output_dir}/mlruns.db")


def status(client, run_id):
    return client.get_run(run_id).info.status


def artifacts(client, run_id, folder=None):
    return sorted(file.path for file in client.list_artifacts(run_id, folder))


def content(client, run_id, name, tmp_path):
    return Path(client.download_artifacts(run_id, name, str(tmp_path))).read_text()


def test_training_is_one_finished_run(tracker_of, items, client, caplog):
    tracker = tracker_of(bundle_name="polyp")
    assert tracker.run_id is None
    with caplog.at_level(logging.INFO, "masksup_med"):
        train(tracker, items)
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name.startswith("polyp_train_20")
    assert run.data.tags["kind"] == "train"
    assert run.data.tags["bundle"] == "polyp"
    assert run.data.tags["torch"] == torch.__version__
    assert " cores of " in run.data.tags["masksup.machine"]
    assert len(client.search_runs([run.info.experiment_id])) == 1
    assert caplog.text.count(f"MLflow run {tracker.run_id} in sqlite:///") == 1


def test_metrics_have_the_trainers_epoch_as_step(tracker_of, items, client):
    tracker = tracker_of()
    train(tracker, items, epochs=3)
    assert set(client.get_run(tracker.run_id).data.metrics) == {"train_loss", "val_iou", "lr"}
    for name in ("train_loss", "val_iou", "lr"):
        assert [metric.step for metric in client.get_metric_history(tracker.run_id, name)] == [1, 2, 3]
    assert [m.value for m in client.get_metric_history(tracker.run_id, "train_loss")] == [1, 1 / 2, 1 / 3]
    assert {m.value for m in client.get_metric_history(tracker.run_id, "lr")} == {0.1}


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), SystemExit(1)])
@pytest.mark.parametrize("where", ["trainer_handlers", "validator_handlers"])
def test_whatever_ends_a_training_early_fails_the_run(tracker_of, items, client, error, where):
    tracker = tracker_of()
    with pytest.raises(type(error)):
        train(tracker, items, **{where: [Fail(raiser(error))]})
    assert status(client, tracker.run_id) == "FAILED"


def test_run_fails_even_if_a_handler_swallows_the_error(tracker_of, items, client):
    class Swallow:
        def attach(self, engine):
            engine.add_event_handler(Events.EXCEPTION_RAISED, lambda error: None)

    tracker = tracker_of()
    broken = Fail(raiser(RuntimeError("broken")), Events.EPOCH_STARTED)
    train(tracker, items, trainer_handlers=[Swallow(), broken], stats=False)
    assert status(client, tracker.run_id) == "FAILED"


def test_error_at_the_start_fails_the_run(tracker_of, items, client, monkeypatch):
    tracker = tracker_of()
    monkeypatch.setattr(tracker, "_log_inputs", raiser(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        train(tracker, items)
    assert status(client, tracker.run_id) == "FAILED"


def test_interrupted_and_killed_processes(output_dir, tracker_of, items, client, request, tmp_path):
    link = tmp_path / "link"  # under another name, so that the child uses none of this process's connections
    link.symlink_to(output_dir)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            killed_run(link, request.node.name, items, tmp_path / "runs")
        os._exit(1)  # it was to be killed before
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    interrupted, killed = (tmp_path / "runs").read_text().split()
    assert status(client, interrupted) == "FAILED"
    assert status(client, killed) == "RUNNING"

    train(tracker := tracker_of(), items, epochs=1)
    assert tracker.run_id != killed
    assert status(client, killed) == "FAILED"
    assert status(client, tracker.run_id) == "FINISHED"

    train(resumed := tracker_of(), items, load={"run_id": killed})
    assert resumed.run_id == killed
    assert status(client, killed) == "FINISHED"


def killed_run(output_dir, experiment_name, items, told):
    """Interrupt a training as Ctrl-C does, then kill another; their run ids go to a file."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)  # Torch's pool of threads is not there in a fork
    for act in (sigint, sigkill):
        tracker = MLflowTracker(output_dir, experiment_name=experiment_name)

        def tell_and_act(tracker=tracker, act=act):
            with open(told, "a") as file:
                print(tracker.run_id, file=file)
            act()

        with contextlib.suppress(KeyboardInterrupt):
            train(tracker, items, trainer_handlers=[Fail(tell_and_act)])


def test_resumed_training_continues_its_run(tracker_of, items, client):
    first = tracker_of(settings={"max_epochs": 2})
    with pytest.raises(RuntimeError):
        train(first, items, trainer_handlers=[Fail(raiser(RuntimeError("broken")))])
    state = first.state_dict()
    assert state == {"run_id": first.run_id}
    second = tracker_of(settings={"max_epochs": 4})
    train(second, items, load=state)
    assert second.run_id == first.run_id
    run = client.get_run(first.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["max_epochs"] == "2"
    assert len(client.search_runs([run.info.experiment_id])) == 1


def test_same_tracker_starts_another_run(tracker_of, items):
    tracker = tracker_of(run_name="same name")
    train(tracker, items, epochs=1)
    first = tracker.run_id
    train(tracker, items, epochs=1)
    assert tracker.run_id != first


def test_evaluation_is_its_own_run_and_names_the_training(tracker_of, items, client, tmp_path):
    weights = tmp_path / "model.pt"
    train(trained := tracker_of(weights=weights), items, weights=weights)
    evaluate(evaluated := tracker_of(kind="evaluate", weights=weights), items)
    train(later := tracker_of(), items, epochs=1)
    assert len({trained.run_id, evaluated.run_id, later.run_id}) == 3
    run = client.get_run(evaluated.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name.startswith("masksup_evaluate_")
    assert run.data.tags["trained_by_run"] == trained.run_id
    assert run.data.tags["weights_sha256"] == client.get_run(trained.run_id).data.tags["weights_sha256"]
    assert set(run.data.metrics) == {"val_iou"}
    assert len(artifacts(client, evaluated.run_id, "overlays")) == 4


def test_evaluation_of_swapped_weights_names_no_training(tracker_of, items, client, tmp_path):
    weights = tmp_path / "model.pt"
    train(tracker_of(weights=weights), items, epochs=1, weights=weights)
    weights.write_bytes(b"swapped")
    evaluate(tracker := tracker_of(kind="evaluate", weights=weights), items)
    assert client.get_run(tracker.run_id).data.tags["trained_by_run"] == "unknown"


def test_failed_evaluation(tracker_of, items, client):
    tracker = tracker_of(kind="evaluate")
    evaluator = make_evaluator(items, torch.nn.Conv2d(1, 1, 1), [tracker])  # takes one channel, gets three
    with pytest.raises(RuntimeError):
        evaluator.run()
    assert status(client, tracker.run_id) == "FAILED"


def test_weights_get_a_passport(tracker_of, items, client, tmp_path):
    weights = tmp_path / "model.pt"
    validator = train(tracker := tracker_of(weights=weights), items, weights=weights)
    passport = read_passport(weights)
    assert passport["run_id"] == tracker.run_id
    assert passport["epoch"] == validator.state.best_metric_epoch
    assert passport["metric"] == {"val_iou": pytest.approx(float(validator.state.best_metric))}
    assert artifacts(client, tracker.run_id, "model") == ["model/model.pt"]
    assert client.get_run(tracker.run_id).data.tags["weights_sha256"] == passport["weights_sha256"]


def test_weights_of_others_get_none(tracker_of, items, client, tmp_path):
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"pretrained elsewhere")
    train(tracker := tracker_of(weights=weights), items)
    assert read_passport(weights) is None
    assert artifacts(client, tracker.run_id, "model") == []


def test_inputs_are_recorded_without_the_users_name(tracker_of, items, client, tmp_path, monkeypatch):
    home = tmp_path / "anna"
    monkeypatch.setenv("HOME", str(home))
    for folder in ("images", "masks"):
        (home / "polyps" / folder).mkdir(parents=True)
        (home / "polyps" / folder / "1.png").write_bytes(b"1")
    settings = {
        "dataset_dir": f"{home}/polyps",
        "train": {"handlers": [{"_target_": "X", "decay": i / 10} for i in range(150)]},
        "text": "x" * 7000,
        "empty": "",
    }
    datalist = {"training": [{"image": f"{home}/polyps/images/1.png", "label": f"{home}/polyps/masks/1.png"}]}
    train(tracker := tracker_of(settings=settings, datalist=datalist), items, epochs=1)

    params = client.get_run(tracker.run_id).data.params
    assert params["dataset_dir"] == "~/polyps"
    assert params["train/handlers/149/decay"] == "14.9"
    assert len(params["text"]) == 6000
    assert params["datalist/training"] == "1"
    assert len(params["datalist_sha256"]) == 64

    names = ["config.yaml", "datalist.json", "packages.txt"]
    assert artifacts(client, tracker.run_id) == sorted([*names, "overlays"])
    texts = {name: content(client, tracker.run_id, name, tmp_path) for name in names}
    assert "anna" not in str(texts) + str(params)
    assert list(yaml.safe_load(texts["config.yaml"])) == list(settings)
    assert json.loads(texts["datalist.json"])["training"] == [{"image": "images/1.png", "label": "masks/1.png"}]
    assert f"torch=={torch.__version__}" in texts["packages.txt"]


def test_overlays_of_the_best_epoch(tracker_of, items, client):
    train(tracker := tracker_of(overlays=3), items)
    assert artifacts(client, tracker.run_id, "overlays") == [f"overlays/0{n}_frame{n - 1}.png" for n in (1, 2, 3)]


def test_undrawn_overlays_do_not_end_a_training(tracker_of, items, client, caplog):
    lost = [{**item, "image": MetaTensor(item["image"].as_tensor())} for item in items]
    with caplog.at_level(logging.WARNING, "masksup_med"):
        train(tracker := tracker_of(), lost, epochs=1)
    assert status(client, tracker.run_id) == "FINISHED"
    assert "Overlays were not drawn: KeyError" in caplog.text


def test_artifacts_lie_beside_the_database(output_dir, tracker_of, items):
    train(tracker := tracker_of(), items, epochs=1)
    assert (output_dir / "mlruns" / tracker.run_id / "artifacts" / "packages.txt").is_file()


def test_environment_names_another_store(output_dir, items, client, tmp_path, monkeypatch, request):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{output_dir}/mlruns.db")
    train(tracker := MLflowTracker(tmp_path, experiment_name=request.node.name), items, epochs=1)
    assert status(client, tracker.run_id) == "FINISHED"
    assert list(tmp_path.iterdir()) == []


def test_only_the_first_process_tracks(tracker_of, items, monkeypatch):
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    train(tracker := tracker_of(), items, epochs=1)
    assert tracker.run_id is None


def test_construction_opens_no_store(tmp_path):
    MLflowTracker(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_kind_is_refused(tmp_path):
    with pytest.raises(SettingError, match="'training'"):
        MLflowTracker(tmp_path, kind="training")
