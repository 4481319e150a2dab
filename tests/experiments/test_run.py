"""A grid of four trainings on phantoms: killed half-way, resumed, run again without work, reported."""

import csv
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml
from filelock import FileLock
from mlflow import MlflowClient

from masksup_med.cli import main
from masksup_med.data import load_datalist
from masksup_med.engines import PrepareViews
from masksup_med.errors import DataError
from masksup_med.experiments import run
from masksup_med.experiments.grid import read_grid
from masksup_med.experiments.store import Store
from tests.forked import exit_code_of

pytestmark = pytest.mark.filterwarnings("ignore")
CELLS = [("baseline", 0), ("masksup", 0), ("baseline", 1), ("masksup", 1)]


@pytest.fixture(scope="module")
def grid(phantoms, tmp_path_factory):
    small = {"_target_": "UNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 1}
    network = {**small, "channels": [4, 8], "strides": [2]}
    file = tmp_path_factory.mktemp("grid") / "mine.yaml"
    settings = {"max_epochs": 2, "image_size": [64, 64], "batch_size": 4, "network_def": network}
    content = {
        "about": "two paradigms on phantoms",
        "data": {"phantoms": {"folders": "polyp", "bundle": "polyp_masksup", "settings": settings}},
        "axes": {"paradigm": ["baseline", "masksup"]},
        "baseline": {"paradigm": "baseline"},
        "seeds": [0, 1],
    }
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


@pytest.fixture(scope="module")
def experiment(grid, phantoms):
    """A function that runs the grid in a folder."""
    data = grid.parent / "data"
    data.mkdir()
    (data / "polyp").symlink_to(phantoms("polyp"))
    return lambda folder, *more: main(["experiment", str(grid), "--data", str(data), "-o", *map(str, (folder, *more))])


@pytest.fixture(scope="module")
def whole(experiment, tmp_path_factory):
    """A grid that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert experiment(folder) == 0
    return folder


def weights(folder):
    return {path.relative_to(folder): torch.load(path) for path in sorted(folder.glob("phantoms/*/*/models/model.pt"))}


def trainings(folder):
    client = MlflowClient(f"sqlite:///{folder}/mlruns.db")
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    return [each for each in runs if "masksup.grid" in each.data.tags], [
        each for each in runs if "masksup.cell" in each.data.tags
    ]


def test_every_training_is_tracked_below_one_run(whole):
    (parent,), runs = trainings(whole)
    assert parent.info.status == "FINISHED"
    assert {each.data.tags["mlflow.parentRunId"] for each in runs} == {parent.info.run_id}
    assert {each.info.status for each in runs} == {"FINISHED"}
    done = sorted((each.data.tags["masksup.cell"], int(each.data.tags["masksup.seed"])) for each in runs)
    assert done == sorted(CELLS)


def test_paradigms_differ_and_share_one_split(whole):
    states = weights(whole)
    assert len(states) == 4
    first, *others = (next(iter(state.values())) for state in states.values())
    assert not any(torch.equal(first, other) for other in others)
    lists = {path.read_text() for path in whole.glob("phantoms/*/*/eval/datalist.json")}
    assert len(lists) == 1
    assert not list(whole.rglob("checkpoint.pt"))


def killed_at(step):
    """Make training kill this process in a step, counted over all trainings."""
    prepare, count = PrepareViews.__call__, iter(range(10_000))

    def prepared(self, *arguments, **named):
        if next(count) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return prepare(self, *arguments, **named)

    return prepared


def test_killed_half_way_and_resumed(experiment, whole, tmp_path):
    folder, said = tmp_path / "mine", tmp_path / "said"

    def part_of_it():
        PrepareViews.__call__ = killed_at(7)  # two steps an epoch: in the second epoch of the second training
        experiment(folder)

    assert exit_code_of(part_of_it, said) == -signal.SIGKILL, said.read_text()
    assert len(weights(folder)) == 1
    assert experiment(folder, "--resume") == 0
    resumed, undisturbed = weights(folder), weights(whole)
    assert list(resumed) == list(undisturbed)
    for path, state in undisturbed.items():
        assert all(torch.equal(state[key], resumed[path][key]) for key in state), path
    assert len(trainings(folder)[1]) == 4  # the killed one was continued
    assert without_time(folder / "report" / "table.csv") == without_time(whole / "report" / "table.csv")


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def without_time(path):
    return [{key: value for key, value in row.items() if key != "minutes"} for row in read(path)]


def test_what_is_finished_is_not_done_again(experiment, whole, monkeypatch):
    monkeypatch.setattr(run, "fit", None)
    monkeypatch.setattr(run, "measure_cell", None)
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("model.pt")}
    assert experiment(whole, "--resume") == 0
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("model.pt")} == before


def test_the_report_is_built_from_tracked_runs_alone(experiment, whole, tmp_path, monkeypatch):
    for name in ("fit", "measure_cell"):
        monkeypatch.setattr(run, name, None)
    copy = whole.parent / "copy"
    shutil.copytree(whole, copy, ignore=shutil.ignore_patterns("baseline", "masksup", "report"))
    assert experiment(copy, "--resume", "--report", tmp_path / "out") == 0
    for name in ("table.csv", "table.md", "images.csv", "report.html"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / "report" / name).read_bytes()


def test_the_report(whole):
    rows = without_time(whole / "report" / "table.csv")
    assert [(row["cell"], row["seeds"], row["baseline"]) for row in rows] == [
        ("baseline", "2", ""),
        ("masksup", "2", "baseline"),
    ]
    assert rows[1]["passes"] == str(2 * int(rows[0]["passes"])) and rows[0]["steps"] == rows[1]["steps"] == "4"
    per_image = [
        each for seed in (0, 1) for each in read(whole / f"phantoms/baseline/seed{seed}/eval/whole/per_image.csv")
    ]
    mean = sum(float(row["iou"]) for row in per_image) / len(per_image)
    images = read(whole / "report" / "images.csv")
    assert len(images) == 8 and {(row["cell"], int(row["seed"])) for row in images} == set(CELLS)
    assert sum(float(row["iou"]) for row in images if row["cell"] == "baseline") / 4 == pytest.approx(mean, abs=1e-5)
    assert float(rows[0]["iou"]) == pytest.approx(mean)
    markdown = (whole / "report" / "table.md").read_text()
    assert "| baseline (2) |" in markdown and "two paradigms on phantoms" in markdown
    page = (whole / "report" / "report.html").read_text()
    assert page.count("<svg") == 4 and "4 of 4" in page


def test_one_failure_does_not_end_the_others(grid, experiment, tmp_path, monkeypatch, capsys):
    done = []

    def train(task, store):
        done.append(task.training.cell)
        if len(done) == 2:
            raise DataError("It is so.")
        if len(done) == 3:
            raise RuntimeError("Failed to make it") from ValueError("8 groups\nof 1 channel")

    monkeypatch.setattr(run, "_train", train)
    assert experiment(tmp_path / "mine") == 3
    err = capsys.readouterr().err
    assert len(done) == 4 and "seed 0: It is so.\n" in err
    (kept,) = (tmp_path / "mine").rglob("*-error.txt")
    assert f"ValueError: 8 groups of 1 channel (see {kept})" in err and "Failed to make it" in kept.read_text()
    assert trainings(tmp_path / "mine")[0][0].info.status == "FAILED"


def test_folds_and_what_is_learnt_without_labels_first(grid, experiment, tmp_path):
    content = yaml.safe_load(grid.read_text())
    content["data"]["phantoms"]["folds"] = 2
    content["axes"] = {"paradigm": ["mae"]}
    content["baseline"] = {}
    (tmp_path / "mae.yaml").write_text(yaml.safe_dump(content))
    arguments = [str(tmp_path / "mae.yaml"), "--data", str(grid.parent / "data"), "-o", str(tmp_path / "out")]
    assert main(["experiment", *arguments]) == 0
    splits = [load_datalist(tmp_path / "out" / "phantoms" / f"split{fold}.json") for fold in (0, 1)]
    held_out = [{item["image"] for item in split["validation"]} for split in splits]
    assert not held_out[0] & held_out[1] and len(held_out[0] | held_out[1]) == 10
    (row,) = read(tmp_path / "out" / "report" / "table.csv")
    assert (row["images"], row["seeds"]) == ("10", "2")
    assert (row["steps"], row["passes"]) == ("8", "20")  # two epochs without labels, two with them
    assert len(list((tmp_path / "out").glob("phantoms/mae/*/models/pretrained.pt"))) == 2
    assert not list((tmp_path / "out").rglob("eval/*.pt"))


def test_what_another_process_is_at_is_left_to_it(experiment, tmp_path, monkeypatch, capsys):
    done = []
    monkeypatch.setattr(run, "_train", lambda task, store: done.append((task.training.cell, task.training.seed)))
    folder = tmp_path / "mine" / "phantoms" / "masksup"
    folder.mkdir(parents=True)
    with FileLock(folder / "seed0.lock"):
        assert experiment(tmp_path / "mine", "--resume") == 0
    assert done == [cell for cell in CELLS if cell != ("masksup", 0)]
    assert "masksup, seed 0: another process is at it." in capsys.readouterr().err


def test_interrupted(experiment, tmp_path, monkeypatch, capsys):
    def interrupt(task, store):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_train", interrupt)
    assert experiment(tmp_path / "mine") == 130
    assert capsys.readouterr().err.endswith("Interrupted; the same command with --resume goes on from there.\n")
    assert trainings(tmp_path / "mine")[0][0].info.status == "KILLED"


def test_other_settings_are_refused(grid, experiment, whole, tmp_path, capsys):
    copy = whole.parent / "changed"
    shutil.copytree(whole, copy)
    changed = grid.read_text().replace("max_epochs: 2", "max_epochs: 3")
    (tmp_path / "mine.yaml").write_text(changed)
    data = grid.parent / "data"
    assert main(["experiment", str(tmp_path / "mine.yaml"), "--data", str(data), "-o", str(copy), "--resume"]) == 3
    assert "was begun with other settings than the grid now has" in capsys.readouterr().err


def test_a_folder_in_use_needs_resume(experiment, whole, capsys):
    assert experiment(whole) == 1
    assert capsys.readouterr().err.endswith("go on with its trainings by --resume, or name a new folder.\n")


def test_no_data(grid, tmp_path, capsys):
    assert main(["experiment", str(grid), "--data", str(tmp_path), "-o", str(tmp_path / "out")]) == 1
    assert "There is no data set" in capsys.readouterr().err


def test_the_store_knows_its_trainings(grid, whole):
    store = Store(Path(whole), read_grid(grid))
    assert sorted((each.training.cell, each.training.seed) for each in store.finished()) == sorted(CELLS)
    store.end("FINISHED")
