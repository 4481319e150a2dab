"""A bundle's network as a file for another engine, checked against torch before it takes its place."""

from __future__ import annotations

import copy
import shutil
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.networks import convert_to_torchscript
from torch import nn

from masksup_med.bundle.bundle import Bundle
from masksup_med.bundle.predictor import Predictor
from masksup_med.errors import DataError, SettingError
from masksup_med.handlers.provenance import sha256_of
from masksup_med.inferers.runtimes.files import FILES, exports_of, path_of
from masksup_med.inferers.runtimes.onnx_runtime import OnnxRuntime
from masksup_med.inferers.runtimes.openvino_runtime import OpenvinoRuntime, openvino_core
from masksup_med.outputs.atomic import atomic_paths
from masksup_med.telemetry import silence

__all__ = ["PRECISIONS", "Export", "export"]

#: What each form can be calculated in. ONNX Runtime has no convolutions in bf16.
PRECISIONS = {"onnx": ("fp32", "fp16"), "torchscript": ("fp32", "fp16", "bf16"), "openvino": ("fp32", "fp16", "bf16")}
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 5e-2}  # of the largest logit
_PACKAGES = {"onnx": "onnx", "torchscript": "torch", "openvino": "openvino"}
_CPU = torch.device("cpu")
_Run = Callable[[torch.Tensor], torch.Tensor]


class Export(NamedTuple):
    """An exported network."""

    path: Path
    any_size: bool  # or that of the example alone
    size: tuple[int, int]  # width and height of the example
    difference: float  # the largest from torch, relative to the largest logit


def export(bundle: Bundle, form: str, precision: str = "fp32") -> Export:
    """Export a bundle's network into its ``models/``, and note that in its metadata.

    Any number of images can be run at once, and images of any size where the network allows it.

    Args:
        bundle: with weights.
        form: one of :data:`PRECISIONS`.
        precision: to calculate in; inputs and outputs are 32-bit numbers all the same.

    Raises:
        SettingError: the form has no such precision, or a package that it needs is not installed.
        DataError: the network cannot be exported, or the file does not do what the network does.
    """
    if precision not in PRECISIONS[form]:
        raise SettingError(f"{form} cannot be had in {precision}, only in {' or '.join(PRECISIONS[form])}.")
    silence()
    predictor = Predictor(bundle, "cpu")
    size = predictor.network_size
    reasons = []
    for any_size in (True, False):
        with tempfile.TemporaryDirectory() as scratch:
            try:
                made = _made(predictor.network, form, precision, size, any_size, Path(scratch))
                difference = _difference(predictor.network, _opened(form, precision, made), size, any_size)
            except SettingError:
                raise
            except Exception as error:  # of whatever kind exporters and engines raise
                reasons.append(" ".join(str(error).split())[:200])
                continue
            if difference <= _TOLERANCE[precision]:
                _keep(bundle, form, made)
                done = Export(path_of(bundle, form), any_size, size, difference)
                _note(bundle, form, precision, done)
                return done
            reasons.append(f"its logits are off by {difference:.2g} of the largest one")
    raise DataError(f"The network of {bundle.name} cannot be exported to {form} in {precision}: {reasons[-1]}.")


class _InPrecision(nn.Module):
    """A network that calculates in another precision than its input and output have."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = copy.deepcopy(network).to(dtype), dtype

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image.to(self.dtype)).float()


def _made(network: nn.Module, form: str, precision: str, size: tuple[int, int], any_size: bool, folder: Path) -> Path:
    """Write the files of an export, under their own names, into a folder; return the one to open."""
    path, example = folder / FILES[form][0], torch.zeros(1, 3, *size)
    if form == "openvino":
        onnx = folder / "network.onnx"
        _write_onnx(network, example, any_size, onnx)
        _write_openvino(onnx, path, compressed=precision == "fp16")
        return path
    if precision in _DTYPES:
        network = _InPrecision(network, _DTYPES[precision]).eval()
    (_write_torchscript if form == "torchscript" else _write_onnx)(network, example, any_size, path)
    return path


def _write_torchscript(network: nn.Module, example: torch.Tensor, any_size: bool, path: Path) -> None:
    options: dict[str, Any] = {} if any_size else {"use_trace": True, "check_trace": False}  # we check it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = convert_to_torchscript(network, inputs=[example], **options)
        torch.jit.save(script, path)


def _write_onnx(network: nn.Module, example: torch.Tensor, any_size: bool, path: Path) -> None:
    """By torch's older exporter: the newer one takes a quarter of a minute, and its graphs ran slower."""
    try:
        import onnx  # noqa: F401 - which torch asks for
    except ImportError:
        raise SettingError("The package onnx is not installed; run pip install 'masksup-med[onnx]'.") from None
    axes = {0: "batch", 2: "width", 3: "height"} if any_size else {0: "batch"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            path,
            dynamo=False,
            input_names=["image"],
            output_names=["pred"],
            dynamic_axes={"image": axes, "pred": axes},
        )


def _write_openvino(onnx: Path, path: Path, compressed: bool) -> None:
    model = openvino_core().read_model(onnx)
    import openvino

    openvino.save_model(model, path, compress_to_fp16=compressed)


def _opened(form: str, precision: str, path: Path) -> _Run:
    if form == "torchscript":
        return torch.jit.load(path)
    return (OnnxRuntime if form == "onnx" else OpenvinoRuntime)(path, precision, _CPU)


@torch.inference_mode()
def _difference(network: nn.Module, run: _Run, size: tuple[int, int], any_size: bool) -> float:
    """The largest difference from torch, for one and several images of the usual size and of others."""
    sizes = [size, (size[0] + 64, size[1]), (size[0], 2 * size[1])] if any_size else [size]
    random = torch.Generator().manual_seed(0)
    largest = 0.0
    for count, (width, height) in enumerate([size, *sizes], start=1):
        images = torch.rand(count, 3, width, height, generator=random) * 2 - 1
        wanted, found = network(images), run(images)
        if found.shape != wanted.shape or not found.isfinite().all():
            return float("inf")
        largest = max(largest, float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-6)))
    return largest


def _keep(bundle: Bundle, form: str, made: Path) -> None:
    """Put the files of an export in their places, together."""
    with atomic_paths(bundle.folder / "models", *FILES[form]) as paths:
        for name, path in zip(FILES[form], paths, strict=True):
            shutil.copyfile(made.with_name(name), path)


def _note(bundle: Bundle, form: str, precision: str, done: Export) -> None:
    entry: dict[str, Any] = {
        "precision": precision,
        "sizes": "any" if done.any_size else list(done.size),
        "sha256": {name: sha256_of(done.path.with_name(name)) for name in FILES[form]},
        "weights_sha256": bundle.weights_sha256,
        "network_sha256": bundle.network_sha256,
        "largest_difference": done.difference,
        "versions": {name: version(name) for name in ("torch", _PACKAGES[form])},
    }
    bundle.note(exports={**exports_of(bundle), form: entry})
