"""The files an evaluation leaves: ``per_image.csv`` and ``metrics.json``, and how to read them back."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from masksup_med.errors import DataError, MissingDataError
from masksup_med.outputs.atomic import atomic_path

__all__ = ["METRICS", "PER_IMAGE", "Evaluation", "read_evaluation", "write_json", "write_rows"]

METRICS, PER_IMAGE = "metrics.json", "per_image.csv"
_ODD_NAMES = "backslashreplace"  # names of files may hold bytes that are no letters


class Evaluation(NamedTuple):
    """An evaluation that was read back: its results, and its rows by image, in the order of the names."""

    folder: Path
    results: dict[str, Any]
    rows: dict[str, dict[str, str]]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with the same keys as a CSV file; floats keep all their digits, None is an empty cell."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8", errors=_ODD_NAMES) as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write results as JSON; a number that is not finite has no place there and would raise."""
    with atomic_path(path) as temporary:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8", errors=_ODD_NAMES)


def read_evaluation(folder: str | os.PathLike[str]) -> Evaluation:
    """Read back what ``masksup evaluate`` has written into a folder.

    Raises:
        MissingDataError: one of the two files is not there.
        DataError: one of them cannot be read.
    """
    path = Path(folder)
    try:
        results = json.loads((path / METRICS).read_text(encoding="utf-8"))
        with open(path / PER_IMAGE, newline="", encoding="utf-8") as file:
            rows = dict(sorted((row["image"], row) for row in csv.DictReader(file)))
        results["metrics"], results["task"], results["protocol"]
    except FileNotFoundError as error:
        raise MissingDataError(
            f"{path} holds no {Path(error.filename).name}; give a folder that `masksup evaluate` has written."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"The evaluation in {path} cannot be read ({error}); run `masksup evaluate` again.") from error
    return Evaluation(path, results, rows)
