"""Exports: checked against torch, whole or not there, and noted in the metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from masksup_med.bundle import Bundle
from masksup_med.cli import main
from masksup_med.errors import DataError, SettingError
from masksup_med.handlers.provenance import sha256_of
from masksup_med.inferers.runtimes import export as module
from masksup_med.inferers.runtimes import open_runtime
from masksup_med.inferers.runtimes.export import PRECISIONS, export
from masksup_med.inferers.runtimes.files import FILES
from tests.bundle.bundles import TINY_UNET, write_bundle

pytestmark = pytest.mark.filterwarnings("ignore")
EVERY = [(form, precision) for form, precisions in PRECISIONS.items() for precision in precisions]


class OneSize(nn.Module):
    """A network that takes 64 × 64 pixels only, as some with tokens do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.place = nn.Conv2d(3, 1, 1), nn.Parameter(torch.randn(1, 1, 64, 64))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.first(image) + self.place


def written(folder: Path) -> set[str]:
    return {path.name for path in (folder / "models").iterdir()} - {"model.pt", ".gitignore"}


def metadata_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "small")


@pytest.mark.parametrize(("form", "precision"), EVERY)
def test_every_form_in_every_precision(bundle: Path, form: str, precision: str) -> None:
    before = metadata_of(bundle)
    done = export(Bundle.open(bundle), form, precision)
    assert done.any_size and done.size == (64, 64)
    assert done.difference <= {"fp32": 1e-4, "fp16": 2e-2, "bf16": 5e-2}[precision]
    assert written(bundle) == set(FILES[form])
    after = metadata_of(bundle)
    entry = after.pop("exports")[form]
    assert after == before
    assert (entry["precision"], entry["sizes"]) == (precision, "any")
    assert entry["sha256"] == {name: sha256_of(bundle / "models" / name) for name in FILES[form]}
    assert entry["weights_sha256"] == sha256_of(bundle / "models" / "model.pt")
    assert entry["versions"]["torch"] == torch.__version__ and all(entry["versions"].values())


@torch.inference_mode()
def test_torchscript_needs_nothing_but_torch(bundle: Path) -> None:
    export(Bundle.open(bundle), "torchscript")
    network: nn.Module = Bundle.open(bundle).made("network").eval()
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    images = torch.rand(2, 3, 32, 96)
    torch.testing.assert_close(torch.jit.load(bundle / "models" / "model.ts")(images), network(images))


def test_other_exports_keep_their_entries_and_old_ones_are_replaced(bundle: Path) -> None:
    for form in ("torchscript", "onnx"):
        export(Bundle.open(bundle), form)
    first = metadata_of(bundle)["exports"]
    export(Bundle.open(bundle), "onnx", "fp16")
    second = metadata_of(bundle)["exports"]
    assert second["torchscript"] == first["torchscript"]
    assert second["onnx"]["sha256"] != first["onnx"]["sha256"]
    assert open_runtime(Bundle.open(bundle), "onnx", nn.Identity(), torch.device("cpu")).precision == "fp16"


def test_batch_norms(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "norms", {**TINY_UNET, "norm": "batch"})
    assert export(Bundle.open(folder), "onnx").difference < 1e-4


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_precisions_that_a_form_lacks(bundle: Path, precision: str) -> None:
    with pytest.raises(SettingError, match=rf"onnx cannot be had in {precision}, only in fp32 or fp16"):
        export(Bundle.open(bundle), "onnx", precision)


@pytest.mark.parametrize("form", PRECISIONS)
def test_what_differs_from_torch_is_refused_and_leaves_all_as_it_was(
    bundle: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(Bundle.open(bundle), form)
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    opened = module._opened
    monkeypatch.setattr(module, "_opened", lambda *given: lambda images: opened(*given)(images) * 1.01)
    with pytest.raises(DataError, match=rf"small cannot be exported to {form} in fp32: its logits are off by 0\.01"):
        export(Bundle.open(bundle), form)
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before


def test_not_a_number_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_opened", lambda *given: lambda images: images[:, :1] * torch.nan)
    with pytest.raises(DataError, match=r"off by inf"):
        export(Bundle.open(bundle), "torchscript")
    assert not written(bundle) and "exports" not in metadata_of(bundle)


def test_what_cannot_be_written_leaves_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*paths: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        export(Bundle.open(bundle), "openvino")
    assert not written(bundle) and "exports" not in metadata_of(bundle)


def test_a_network_of_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "OneSize", OneSize, raising=False)  # where a bundle finds it
    torch.manual_seed(0)
    folder = write_bundle(tmp_path / "one_size", {"_target_": "torch.OneSize"})
    done = export(Bundle.open(folder), "onnx")
    assert not done.any_size and metadata_of(folder)["exports"]["onnx"]["sizes"] == [64, 64]
    assert open_runtime(Bundle.open(folder), "onnx", nn.Identity(), torch.device("cpu"))(
        torch.zeros(3, 3, 64, 64)
    ).shape == (3, 1, 64, 64)


@pytest.mark.parametrize("package", ["onnx", "openvino"])
def test_missing_package(bundle: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(SettingError, match=rf"pip install 'masksup-med\[{package}\]'"):
        export(Bundle.open(bundle), package)
    assert not written(bundle)


def test_command_says_what_was_written(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["export", str(bundle), "--to", "onnx"])
    out, err = capfd.readouterr()
    assert out.splitlines()[0].startswith(f"{bundle / 'models' / 'model.onnx'}: 0.0 MiB")
    assert "any number of images of any size" in out and not err
