"""The bundles at work on phantoms: train, evaluate, infer, resume, overlays, and what bad input gets."""

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from monai.bundle import ConfigWorkflow
from PIL import Image

from masksup_med.bundle import bundle_names, find_bundle, overlays
from masksup_med.data import load_datalist, read_label
from masksup_med.errors import CheckpointError, DataError, MaskSupError, MissingDataError, SettingError
from masksup_med.networks import NETWORKS

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {
    "polyp_masksup": {"image_size": [64, 64]},
    "gland_masksup": {"patch_size": [48, 48]},  # larger than half of a phantom: padding is needed
}
SMALL_NETWORK = "network/residual_unet.yaml"
TINY_NETWORK = {"network_def#channels": [4, 8]}
KINDS = {file.parent.name for file in overlays().glob("*/*.yaml")} - {"experiments"}  # which are grids
OVERLAYS = sorted(str(file.relative_to(overlays())) for kind in KINDS for file in (overlays() / kind).glob("*.yaml"))
NETWORK_OVERLAYS = [overlay for overlay in OVERLAYS if overlay.startswith("network/")]
FEW = {
    "train#dataset#data": "$masksup_med.data.part(@datalist, 'training')[:4]",
    "validate#dataset#data": "$masksup_med.data.part(@datalist, @validation_list)[:1]",
    "batch_size": 2,
}
# Large networks take seconds to save with all that is needed to resume, and to copy into MLflow's store; their weights
# are saved as always.
NO_STATE = {"train#handlers#3#_disabled_": True, "optimizer#_target_": "torch.optim.SGD", "tracker#weights": None}


@pytest.fixture
def out(empty_store, tmp_path):
    """The folder of a training's results, with its MLflow store."""
    (tmp_path / "out").mkdir()
    shutil.copy(empty_store, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture(scope="module")
def shared_out(empty_store, tmp_path_factory):
    """Where trainings leave their results whose files are not looked at."""
    folder = tmp_path_factory.mktemp("shared_out")
    shutil.copy(empty_store, folder)
    return folder


def files_of(name, *files):
    return [str(overlays() / f) if "/" in f else str(find_bundle(name) / "configs" / f) for f in files]


def run(name, *files, kind="train", **settings):
    own = set(files) & set(NETWORK_OVERLAYS)
    network = {} if own else TINY_NETWORK
    workflow = ConfigWorkflow(
        config_file=files_of(name, files[0], *([] if own else [SMALL_NETWORK]), *files[1:]),
        workflow_type=kind,
        logging_file=False,
        **{**SMALL[name], **network, **settings},
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return workflow


def train(name, dataset_dir, out, *overlay, max_epochs=1, **settings):
    folders = {"dataset_dir": str(dataset_dir), "output_dir": str(out), "ckpt_dir": str(out / "models")}
    return run(
        name,
        "train.yaml",
        *overlay,
        **folders,
        **{"max_epochs": max_epochs, "batch_size": 4, "val_interval": 1, **settings},
    )


def cause_of(caught):
    error = caught.value
    while error is not None and not isinstance(error, MaskSupError):
        error = error.__cause__ or error.__context__
    return error


def tracked_runs(out):
    client = MlflowClient(f"sqlite:///{out}/mlruns.db")
    return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])


@pytest.mark.parametrize("name", bundle_names())
def test_train_evaluate_infer(name, phantoms, out, tmp_path):
    data = phantoms(name.split("_")[0])
    masks = tmp_path / "masks"
    train(name, data, out, max_epochs=2)
    assert load_datalist(out / "datalist.json") == load_datalist(data)
    passport = json.loads((out / "models" / "model.json").read_text())
    run(
        name, "train.yaml", "evaluate.yaml", dataset_dir=str(out / "datalist.json"), output_dir=str(out),
        ckpt_dir=str(out / "models"),
    )  # fmt: skip
    evaluation, training = tracked_runs(out)  # the newest first
    assert {run.info.status for run in (training, evaluation)} == {"FINISHED"}
    assert training.data.tags["kind"] == "train" and evaluation.data.tags["kind"] == "evaluate"
    assert evaluation.data.tags["trained_by_run"] == training.info.run_id == passport["run_id"]
    best = evaluation.data.metrics["val_mean_iou"]
    assert best == pytest.approx(passport["metric"]["val_mean_iou"], abs=1e-5)
    assert (out / "metrics.csv").is_file()
    named = [line.split(",")[0] for line in (out / "val_mean_iou_raw.csv").read_text().splitlines()[1:]]
    assert named and all(re.fullmatch(r"images/\w+\.png", name) for name in named)

    (data / "images" / "sub").mkdir(exist_ok=True)
    shutil.copy(data / "images" / "phantom_0000.png", data / "images" / "sub" / "again.png")
    try:
        run(
            name, "inference.yaml", kind="infer", dataset_dir=str(data / "images"), output_dir=str(masks),
            ckpt_path=str(out / "models" / "model.pt"),
        )  # fmt: skip
    finally:
        shutil.rmtree(data / "images" / "sub")
    assert len(list(masks.rglob("*.*"))) == 11
    first = read_label(masks / "phantom_0000.png")
    assert first.shape == (64, 80) and set(np.unique(first)) <= {0, 255}
    np.testing.assert_array_equal(first, read_label(masks / "sub" / "again.png"))


@pytest.mark.parametrize(
    "overlay",
    [each for each in OVERLAYS if not each.startswith(("network/", "classes/", "paradigm/mae"))],
)
@pytest.mark.parametrize("name", bundle_names())
def test_every_overlay_stacks_on_every_bundle(name, overlay, phantoms, shared_out):
    settings = {"validation_list": "validation"} if "paper" in overlay else {}
    settings |= {"tracking_uri": None} if "mlflow" in overlay else {}  # no server here
    workflow = train(name, phantoms(name.split("_")[0]), shared_out, overlay, **FEW, **settings)
    metrics = workflow.parser.get_parsed_content("train#trainer").state.metrics
    assert metrics["train_loss_segmentation"] > 0
    assert (metrics["train_loss_context"] > 0) == ("baseline" not in overlay)
    assert (metrics["train_loss_similarity"] > 0) == ("baseline" not in overlay and "context" not in overlay)
    if overlay.startswith("masking"):
        kind, level = Path(overlay).stem.split("_")
        hiding = workflow.parser.get_parsed_content("hiding")
        assert kind in type(hiding).__name__.lower()
        hidden = hiding({"image": torch.zeros(3, 64, 64)})["hidden"].float().mean()
        assert (
            {"low": 0.0, "medium": 0.2, "high": 0.45}[level]
            < hidden
            < {"low": 0.15, "medium": 0.4, "high": 0.65}[level]
        )


@pytest.fixture(scope="module")
def three_classes(phantoms, tmp_path_factory):
    """Phantoms whose objects are of class 1 in their left half, and of class 2 in their right one."""
    folder = tmp_path_factory.mktemp("three") / "data"
    shutil.copytree(phantoms("polyp"), folder)
    for file in (folder / "labels").iterdir():
        mask = read_label(file) > 0
        columns = np.broadcast_to(np.arange(mask.shape[1]), mask.shape)
        right = columns > np.median(columns[mask])
        Image.fromarray((mask * np.where(right, 200, 100)).astype(np.uint8)).save(file)
    return folder


@pytest.mark.parametrize("name", bundle_names())
def test_several_classes_train_and_evaluate(name, three_classes, out):
    overlay, values = "classes/several.yaml", {"label_values": [0, 100, 200]}
    workflow = train(name, three_classes, out, overlay, max_epochs=2, **values)
    trainer, evaluator = (workflow.parser.get_parsed_content(key) for key in ("train#trainer", "validate#evaluator"))
    metrics = {**trainer.state.metrics, **evaluator.state.metrics}
    assert {"train_loss_context", "train_loss_similarity", "val_mean_iou", "val_mean_dice"} <= metrics.keys()
    assert all(np.isfinite(value) for value in metrics.values())
    assert trainer.state.iteration == 4 and workflow.parser.get_parsed_content("network_def").network.out_channels == 3
    assert {int(value) for item in trainer.state.output for value in item["label"].unique()} == {0, 1, 2}
    passport = json.loads((out / "models" / "model.json").read_text())
    evaluation = run(
        name, "train.yaml", overlay, "evaluate.yaml", dataset_dir=str(out / "datalist.json"), output_dir=str(out),
        ckpt_dir=str(out / "models"), **values,
    )  # fmt: skip
    best = evaluation.parser.get_parsed_content("validate#evaluator").state.metrics["val_mean_iou"]
    assert best == pytest.approx(passport["metric"]["val_mean_iou"], abs=1e-5)


def test_several_classes_refuse_a_value_that_stands_for_none(three_classes, out):
    with pytest.raises((RuntimeError, MaskSupError)) as caught:
        train("polyp_masksup", three_classes, out, "classes/several.yaml", label_values=[0, 100, 101])
    assert "has the value 200 at" in str(cause_of(caught)) and not (out / "models").exists()


# each on one bundle in the gate, on the other among the slow tests: they take a minute of a core
@pytest.mark.parametrize("overlay", NETWORK_OVERLAYS)
@pytest.mark.parametrize("name", [pytest.param("gland_masksup", marks=pytest.mark.slow), "polyp_masksup"])
def test_every_network_trains_on_every_bundle(name, overlay, phantoms, shared_out):
    side = 16 if "kiunet" in overlay else 32  # inside, it has 64 times as many pixels
    size = {**{key: [side, side] for key in SMALL[name]}, "hiding#patch_size": side // 2}
    workflow = train(name, phantoms(name.split("_")[0]), shared_out, overlay, **FEW, **NO_STATE, **size)
    trainer = workflow.parser.get_parsed_content("train#trainer")
    assert trainer.state.iteration == 2
    assert trainer.state.metrics["train_loss_similarity"] > 0
    assert type(trainer.network) is NETWORKS[Path(overlay).stem].network


def test_infer_with_another_network(phantoms, out, tmp_path):
    overlay, folder = "network/res_unet.yaml", phantoms("polyp")
    train("polyp_masksup", folder, out, overlay, image_size=[32, 32], **FEW, **NO_STATE)
    run(
        "polyp_masksup", "inference.yaml", overlay, kind="infer", image_size=[32, 32],
        dataset_dir=str(folder / "images"), output_dir=str(tmp_path / "masks"),
        ckpt_path=str(out / "models" / "model.pt"),
    )  # fmt: skip
    assert len(list((tmp_path / "masks").iterdir())) == 10


def test_deep_supervision(phantoms, shared_out):
    inner = {"_target_": "DiceCELoss", "sigmoid": True, "batch": True}
    loss = {"_target_": "DeepSupervisionLoss", "weight_mode": "same", "loss": inner}
    workflow = train(
        "polyp_masksup", phantoms("polyp"), shared_out, "network/unet_plus_plus.yaml", image_size=[32, 32],
        **FEW, **NO_STATE, **{"network_def#deep_supervision": True, "loss#segmentation_loss": loss},
    )  # fmt: skip
    assert workflow.parser.get_parsed_content("train#trainer").state.metrics["train_loss_context"] > 0


def test_overlays_stack_on_each_other(phantoms, shared_out):
    overlays = ("paradigm/context.yaml", "masking/scribble_high.yaml")
    workflow = train("polyp_masksup", phantoms("polyp"), shared_out, *overlays, **FEW)
    assert workflow.parser.get_parsed_content("loss").similarity_weight == 0
    assert type(workflow.parser.get_parsed_content("hiding")).__name__ == "RandScribbleMaskd"


def test_polyp_training_is_finished_from_its_weights_at_the_size_that_is_read(phantoms, out):
    data = phantoms("polyp")
    images = train("polyp_masksup", data, out).parser.get_parsed_content("train#dataset")
    assert images[0]["image"].shape[1:] == (46, 46)
    begun = torch.load(out / "models" / "model.pt")
    # Steps of no length: the weights stay those that training began with.
    finished = train("polyp_masksup", data, out, "finish.yaml", learning_rate=0.0).parser
    assert finished.get_parsed_content("train#dataset")[0]["image"].shape[1:] == (64, 64)
    state = finished.get_parsed_content("network").state_dict()
    assert all(torch.equal(value, begun[key]) for key, value in state.items())


def test_killed_training_resumes_to_the_same_weights(phantoms, out, tmp_path):
    settings = {
        "dataset_dir": str(phantoms("polyp")), "output_dir": str(tmp_path / "killed"),
        "ckpt_dir": str(tmp_path / "killed" / "models"), "batch_size": "4", "max_epochs": "200",
        "image_size": "[64,64]", "network_def#channels": "[4,8]",
        "config_file": str(files_of("polyp_masksup", "train.yaml", SMALL_NETWORK)),
    }  # fmt: skip
    command = [sys.executable, "-m", "monai.bundle", "run", *(x for k, v in settings.items() for x in (f"--{k}", v))]
    checkpoint = tmp_path / "killed" / "checkpoint.pt"
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # as here: with more, sums are taken in another order
    log = tmp_path / "stderr"
    with open(log, "w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, env=one_thread)
    try:
        deadline = time.monotonic() + 120
        while not (checkpoint.exists() and torch.load(checkpoint)["epoch"] >= 2):
            assert process.poll() is None and time.monotonic() < deadline, "training ended or hangs: " + log.read_text()
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed_at = torch.load(checkpoint)["epoch"]
    assert [run.info.status for run in tracked_runs(tmp_path / "killed")] == ["RUNNING"]
    assert "alembic" not in log.read_text()  # MLflow is quiet while it makes its database, in a process of its own
    assert "Creating initial MLflow database tables" not in log.read_text()

    # The cosine schedule depends on max_epochs, so both go through the same one and stop early at the same epoch.
    until = {"max_epochs": killed_at + 2, "lr_scheduler#T_max": 200}
    resumed = train("polyp_masksup", phantoms("polyp"), tmp_path / "killed", resume=True, **until)
    undisturbed = train("polyp_masksup", phantoms("polyp"), out, **until)
    for key in ("network", "optimizer", "lr_scheduler", "validator"):
        states = [torch.load(folder / "checkpoint.pt")[key] for folder in (tmp_path / "killed", out)]
        torch.testing.assert_close(*states, rtol=0, atol=0, msg=key)
    engines = [flow.parser.get_parsed_content("train#trainer") for flow in (resumed, undisturbed)]
    assert engines[0].state.iteration == engines[1].state.iteration
    (run,) = tracked_runs(tmp_path / "killed")
    assert run.info.status == "FINISHED"


def run_command_line(arguments):
    """What `python -m monai.bundle run` does; in a fork."""
    torch.set_num_threads(1)  # or Torch makes a new pool where it is first wanted: in two threads at once, it fails
    sys.argv = ["monai.bundle", "run", *arguments]
    runpy.run_module("monai.bundle", run_name="__main__")


def test_checkpoint_of_another_network_is_refused_with_the_first_key(phantoms, out):
    train("polyp_masksup", phantoms("polyp"), out, **FEW)
    with pytest.raises(RuntimeError) as caught:
        train(
            "polyp_masksup", phantoms("polyp"), out, resume=True, max_epochs=2, **FEW, **{"network_def#norm": "batch"}
        )
    error = cause_of(caught)
    assert isinstance(error, CheckpointError)
    assert "checkpoint.pt does not fit the network ResidualUNet: 'network.model.0." in str(error)
    assert "is missing in the file" in str(error)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"dataset_dir": "/nowhere"}, MissingDataError, "There is no folder /nowhere"),
        ({"dataset_dir": "EMPTY"}, MissingDataError, "none of the known layouts"),
        ({"dataset_dir": "LONELY"}, DataError, "1 image has no label"),
        ({"dataset_dir": "RESIZED"}, DataError, "give each image a label that was drawn on it"),
        ({"dataset_dir": "BROKEN"}, DataError, "phantom_0003.png"),
        ({"dataset_dir": "PHOTO"}, DataError, "neither a black-and-white mask nor instances"),
        ({"hiding#ratio": 1.5}, SettingError, "ratio is 1.5"),
        ({"hiding#patch_size": 65}, SettingError, "patch_size is 65 for an image of 46 x 46"),
        ({"max_epoch": 5}, SettingError, "did you mean max_epochs?"),
        ({"validation_list": "test"}, MissingDataError, "no images for test"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing_behind(settings, error, message, phantoms, out, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(phantoms("polyp"), data)
    spoil(settings.get("dataset_dir"), data)
    settings = {"dataset_dir": str(data), **settings}
    if settings["dataset_dir"].isupper():
        settings["dataset_dir"] = str(data)
    with pytest.raises((RuntimeError, KeyError, MaskSupError)) as caught:
        train("polyp_masksup", out=out, **settings)
    cause = cause_of(caught)
    assert isinstance(cause, error), caught.value
    assert message in str(cause)
    assert not (out / "models").exists() and not (out / "checkpoint.pt").exists()


def spoil(how, data):
    image, label = data / "images" / "phantom_0003.png", data / "labels" / "phantom_0003.png"
    if how == "EMPTY":
        shutil.rmtree(data)
        data.mkdir()
    elif how == "LONELY":
        label.unlink()
    elif how == "RESIZED":
        Image.open(label).resize((40, 40)).save(label)
    elif how == "BROKEN":
        image.write_bytes(image.read_bytes()[:2000])
    elif how == "PHOTO":
        Image.open(image).convert("L").save(label)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset_dir": "/nowhere"}, "There is no folder /nowhere"),
        ({"dataset_dir": "EMPTY"}, "holds no PNG, JPEG, BMP or TIFF image"),
        ({"ckpt_path": "/nowhere/model.pt"}, "No weights at /nowhere/model.pt"),
    ],
)
def test_inference_refuses_what_it_cannot_do(settings, message, phantoms, tmp_path):
    (tmp_path / "empty").mkdir()
    settings = {"dataset_dir": str(phantoms("polyp") / "images"), "ckpt_path": "unused", **settings}
    if settings["dataset_dir"] == "EMPTY":
        settings["dataset_dir"] = str(tmp_path / "empty")
    with pytest.raises((RuntimeError, MaskSupError)) as caught:
        run("polyp_masksup", "inference.yaml", kind="infer", output_dir=str(tmp_path / "out"), **settings)
    assert message in str(cause_of(caught))
    assert not (tmp_path / "out").exists()


def test_command_line_ends_with_one_sentence_and_code_1(tmp_path):
    """In a fork, as what only a process of its own can show, the test that kills one does; its imports take long."""
    config = files_of("gland_masksup", "train.yaml")[0]
    child = os.fork()
    if child == 0:
        with open(tmp_path / "said", "w") as sys.stdout:
            sys.stderr = sys.stdout
            os._exit(code_of(["--config_file", config, "--dataset_dir", "/nowhere", "--output_dir", str(tmp_path)]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    said = (tmp_path / "said").read_text()
    assert said.splitlines()[-1] == "Error: There is no folder /nowhere; give the folder that holds the data set."
    assert "Traceback" not in said


def code_of(arguments):
    """The exit code of a command line, which ends as Python ends it."""
    try:
        os.chdir("/")
        run_command_line(arguments)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        sys.stdout.flush()
    return 0
