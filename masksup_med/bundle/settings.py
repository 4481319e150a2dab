"""What the bundle that is running was asked to do.

The expressions in a bundle's YAML cannot refer to the whole of it, nor to where it lies. The functions here find the
MONAI objects that are evaluating them on the call stack, so they work only when called from such an expression.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS

from masksup_med.errors import SettingError

__all__ = ["check_settings", "references", "running_root", "running_settings"]

_REFERENCE = re.compile(r"[@%]([A-Za-z_]\w*(?:(?:#|::)\w+)*)")
_Caller = TypeVar("_Caller")


def running_root() -> str:
    """Return the folder of the bundle that is running: the one above its first config file's.

    Outside a :class:`monai.bundle.ConfigWorkflow`, the current folder.
    """
    workflow = _caller(ConfigWorkflow)
    if workflow is None:
        return "."
    configs = Path(workflow.config_root_path)
    return str(configs.parent if configs.name == "configs" else configs)


def running_settings() -> dict[str, Any]:
    """Return the effective settings: all config files, overlays and command-line values merged, not evaluated."""
    parser = _caller(ConfigParser)
    config: Any = {} if parser is None else parser.config
    return {key: deepcopy(value) for key, value in config.items() if key != ConfigParser.meta_key}


def check_settings(bundle_root: str) -> None:
    """Refuse settings that the bundle does not know and nothing refers to, which are misspelt ones.

    Args:
        bundle_root: the bundle's folder, whose own config files say which settings there are.

    Raises:
        SettingError: naming the first such setting and the nearest one that exists.
    """
    known: dict[str, Any] = {**DEFAULT_MLFLOW_SETTINGS["configs"]}  # type: ignore[dict-item]  # `--tracking mlflow`
    for file in sorted((Path(bundle_root) / "configs").glob("*.yaml")):
        known = _merged(known, ConfigParser.load_config_file(file))
    settings = running_settings()
    used = references(settings)
    for setting, neighbours in _strangers(settings, known):
        if setting in used:
            continue
        near = difflib.get_close_matches(setting, neighbours, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the known ones are {', '.join(sorted(neighbours))}."
        raise SettingError(f"Unknown setting {setting} for the bundle {Path(bundle_root).resolve().name}: {hint}")


def references(settings: Any) -> set[str]:
    """Return what nested settings refer to: ``network#in_channels`` for ``@network::in_channels``."""
    return {reference.replace("::", "#") for text in _texts(settings) for reference in _REFERENCE.findall(text)}


def _caller(kind: type[_Caller]) -> _Caller | None:
    """Return the nearest object of this kind whose method is being executed."""
    frame = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, kind):
            return owner
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _strangers(settings: dict[str, Any], known: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield settings that are not known, with the known ones at that place; the inside of components is theirs."""
    for key, value in settings.items():
        if key not in known:
            yield prefix + key, [prefix + name for name in known]
        elif isinstance(value, dict) and isinstance(known[key], dict) and "_target_" not in value:
            yield from _strangers(value, known[key], f"{prefix}{key}#")


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    both = dict(first)
    for key, value in second.items():
        key, _, inner = key.lstrip("+").partition("#")
        value = {inner: value} if inner else value
        nested = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = _merged(both[key], value) if nested else value
    return both


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
