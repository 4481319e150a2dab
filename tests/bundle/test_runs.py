"""The bundles at work on phantoms: train, evaluate, infer, resume, overlays, and what bad input gets."""

import json
import os
import re
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
TINY_NETWORK = {"network_def#channels": [4, 8], "network_def#strides": [2], "network_def#num_res_units": 0}
OVERLAYS = sorted(str(file.relative_to(overlays())) for file in overlays().rglob("*.yaml"))
NETWORK_OVERLAYS = [overlay for overlay in OVERLAYS if overlay.startswith("network/")]


def files_of(name, *files):
    return [str(overlays() / f) if "/" in f else str(find_bundle(name) / "configs" / f) for f in files]


def run(name, *files, kind="train", **settings):
    network = {} if set(files) & set(NETWORK_OVERLAYS) else TINY_NETWORK
    workflow = ConfigWorkflow(
        config_file=files_of(name, *files),
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
    return run(name, "train.yaml", *overlay, **folders, max_epochs=max_epochs, batch_size=4, **settings)


def cause_of(caught):
    error = caught.value
    while error is not None and not isinstance(error, MaskSupError):
        error = error.__cause__ or error.__context__
    return error


def tracked_runs(out):
    client = MlflowClient(f"sqlite:///{out}/mlruns.db")
    return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])


@pytest.mark.parametrize("name", bundle_names())
def test_train_evaluate_infer(name, phantoms, tmp_path):
    data = phantoms(name.split("_")[0])
    out, masks = tmp_path / "out", tmp_path / "masks"
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


@pytest.mark.parametrize("overlay", [overlay for overlay in OVERLAYS if overlay not in NETWORK_OVERLAYS])
@pytest.mark.parametrize("name", bundle_names())
def test_every_overlay_stacks_on_every_bundle(name, overlay, phantoms, tmp_path_factory):
    out = tmp_path_factory.getbasetemp() / "overlays"  # one tracking store for all: making one takes seconds
    settings = {"validation_list": "validation"} if "paper" in overlay else {}
    settings |= {"tracking_uri": None} if "mlflow" in overlay else {}  # no server here
    workflow = train(name, phantoms(name.split("_")[0]), out, overlay, **settings)
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


# each on one bundle in the gate, on the other among the slow tests: they take a minute of a core
@pytest.mark.parametrize("overlay", NETWORK_OVERLAYS)
@pytest.mark.parametrize("name", [pytest.param("gland_masksup", marks=pytest.mark.slow), "polyp_masksup"])
def test_every_network_trains_on_every_bundle(name, overlay, phantoms, tmp_path_factory):
    out = tmp_path_factory.getbasetemp() / "overlays"
    size = {key: [24, 24] if "kiunet" in overlay else [32, 32] for key in SMALL[name]}
    workflow = train(name, phantoms(name.split("_")[0]), out, overlay, **size)
    trainer = workflow.parser.get_parsed_content("train#trainer")
    assert trainer.state.iteration == 2
    assert trainer.state.metrics["train_loss_similarity"] > 0
    assert type(trainer.network) is NETWORKS[Path(overlay).stem].network


def test_infer_with_another_network(phantoms, tmp_path):
    overlay, folder = "network/res_unet.yaml", phantoms("polyp")
    train("polyp_masksup", folder, tmp_path, overlay, image_size=[32, 32])
    run(
        "polyp_masksup", "inference.yaml", overlay, kind="infer", image_size=[32, 32],
        dataset_dir=str(folder / "images"), output_dir=str(tmp_path / "masks"),
        ckpt_path=str(tmp_path / "models" / "model.pt"),
    )  # fmt: skip
    assert len(list((tmp_path / "masks").iterdir())) == 10


def test_deep_supervision(phantoms, tmp_path):
    inner = {"_target_": "DiceCELoss", "sigmoid": True, "batch": True}
    loss = {"_target_": "DeepSupervisionLoss", "weight_mode": "same", "loss": inner}
    workflow = train(
        "polyp_masksup", phantoms("polyp"), tmp_path, "network/unet_plus_plus.yaml", image_size=[32, 32],
        **{"network_def#deep_supervision": True, "loss#segmentation_loss": loss},
    )  # fmt: skip
    assert workflow.parser.get_parsed_content("train#trainer").state.metrics["train_loss_context"] > 0


def test_overlays_stack_on_each_other(phantoms, tmp_path):
    workflow = train(
        "polyp_masksup", phantoms("polyp"), tmp_path, "paradigm/context.yaml", "masking/scribble_high.yaml"
    )
    assert workflow.parser.get_parsed_content("loss").similarity_weight == 0
    assert type(workflow.parser.get_parsed_content("hiding")).__name__ == "RandScribbleMaskd"


def test_killed_training_resumes_to_the_same_weights(phantoms, tmp_path):
    settings = {
        "dataset_dir": str(phantoms("polyp")), "output_dir": str(tmp_path / "killed"),
        "ckpt_dir": str(tmp_path / "killed" / "models"), "batch_size": "4", "max_epochs": "200",
        "image_size": "[64,64]", "network_def#channels": "[4,8]", "network_def#strides": "[2]",
        "network_def#num_res_units": "0", "config_file": files_of("polyp_masksup", "train.yaml")[0],
    }  # fmt: skip
    command = [sys.executable, "-m", "monai.bundle", "run", *(x for k, v in settings.items() for x in (f"--{k}", v))]
    checkpoint = tmp_path / "killed" / "checkpoint.pt"
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # as here: with more, sums are taken in another order
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=one_thread)
    try:
        deadline = time.monotonic() + 120
        while not (checkpoint.exists() and torch.load(checkpoint)["epoch"] >= 2):
            assert process.poll() is None and time.monotonic() < deadline, "training ended or hangs"
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed_at = torch.load(checkpoint)["epoch"]
    assert [run.info.status for run in tracked_runs(tmp_path / "killed")] == ["RUNNING"]

    # The cosine schedule depends on max_epochs, so both go through the same one and stop early at the same epoch.
    until = {"max_epochs": killed_at + 2, "lr_scheduler#T_max": 200}
    resumed = train("polyp_masksup", phantoms("polyp"), tmp_path / "killed", resume=True, **until)
    undisturbed = train("polyp_masksup", phantoms("polyp"), tmp_path / "whole", **until)
    for key in ("network", "optimizer", "lr_scheduler", "validator"):
        states = [torch.load(tmp_path / folder / "checkpoint.pt")[key] for folder in ("killed", "whole")]
        torch.testing.assert_close(*states, rtol=0, atol=0, msg=key)
    engines = [flow.parser.get_parsed_content("train#trainer") for flow in (resumed, undisturbed)]
    assert engines[0].state.iteration == engines[1].state.iteration
    (run,) = tracked_runs(tmp_path / "killed")
    assert run.info.status == "FINISHED"


def test_two_processes_train_one_model(phantoms, tmp_path):
    settings = {
        "dataset_dir": str(phantoms("polyp")), "output_dir": str(tmp_path), "ckpt_dir": str(tmp_path / "models"),
        "max_epochs": "2", "image_size": "[64,64]", "network_def#channels": "[4,8]", "network_def#strides": "[2]",
        "network_def#num_res_units": "0", "batch_size": "2",
        "config_file": str(files_of("polyp_masksup", "train.yaml", "multi_gpu_train.yaml")),
    }  # fmt: skip
    arguments = [x for k, v in settings.items() for x in (f"--{k}", v)]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    result = subprocess.run([*command, "-m", "monai.bundle", "run", *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr  # all of it: why a process ended is said before the tracebacks
    assert [run.info.status for run in tracked_runs(tmp_path)] == ["FINISHED"]
    state = torch.load(tmp_path / "checkpoint.pt")
    assert state["epoch"] == 2
    assert not any(key.startswith("module.") for key in state["network"])
    assert state["validator"]["best_metric_epoch"] in (1, 2)


def test_checkpoint_of_another_network_is_refused_with_the_first_key(phantoms, tmp_path):
    train("polyp_masksup", phantoms("polyp"), tmp_path)
    with pytest.raises(RuntimeError) as caught:
        train("polyp_masksup", phantoms("polyp"), tmp_path, resume=True, max_epochs=2, **{"network_def#norm": "batch"})
    error = cause_of(caught)
    assert isinstance(error, CheckpointError)
    assert "checkpoint.pt does not fit the network UNet: 'model.0.adn.N.weight' is missing in the file" in str(error)


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
        ({"hiding#patch_size": 65}, SettingError, "patch_size is 65 for an image of 64 x 64"),
        ({"max_epoch": 5}, SettingError, "did you mean max_epochs?"),
        ({"validation_list": "test"}, MissingDataError, "no images for test"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing_behind(settings, error, message, phantoms, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(phantoms("polyp"), data)
    spoil(settings.get("dataset_dir"), data)
    settings = {"dataset_dir": str(data), **settings}
    if settings["dataset_dir"].isupper():
        settings["dataset_dir"] = str(data)
    out = tmp_path / "out"
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
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", *files_of("gland_masksup", "train.yaml")]
    result = subprocess.run(
        [*command, "--dataset_dir", "/nowhere", "--output_dir", str(tmp_path)],
        capture_output=True, text=True, cwd="/", env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert result.returncode == 1
    assert (
        result.stderr.splitlines()[-1] == "Error: There is no folder /nowhere; give the folder that holds the data set."
    )
    assert "Traceback" not in result.stdout + result.stderr
