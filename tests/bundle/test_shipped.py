"""The weights that come with the package: small, noted, refused when damaged, the same elsewhere, ready to predict."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from masksup_med.bundle import Bundle, bundle_names, find_bundle
from masksup_med.cli import main
from masksup_med.data.phantoms import gland_phantom, polyp_phantom
from masksup_med.handlers.provenance import sha256_of

pytestmark = pytest.mark.parametrize("name", bundle_names())
PHANTOMS = {"polyp_masksup": polyp_phantom, "gland_masksup": gland_phantom}


def copied(name, tmp_path):
    return shutil.copytree(find_bundle(name), tmp_path / name)


@pytest.fixture
def pictures(name, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(2):
        picture, _ = PHANTOMS[name]((144, 192), np.random.default_rng(number))
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


def test_weights_are_small_and_the_noted_ones(name):
    bundle = Bundle.open(name)
    assert bundle.weights.stat().st_size <= 16e6
    digest = sha256_of(bundle.weights)
    passport = json.loads(bundle.weights.with_suffix(".json").read_text())
    assert bundle.metadata["weights_sha256"] == passport["weights_sha256"] == digest
    assert bundle.metadata["quality"]["weights_sha256"] == digest
    assert bundle.metadata["quality"]["settings_sha256"] == bundle.settings_sha256


def test_it_predicts_by_its_name(name, pictures, tmp_path):
    out = tmp_path / "out"
    assert main(["predict", str(pictures), "-o", str(out), "--bundle", name, "--quality", "1"]) == 0
    for path in pictures.iterdir():
        assert Image.open(out / "masks" / path.name).size == Image.open(path).size
    assert (out / "report.html").is_file()


def test_a_flipped_byte_is_refused_with_words(name, pictures, tmp_path, capsys):
    bundle = copied(name, tmp_path)
    weights = bundle / "models" / "model.pt"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 0xFF
    weights.write_bytes(content)
    assert main(["predict", str(pictures), "-o", str(tmp_path / "out"), "--bundle", str(bundle)]) == 1
    assert "is damaged, or of another training" in capsys.readouterr().err
    assert main(["bundle", "check", str(bundle)]) == 1


def test_onnx_gives_the_same_masks(name, pictures, tmp_path, capsys):
    bundle = copied(name, tmp_path)
    assert main(["export", str(bundle), "--to", "onnx"]) == 0
    assert float(capsys.readouterr().out.split("differ from torch's by ")[1].split()[0]) < 1e-4
    for runtime in ("torch", "onnx"):
        given = ["--bundle", str(bundle), "--runtime", runtime]
        assert main(["predict", str(pictures), "-o", str(tmp_path / runtime), *given]) == 0
    for path in pictures.iterdir():
        by_torch, by_onnx = (
            np.asarray(Image.open(tmp_path / each / "masks" / path.name)) for each in ("torch", "onnx")
        )
        assert (by_torch != by_onnx).mean() < 1e-4
