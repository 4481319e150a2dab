"""A training that is killed or interrupted goes on to the same weights, and to nothing else."""

import functools
import json
import logging
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from masksup_med.cli import main
from masksup_med.engines import PrepareViews
from masksup_med.errors import DataError, SettingError
from masksup_med.train import run, workflow
from tests.forked import exit_code_of
from tests.train.made import data_set, squares, train

pytestmark = pytest.mark.filterwarnings("ignore")
EPOCHS, STEPS = 3, 3  # steps of an epoch: six images to train on, two by two


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return data_set(tmp_path_factory.mktemp("data"), [squares(1, 1), *[squares(1)] * 7])


@pytest.fixture(scope="module")
def undisturbed(folders, tmp_path_factory):
    """A bundle whose training nothing has disturbed."""
    bundle = tmp_path_factory.mktemp("undisturbed") / "mine"
    assert train(*folders, bundle, "--seed", 3, epochs=EPOCHS) == 0
    return bundle


def begin(folders, bundle, *more, epochs=EPOCHS):
    return train(*folders, bundle, "--seed", 3, *more, epochs=epochs)


def at_step(wanted, act):
    """Make training do something else in a step, counted from the start of this process's training."""
    prepare, count = PrepareViews.__call__, iter(range(10_000))

    def prepared(self, *arguments, **named):
        if next(count) == wanted:
            act()
        return prepare(self, *arguments, **named)

    return prepared


def interrupt():
    raise KeyboardInterrupt


def same_weights(one, other):
    states = [torch.load(bundle / "models" / "model.pt") for bundle in (one, other)]
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def same_training(one, other):
    same_weights(one, other)
    states = [torch.load(bundle / "eval" / "checkpoint.pt") for bundle in (one, other)]
    for key in ("epoch", "network", "optimizer", "lr_scheduler", "validator"):
        torch.testing.assert_close(states[0][key], states[1][key], rtol=0, atol=0, msg=key)


@pytest.mark.parametrize(("step", "epoch"), [(2, 0), (STEPS + 2, 1)])
def test_interrupted(step, epoch, folders, undisturbed, tmp_path, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        patch.setattr(PrepareViews, "__call__", at_step(step, interrupt))
        assert begin(folders, tmp_path / "mine") == 130
    err = capfd.readouterr().err
    assert err.splitlines()[-1] == (
        f"Interrupted after epoch {epoch} of {EPOCHS}; the same command with --resume goes on from there."
    )
    assert "Traceback" not in err
    assert begin(folders, tmp_path / "mine", "--resume") == 0
    same_training(tmp_path / "mine", undisturbed)


def test_killed(folders, undisturbed, tmp_path):
    said = tmp_path / "said"

    def training():
        PrepareViews.__call__ = at_step(2 * STEPS, functools.partial(os.kill, os.getpid(), signal.SIGKILL))
        begin(folders, tmp_path / "mine")

    assert exit_code_of(training, said) == -signal.SIGKILL, said.read_text()
    assert torch.load(tmp_path / "mine" / "eval" / "checkpoint.pt")["epoch"] == 2
    assert begin(folders, tmp_path / "mine", "--resume") == 0
    same_training(tmp_path / "mine", undisturbed)


@pytest.fixture
def done(undisturbed, folders, tmp_path):
    """A copy of the finished bundle, beside a copy of its data."""
    data = tmp_path / "data"
    shutil.copytree(folders[0].parent, data)
    shutil.copytree(undisturbed, tmp_path / "bundles" / "mine")
    file = tmp_path / "bundles" / "mine" / "configs" / "datalist.json"
    lists = json.loads(file.read_text())
    for items in lists.values():
        for item in items:
            for key in ("image", "label"):
                item[key] = f"../../../data/{key}s/{Path(item[key]).name}"
    file.write_text(json.dumps(lists))
    return tmp_path / "bundles" / "mine"


def again(bundle, *more, epochs=EPOCHS):
    data = bundle.parents[1] / "data"
    return begin((data / "images", data / "labels"), bundle, "--resume", *more, epochs=epochs)


def test_what_is_finished_is_only_measured_again(done, undisturbed, monkeypatch, capsys):
    monkeypatch.setattr(PrepareViews, "__call__", at_step(0, interrupt))  # a step would end it
    (done / "docs" / "README.md").unlink()
    shutil.rmtree(done / "eval" / "validation")
    before = (done / "eval" / "checkpoint.pt").stat().st_mtime_ns
    assert again(done) == 0
    assert (done / "eval" / "checkpoint.pt").stat().st_mtime_ns == before
    assert (done / "eval" / "validation" / "report.html").is_file()
    card, other = ((bundle / "docs" / "README.md").read_text() for bundle in (done, undisturbed))
    assert card == other
    assert "validation images, at their own size" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "epochs", "message"),
    [
        (["--preset", "best"], EPOCHS, "begun with preset fast, not best"),
        (["--paradigm", "context"], EPOCHS, "begun with paradigm none, not context"),
        (["--network", "unet"], EPOCHS, "begun with network residual_unet, not unet"),
        ([], 9, f"begun with epochs {EPOCHS}, not 9"),
        (["--classes", "1:polyp"], EPOCHS, "begun with classes none, not 1:polyp"),
    ],
)
def test_other_wishes_are_refused(more, epochs, message, done, capsys):
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*")}
    assert again(done, *more, epochs=epochs) == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: The training in") and message in err and err.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*")} == before


def test_another_seed_is_refused_by_its_name(done, capsys):
    data = done.parents[1] / "data"
    assert train(data / "images", data / "labels", done, "--resume", "--seed", 4, epochs=EPOCHS) == 1
    assert "begun with seed 3, not 4" in capsys.readouterr().err


def test_other_images_are_refused(done, capsys):
    data = done.parents[1] / "data"
    for folder in ("images", "labels"):
        shutil.copy(data / folder / "00.png", data / folder / "99.png")
    assert again(done) == 1
    assert "begun with other images" in capsys.readouterr().err


def test_other_labels_are_refused(done):
    data = done.parents[1] / "data"
    shutil.copytree(data / "labels", data / "corrected")
    assert train(data / "images", data / "corrected", done, "--resume", "--seed", 3, epochs=EPOCHS) == 1


def test_other_groups_are_refused_as_such(done, capsys):
    table = done.parent / "groups.csv"
    table.write_text("image,group\n" + "".join(f"{number:02},{number % 2}\n" for number in range(8)))
    assert again(done, "--groups", table) == 1
    assert "other groups" in capsys.readouterr().err


def test_without_resume_a_training_is_not_overwritten(done, capsys):
    data = done.parents[1] / "data"
    assert begin((data / "images", data / "labels"), done) == 1
    assert "holds a training; go on with it by --resume, remove it, or name a new folder." in capsys.readouterr().err


def test_resume_of_nothing_begins(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(workflow, "fit", lambda folder, resume: interrupt())
    assert begin(folders, tmp_path / "mine", "--resume") == 130
    assert (tmp_path / "mine" / "eval" / "begun.json").is_file()


def test_interrupted_while_images_are_read(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("monai.data.CacheDataset.set_data", lambda *_: interrupt())
    assert begin(folders, tmp_path / "mine") == 130
    assert "--resume" in capsys.readouterr().err


def test_interrupted_while_it_is_measured(done, monkeypatch, capsys):
    monkeypatch.setattr(run, "predict_cases", lambda *_: interrupt())
    assert again(done) == 130
    assert "--resume" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_one_sentence(done, capsys):
    (done / "eval" / "checkpoint.pt").write_bytes(b"nothing of value")
    assert again(done) == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: ") and "checkpoint.pt" in err and err.count("\n") == 1


def test_missing_images_are_one_sentence(done, capsys):
    shutil.rmtree(done.parents[1] / "data" / "labels")
    assert again(done) == 1
    assert capsys.readouterr().err.startswith("Error: There is no folder")


def test_what_goes_wrong_while_the_bundle_is_written_leaves_nothing(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "compose", lambda whole, *_: interrupt())
    assert begin(folders, tmp_path / "mine") == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("resume", [True, False])
def test_usable_folder(resume, tmp_path):
    assert not run.usable_folder(tmp_path / "new", resume)
    (tmp_path / "empty").mkdir()
    assert not run.usable_folder(tmp_path / "empty", resume)
    (tmp_path / "empty" / "mine.txt").touch()
    for taken in (tmp_path / "empty", tmp_path / "empty" / "mine.txt"):
        with pytest.raises(SettingError, match="is no training of `masksup train`"):
            run.usable_folder(taken, resume)


def test_an_error_of_ours_comes_out_of_monai_as_it_was():
    with pytest.raises(DataError, match="It is so"), workflow._errors_of_bundles():
        raise RuntimeError("wrapped") from DataError("It is so.")


def test_a_finished_bundle_can_be_moved_and_used(undisturbed, folders, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "elsewhere" / "mine")
    out = tmp_path / "out"
    assert main(["predict", str(folders[0]), "-o", str(out), "--bundle", str(tmp_path / "elsewhere" / "mine")]) == 0
    assert len(list((out / "masks").iterdir())) == 8


def test_the_state_of_this_process_is_left_as_it_was(undisturbed):
    assert logging.getLogger("masksup_med").propagate and not logging.getLogger("masksup_med").handlers
    assert np.isfinite(torch.load(undisturbed / "models" / "model.pt")["network.model.0.conv.unit0.conv.weight"]).all()
