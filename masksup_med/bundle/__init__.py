"""Bundles, the format models come in: where they are, and what a running one's settings are."""

from masksup_med.bundle.location import bundle_names, copy_bundle, find_bundle, overlays
from masksup_med.bundle.settings import check_settings, running_root, running_settings

__all__ = [
    "bundle_names",
    "check_settings",
    "copy_bundle",
    "find_bundle",
    "overlays",
    "running_root",
    "running_settings",
]
