"""The working copy, the weights that are kept, and how training is undone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from masksup_med.bundle.bundle import Bundle
from masksup_med.data.classes import read_class_label, write_class_label
from masksup_med.errors import MissingDataError, SettingError
from masksup_med.label.fine_tune import held_back
from masksup_med.label.workspace import Workspace
from tests.bundle.bundles import write_bundle


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    bundle = Bundle(write_bundle(tmp_path / "my_polyps"))
    (tmp_path / "studies").mkdir()
    return Workspace.of(tmp_path / "studies", bundle)


def accepted(workspace: Workspace, content: bytes) -> None:
    weights = workspace.new_training() / "model.pt"
    weights.write_bytes(content)
    workspace.accept(weights)


def test_the_bundle_itself_stays(workspace, tmp_path):
    weights = tmp_path / "my_polyps" / "models" / "model.pt"
    before = weights.read_bytes()
    assert workspace.weights.read_bytes() == before
    accepted(workspace, b"new")
    assert weights.read_bytes() == before
    assert workspace.weights.read_bytes() == b"new"


def test_the_working_copy_is_gone_on_with(workspace, tmp_path):
    accepted(workspace, b"new")
    again = Workspace.of(tmp_path / "studies", Bundle(tmp_path / "my_polyps"))
    assert again.weights.read_bytes() == b"new"
    assert [each.folder for each in Workspace.all_in(tmp_path / "studies")] == [workspace.folder]


def test_trainings_are_undone_one_by_one(workspace):
    original = workspace.weights.read_bytes()
    for content in (b"first", b"second"):
        accepted(workspace, content)
    assert workspace.undo() == 1
    assert workspace.weights.read_bytes() == b"first"
    accepted(workspace, b"third")
    assert workspace.undo() == 1
    assert workspace.undo() == 0
    assert workspace.weights.read_bytes() == original
    with pytest.raises(SettingError, match="nothing to undo"):
        workspace.undo()


def test_trainings_have_folders_of_their_own(workspace):
    assert [workspace.new_training().name for _ in range(3)] == ["training_1", "training_2", "training_3"]


def test_no_working_copy_is_told(tmp_path):
    with pytest.raises(MissingDataError, match="start `masksup label`"):
        Workspace(tmp_path / "absent")


def test_an_image_held_back_stays_so():
    labelled = [(Path(f"image_{number}.png"), Path("label.png")) for number in range(60)]
    held: set[Path] = set()
    for count in range(5, 61, 5):
        training, validation = held_back(labelled[:count])
        assert sorted([*training, *validation]) == sorted(labelled[:count])
        now = {image for image, _ in validation}
        assert len(now) in range(1, count // 2 + 1)
        if len(held) > 1:  # a single one may be there for want of others
            assert held <= now
        held = now
    assert len(held) in range(6, 19)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_few_images_are_on_both_sides(count):
    training, validation = held_back([(Path(f"{number}.png"), Path("label.png")) for number in range(count)])
    assert training
    assert validation


@pytest.mark.parametrize("values", [[0, 127, 255], [3, 0, 700], ["000000", "ff0000", "00ff10"]])
def test_labels_are_drawn_in_the_way_that_the_bundle_learns_from(values, tmp_path):
    classes = np.random.default_rng(0).integers(0, 3, (6, 9), np.uint8)
    write_class_label(tmp_path / "label.png", classes, values)
    assert np.array_equal(read_class_label(tmp_path / "label.png", values), classes)
