"""`masksup evaluate` on files, as its users run it."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image

from masksup_med.cli import main
from masksup_med.cli.evaluate import parse_classes
from masksup_med.errors import SettingError
from tests.evaluate.masks import LABELS, PREDS, read_rows, square, without_plots, write


@pytest.fixture
def folders(tmp_path):
    return write(tmp_path / "preds", PREDS), write(tmp_path / "labels", LABELS), tmp_path / "out"


def evaluate(preds, labels, out, *more, task="polyp", plots=False):
    arguments = ["--pred", str(preds), "--label", str(labels), "-o", str(out), "--task", task]
    with nullcontext() if plots else without_plots():
        return main(["evaluate", *arguments, *more])


@pytest.mark.parametrize(
    ("task", "protocol"),
    [("polyp", "native"), ("polyp", "paper"), ("polyp", "pranet"), ("gland", "native"), ("gland", "glas")],
)
def test_files_that_are_written(folders, task, protocol, capsys):
    assert evaluate(*folders, "--protocol", protocol, task=task, plots=True) == 0
    _, labels, out = folders
    results = json.loads((out / "metrics.json").read_text())
    assert (results["task"], results["protocol"], results["images"]) == (task, protocol, 4)
    rows = read_rows(out / "per_image.csv")
    assert [row["image"] for row in rows] == ["a", "b", "d", "deep/c"]
    for metric in results["metrics"].values():  # the table holds what the figures are made of
        if "column" in metric:
            assert metric["value"] == pytest.approx(np.mean([float(row[metric["column"]]) for row in rows]))
    assert sorted(path.name for path in out.iterdir()) == ["metrics.json", "per_image.csv", "report.html"]
    printed = capsys.readouterr().out
    assert "4 images in 4 groups; 1 missing predictions, 1 empty labels" in printed
    assert all(metric["title"] in printed for metric in results["metrics"].values())
    assert str(labels.parent) not in (out / "metrics.json").read_text() + (out / "per_image.csv").read_text()


def test_the_same_again_byte_for_byte(folders, tmp_path):
    preds, labels, _ = folders
    assert evaluate(preds, labels, tmp_path / "1", plots=True) == 0
    assert evaluate(preds, labels, tmp_path / "2", plots=True) == 0
    for name in ("metrics.json", "per_image.csv", "report.html"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    assert evaluate(preds, labels, tmp_path / "3", "--seed", "1") == 0
    assert (tmp_path / "3" / "metrics.json").read_bytes() != (tmp_path / "1" / "metrics.json").read_bytes()


def test_tolerance(folders):
    preds, labels, out = folders
    write(preds, {"d.png": square(2, 5, 4)})  # 3 pixels to the right
    for tolerance, expected in (("2", False), ("3", True)):
        assert evaluate(preds, labels, out, "--tolerance", tolerance) == 0
        rows = {row["image"]: row for row in read_rows(out / "per_image.csv")}
        assert (float(rows["d"]["nsd"]) == 1) == expected


def test_groups(folders, tmp_path):
    (tmp_path / "groups.csv").write_text("image,group\na,1\nb,1\nd,2\ndeep/c,2\n")
    assert evaluate(*folders, "--groups", str(tmp_path / "groups.csv")) == 0
    results = json.loads((folders[2] / "metrics.json").read_text())
    assert results["groups"] == 2 and results["grouped"]


def test_semantic_with_named_classes(tmp_path):
    label = np.array([[0, 0, 1, 1, 255]], np.uint8).repeat(20, 0)
    labels, preds = write(tmp_path / "labels", {"a.png": label}), write(tmp_path / "preds", {"a.png": label})
    arguments = (preds, labels, tmp_path / "out", "--classes", "0:wall", "1:floor")
    assert evaluate(*arguments, task="semantic", plots=True) == 0
    assert evaluate(*arguments, "--protocol", "paper", task="semantic", plots=True) == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["metrics"]["micro_jaccard"]["value"] < 1


def test_classes_as_they_are_given():
    assert parse_classes(["1-3", "7:bed"]) == {1: "class 1", 2: "class 2", 3: "class 3", 7: "bed"}
    for wrong in (["wall"], ["3-1"], ["1", "1"], ["-1"], ["1-"], ["1-3:bed"], ["1-99999999"], [""]):
        with pytest.raises(SettingError, match="--classes"):
            parse_classes(wrong)


COLOURED = np.zeros((40, 50, 3), np.uint8)
COLOURED[5:9, 5:9] = 255, 0, 0


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("polyp", {"preds/a.png": square(0, 0, 5, (20, 20))}, "preds/a.png has 20 × 20 pixels, its label"),
        ("polyp", {"preds/x.png": square(0, 0, 5)}, "have no label in"),
        ("polyp", {"preds/a.png": COLOURED}, "preds/a.png: its colour channels differ"),
        ("polyp", {"labels/a.png": COLOURED}, "labels/a.png: its colour channels differ"),
        ("polyp", {"labels/a.png": np.arange(2000, dtype=np.uint8).reshape(40, 50)}, "labels/a.png has 256 different"),
        ("polyp", {"preds/a.png": square(0, 0, 5) // 255 * 100}, "preds/a.png has the values 0 and 100 only"),
        ("polyp", {"preds/a.png": square(0, 0, 5).astype(np.uint16)}, "preds/a.png has the values 0 and 255 only"),
        ("polyp", {"preds/a.png": square(0, 0, 5) // 255}, "Masks are drawn in two ways"),
        ("gland", {"preds/a.png": np.arange(2000, dtype=np.uint8).reshape(40, 50)}, "preds/a.png is neither a mask"),
    ],
)
def test_bad_files_are_one_sentence_that_names_them(folders, task, change, message, tmp_path, capsys):
    write(tmp_path, change)
    assert evaluate(*folders, task=task) == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: ") and message in err and err.count("\n") == 1
    assert not folders[2].exists()


def test_classes_in_polyp_predictions(folders, capsys):
    preds, labels, out = folders
    write(preds, {name: mask // 255 * 3 for name, mask in PREDS.items()})
    assert evaluate(preds, labels, out) == 1
    assert "The largest value in the predictions is 3, in" in capsys.readouterr().err


def test_a_broken_file_among_many_processes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("masksup_med.evaluate.measure._PER_PROCESS", 2)
    monkeypatch.setattr("masksup_med.evaluate.measure._cores", lambda: 2)
    preds, labels = write(tmp_path / "preds", LABELS), write(tmp_path / "labels", LABELS)
    whole = (preds / "d.png").read_bytes()
    (preds / "d.png").write_bytes(whole[: len(whole) // 2])
    assert evaluate(preds, labels, tmp_path / "out") == 1
    err = capsys.readouterr().err
    assert "Cannot read prediction" in err and "d.png" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "gland", "--protocol", "pranet"], "no protocol pranet for the task gland"),
        (["--task", "semantic"], "needs its classes"),
        (["--task", "polyp", "--classes", "1-3"], "needs its classes"),
        (["--task", "polyp", "--mlflow-run", "x"], "In which store is the run x?"),
        (
            ["--task", "polyp", "--mlflow-run", "x", "--tracking-uri", "sqlite:///OUT/none.db"],
            "There is no MLflow store",
        ),
    ],
)
def test_bad_settings_are_one_sentence(folders, arguments, message, capsys, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    preds, labels, out = folders
    arguments = [each.replace("OUT", str(labels.parent)) for each in arguments]
    assert main(["evaluate", "--pred", str(preds), "--label", str(labels), "-o", str(out), *arguments]) == 1
    err = capsys.readouterr().err
    assert "Error: " in err and message in err and "Traceback" not in err
    assert not out.exists()


PAIR = ["--pred", "x", "--label", "y"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--pred", "x"],
        [*PAIR, "--bundle", "z"],
        ["--bundle", "z"],
        ["--bundle", "z", "--datalist", "x", "--image", "y"],
        [*PAIR, "--device", "cpu"],
        [*PAIR, "--tracking-uri", "z"],
        [*PAIR, "--seed", "-1"],
        [*PAIR, "--tolerance", "nan"],
    ],
)
def test_one_source_and_all_of_it(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", "-o", "out", "--task", "polyp", *arguments])
    assert caught.value.code == 2 and "usage" in capsys.readouterr().err


def test_masks_are_no_classes(folders, capsys):
    """0 and 255 as classes: all that is not void would be background, and anything right."""
    assert evaluate(*folders, "--classes", "0", "1", task="semantic") == 1
    assert "only class 0 (0) is among the classes" in capsys.readouterr().err and not folders[2].exists()


def test_the_paper_takes_classes_at_its_own_size(tmp_path, capsys):
    label = np.array([[0, 0, 1, 1, 255]], np.uint8).repeat(20, 0)
    labels = write(tmp_path / "labels", {"a.png": label})
    preds = write(tmp_path / "preds", {"a.png": np.zeros((224, 224), np.uint8)})
    arguments = (preds, labels, tmp_path / "out", "--classes", "0", "1", "--protocol", "paper")
    assert evaluate(*arguments, task="semantic") == 0


@pytest.mark.parametrize("name", ["metrics.json", "comparison.json", "occlusion.json"])
def test_results_of_other_commands_are_not_mixed(folders, tmp_path, name, capsys):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / name).write_text("{}")
    assert evaluate(*folders[:2], tmp_path / "there") == (0 if name == "metrics.json" else 1)
    assert name == "metrics.json" or f"({name}); name another folder" in capsys.readouterr().err


def test_output_that_cannot_be_written(folders, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert evaluate(*folders[:2], out) == 1
        err = capsys.readouterr().err
        assert "cannot be written" in err and err.count("\n") == 1
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    assert evaluate(*folders) == 1
    assert "report.html" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in folders[2].iterdir()] == ["report.html"]


def test_inputs_are_never_touched(folders):
    before = {path: path.read_bytes() for folder in folders[:2] for path in folder.rglob("*.png")}
    assert evaluate(*folders) == 0
    assert {path: path.read_bytes() for folder in folders[:2] for path in folder.rglob("*") if path.is_file()} == before


def test_worst_cases_show_the_images(folders, tmp_path):
    write(tmp_path / "images", {"a.png": np.full((40, 50, 3), 120, np.uint8)})
    assert evaluate(*folders, "--image", str(tmp_path / "images")) == 0
    assert Image.open(tmp_path / "images" / "a.png").size == (50, 40)
    assert "data:image/jpeg" in (folders[2] / "report.html").read_text()
