import json
import platform
import subprocess
from pathlib import Path

import monai
import numpy as np
import pytest
import torch
import yaml

from masksup_med.handlers import provenance
from masksup_med.handlers.provenance import (
    flatten,
    package_versions,
    portable,
    read_passport,
    relative_paths,
    sha256_of,
    tracking_key,
    write_passport,
)


@pytest.fixture
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    write_passport(path, run_id="abc", experiment="e", epoch=3, metric={"val_iou": 0.5})
    return path


def test_portable_settings_survive_yaml(home):
    settings = {
        "size": (352, 352),
        "device": torch.device("cpu"),
        "dataset_dir": "/home/anna/polyps",
        "expression": "$glob('/home/anna/x/*.png')",
        "other": Path("/home/annabel/x"),
        "rate": np.float64(0.5),
        "nothing": None,
        "on": True,
    }
    assert yaml.safe_load(yaml.safe_dump(portable(settings))) == {
        "size": [352, 352],
        "device": "cpu",
        "dataset_dir": "~/polyps",
        "expression": "$glob('~/x/*.png')",
        "other": "/home/annabel/x",
        "rate": "0.5",
        "nothing": None,
        "on": True,
    }


def test_home_at_the_root_hides_nothing(monkeypatch):
    monkeypatch.setenv("HOME", "/")
    assert portable("/data/x") == "/data/x"


def test_flatten_names_every_scalar_by_its_place():
    settings = {"a": {"b": 1, "empty": {}}, "sizes": [8, 16], "handlers": [{"lr": 0.1}, {"train#x": None}]}
    assert flatten(settings) == {"a/b": 1, "sizes": [8, 16], "handlers/0/lr": 0.1, "handlers/1/train_x": None}


@pytest.mark.parametrize(("name", "key"), [("a/b c.d:e-f", "a/b c.d:e-f"), ("größe", "gr__e"), ("k" * 300, "k" * 250)])
def test_tracking_key(name, key):
    assert tracking_key(name) == key


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["/data/cvc/images/1.png", "/data/cvc/masks/1.png"], ["images/1.png", "masks/1.png"]),
        (["/home/anna/cvc/1.png", "/home/anna/cvc/2.png"], ["1.png", "2.png"]),
        (["/home/anna/1.png", "/home/anna/cvc/2.png"], ["1.png", "cvc/2.png"]),
        (["/home/anna/cvc/1.png", "/data/2.png"], ["~/cvc/1.png", "data/2.png"]),
        (["images/1.png", "sequence 3"], ["images/1.png", "sequence 3"]),
        ([Path("/data/cvc/1.png")], ["1.png"]),
        ([["/data/a/1.png", "/data/b/1.png"], 7], [["a/1.png", "b/1.png"], 7]),
        ([], []),
    ],
)
def test_paths_become_relative_to_their_common_folder(home, paths, expected):
    datalist = {"training": [{"image": path} for path in paths]}
    assert relative_paths(datalist) == {"training": [{"image": path} for path in expected]}


def test_package_versions_are_those_installed():
    versions = package_versions()
    assert versions["monai"] == monai.__version__
    assert versions["python"] == platform.python_version()
    assert {"masksup-med", "torch", "pytorch-ignite"} <= set(versions)
    assert "pytest" not in versions


def test_passport_names_run_and_weights(weights):
    passport = read_passport(weights)
    assert passport == json.loads(weights.with_suffix(".json").read_text())
    assert passport["weights_sha256"] == sha256_of(weights)
    assert set(passport["packages"]) == {"masksup-med", "monai", "torch"}
    assert (passport["run_id"], passport["experiment"], passport["epoch"]) == ("abc", "e", 3)
    assert passport["metric"] == {"val_iou": 0.5}
    assert sorted(path.name for path in weights.parent.iterdir()) == ["model.json", "model.pt"]


def test_passport_of_other_weights_does_not_count(weights):
    weights.write_bytes(b"swapped")
    assert read_passport(weights) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "no json", '"text"', "null"])
def test_unreadable_passport_does_not_count(weights, text):
    weights.with_suffix(".json").write_text(text)
    assert read_passport(weights) is None


def test_no_passport(tmp_path):
    assert read_passport(tmp_path / "model.pt") is None


@pytest.mark.parametrize("changed", [False, True])
def test_the_commit_of_a_clone(changed, tmp_path, monkeypatch):
    clone = tmp_path / "clone"
    file = clone / "masksup_med" / "handlers" / "provenance.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    git = ["git", "-C", str(clone), "-c", "user.name=a", "-c", "user.email=b"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    file.write_text("changed" if changed else "")
    monkeypatch.setattr(provenance, "__file__", str(file))
    assert provenance.origin.__wrapped__()["mlflow.source.git.commit"] == head + "-dirty" * changed


def test_no_commit_outside_of_a_clone(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    assert list(provenance.origin.__wrapped__()) == ["masksup.machine"]
