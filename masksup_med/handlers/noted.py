"""The SHA-256 that a bundle's ``configs/metadata.json`` notes of its weights, ``models/model.pt``.

Weights that do not have it are refused wherever they are loaded. Before other weights take their place, the note goes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from masksup_med.errors import CheckpointError
from masksup_med.handlers.provenance import sha256_of
from masksup_med.outputs.atomic import atomic_path

__all__ = ["check_noted", "forget_noted"]


def check_noted(weights: Path) -> None:
    """Refuse weights that are not those that their bundle notes.

    Args:
        weights: a file of weights, in a bundle or elsewhere; whether it is there, is for others to say.

    Raises:
        CheckpointError: the bundle notes another SHA-256, or its metadata cannot be read.
    """
    noted = _metadata(weights).get("weights_sha256")
    if noted is not None and weights.is_file() and noted != sha256_of(weights):
        raise CheckpointError(
            f"{weights} is damaged, or of another training: its SHA-256 is not the one in {_file(weights)}; get the "
            "file again or, if you put it there yourself, take weights_sha256 out of metadata.json."
        )


def forget_noted(weights: Path) -> None:
    """Take what a bundle notes of its weights, their SHA-256 and figures, out of its metadata.

    Raises:
        CheckpointError: the metadata cannot be read.
    """
    metadata = _metadata(weights)
    if "weights_sha256" in metadata:
        left = {key: value for key, value in metadata.items() if key != "weights_sha256"} | {"eval_metrics": {}}
        with atomic_path(_file(weights)) as path:
            path.write_text(json.dumps(left, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")


def _file(weights: Path) -> Path:
    return weights.parent.parent / "configs" / "metadata.json"


def _metadata(weights: Path) -> dict[str, Any]:
    """The metadata of the bundle in whose ``models`` the weights lie; empty if they lie in none."""
    file = _file(weights)
    if weights.parent.name != "models" or not file.is_file():
        return {}
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}); repair the bundle.") from error
    return metadata if isinstance(metadata, dict) else {}
