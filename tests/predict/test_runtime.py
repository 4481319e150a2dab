"""`masksup predict --runtime`: whatever runs the network, the masks are torch's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from masksup_med.bundle import Bundle
from masksup_med.cli import main
from masksup_med.inferers.runtimes.export import export
from tests.bundle.bundles import TINY_UNET, brightness_bundle, write_bundle

for _package in ("onnxruntime", "openvino", "onnx"):
    pytest.importorskip(_package)
pytestmark = pytest.mark.filterwarnings("ignore")
OTHERS = ("onnx", "openvino")
NORMS = {**TINY_UNET, "norm": "batch"}
WAYS: dict[str, dict[str, Any]] = {
    "whole pictures": {},
    "windows": {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 48], "overlap": 0.5}},
    "tiles": {"max_pixels": 1500},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number, (height, width) in enumerate([(48, 64), (64, 50), (33, 71), (48, 64)]):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = brightness_bundle(tmp_path_factory.mktemp("runtime") / "bright")
    for form in OTHERS:
        export(Bundle.open(folder), form)
    return folder


def run(bundle: Path, images: Path, out: Path, *options: str) -> int:
    return main(["predict", str(images), "-o", str(out), "--bundle", str(bundle), *options])


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def masks_of(out: Path, kind: str = "masks") -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted((out / kind).iterdir())}


@pytest.mark.parametrize("way", WAYS)
def test_masks_are_those_of_torch(images: Path, tmp_path: Path, way: str) -> None:
    bundle = write_bundle(tmp_path / "norms", NORMS, **WAYS[way])
    for form in OTHERS:
        export(Bundle.open(bundle), form)
    for name in ("torch", *OTHERS):
        options = "--runtime", name, "--device", "cpu", "--outputs", "masks,probabilities"
        assert run(bundle, images, tmp_path / name, *options) == 0
        assert {line["versions"]["runtime"] for line in lines_of(tmp_path / name)} == {f"{name} fp32"}
        assert {"tiled" in line["flags"] for line in lines_of(tmp_path / name)} == {way == "tiles"}
    wanted = masks_of(tmp_path / "torch")
    certain = masks_of(tmp_path / "torch", "probabilities")
    assert len(wanted) == 4 and all(mask.min() < mask.max() for mask in (*wanted.values(), *certain.values()))
    for name in OTHERS:
        found = masks_of(tmp_path / name)
        assert found.keys() == wanted.keys()
        assert max((found[key] != wanted[key]).mean() for key in wanted) < 1e-3
        for key, picture in masks_of(tmp_path / name, "probabilities").items():
            np.testing.assert_allclose(picture.astype(int), certain[key].astype(int), rtol=0, atol=8)  # of 65535


def test_views_go_through_the_runtime_too(bright: Path, images: Path, tmp_path: Path) -> None:
    for name in ("torch", "onnx"):
        assert run(bright, images, tmp_path / name, "--runtime", name, "--quality", "3", "--tta") == 0
    found, wanted = masks_of(tmp_path / "onnx"), masks_of(tmp_path / "torch")
    assert max((found[key] != wanted[key]).mean() for key in wanted) < 1e-3
    assert all(line["disagreement"] < 0.01 for line in lines_of(tmp_path / "onnx"))


def test_why_a_runtime_was_chosen_is_printed(
    bright: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bright, images, tmp_path / "out") == 0
    assert "Runtime torch: to try others takes longer than so few images." in capsys.readouterr().out.splitlines()
    assert run(bright, images, tmp_path / "json", "--json") == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [
        "Runtime torch: to try others takes longer than so few images."
    ]


def test_nothing_is_said_of_a_runtime_that_was_asked_for(
    bright: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bright, images, tmp_path / "out", "--runtime", "onnx") == 0
    assert "untime" not in capsys.readouterr().out


def test_the_chosen_one_runs(
    bright: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = {"torch": 4, "onnx": 2, "openvino": 1}
    monkeypatch.setattr("masksup_med.predict.choice._FEW", 1)
    monkeypatch.setattr("masksup_med.predict.choice._seconds", lambda predictor, *_: seconds[predictor.runtime.name])
    assert run(bright, images, tmp_path / "out", "--device", "cpu") == 0
    assert "Runtime openvino: compared with torch on 4 images: onnx fp32 is 2.00 ×" in capsys.readouterr().out
    assert {line["versions"]["runtime"] for line in lines_of(tmp_path / "out")} == {"openvino fp32"}


def test_another_runtime_predicts_nothing_again(
    bright: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(bright, images, out, "--runtime", "onnx") == 0
    before = lines_of(out)
    capsys.readouterr()
    for name in ("torch", "openvino", "auto"):
        assert run(bright, images, out, "--runtime", name) == 0
        assert "0 predicted, 4 done before" in capsys.readouterr().out
    assert lines_of(out) == before


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_exported_is_one_sentence(
    images: Path, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = brightness_bundle(tmp_path / "plain")
    assert run(bundle, images, tmp_path / "out", "--runtime", name) == 1
    out, err = capfd.readouterr()
    command = f"run `masksup export {bundle} --to {name}`"
    assert not out and err == f"Error: The bundle plain has no network for {name}; {command}.\n"
    assert not (tmp_path / "out").exists()
