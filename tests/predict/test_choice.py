"""The fastest runtime that agrees with torch is chosen, and what goes wrong on the way stops nobody."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from masksup_med.bundle import Bundle, Predictor
from masksup_med.cli import main
from masksup_med.inferers.runtimes.export import export
from masksup_med.predict import choice
from masksup_med.predict.choice import Choice, choose
from masksup_med.predict.discovery import Found, find_images
from tests.bundle.bundles import FIRST, LOAD, SCALE, TINY_UNET, brightness_bundle, processing, write_bundle, zoomed

for _package in ("onnxruntime", "openvino", "onnx"):
    pytest.importorskip(_package)
pytestmark = pytest.mark.filterwarnings("ignore")
BOTH = ("onnx", "openvino")
FAST = {"torch": 4.0, "onnx": 2.0, "openvino": 1.0}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finds where pictures are bright, by every runtime alike."""
    folder = brightness_bundle(tmp_path_factory.mktemp("choice") / "bright", gain=1)
    for form in BOTH:
        export(Bundle.open(folder), form)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(32):
        Image.fromarray(rng.integers(0, 256, (32, 40, 3), np.uint8)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def own(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported bundle that a test may change."""
    return Path(shutil.copytree(exported, tmp_path / "own"))


@pytest.fixture
def own_images(images: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(images, tmp_path / "own_images"))


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, float]], None]:
    """Say how long the runtimes take."""

    def say(seconds: dict[str, float]) -> None:
        monkeypatch.setattr(choice, "_seconds", lambda predictor, *_: seconds[predictor.runtime.name])

    return say


def found_in(folder: Path) -> list[Found]:
    return find_images([folder], folder / "out").images


def chosen(bundle: Path, images: Path) -> Choice:
    return choose(Bundle.open(bundle), "cpu", found_in(images), 1)


def change_metadata(bundle: Path, **entries: Any) -> None:
    Bundle.open(bundle).note(**entries)


def with_weights_of_another(bundle: Path, form: str, bias: float) -> None:
    """Let an exported network be one with another bias, as if the export had gone wrong unnoticed."""
    weights = bundle / "models" / "model.pt"
    right = weights.read_bytes()
    torch.save({**torch.load(weights, weights_only=True), "bias": torch.tensor([bias])}, weights)
    export(Bundle.open(bundle), form)
    weights.write_bytes(right)
    opened = Bundle.open(bundle)
    exports = opened.metadata["exports"]
    opened.note(exports={**exports, form: {**exports[form], "weights_sha256": opened.weights_sha256}})


def test_nothing_exported(images: Path, tmp_path: Path) -> None:
    folder = brightness_bundle(tmp_path / "plain")
    assert chosen(folder, images) == ("torch", "nothing else was exported; see `masksup export`")


def test_torchscript_is_no_runtime(images: Path, tmp_path: Path) -> None:
    folder = brightness_bundle(tmp_path / "plain")
    export(Bundle.open(folder), "torchscript")
    assert chosen(folder, images).reason.startswith("nothing else was exported")


def test_few_images_are_not_worth_it(exported: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "Predictor", None)  # nothing is opened
    few = found_in(images)[:31]
    assert choose(Bundle.open(exported), "cpu", few, 1).reason == "to try others takes longer than so few images"


@pytest.mark.parametrize(
    ("seconds", "runtime"),
    [
        (FAST, "openvino"),
        ({**FAST, "onnx": 0.5}, "onnx"),
        ({**FAST, "onnx": 5, "openvino": 6}, "torch"),
        (dict.fromkeys(FAST, 1.0), "torch"),
    ],
    ids=["the fastest", "the other", "slower ones", "as fast"],
)
def test_the_fastest_that_agrees(
    exported: Path, images: Path, timed: Callable[..., None], seconds: dict[str, float], runtime: str
) -> None:
    timed(seconds)
    found = chosen(exported, images)
    assert found.runtime == runtime
    wanted = [
        f"{name} fp32 is {seconds['torch'] / seconds[name]:.2f} × as fast, IoU of its masks 1.0000" for name in BOTH
    ]
    assert found.reason == f"compared with torch on 4 images: {'; '.join(wanted)}"


def test_one_that_disagrees_is_not_chosen_however_fast(own: Path, images: Path, timed: Callable[..., None]) -> None:
    with_weights_of_another(own, "openvino", bias=0.5)
    timed({**FAST, "openvino": 0.01})
    found = chosen(own, images)
    assert found.runtime == "onnx" and "openvino fp32 is 400.00 × as fast, IoU of its masks 0." in found.reason


@pytest.mark.parametrize(("bias", "runtime"), [(-0.01, "onnx"), (0.5, "torch")])
def test_where_nothing_is_found_probabilities_have_to_agree(
    own: Path, tmp_path: Path, timed: Callable[..., None], bias: float, runtime: str
) -> None:
    (tmp_path / "dark").mkdir()
    for number in range(32):
        Image.fromarray(np.full((32, 40, 3), 80, np.uint8)).save(tmp_path / "dark" / f"{number}.png")
    with_weights_of_another(own, "onnx", bias)
    timed({**FAST, "openvino": 9})
    assert chosen(own, tmp_path / "dark").runtime == runtime


def test_unreadable_images_are_passed_over(exported: Path, own_images: Path, timed: Callable[..., None]) -> None:
    timed(FAST)
    for name in ("00.png", "08.png", "16.png"):
        (own_images / name).write_bytes(b"no picture")
    assert chosen(exported, own_images).reason.startswith("compared with torch on 1 images: onnx")
    (own_images / "24.png").write_bytes(b"no picture")
    assert chosen(exported, own_images) == ("torch", "there was no image to try others on")


def test_pictures_for_tiles_are_passed_over(own: Path, images: Path) -> None:
    file = own / "configs" / "inference.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "\nmax_pixels: 1000\n", encoding="utf-8")
    assert chosen(own, images) == ("torch", "there was no image to try others on")


@pytest.mark.parametrize(("package", "name"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_a_missing_package_stops_nothing(
    exported: Path,
    images: Path,
    timed: Callable[..., None],
    package: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed(FAST)
    monkeypatch.setitem(sys.modules, package, None)
    found = chosen(exported, images)
    assert found.runtime == ({*BOTH} - {name}).pop()
    assert f"{name} does not run: " in found.reason and f"pip install 'masksup-med[{name}]'" in found.reason


def test_a_stale_export_stops_nothing(own: Path, images: Path, timed: Callable[..., None]) -> None:
    timed(FAST)
    (own / "models" / "model.bin").write_bytes(b"")
    found = chosen(own, images)
    assert found.runtime == "onnx" and "openvino does not run: " in found.reason
    assert "model.bin is not the file that was exported; run `masksup export" in found.reason


def test_the_real_clock(exported: Path, images: Path) -> None:
    found = chosen(exported, images)
    assert found.runtime in ("torch", *BOTH) and found.reason.count("IoU of its masks 1.0000") == 2


def test_an_engine_that_breaks_stops_nothing(
    exported: Path, images: Path, timed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from masksup_med.inferers.runtimes.onnx_runtime import OnnxRuntime

    def broken(*_: object) -> None:
        raise RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT")

    timed(FAST)
    monkeypatch.setattr(OnnxRuntime, "__call__", broken)
    assert chosen(exported, images).runtime == "openvino"


def test_an_image_that_the_network_cannot_take_fails_alone(
    own_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_AGREEMENT", 2)  # torch it is: ONNX Runtime takes the image
    steps = processing(before=(LOAD, FIRST, zoomed(1.0), SCALE))
    folder = write_bundle(tmp_path / "even", image_size=[64, 64], inferer={"_target_": "SimpleInferer"}, **steps)
    export(Bundle.open(folder), "onnx")
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(own_images / "00.png")  # instance norm needs two pixels
    out = tmp_path / "out"
    assert main(["predict", str(own_images), "-o", str(out), "--bundle", str(folder)]) == 3
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["image"] for line in lines if line["status"] == "failed"] == ["00.png"]


@pytest.mark.parametrize("kind", ["a number", "no precision", "hashes that are text"])
def test_metadata_of_other_kinds_stop_nothing(own: Path, images: Path, timed: Callable[..., None], kind: str) -> None:
    exports = Bundle.open(own).metadata["exports"]
    entry = dict(exports["onnx"])
    if kind == "no precision":
        del entry["precision"]
    change_metadata(
        own, exports=5 if kind == "a number" else {"onnx": entry | ({"sha256": "0"} if "text" in kind else {})}
    )
    timed(FAST)
    assert chosen(own, images).runtime == "torch"


def test_a_network_with_batch_norms_and_no_device_named(
    images: Path, tmp_path: Path, timed: Callable[..., None]
) -> None:
    folder = write_bundle(tmp_path / "norms", {**TINY_UNET, "norm": "batch"})
    export(Bundle.open(folder), "onnx")
    timed(FAST)
    bundle = Bundle.open(folder)
    assert choose(bundle, "auto", found_in(images), 1).runtime == "onnx"
    assert Predictor(bundle, "auto").runtime.name == "torch"
