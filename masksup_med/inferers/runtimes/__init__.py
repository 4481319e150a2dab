"""What runs a bundle's network: torch, or a file that was exported from it for another engine."""

from __future__ import annotations

from typing import Protocol

import torch

from masksup_med.bundle.bundle import Bundle
from masksup_med.errors import SettingError
from masksup_med.inferers.runtimes.files import checked, path_of

__all__ = ["RUNTIMES", "Runtime", "open_runtime"]

RUNTIMES = ("torch", "onnx", "openvino")


class Runtime(Protocol):
    """Stands where MONAI's inferers expect a network; may be called by several threads at once."""

    name: str  # of RUNTIMES
    precision: str  # of the arithmetic

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Turn images (B, C, …) into logits (B, classes, …)."""
        ...


def open_runtime(bundle: Bundle, name: str, network: torch.nn.Module, device: torch.device) -> Runtime:
    """Make a runtime ready.

    Args:
        bundle: whose exported file it runs, unless it is torch.
        name: one of :data:`RUNTIMES`.
        network: the bundle's, with its weights, on the device.
        device: that it runs on.

    Raises:
        MissingDataError: the bundle has no such file.
        DataError: the file is another one than was exported, or from other weights.
        SettingError: the engine is not installed, or does not run on the device.
    """
    if name == "torch":
        from masksup_med.inferers.runtimes.torch_runtime import TorchRuntime

        return TorchRuntime(network, device, "amp" in bundle.config and bool(bundle.made("amp")))
    if name == "onnx":
        from masksup_med.inferers.runtimes.onnx_runtime import OnnxRuntime

        return OnnxRuntime(path_of(bundle, name), checked(bundle, name)["precision"], device)
    if name == "openvino":
        from masksup_med.inferers.runtimes.openvino_runtime import OpenvinoRuntime

        return OpenvinoRuntime(path_of(bundle, name), checked(bundle, name)["precision"], device)
    raise SettingError(f"There is no runtime {name}; the runtimes are {', '.join(RUNTIMES)}.")
