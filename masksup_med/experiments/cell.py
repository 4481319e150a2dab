"""One training of a grid: its bundle is written, trained and measured."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import yaml

from masksup_med.bundle.bundle import Bundle
from masksup_med.bundle.edit import with_settings
from masksup_med.bundle.predictor import Predictor
from masksup_med.errors import SettingError
from masksup_med.evaluate.occlusion import measure_occlusion
from masksup_med.evaluate.predict import labelled_cases, predict_cases
from masksup_med.evaluate.run import evaluate_cases
from masksup_med.experiments.grid import Cell, Part
from masksup_med.outputs.atomic import atomic_folder

__all__ = ["measure_cell", "write_cell"]

_TRAIN, *_OTHERS = (Path("configs", f"{name}.yaml") for name in ("train", "pretrain", "inference"))


def write_cell(folder: Path, part: Part, cell: Cell, seed: int, datalist: Path) -> None:
    """Write the bundle of a training, unless it is there.

    The weights of the last epoch are kept: to choose an epoch by the images that are measured afterwards would flatter,
    and most of all what fluctuates.

    Args:
        folder: of the bundle.
        part: says which bundle to start from.
        cell: whose settings it gets.
        seed: of the training.
        datalist: images for training and validation.

    Raises:
        SettingError: the bundle is there with other settings, or lacks one that the grid changes.
    """
    settings = {"dataset_dir": str(datalist), "val_interval": "@max_epochs", **cell.settings, "seed": seed}
    texts = {file: _edited(part.bundle / file, settings) for file in (_TRAIN, *_OTHERS)}
    if folder.exists():
        if any((folder / file).read_text(encoding="utf-8") != text for file, text in texts.items()):
            raise SettingError(
                f"{folder} was begun with other settings than the grid now has; go on with those, or name a new folder."
            )
        return
    with atomic_folder(folder) as whole:
        shutil.copytree(part.bundle, whole, dirs_exist_ok=True, ignore=shutil.ignore_patterns("eval", "models", "docs"))
        for file, text in texts.items():
            (whole / file).write_text(text, encoding="utf-8")


def measure_cell(folder: Path) -> list[dict[str, Any]]:
    """Measure a trained bundle on its validation images, at their own size, whole and with parts hidden.

    Returns:
        A row for each image: its figures, and under ``patch 0.3`` and the like the IoU with a part hidden.
    """
    bundle = Bundle.open(folder)
    predictor = Predictor(bundle)
    cases = labelled_cases(folder / "eval" / "datalist.json", "validation", bundle.label_values)
    whole, hidden = folder / "eval" / "whole", folder / "eval" / "hidden"
    evaluate_cases(predict_cases(predictor, cases, whole), whole, "polyp")
    measure_occlusion(predictor, cases, hidden)
    rows = {row["image"]: dict(row) for row in _rows(whole / "per_image.csv")}
    for row in _rows(hidden / "occlusion.csv"):
        rows[row["image"]][f"{row['hiding']} {row['ratio']}"] = row["iou"]
    return list(rows.values())


def _edited(file: Path, settings: dict[str, Any]) -> str:
    """A config with those of the settings that are its own; that of the training has all but pre-training's."""
    text = file.read_text(encoding="utf-8")
    there = yaml.safe_load(text)
    if file.name == _TRAIN.name:
        return with_settings(text, {key: value for key, value in settings.items() if not key.startswith("pretrain")})
    own = {key: value for key, value in settings.items() if key.partition("#")[0] in there and key != "dataset_dir"}
    return with_settings(text, own)


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
