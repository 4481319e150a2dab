"""The network in OpenVINO."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch

from masksup_med.errors import SettingError
from masksup_med.telemetry import silence

__all__ = ["OpenvinoRuntime", "openvino_core"]


def openvino_core() -> Any:
    """OpenVINO, opened once for all of this process.

    Each ``Core`` that runs on a CPU gives its thread another stack for signals, and puts back what it found when it
    goes. With two of them, a stack that is gone is put back, and the next signal, Ctrl-C among them, ends the process
    without a word (seen with 2026.4.1).

    Raises:
        SettingError: it is not installed.
    """
    silence()
    try:
        import openvino
    except ImportError:
        raise SettingError(
            "OpenVINO is not installed; run pip install 'masksup-med[openvino]', or use --runtime torch."
        ) from None
    return _core(openvino)


@functools.cache
def _core(openvino: Any) -> Any:
    return openvino.Core()


class OpenvinoRuntime:
    """See :class:`~masksup_med.inferers.runtimes.Runtime`.

    Args:
        path: of the exported network, an ``.xml`` with a ``.bin`` beside it.
        precision: to calculate in.
        device: that it runs on, which can only be the CPU.

    Raises:
        SettingError: OpenVINO is not installed, or the device is another one.
    """

    name = "openvino"

    def __init__(self, path: Path, precision: str, device: torch.device) -> None:
        core = openvino_core()
        if device.type != "cpu":
            raise SettingError(f"OpenVINO does not run on {device.type}; give --device cpu, or use --runtime torch.")
        self.precision = precision
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",  # else the processor chooses
            "PERFORMANCE_HINT": "THROUGHPUT",  # several threads call it at once, each with some of the cores
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        self._model = core.compile_model(path, "CPU", settings)
        self._requests = threading.local()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Turn images (B, C, …) into logits (B, classes, …)."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._model.create_infer_request()
        found = self._requests.own.infer([np.ascontiguousarray(images.numpy())])
        return torch.from_numpy(found[0].copy())  # the request's own memory is used again
