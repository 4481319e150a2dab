"""The network in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from masksup_med.errors import SettingError
from masksup_med.telemetry import silence

__all__ = ["OnnxRuntime"]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntime:
    """See :class:`~masksup_med.inferers.runtimes.Runtime`.

    Args:
        path: of the exported network.
        precision: that it was exported in.
        device: that it runs on.

    Raises:
        SettingError: ONNX Runtime is not installed, or not for the device.
    """

    name = "onnx"

    def __init__(self, path: Path, precision: str, device: torch.device) -> None:
        silence()
        try:
            import onnxruntime
        except ImportError:
            raise SettingError(
                "ONNX Runtime is not installed; run pip install 'masksup-med[onnx]', or use --runtime torch."
            ) from None
        provider = _PROVIDERS.get(device.type, "")
        if provider not in onnxruntime.get_available_providers():
            raise SettingError(
                f"ONNX Runtime does not run on {device.type} here; install its package for it, such as "
                "onnxruntime-gpu, or use --runtime torch."
            )
        self.precision = precision
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is raised
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # several threads call it at once
        self._session = onnxruntime.InferenceSession(path, options, providers=[provider])

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Turn images (B, C, …) into logits (B, classes, …)."""
        (logits,) = self._session.run(None, {"image": np.ascontiguousarray(images.cpu().numpy())})
        return torch.from_numpy(logits)
