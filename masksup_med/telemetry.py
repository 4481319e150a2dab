"""Keep packages from telling their makers that they are used."""

from __future__ import annotations

import os
import sys
from typing import Any, cast

__all__ = ["silence"]

_SWITCHES = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"), ("ORT_DISABLE_TELEMETRY",)


def silence() -> None:
    """Switch telemetry off; to be called before the packages are imported.

    ONNX Runtime, since 1.29, sends an event and leaves an identifier and a database in ``~/.cache/Microsoft`` as soon
    as it is imported; OpenVINO sends one and leaves files in ``~/intel``, unless its package for that is not there.
    """
    for names, value in zip(_SWITCHES, ("true", "1"), strict=True):
        for name in names:
            os.environ.setdefault(name, value)
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", cast(Any, None))
