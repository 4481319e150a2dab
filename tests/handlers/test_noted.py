"""The SHA-256 that a bundle notes of its weights: others are refused, and it goes when others come."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image

from masksup_med.bundle import Bundle, Predictor
from masksup_med.errors import CheckpointError, MaskSupError, MissingDataError
from masksup_med.handlers import BestModelSaver, WeightsLoader
from masksup_med.handlers.noted import check_noted, forget_noted
from masksup_med.label.workspace import Workspace
from tests.bundle.bundles import write_bundle

PICTURE = np.zeros((64, 64, 3), np.uint8)


@pytest.fixture
def bundle(tmp_path):
    """A bundle that notes its weights."""
    folder = write_bundle(tmp_path / "noted")
    opened = Bundle.open(folder)
    opened.note(weights_sha256=opened.weights_sha256, eval_metrics={"iou": 0.5})
    return folder


def flip(file):
    """Change one bit of a number in a file of weights, which torch itself does not notice."""
    content = bytearray(file.read_bytes())
    numbers = torch.load(file, weights_only=True)
    kernel = next(value for value in numbers.values() if value.ndim == 4)
    content[content.index(kernel.numpy().tobytes())] ^= 1
    file.write_bytes(content)


def metadata(folder):
    return json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))


def test_weights_that_are_noted_are_taken(bundle):
    check_noted(bundle / "models" / "model.pt")
    Predictor(Bundle.open(bundle))(PICTURE)


def test_a_flipped_bit_is_refused_with_words(bundle):
    flip(bundle / "models" / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt is damaged, or of another .* get the file again"):
        Predictor(Bundle.open(bundle))


def test_a_flipped_bit_is_refused_by_monais_command(bundle, tmp_path):
    flip(bundle / "models" / "model.pt")
    (tmp_path / "images").mkdir()
    Image.fromarray(PICTURE).save(tmp_path / "images" / "a.png")
    workflow = ConfigWorkflow(
        str(bundle / "configs" / "inference.yaml"), logging_file=False, workflow_type="infer",
        bundle_root=str(bundle), dataset_dir=str(tmp_path / "images"), output_dir=str(tmp_path / "out"),
    )  # fmt: skip
    workflow.initialize()
    with pytest.raises(RuntimeError) as raised:
        workflow.run()
    assert "is damaged, or of another training" in str(MaskSupError.among(raised.value))
    assert not (tmp_path / "out").exists() or not os.listdir(tmp_path / "out")


def test_weights_that_are_not_there_are_asked_for_elsewhere(bundle):
    (bundle / "models" / "model.pt").unlink()
    check_noted(bundle / "models" / "model.pt")
    with pytest.raises(MissingDataError, match=r"No weights at .*model\.pt; train the bundle first"):
        WeightsLoader(bundle / "models" / "model.pt", torch.nn.Identity())(None)


def test_weights_in_no_bundle_are_not_asked_about(tmp_path):
    (tmp_path / "models").mkdir()
    for weights in (tmp_path / "model.pt", tmp_path / "models" / "model.pt"):
        weights.write_bytes(b"anything")
        check_noted(weights)
        forget_noted(weights)


def test_metadata_that_cannot_be_read(bundle):
    (bundle / "configs" / "metadata.json").write_text("{")
    for function in (check_noted, forget_noted):
        with pytest.raises(CheckpointError, match=r"metadata\.json cannot be read \(.*\); repair the bundle"):
            function(bundle / "models" / "model.pt")


def test_the_note_goes_and_nothing_else(bundle):
    before = metadata(bundle)
    forget_noted(bundle / "models" / "model.pt")
    after = metadata(bundle)
    assert "weights_sha256" not in after and after.pop("eval_metrics") == {}
    assert after.items() <= before.items() and len(before) == len(after) + 2


def test_what_is_not_noted_is_not_touched(bundle):
    Bundle.open(bundle).note(weights_sha256=None)
    before = (bundle / "configs" / "metadata.json").stat().st_mtime_ns
    forget_noted(bundle / "models" / "model.pt")
    assert (bundle / "configs" / "metadata.json").stat().st_mtime_ns == before and metadata(bundle)["eval_metrics"]


def test_what_is_trained_takes_the_place_of_what_was_noted(bundle):
    network = Bundle.open(bundle).made("network")
    saver, state = (
        BestModelSaver(bundle / "models" / "model.pt", network),
        SimpleNamespace(epoch=2, best_metric_epoch=1),
    )
    saver(SimpleNamespace(state=state))
    assert "weights_sha256" in metadata(bundle)  # no better than before
    state.best_metric_epoch = 2
    saver(SimpleNamespace(state=state))
    assert "weights_sha256" not in metadata(bundle)
    Predictor(Bundle.open(bundle))(PICTURE)


def test_a_working_copy_takes_other_weights(bundle, tmp_path):
    workspace = Workspace.of(tmp_path / "studies", Bundle.open(bundle))
    other = tmp_path / "other.pt"
    torch.save({key: value + 1 for key, value in torch.load(workspace.weights).items()}, other)
    workspace.accept(other)
    Predictor(Bundle.open(workspace.folder))(PICTURE)
    workspace.undo()
    Predictor(Bundle.open(workspace.folder))(PICTURE)
