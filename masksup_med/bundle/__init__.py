"""Bundles, the format models come in: where they are, what a running one's settings are, and predicting with one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from masksup_med.bundle.location import bundle_names, copy_bundle, find_bundle, overlays

if TYPE_CHECKING:
    from masksup_med.bundle.bundle import Bundle
    from masksup_med.bundle.predictor import Predictor
    from masksup_med.bundle.settings import check_settings, running_root, running_settings

__all__ = [
    "Bundle",
    "Predictor",
    "bundle_names",
    "check_settings",
    "copy_bundle",
    "find_bundle",
    "overlays",
    "running_root",
    "running_settings",
]

_FILES = {"Bundle": "bundle", "Predictor": "predictor"} | dict.fromkeys(
    ["check_settings", "running_root", "running_settings"], "settings"
)


def __getattr__(name: str) -> Any:
    """Import MONAI, which takes seconds, for those only who ask for what is built on it."""
    if name in _FILES:
        return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
