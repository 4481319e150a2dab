"""``masksup train`` from start to end, and what bad input gets."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from monai.bundle import ConfigWorkflow

from masksup_med.bundle.check import check_bundle
from masksup_med.cli import main
from masksup_med.data.decode import read_label
from masksup_med.train import run, workflow
from tests.bundle.bundles import stock_masks
from tests.train.made import coloured, data_set, noise, squares, train, write

pytestmark = pytest.mark.filterwarnings("ignore")
KINDS = ("masks", "classes", "colours")
VALUES = {"masks": {0, 255}, "classes": {0, 1, 2}, "colours": {0, 1, 2}}


@pytest.mark.parametrize("kind", ["masks", "classes"])  # colours differ in how labels are read only
def test_the_bundle_has_no_fault(kind, trained):
    faults = {finding.name: finding.fault for finding in check_bundle(trained(kind).bundle) if not finding.ok}
    assert faults == {}


@pytest.mark.parametrize("kind", KINDS)
def test_it_predicts_as_monai_does(kind, trained, tmp_path):
    made = trained(kind)
    assert main(["predict", str(made.images), "-o", str(tmp_path / "out"), "--bundle", str(made.bundle)]) == 0
    stock = stock_masks(made.bundle, made.images, tmp_path / "stock")
    masks = {path.stem: read_label(path) for path in sorted((tmp_path / "out" / "masks").rglob("*.png"))}
    assert sorted(masks) == sorted(stock) == sorted(path.stem for path in made.images.iterdir())
    for name, mask in masks.items():
        assert mask.shape == (64, 80) and set(np.unique(mask)) <= VALUES[kind]
        np.testing.assert_array_equal(mask, stock[name])


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_gives_the_same_figures(kind, trained, tmp_path):
    made, task = trained(kind), "polyp" if kind == "masks" else "semantic"
    source = ["--bundle", str(made.bundle), "--datalist", str(made.bundle / "configs" / "datalist.json")]
    assert main(["evaluate", *source, "--split", "validation", "--task", task, "-o", str(tmp_path / "out")]) == 0
    before, now = (
        json.loads((folder / "metrics.json").read_text())["metrics"]
        for folder in (made.bundle / "eval" / "validation", tmp_path / "out")
    )
    assert now == before
    kept = json.loads((made.bundle / "configs" / "metadata.json").read_text())["eval_metrics"]
    assert kept == {name: metric["value"] for name, metric in before.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_its_training_can_be_made_again(kind, trained):
    config = str(trained(kind).bundle / "configs" / "train.yaml")
    workflow = ConfigWorkflow(config_file=config, workflow_type="train", logging_file=False)
    workflow.initialize()
    assert len(workflow.parser.get_parsed_content("train#dataset")) == 8
    item = workflow.parser.get_parsed_content("train#dataset")[0]
    assert set(np.unique(item["label"])) <= ({0, 1} if kind == "masks" else {0, 1, 2})


def test_what_is_printed(trained):
    said = trained("classes").said
    for line in (
        "training: 8 images in 8 groups",
        "validation: 2 images in 2 groups",
        "sizes: 80 × 64 to 80 × 64 pixels",
    ):
        assert line in said.splitlines()
    assert "labels: as --classes says; " in said and "  2 right: " in said
    assert "2 epochs" in said and "as --epochs says" in said
    assert said.rstrip().endswith(f"--bundle {trained('classes').bundle}")
    assert "Warning" not in said


def test_nothing_but_the_bundle_is_left(trained):
    bundle = trained("masks").bundle
    assert [path.name for path in bundle.parent.iterdir()] == ["my_bundle"]
    assert {path.name for path in bundle.iterdir()} == {"LICENSE", "configs", "docs", "eval", "models"}


def test_data_sets_in_known_layouts(phantoms, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(workflow, "fit", lambda folder, resume: None)
    monkeypatch.setattr(run, "finish", lambda folder: {"images": 2, "metrics": {"iou": NO_METRIC}})
    assert main(["train", "--data", str(phantoms("polyp")), "-o", str(tmp_path / "b"), "--preset", "balanced"]) == 0
    out = capsys.readouterr().out
    assert "training: 8 images" in out and "undefined" in out
    assert yaml.safe_load((tmp_path / "b" / "configs" / "train.yaml").read_text())["max_epochs"] >= 6000 // 4


NO_METRIC = {"title": "IoU", "value": None, "unit": "", "interval": None}


# Bad input: one sentence, code 1, nothing left.


def spoilt(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def jpeg_labels(images, labels):
    for path in labels.iterdir():
        write(path.with_suffix(".jpg"), noise(3)[..., 0], quality=50)
        path.unlink()


BAD = {
    "one image": ([squares(1)], None, (), "Cannot split images of one group"),
    "no labels": ([squares(1)] * 3, lambda _, labels: [file.unlink() for file in labels.iterdir()], (), "holds no PNG"),
    "no folder": ([squares(1)] * 3, lambda _, labels: shutil.rmtree(labels), (), "There is no folder"),
    "empty labels": ([squares()] * 3, None, (), "All 3 labels are empty"),
    "one label that is not empty": ([squares(1), *[squares()] * 5], None, (), "Nothing is marked in any of the "),
    "another size": (
        [squares(1)] * 3,
        lambda _, labels: write(labels / "01.png", squares(1, size=(64, 60))),
        (),
        "01.png has 64 × 64 pixels, its label",
    ),
    "noise": ([squares(1)] * 3, jpeg_labels, (), "different values, as photographs and JPEG files do"),
    "unreadable image": ([squares(1)] * 3, lambda images, _: spoilt(images / "01.png"), (), "images/01.png"),
    "unreadable label": ([squares(1)] * 3, lambda _, labels: spoilt(labels / "01.png"), (), "labels/01.png"),
    "a text for an image": ([squares(1)] * 3, lambda images, _: (images / "01.png").write_text("hello"), (), "01.png"),
    "a label more": ([squares(1)] * 3, lambda images, _: (images / "01.png").unlink(), (), "1 label has no image"),
    "an image more": ([squares(1)] * 3, lambda _, labels: (labels / "01.png").unlink(), (), "1 image has no label"),
    "doubt": ([squares(1, 2)] * 3, None, (), "which may be classes or numbered objects"),
    "a value more": ([squares(1, 2, 3)] * 3, None, ("--classes", "1:a", "2:b"), "has 3, which --classes does not name"),
    "colours with numbers": (
        [coloured(squares(1), [(0, 0, 0), (255, 0, 0)])] * 3,
        None,
        ("--classes", "1:a"),
        "name colours, as in --classes '#ff0000:polyp'",
    ),
    "classes that are none": ([squares(1)] * 3, None, ("--classes", "a", "b"), "--classes got a"),
    "no table": ([squares(1)] * 3, None, ("--groups", "/nowhere.csv"), "There is no file /nowhere.csv"),
    "no network": ([squares(1)] * 3, None, ("--network", "u_net"), "There is no network u_net; choose one of"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(case, tmp_path, capsys):
    labels, spoil, more, message = BAD[case]
    folders = data_set(tmp_path, labels)
    if spoil:
        spoil(*folders)
    before = sorted(tmp_path.rglob("*"))
    assert train(*folders, tmp_path / "out", *more) == 1
    refused(capsys, message)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_class_that_cannot_be_measured_is_warned_of(tmp_path, capsys, monkeypatch):
    stop_before_training(monkeypatch)
    folders = data_set(tmp_path, [squares(1, 3), *[squares(1)] * 5])
    assert train(*folders, tmp_path / "out", "--classes", "1:polyp", "3:fold") == 130
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning: no image")]
    assert len(warnings) == 1 and "has fold, which so cannot be " in warnings[0]


def test_options_between_the_folders_are_answered(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", "images", "-o", str(tmp_path / "out"), "labels"])
    assert caught.value.code == 2 and "give folders and files before the options" in capsys.readouterr().err


def refused(capsys, message):
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == 1 and lines[0].startswith("Error: ") and message in lines[0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,group\n00,a\n01,b\n", "no entry for 1 of 3 images (02)"),
        ("image,group\n00,a\n01,a\n02,a\n", "Cannot split images of one group (a)"),
        ("", "no column 'image'"),
    ],
)
def test_tables_of_groups(table, message, tmp_path, capsys):
    (tmp_path / "groups.csv").write_text(table)
    folders = data_set(tmp_path, [squares(1)] * 3)
    assert train(*folders, tmp_path / "out", "--groups", tmp_path / "groups.csv") == 1
    refused(capsys, message)


def test_one_folder_for_both(tmp_path, capsys):
    images, _ = data_set(tmp_path, [squares(1)] * 3)
    assert train(images, images, tmp_path / "out") == 1
    refused(capsys, "give the folder of labels second")


@pytest.mark.parametrize("occupied", ["file", "file/inside", "folder"])
def test_what_is_in_the_way_stays(occupied, tmp_path, capsys):
    folders = data_set(tmp_path, [squares(1)] * 3)
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder/mine.txt"):
        (tmp_path / name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert train(*folders, tmp_path / occupied) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("Error: ") and err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "folder" / "mine.txt").read_text() == "mine"


def stop_before_training(monkeypatch):
    def stop(folder, resume):
        raise KeyboardInterrupt("stopped")

    monkeypatch.setattr(workflow, "fit", stop)


def test_an_empty_folder_is_taken(tmp_path, monkeypatch):
    stop_before_training(monkeypatch)
    (tmp_path / "out").mkdir()
    assert train(*data_set(tmp_path, [squares(1)] * 3), tmp_path / "out") == 130
    assert (tmp_path / "out" / "configs" / "train.yaml").is_file()


def test_the_folder_that_one_is_in_is_taken(tmp_path, monkeypatch):
    stop_before_training(monkeypatch)
    folders = data_set(tmp_path, [squares(1)] * 3)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    assert train(*folders, ".") == 130


def test_folders_above_are_not_left(tmp_path):
    assert train(*data_set(tmp_path, [squares(1)] * 3), tmp_path / "new" / "out", "--network", "nope") == 1
    assert not (tmp_path / "new").exists()


def test_a_bundle_inside_the_images_is_refused(tmp_path, monkeypatch):
    stop_before_training(monkeypatch)
    images, labels = data_set(tmp_path, [squares(1)] * 3)
    assert train(images, labels, images / "out") == 1


def test_a_name_with_a_backslash(tmp_path, monkeypatch):
    stop_before_training(monkeypatch)
    assert train(*data_set(tmp_path, [squares(1)] * 3), tmp_path / "a\\d") in (1, 130)


@pytest.mark.parametrize("name", ["$x", "@x"])
def test_a_name_that_monai_would_follow_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "finish", lambda folder: {"images": 1, "metrics": {"iou": NO_METRIC}})
    try:
        code = train(*data_set(tmp_path, [squares(1)] * 3), tmp_path / name, epochs=1)
    except RuntimeError:
        code = -1
    assert code in (0, 1)


def test_labels_of_one_colour(tmp_path, capsys):
    assert train(*data_set(tmp_path, [np.full((64, 64, 3), (255, 0, 0), np.uint8)] * 3), tmp_path / "out") == 1


@pytest.mark.parametrize("values", [(1, 5), (127, 255)])
def test_one_name_for_all_values_can_be_trained(values, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "finish", lambda folder: {"images": 1, "metrics": {"iou": NO_METRIC}})
    assert train(*data_set(tmp_path, [squares(*values)] * 3), tmp_path / "out", "--classes", "cell", epochs=1) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["IMAGES", "-o", "OUT"],
        ["IMAGES", "LABELS"],
        ["IMAGES", "LABELS", "--data", "X", "-o", "OUT"],
        ["--data", "X", "--groups", "Y", "-o", "OUT"],
        ["IMAGES", "LABELS", "-o", "OUT", "--preset", "slow"],
        ["IMAGES", "LABELS", "-o", "OUT", "--epochs", "0"],
        ["IMAGES", "LABELS", "-o", "OUT", "--seed", "-1"],
    ],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", *arguments])
    assert caught.value.code == 2 and "usage: masksup train" in capsys.readouterr().err


def test_leaks_are_warned_of(tmp_path, monkeypatch, capsys):
    stop_before_training(monkeypatch)
    images, labels = data_set(tmp_path, [squares(1)] * 5)
    for path in images.iterdir():
        write(Path(path), noise(0))
    assert train(images, labels, tmp_path / "out") == 130
    assert "Warning: 1 of the 1 images for validation are nearly the same" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "eval" / "begun.json").read_text())["data"]["leaks"] == 1
