"""A bundle that is passed on: smaller weights that predict the same, and a note of which they are."""

import json

import numpy as np
import pytest
import torch

from masksup_med.bundle import Bundle, Predictor
from masksup_med.cli import main
from masksup_med.handlers.provenance import read_passport, sha256_of, write_passport
from tests.bundle.bundles import write_bundle

WIDE = {
    "_target_": "UNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 1,
    "channels": [16, 32, 64], "strides": [2, 2], "norm": "batch",
}  # fmt: skip


@pytest.fixture
def bundle(tmp_path):
    folder = write_bundle(tmp_path / "polyp_masksup", WIDE)
    state = torch.load(folder / "models" / "model.pt")
    name = next(name for name in state if name.endswith("running_var"))
    state[name][0] = 1e6  # more than half precision holds
    torch.save(state, folder / "models" / "model.pt")
    write_passport(folder / "models" / "model.pt", run_id="a1", experiment="e", epoch=7, metric={"iou": 0.5})
    return folder


def logits(bundle):
    opened = Bundle.open(bundle)
    network = Predictor(opened).network
    with torch.no_grad():
        return network(torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64))


def test_half_the_size_and_the_same_answer(bundle, capsys):
    weights, before = bundle / "models" / "model.pt", logits(bundle)
    size = weights.stat().st_size
    assert main(["bundle", "release", str(bundle)]) == 0
    assert weights.stat().st_size < 0.6 * size
    torch.testing.assert_close(logits(bundle), before, rtol=0, atol=0.01 * float(before.std()))
    digest = sha256_of(weights)
    assert json.loads((bundle / "configs" / "metadata.json").read_text())["weights_sha256"] == digest
    assert f"SHA-256 {digest}" in capsys.readouterr().out
    passport = read_passport(weights)
    assert passport is not None and passport["run_id"] == "a1" and passport["epoch"] == 7


def test_a_second_time_changes_nothing(bundle):
    assert main(["bundle", "release", str(bundle)]) == 0
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    assert main(["bundle", "release", str(bundle)]) == 0
    assert before == {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}


def test_only_kernels_are_halved(bundle):
    main(["bundle", "release", str(bundle)])
    state = torch.load(bundle / "models" / "model.pt")
    kinds = {(value.ndim > 1, value.dtype) for value in state.values()}
    assert kinds == {(True, torch.float16), (False, torch.float32), (False, torch.int64)}
    assert all(torch.isfinite(value).all() for value in state.values())
    assert np.isfinite(logits(bundle)).all()


def test_a_bundle_without_weights(bundle, capsys):
    (bundle / "models" / "model.pt").unlink()
    assert main(["bundle", "release", str(bundle)]) == 1
    assert "has no weights at" in capsys.readouterr().err
