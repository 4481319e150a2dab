"""What a run was made from and what it made: settings, data, packages, and the weights' own passport.

The passport of ``model.pt`` is ``model.json`` beside it: the run that trained these weights, and their SHA-256,
so that a later evaluation can name the run and a swapped or truncated file does not go unnoticed.
Nothing written here holds an absolute path below the user's home folder.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from masksup_med.outputs.atomic import atomic_path

__all__ = [
    "flatten",
    "origin",
    "package_versions",
    "portable",
    "read_passport",
    "relative_paths",
    "sha256_of",
    "tracking_key",
    "write_passport",
]


def portable(value: Any) -> Any:
    """Copy nested settings into what YAML and JSON can hold, with the home folder written as ``~``.

    Example::

        >>> portable({"size": (352, 352), "device": torch.device("cpu"), "data": "/home/me/data"})
        {'size': [352, 352], 'device': 'cpu', 'data': '~/data'}
    """
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, dict):
        return {str(key): portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(item) for item in value]
    return _without_home(str(value))


def flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Name every scalar by its place, joined by ``/``; a list of scalars stays one value.

    Example::

        >>> flatten({"loss": {"weights": [1, 0.5]}, "handlers": [{"lr": 0.1}]})
        {'loss/weights': [1, 0.5], 'handlers/0/lr': 0.1}
    """
    if isinstance(settings, dict):
        items = list(settings.items())
    elif isinstance(settings, list) and any(isinstance(item, (dict, list)) for item in settings):
        items = list(enumerate(settings))
    else:
        return {tracking_key(prefix): settings}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat.update(flatten(item, f"{prefix}/{key}" if prefix else str(key)))
    return flat


def tracking_key(name: str) -> str:
    """Replace what MLflow does not take in the name of a parameter or metric, and cut it to 250 characters."""
    return re.sub(r"[^\w./ :-]", "_", name, flags=re.ASCII)[:250]


def relative_paths(datalist: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Write the paths of a data list relative to the folder that they have in common.

    Example::

        >>> relative_paths({"training": [{"image": "/data/cvc/images/1.png", "label": "/data/cvc/masks/1.png"}]})
        {'training': [{'image': 'images/1.png', 'label': 'masks/1.png'}]}
    """
    folders = {os.path.dirname(path) for path in _absolute_paths(datalist)}
    common = os.path.commonpath(folders) if folders else ""
    above_home = common == _without_home(common)

    def shorten(text: str) -> str:
        if not os.path.isabs(text):
            return text
        if above_home and text != _without_home(text):
            return _without_home(text)
        return Path(os.path.relpath(text, common)).as_posix()

    return _map_text(datalist, shorten)


@functools.cache
def package_versions() -> dict[str, str]:
    """Installed versions of this package, of what it directly depends on, and of Python."""
    needed = [line for line in metadata.requires("masksup-med") or [] if "extra ==" not in line]
    names = ["masksup-med", *sorted(re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in needed)]
    installed = {dist.name.lower(): dist.version for dist in metadata.distributions()}
    return {**{name: installed.get(name, "missing") for name in names}, "python": platform.python_version()}


@functools.cache
def origin() -> dict[str, str]:
    """Tags that say what code and what machine a run is of.

    The commit, under MLflow's own name for it, is there if this package runs from a clone of its repository, and ends
    in ``-dirty`` if that was changed since.
    """
    package = Path(__file__).resolve().parents[2]
    commit = ["git", "-C", str(package), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = (
            subprocess.run(commit, capture_output=True, text=True, timeout=10) if (package / ".git").exists() else None
        )
    except (OSError, subprocess.TimeoutExpired):
        found = None
    tags = {"mlflow.source.git.commit": found.stdout.strip()} if found and found.returncode == 0 else {}
    return tags | {"masksup.machine": _machine()}


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_passport(weights: Path, *, run_id: str, experiment: str, epoch: int, metric: dict[str, float]) -> None:
    """Write, beside the weights, which run trained them and how well; the file is replaced as a whole.

    Args:
        weights: a file of weights, for example ``models/model.pt``; the passport is then ``models/model.json``.
        run_id: the MLflow run that trained them.
        experiment: the MLflow experiment of that run.
        epoch: the epoch they are from.
        metric: name and value of the metric by which they were chosen; empty if by none.
    """
    versions = package_versions()
    passport = {
        "run_id": run_id,
        "experiment": experiment,
        "weights_sha256": sha256_of(weights),
        "epoch": epoch,
        "metric": metric,
        "packages": {name: versions[name] for name in ("masksup-med", "monai", "torch")},
    }
    with atomic_path(weights.with_suffix(".json")) as path:
        path.write_text(json.dumps(passport, indent=2) + "\n", encoding="utf-8")


def read_passport(weights: Path) -> dict[str, Any] | None:
    """Read the passport of weights; None if there is none, it cannot be read, or it is not of this file."""
    try:
        passport = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
        return passport if passport["weights_sha256"] == sha256_of(weights) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _machine() -> str:
    """Cores and accelerators, without anything that tells one machine from others of its kind."""
    import torch  # here, for this file is also read by what starts fast without

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    file = Path("/proc/cpuinfo")
    names = (
        re.findall(r"^model name\s*: (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE) if file.exists() else []
    )
    accelerators = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join([f"{cores} cores of {names[0] if names else platform.processor() or 'unknown'}", *accelerators])


def _without_home(text: str) -> str:
    home = os.path.expanduser("~").rstrip("/\\")
    # A container's user can have "/" for a home, which says nothing about anyone.
    return re.sub(re.escape(home) + r"(?![\w.-])", "~", text) if home else text


def _absolute_paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _absolute_paths(item)
    elif isinstance(value, (str, os.PathLike)) and os.path.isabs(value):
        yield os.fspath(value)


def _map_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _map_text(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_map_text(item, change) for item in value]
    return change(os.fspath(value)) if isinstance(value, (str, os.PathLike)) else portable(value)
