"""Training in two processes: the same curve as in one, one run, one model; what happens when a process is lost."""

import ctypes
import itertools
import os
import re
import runpy
import shutil
import signal
import sys
import time

import pytest
import torch
from mlflow import MlflowClient
from torch.distributed import DistBackendError, DistNetworkError
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from masksup_med import elastic, errors
from masksup_med.bundle import find_bundle, overlays
from masksup_med.data import ImageFileReader
from masksup_med.engines import MaskSupTrainer

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("signal_handlers")]
ALL = "(masksup_med.data.part(@datalist, 'training') + masksup_med.data.part(@datalist, 'validation'))"
SETTINGS = {
    "max_epochs": 3, "batch_size": 2, "image_size": [64, 64], "training_size": "@image_size",
    "network_def#channels": [4, 8], "seed": 3,
    "train#dataset#data": f"${ALL}[:8]", "validate#dataset#data": f"${ALL}[5:]",  # an odd number of them
}  # fmt: skip
ONE, TWO, EVALUATE = ["train.yaml"], ["train.yaml", "multi_gpu_train.yaml"], ["train.yaml", "evaluate.yaml"]
LOST = "Error: Another process of this training was lost"


@pytest.fixture(scope="module")
def signal_handlers():
    """Torch's launcher sets its own, and leaves them."""
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    before = [(number, signal.getsignal(number)) for number in signals]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def start(phantoms, empty_store, tmp_path_factory):
    """A function that trains or evaluates in a folder, a new one unless given, and returns it."""

    def in_folder(files, out=None, meddle=None, **settings):
        if out is None:
            out = tmp_path_factory.mktemp("out")
            shutil.copy(empty_store, out)
        folders = {"dataset_dir": phantoms("polyp"), "output_dir": out, "ckpt_dir": out / "models"}
        configs = [str(find_bundle("polyp_masksup") / "configs" / file) for file in files]
        configs.append(str(overlays() / "network" / "residual_unet.yaml"))
        settings = {"config_file": configs, **folders, **SETTINGS, **settings}
        arguments = [str(x) for key, value in settings.items() for x in (f"--{key}", value)]
        launch(2 if "multi_gpu_train.yaml" in files else 1, out, meddle, arguments)
        return out

    return in_folder


@pytest.fixture(scope="module")
def trained(start, signal_handlers):
    """The folder of a training in two processes that nothing disturbed."""
    return start(TWO, **{"network_def#norm": "batch"})


def launch(processes, out, meddle, arguments):
    """Do as `torchrun --standalone` does, but with forks where they can be: a new process imports for ten seconds."""
    shutil.rmtree(out / "logs", ignore_errors=True)
    config = LaunchConfig(
        1, 1, processes, run_id=out.name, rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=0,
        start_method="spawn" if torch.cuda.is_available() else "fork", monitor_interval=0.1,
        logs_specs=DefaultLogsSpecs(str(out / "logs"), redirects=Std.ALL),
    )  # fmt: skip
    try:
        elastic_launch(config, run_command_line)(arguments, meddle)
    except ChildFailedError:
        if meddle is None:
            pytest.fail("\n".join(said(out, rank) for rank in range(processes)))


def run_command_line(arguments, meddle):
    """What `python -m monai.bundle run` does; in a fork."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)  # or Torch makes a new pool where it is first wanted: in two threads at once, it fails
    sys.argv = ["monai.bundle", "run", *arguments]
    if meddle is not None:
        meddle(os.environ["RANK"])
    try:
        runpy.run_module("monai.bundle", run_name="__main__")
    except BaseException:  # as Python ends a program
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def said(out, rank):
    (file,) = (out / "logs").rglob(f"{rank}/stderr.log")
    return file.read_text()


def tracked_runs(out):
    client = MlflowClient(f"sqlite:///{out}/mlruns.db")
    return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])


def curve(out, metric="train_loss"):
    """What was tracked of a metric, epoch by epoch."""
    client = MlflowClient(f"sqlite:///{out}/mlruns.db")
    (run,) = tracked_runs(out)
    history = sorted(client.get_metric_history(run.info.run_id, metric), key=lambda entry: entry.step)
    return torch.tensor([entry.value for entry in history])


def test_one_run_one_checkpoint_one_model(trained):
    (run,) = tracked_runs(trained)
    assert run.info.status == "FINISHED"
    assert sorted(str(file.relative_to(trained)) for file in trained.rglob("*.pt") if "mlruns" not in str(file)) == [
        "checkpoint.pt",
        "models/model.pt",
    ]
    state, weights = (torch.load(trained / file) for file in ("checkpoint.pt", "models/model.pt"))
    assert state["epoch"] == 3 and state["validator"]["best_metric_epoch"] in (1, 2, 3)
    assert state["network"].keys() == weights.keys()
    assert not any(key.startswith("module.") for key in weights)


def test_validation_is_of_all_images_once(trained, start, tmp_path):
    shutil.copytree(trained, tmp_path / "out")
    start(EVALUATE, tmp_path / "out", **{"network_def#norm": "batch"})
    evaluation, training = tracked_runs(tmp_path / "out")  # the newest first
    best = torch.load(trained / "checkpoint.pt")["validator"]["best_metric_epoch"]
    client = MlflowClient(f"sqlite:///{trained}/mlruns.db")
    for name in ("val_mean_iou", "val_mean_dice"):
        (of_two,) = [m.value for m in client.get_metric_history(training.info.run_id, name) if m.step == best]
        assert evaluation.data.metrics[name] == pytest.approx(of_two, abs=1e-5) and 0 < of_two < 1


@pytest.mark.parametrize(("batch_dice", "tolerance"), [(False, 1e-5), (True, 0.02)])
def test_the_curve_is_that_of_one_process(batch_dice, tolerance, start):
    """Without synchronisation the first is off by 0.003, with the sum of gradients by 0.2 (Adam would not show it).

    The second is the bundle's own loss, whose Dice is of a process's part of the batch, and so another one.
    """
    same = {
        "train#batch_transforms": ["@scale_intensity"], "hiding#patch_size": 64, "hiding#ratio": 0.9,  # nothing random
        "loss#segmentation_loss#batch": batch_dice, "optimizer#_target_": "torch.optim.SGD", "learning_rate": 0.3,
    }  # fmt: skip
    order = {"_target_": "DistributedSampler", "dataset": "@train#dataset", "num_replicas": 1, "rank": 0, "seed": 3}
    one = start(ONE, batch_size=4, **same, **{"train#dataloader#sampler": order, "train#dataloader#shuffle": False})
    two = start(TWO, **same)
    for metric in ("train_loss", "train_loss_context"):
        assert len(curve(two, metric)) == 3
        torch.testing.assert_close(curve(two, metric), curve(one, metric), rtol=0, atol=tolerance)


def killed_in_epoch_3(rank):
    """Let rank 1 be killed, as for want of memory, when it computes its sixth loss."""
    calls, loss = itertools.count(1), MaskSupTrainer._loss

    def dying(self, *args):
        if next(calls) == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(self, *args)

    if rank == "1":
        MaskSupTrainer._loss = dying


def test_a_killed_process_ends_all_and_resumes_to_the_same_weights(trained, start):
    out = start(TWO, meddle=killed_in_epoch_3, **{"network_def#norm": "batch"})
    assert time.time() - (out / "checkpoint.pt").stat().st_mtime < 10  # since the end of the epoch before
    assert torch.load(out / "checkpoint.pt")["epoch"] == 2
    assert LOST in said(out, 0).splitlines()[-1] and "--resume True" in said(out, 0)
    assert "Traceback" not in said(out, 0)
    (run,) = tracked_runs(out)
    assert run.info.status == "FAILED"

    start(TWO, out, resume=True, **{"network_def#norm": "batch"})
    for key, state in torch.load(trained / "checkpoint.pt").items():
        if key != "tracker":
            torch.testing.assert_close(torch.load(out / "checkpoint.pt")[key], state, rtol=0, atol=0, msg=key)
    (run,) = tracked_runs(out)
    assert run.info.status == "FINISHED"
    assert len(curve(out)) == 3


def bad_data_for_rank_1(rank):
    """Let rank 1 come, in the first epoch, upon an image that it cannot read."""

    def failing(self, path):
        raise errors.DataError(f"{path.name} cannot be read; save it again.")

    if rank == "1":
        ImageFileReader._decode = failing


def test_an_error_of_one_process_is_told(start):
    out = start(TWO, meddle=bad_data_for_rank_1, cache_rate=0)
    assert re.search(r"Error: phantom_\d+.png cannot be read; save it again.$", said(out, 1).strip())
    assert LOST in said(out, 0).splitlines()[-1]
    assert "Traceback" not in said(out, 0) + said(out, 1)
    assert not (out / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (RuntimeError("[/src/gloo/tcp/pair.cc:5] Connection closed by peer [::1]:80. GLHF!"), "(Connection closed by"),
        (DistBackendError("NCCL error in: a.cpp:7, remote process exited\nLast error:"), "(NCCL error in: a.cpp:7, re"),
        (DistNetworkError("The connection was closed."), "(The connection was closed"),
    ],
)
def test_torchs_words_are_understood_and_shortened(error, shown):
    wrapped = TypeError("unable to sync buffer contents")  # as MONAI's metrics do
    wrapped.__cause__ = error
    assert errors._sentence(wrapped).startswith(f"{LOST} {shown}")


def test_other_runtime_errors_are_shown_whole():
    assert errors._sentence(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


def wait_in_python():
    while True:
        time.sleep(0.01)


def wait_in_c():
    """Hear no signal, as in NCCL."""
    lock, lock_a_mutex = ctypes.create_string_buffer(64), ctypes.CDLL(None).pthread_mutex_lock
    lock_a_mutex(lock)
    lock_a_mutex(lock)


@pytest.mark.parametrize("wait", [wait_in_python, wait_in_c])
def test_told_of_a_lost_process_while_not_waiting_for_it(wait, tmp_path, monkeypatch):
    monkeypatch.setattr(elastic, "_GRACE", 0.2)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    ready, tells = os.pipe()
    child = os.fork()
    if child == 0:
        with open(tmp_path / "said", "w") as sys.stderr:
            try:
                errors.plain_errors()
                os.write(tells, b"!")
                wait()
            except BaseException:
                sys.excepthook(*sys.exc_info())
            os._exit(1)
    os.close(tells)
    assert os.read(ready, 1) == b"!"
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    (sentence,) = (tmp_path / "said").read_text().splitlines()
    assert sentence.startswith(LOST) and "--resume True" in sentence
