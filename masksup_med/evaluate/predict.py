"""Cases from a bundle and a datalist: the bundle predicts, its masks and maps are kept beside the results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from masksup_med.bundle.predictor import Predictor
from masksup_med.data.classes import Value
from masksup_med.data.datalist import load_datalist, part
from masksup_med.data.pairing import key_of
from masksup_med.errors import DataError, SettingError
from masksup_med.evaluate.cases import Case
from masksup_med.outputs.maps import mask_picture, probability_picture
from masksup_med.outputs.overlay import write_picture

__all__ = ["labelled_cases", "predict_cases"]


def labelled_cases(datalist: str | os.PathLike[str], split: str, values: Sequence[Value] = ()) -> list[Case]:
    """The images of a list as cases that are not predicted yet, named by as much of their paths as tells them apart.

    Args:
        datalist: a Decathlon-style JSON, or a folder in a known layout; see :mod:`masksup_med.data.datalist`.
        split: ``training``, ``validation`` or ``test``.
        values: of the labels, that stand for class 0, 1, …; see :attr:`masksup_med.bundle.Bundle.label_values`.

    Raises:
        MissingDataError: a file is not there, or the list is empty.
        DataError: an image has no label or is there twice, or files cannot be read or differ in size.
    """
    items = part(load_datalist(datalist), split)
    if bare := [item["image"] for item in items if "label" not in item]:
        raise DataError(f"{bare[0]} has no label in the list {split} of {datalist}; evaluation needs labels.")
    images = [Path(item["image"]) for item in items]
    if len(set(images)) < len(images):
        twice = next(image for image in images if images.count(image) > 1)
        raise DataError(f"{twice} is in the list {split} of {datalist} twice; remove one of them.")
    return sorted(
        Case(name, Path(item["label"]), None, _group(item, name), image, values=tuple(values))
        for name, item, image in zip(_names(images), items, images, strict=True)
    )


def predict_cases(predictor: Predictor, cases: Sequence[Case], output_dir: str | os.PathLike[str]) -> list[Case]:
    """Predict each case's image, and return the cases with what was predicted.

    Writes ``predictions/<name>.png``, 0 and 255 or class numbers, and where there is one foreground
    ``probabilities/<name>.png``, 16 bits from 0 to white.

    Raises:
        SettingError: one of these files is an image or label of the cases.
    """
    folder, predicted = Path(output_dir), []
    _refuse_overwriting(folder, cases)
    for case in tqdm(cases, desc="predict", unit="image", disable=None):
        prediction = predictor(case.image)
        pred, probability = _files(folder, case)
        write_picture(pred, mask_picture(prediction.classes, predictor.bundle.mask_scale))
        if len(predictor.bundle.classes) > 1:
            predicted.append(case._replace(pred=pred))
        else:
            write_picture(probability, probability_picture(prediction.probability))
            predicted.append(case._replace(pred=pred, probability=probability))
    return predicted


def _files(folder: Path, case: Case) -> tuple[Path, Path]:
    """Where a case's prediction and its map go."""
    return folder / "predictions" / f"{case.name}.png", folder / "probabilities" / f"{case.name}.png"


def _refuse_overwriting(folder: Path, cases: Sequence[Case]) -> None:
    inputs = {os.path.realpath(path) for case in cases for path in (case.image, case.label) if path is not None}
    for case in cases:
        for path in _files(folder, case):
            if os.path.realpath(path) in inputs:
                raise SettingError(f"{path} is an image or label of the datalist; name another folder for the results.")


def _group(item: Mapping[str, Any], name: str) -> str:
    """An item's group; one without has its image's path for a group, which is nobody's business."""
    return name if os.path.isabs(item["group"]) else item["group"]


def _names(images: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as few as tell all apart, without suffix unless that would make two alike."""
    keys = [key_of(image) for image in images]
    keys = keys if len(set(keys)) == len(keys) else [image.as_posix() for image in images]
    parts = [key.strip("/").split("/") for key in keys]
    choices = (["/".join(each[-count:]) for each in parts] for count in range(1, max(map(len, parts)) + 1))
    return next(names for names in choices if len(set(names)) == len(names))
