"""What happens around an engine's run: checkpoints, seeds, progress, tracking."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from masksup_med.handlers.checkpoint import (
        BestModelSaver,
        InitialWeights,
        LearntSaver,
        TrainingState,
        WeightsLoader,
    )
    from masksup_med.handlers.progress import Progress
    from masksup_med.handlers.ramp import ContextRamp
    from masksup_med.handlers.seed import EpochSeed
    from masksup_med.handlers.tracking import MLflowTracker

__all__ = [
    "BestModelSaver",
    "ContextRamp",
    "EpochSeed",
    "InitialWeights",
    "LearntSaver",
    "MLflowTracker",
    "Progress",
    "TrainingState",
    "WeightsLoader",
]

_FILES = {
    "ContextRamp": "ramp",
    "EpochSeed": "seed",
    "MLflowTracker": "tracking",
    "Progress": "progress",
} | dict.fromkeys(["BestModelSaver", "InitialWeights", "LearntSaver", "TrainingState", "WeightsLoader"], "checkpoint")


def __getattr__(name: str) -> Any:
    """Import ignite and MLflow, which take two seconds, for those only who train."""
    if name in _FILES:
        return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
