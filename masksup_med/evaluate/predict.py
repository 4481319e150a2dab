"""Cases from a bundle and a datalist: the bundle predicts, its masks and maps are kept beside the results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from masksup_med.bundle.predictor import Prediction, Predictor
from masksup_med.data.datalist import load_datalist, part
from masksup_med.data.pairing import key_of
from masksup_med.errors import DataError
from masksup_med.evaluate.cases import Case
from masksup_med.outputs.overlay import write_picture

__all__ = ["labelled_cases", "predict_cases"]


def labelled_cases(datalist: str | os.PathLike[str], split: str) -> list[Case]:
    """The images of a list as cases that are not predicted yet, named by their paths below their common folder.

    Args:
        datalist: a Decathlon-style JSON, or a folder in a known layout; see :mod:`masksup_med.data.datalist`.
        split: ``training``, ``validation`` or ``test``.

    Raises:
        MissingDataError: a file is not there, or the list is empty.
        DataError: an image has no label, or files cannot be read or differ in size.
    """
    items = part(load_datalist(datalist), split)
    if bare := [item["image"] for item in items if "label" not in item]:
        raise DataError(f"{bare[0]} has no label in the list {split} of {datalist}; evaluation needs labels.")
    names = _names([Path(item["image"]) for item in items])
    return [
        Case(name, Path(item["label"]), None, str(item["group"]), Path(item["image"]))
        for name, item in sorted(zip(names, items, strict=True), key=lambda pair: pair[0])
    ]


def predict_cases(predictor: Predictor, cases: Sequence[Case], output_dir: str | os.PathLike[str]) -> list[Case]:
    """Predict each case's image, and return the cases with what was predicted.

    Writes ``predictions/<name>.png``, 0 and 255 or class numbers, and where there is one foreground
    ``probabilities/<name>.png``, 16 bits from 0 to white.
    """
    folder, predicted = Path(output_dir), []
    for case in tqdm(cases, desc="predict", unit="image", disable=None):
        prepared = predictor.prepare(str(case.image))
        prediction = predictor.finish(prepared, predictor.infer(prepared["image"]))
        pred, probability = (folder / part / f"{case.name}.png" for part in ("predictions", "probabilities"))
        write_picture(pred, _as_picture(prediction))
        if prediction.probability is None:
            predicted.append(case._replace(pred=pred))
        else:
            write_picture(probability, np.rint(prediction.probability * np.float64(65535)).astype(np.uint16))
            predicted.append(case._replace(pred=pred, probability=probability))
    return predicted


def _as_picture(prediction: Prediction) -> NDArray[Any]:
    binary = prediction.probability is not None
    return (prediction.classes * (255 if binary else 1)).astype(np.uint8)


def _names(images: Sequence[Path]) -> list[str]:
    """Paths below the images' common folder, without suffix unless that would make two alike."""
    common = os.path.commonpath([image.parent for image in images])
    names = [image.relative_to(common) for image in images]
    keys = [key_of(name) for name in names]
    return keys if len(set(keys)) == len(keys) else [name.as_posix() for name in names]
