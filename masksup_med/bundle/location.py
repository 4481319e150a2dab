"""Find the bundles and overlays that come with the package."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from masksup_med.errors import MissingDataError, SettingError

__all__ = ["bundle_names", "copy_bundle", "find_bundle", "overlay", "overlay_names", "overlays"]

_PACKAGE = Path(__file__).resolve().parents[1]


def bundle_names() -> list[str]:
    """Return the names of the bundles that come with the package."""
    return sorted(path.parents[1].name for path in _shipped("bundles").glob("*/configs/metadata.json"))


def find_bundle(bundle: str | os.PathLike) -> Path:
    """Return the folder of a bundle.

    Args:
        bundle: a bundle's folder, or the name of one that comes with the package.

    Raises:
        MissingDataError: when it is neither.
    """
    for folder in (Path(bundle), _shipped("bundles") / str(bundle)):
        if (folder / "configs" / "metadata.json").is_file():
            return folder
    raise MissingDataError(
        f"{bundle} is not a bundle: give a folder with configs/metadata.json or one of {', '.join(bundle_names())}."
    )


def copy_bundle(bundle: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Copy a bundle into a new folder, whose name it gets, to train it there without touching the original.

    Raises:
        MissingDataError: when there is no such bundle.
        SettingError: when the folder exists.
    """
    source, target = find_bundle(bundle), Path(folder)
    if target.exists():
        raise SettingError(f"{target} exists; name a new folder for the copy of {source.name}.")
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("eval", "__pycache__"))
    file = target / "configs" / "metadata.json"
    metadata = {**json.loads(file.read_text(encoding="utf-8")), "name": target.resolve().name}
    file.write_text(json.dumps(metadata, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
    return target


def overlays() -> Path:
    """Return the folder of overlays that stack on any bundle."""
    return _shipped("configs")


def overlay_names(kind: str) -> list[str]:
    """Return the names of the overlays of a kind, such as ``network`` or ``paradigm``."""
    return sorted(file.stem for file in (overlays() / kind).glob("*.yaml"))


def overlay(kind: str, name: str) -> dict[str, Any]:
    """Return the settings of an overlay.

    Raises:
        SettingError: there is no such overlay.
    """
    if name not in overlay_names(kind):
        raise SettingError(f"There is no {kind} {name}; choose one of {', '.join(overlay_names(kind)) or 'none'}.")
    return yaml.safe_load((overlays() / kind / f"{name}.yaml").read_text(encoding="utf-8"))


def _shipped(kind: str) -> Path:
    """Return ``bundles`` or ``configs``: inside an installed package, beside it in a repository."""
    inside = _PACKAGE / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind
