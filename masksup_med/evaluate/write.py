"""The files an evaluation leaves: ``per_image.csv`` and ``metrics.json``, and how to read them back."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from masksup_med.errors import DataError, MissingDataError, SettingError

__all__ = [
    "COMPARISON",
    "METRICS",
    "OCCLUSION",
    "PER_IMAGE",
    "QUALITY",
    "REPORT",
    "Evaluation",
    "read_evaluation",
    "usable_output",
    "write_json",
    "write_rows",
]

METRICS, COMPARISON, OCCLUSION, QUALITY = "metrics.json", "comparison.json", "occlusion.json", "quality.json"
PER_IMAGE, REPORT = "per_image.csv", "report.html"
_ODD_NAMES = "backslashreplace"  # names of files may hold bytes that are no letters


class Evaluation(NamedTuple):
    """An evaluation that was read back: its results, and its rows by image, in the order of the names."""

    folder: Path
    results: dict[str, Any]
    rows: dict[str, dict[str, str]]


def usable_output(output_dir: str | os.PathLike[str], results: str) -> Path:
    """Check, before anything costs time, that results can be written into a folder.

    Args:
        output_dir: the folder, which need not exist.
        results: which of :data:`METRICS`, :data:`COMPARISON`, :data:`OCCLUSION` and :data:`QUALITY` may be replaced
            there.

    Raises:
        SettingError: it is no folder, cannot be written, or holds results of another command, which have files of
            the same names.
    """
    folder = Path(os.path.abspath(Path(output_dir).expanduser()))
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise SettingError(f"Results cannot be written to {folder}; name a folder that is yours to write.")
    for other in {METRICS, COMPARISON, OCCLUSION, QUALITY} - {results}:
        if (folder / other).exists():
            raise SettingError(f"{folder} holds the results of another command ({other}); name another folder.")
    return folder


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with the same keys as a CSV file; floats keep all their digits, None is an empty cell."""
    with open(path, "w", newline="", encoding="utf-8", errors=_ODD_NAMES) as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write results as JSON; a number that is not finite has no place there and would raise."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", errors=_ODD_NAMES)


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
        if {"task", "protocol", "settings", "metrics"} - results.keys() or results["images"] != len(rows):
            raise ValueError(f"{METRICS} and {PER_IMAGE} do not belong together")
        for metric in results["metrics"].values():
            if "column" in metric:
                [float(row[metric["column"]]) for row in rows.values()]
    except FileNotFoundError as error:
        raise MissingDataError(
            f"{path} holds no {Path(error.filename).name}; give a folder that `masksup evaluate` has written."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"The evaluation in {path} cannot be read ({error}); run `masksup evaluate` again.") from error
    return Evaluation(path, results, rows)
