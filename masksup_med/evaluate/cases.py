"""What is evaluated: predictions paired with their labels, checked before anything is measured."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from masksup_med.data.classes import Value
from masksup_med.data.decode import image_size
from masksup_med.data.pairing import files_of, read_groups, some
from masksup_med.errors import DataError, MissingDataError

__all__ = ["Case", "check_sizes", "list_cases"]

PathLike = str | os.PathLike[str]


class Case(NamedTuple):
    """One image: its name, its label, and what there is beside."""

    name: str
    label: Path
    pred: Path | None  # None: there is none, which counts as if nothing was found
    group: str
    image: Path | None = None  # for the report's pictures
    probability: Path | None = None  # a map from 0 to white, where pred is a mask that was made from one
    values: tuple[Value, ...] = ()  # of the label, that stand for class 0, 1, …; none: as the task has it


def list_cases(
    pred_dir: PathLike, label_dir: PathLike, image_dir: PathLike | None = None, groups: PathLike | None = None
) -> list[Case]:
    """Pair the predictions of a folder with labels of the same name, sub-folders included; suffixes may differ.

    Args:
        pred_dir: folder of predictions; those that are missing count as misses.
        label_dir: folder of labels, which say what the cases are.
        image_dir: folder of the images, for the report.
        groups: a CSV file with the patient or sequence of every image; without it each image is its own group.

    Returns:
        One case for each label, in the order of the names.

    Raises:
        MissingDataError: a folder or file is not there, holds no image, or none that has a label's name.
        DataError: a prediction has no label, two files differ in their suffix only, or ``groups`` has gaps.
    """
    labels, preds = files_of(label_dir, "labels"), files_of(pred_dir, "predictions")
    images = {} if image_dir is None else files_of(image_dir, "images")
    _refuse_strangers(labels, preds, Path(pred_dir), Path(label_dir))
    if images and not images.keys() & labels.keys():
        raise MissingDataError(
            f"No image in {image_dir} has the name of a label in {label_dir} ({min(images)} here, {min(labels)} "
            "there); give images and labels the same names, suffixes aside."
        )
    group_of: Mapping[str, str] = {name: name for name in labels} if groups is None else _read_groups(groups, labels)
    return [Case(name, labels[name], preds.get(name), group_of[name], images.get(name)) for name in sorted(labels)]


def check_sizes(cases: Iterable[Case], allowed: tuple[int, int] | None = None) -> None:
    """Check by their headers that predictions are as large as their labels, or have the other size that is allowed.

    Raises:
        MissingDataError: a file is not there.
        DataError: a header cannot be read, or sizes differ.
    """
    for case in cases:
        size = image_size(case.label)
        for pred in (case.pred, case.probability):
            if pred is not None and (other := image_size(pred)) not in (size, allowed):
                raise DataError(
                    f"Prediction {pred} has {other[0]} × {other[1]} pixels, its label {case.label} {size[0]} × "
                    f"{size[1]}; bring the prediction back to the size of the image it was made for."
                )


def _refuse_strangers(labels: Mapping[str, Path], preds: Mapping[str, Path], pred_dir: Path, label_dir: Path) -> None:
    strangers = sorted(preds.keys() - labels.keys())
    if len(strangers) == len(preds):
        raise MissingDataError(
            f"No prediction in {pred_dir} has the name of a label in {label_dir} ({strangers[0]} here, "
            f"{min(labels)} there); give predictions and labels the same names, suffixes aside."
        )
    if strangers:
        raise DataError(
            f"{len(strangers)} predictions in {pred_dir} have no label in {label_dir} ({some(strangers)}); "
            "add the labels, or take these predictions out."
        )


def _read_groups(path: PathLike, labels: Mapping[str, Path]) -> dict[str, str]:
    table = Path(path).expanduser()
    if not table.is_file():
        raise MissingDataError(f"There is no file {table}; give a CSV file with the columns image and group.")
    return read_groups(table, labels)
