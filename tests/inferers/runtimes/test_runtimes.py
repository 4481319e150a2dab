"""Runtimes give what torch gives, and refuse files that are not what was exported."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from masksup_med.bundle import Bundle, Predictor
from masksup_med.errors import DataError, MissingDataError, SettingError
from masksup_med.inferers.runtimes import RUNTIMES, open_runtime
from masksup_med.inferers.runtimes.export import export
from tests.bundle.bundles import brightness_bundle, write_bundle

pytestmark = pytest.mark.filterwarnings("ignore")
CPU = torch.device("cpu")
EXPORTED = [name for name in RUNTIMES if name != "torch"]


def network_of(bundle: Bundle) -> nn.Module:
    """Its network as eager torch, without anything folded."""
    network: nn.Module = bundle.made("network").eval()
    network.load_state_dict(torch.load(bundle.weights, weights_only=True))
    return network


def images_of(count: int, width: int = 64, height: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, width, height, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_bundle(tmp_path_factory.mktemp("exported") / "small")
    for name in EXPORTED:
        export(Bundle.open(folder), name)
    return folder


@pytest.fixture
def own(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported bundle that a test may spoil."""
    return Path(shutil.copytree(exported, tmp_path / "own"))


def opened(folder: Path, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    bundle = Bundle.open(folder)
    return open_runtime(bundle, name, network_of(bundle), CPU)


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize(("count", "width", "height"), [(1, 64, 64), (3, 64, 64), (2, 32, 96)])
@torch.inference_mode()
def test_logits_are_those_of_torch(exported: Path, name: str, count: int, width: int, height: int) -> None:
    images = images_of(count, width, height)
    wanted, found = network_of(Bundle.open(exported))(images), opened(exported, name)(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * wanted.abs().max().item())


@pytest.mark.parametrize("name", EXPORTED)
def test_images_need_not_be_contiguous(exported: Path, name: str) -> None:
    runtime, images = opened(exported, name), images_of(2, 64, 32)
    turned = images.transpose(2, 3).contiguous().transpose(2, 3)
    assert not turned.is_contiguous()
    assert torch.equal(runtime(turned), runtime(images))


@pytest.mark.parametrize("name", RUNTIMES)
def test_threads_do_not_disturb_each_other(exported: Path, name: str) -> None:
    runtime = opened(exported, name)
    inputs = [images_of(1 + seed % 2, 64, 32 * (1 + seed % 3), seed) for seed in range(24)]
    alone = [runtime(images) for images in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(runtime, inputs))
    assert all(torch.equal(*pair) for pair in zip(alone, together, strict=True))


@pytest.mark.parametrize("name", EXPORTED)
def test_an_answer_outlives_the_next(exported: Path, name: str) -> None:
    runtime = opened(exported, name)
    first = runtime(images_of(1))
    kept = first.clone()
    runtime(images_of(1, seed=1))
    assert torch.equal(first, kept)


@pytest.mark.parametrize("name", EXPORTED)
def test_a_predictor_finds_the_same_with_it(exported: Path, name: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    bundle = Bundle.open(exported)
    found, wanted = Predictor(bundle, runtime=name)(picture), Predictor(bundle)(picture)
    assert found.classes.shape == (48, 80)
    assert (found.classes != wanted.classes).mean() < 1e-3


@pytest.mark.parametrize("name", EXPORTED)
def test_nothing_exported(tmp_path: Path, name: str) -> None:
    folder = write_bundle(tmp_path / "plain")
    with pytest.raises(
        MissingDataError, match=rf"plain has no network for {name}; run `masksup export .* --to {name}`"
    ):
        opened(folder, name)


@pytest.mark.parametrize("name", EXPORTED)
def test_other_weights_are_refused(own: Path, name: str) -> None:
    weights = torch.load(own / "models" / "model.pt", weights_only=True)
    torch.save({key: value + 1 for key, value in weights.items()}, own / "models" / "model.pt")
    with pytest.raises(DataError, match=rf"exported before the bundle changed; run `masksup export .* --to {name}`"):
        opened(own, name)


@pytest.mark.parametrize("file", ["model.onnx", "model.xml", "model.bin"])
def test_another_file_is_refused(own: Path, file: str) -> None:
    with (own / "models" / file).open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\0\1\2\3")
    with pytest.raises(DataError, match=rf"{file} is not the file that was exported; run "):
        opened(own, "onnx" if file == "model.onnx" else "openvino")


def test_a_part_of_it_is_missing(own: Path) -> None:
    (own / "models" / "model.bin").unlink()
    with pytest.raises(DataError, match=r"model\.bin is not the file that was exported"):
        opened(own, "openvino")


@pytest.mark.parametrize("exports", [[], {"onnx": None}, {"onnx": {"sha256": {}}}, "all"])
def test_metadata_of_other_kinds(own: Path, exports: object) -> None:
    file = own / "configs" / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "exports": exports}))
    with pytest.raises((DataError, MissingDataError), match=r"run `masksup export .* --to onnx`"):
        opened(own, "onnx")


@pytest.mark.parametrize(("name", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_missing_package(exported: Path, name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SettingError, match=rf"not installed; run pip install 'masksup-med\[{name}\]'"):
        opened(exported, name)


@pytest.mark.parametrize("name", EXPORTED)
def test_other_devices(exported: Path, name: str) -> None:
    with pytest.raises(SettingError, match=r"does not run on meta.*--runtime torch"):
        open_runtime(Bundle.open(exported), name, nn.Identity(), torch.device("meta"))


def test_unknown_runtime(exported: Path) -> None:
    with pytest.raises(SettingError, match=r"no runtime tvm; the runtimes are torch, onnx, openvino"):
        opened(exported, "tvm")


SIGNALLED = """
import gc, os, signal, sys
from pathlib import Path
import torch
from masksup_med.inferers.runtimes.openvino_runtime import OpenvinoRuntime
signal.signal(signal.SIGUSR1, lambda *_: print("caught"))
first, second = (OpenvinoRuntime(Path(sys.argv[1]), "fp32", torch.device("cpu")) for _ in range(2))
del first
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs signals")
def test_a_process_survives_a_signal_after_two_openvinos(tmp_path):
    """OpenVINO's own way with stacks for signals ends it; see openvino_core."""
    pytest.importorskip("openvino")
    folder = brightness_bundle(tmp_path / "bright")
    export(Bundle.open(folder), "openvino")
    result = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(folder / "models" / "model.xml")], capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (0, "caught\n"), result.stderr
