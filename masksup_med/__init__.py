"""MaskSup for medical image segmentation on MONAI: every image is learnt twice, whole and with parts hidden."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from types import ModuleType

__version__ = version("masksup-med")

_ROOMS = ("bundle", "data", "engines", "errors", "handlers", "losses", "metrics", "networks", "predict", "transforms")


def __getattr__(name: str) -> ModuleType:
    """Import a sub-package when it is first used, so that ``import masksup_med`` alone costs nothing."""
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
