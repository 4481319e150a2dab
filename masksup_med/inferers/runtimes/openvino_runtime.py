"""The network in OpenVINO."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import torch

from masksup_med.errors import SettingError
from masksup_med.telemetry import silence

__all__ = ["OpenvinoRuntime"]


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
        silence()
        try:
            import openvino
        except ImportError:
            raise SettingError(
                "OpenVINO is not installed; run pip install 'masksup-med[openvino]', or use --runtime torch."
            ) from None
        if device.type != "cpu":
            raise SettingError(f"OpenVINO does not run on {device.type}; give --device cpu, or use --runtime torch.")
        self.precision = precision
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",  # else the processor chooses
            "PERFORMANCE_HINT": "THROUGHPUT",  # several threads call it at once, each with some of the cores
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        self._model = openvino.Core().compile_model(path, "CPU", settings)
        self._requests = threading.local()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Turn images (B, C, …) into logits (B, classes, …)."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._model.create_infer_request()
        found = self._requests.own.infer([np.ascontiguousarray(images.numpy())])
        return torch.from_numpy(found[0].copy())  # the request's own memory is used again
