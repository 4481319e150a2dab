"""Fine-tune a working copy on what annotators have labelled; what is no better on images held back is not taken."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from masksup_med.bundle.bundle import Bundle
from masksup_med.bundle.predictor import Predictor
from masksup_med.data.classes import write_class_label
from masksup_med.data.datalist import save_datalist
from masksup_med.data.decode import read_label
from masksup_med.data.splits import Item
from masksup_med.errors import MissingDataError
from masksup_med.label.workspace import OUTCOME, Workspace
from masksup_med.metrics.overlap import dice
from masksup_med.networks.weights import load_weights
from masksup_med.train.workflow import fit, reports

__all__ = ["Outcome", "fine_tune", "held_back"]

logger = logging.getLogger("masksup_med")

_HELD_BACK = 0.2  # of the images, about


class Outcome(NamedTuple):
    """What came of a training."""

    training: int  # images
    validation: int
    before: float  # mean Dice of the weights that served, on the validation images
    after: float  # of the new ones
    accepted: bool  # whether the new ones serve now


def fine_tune(workspace: Workspace, labelled: Sequence[tuple[Path, Path]], max_epochs: int, device: str) -> Outcome:
    """Train from the weights that serve, and have the new ones serve unless they are worse.

    Args:
        workspace: the working copy.
        labelled: images, and their labels as class numbers.
        max_epochs: how long.
        device: such as ``cpu``.

    Raises:
        MissingDataError: fewer than two images are labelled.
        MaskSupError: anything else that is wrong with the data or the bundle's settings.
    """
    if len(labelled) < 2:
        raise MissingDataError(
            f"{len(labelled)} images are labelled; label two at least, one to learn from and one to measure on."
        )
    folder, bundle = workspace.new_training(), Bundle(workspace.folder)
    training, validation = held_back(labelled)
    lists = {"training": training, "validation": validation}
    save_datalist(
        {name: [_item(folder, bundle, *each) for each in several] for name, several in lists.items()},
        folder / "images.json",
    )
    weights = folder / "model.pt"
    with reports():
        fit(
            workspace.folder,
            resume=False,
            dataset_dir=str(folder / "images.json"),
            output_dir=str(folder),
            ckpt_path=str(weights),
            initial_weights=str(workspace.weights),
            max_epochs=max_epochs,
            device=device,
            experiment_name=f"{bundle.name} (annotation)",
        )
    (folder / "checkpoint.pt").unlink()  # three times as large as the weights
    predictor = Predictor(bundle, device)
    before = _mean_dice(predictor, validation)
    load_weights(weights, predictor.network)
    after = _mean_dice(predictor, validation)
    if after >= before:
        workspace.accept(weights)
    verdict = "The new weights serve now" if after >= before else "The weights of before go on serving"
    logger.info("Dice on %d held-out images: %.3f before, %.3f now. %s.", len(validation), before, after, verdict)
    outcome = Outcome(len(training), len(validation), round(before, 4), round(after, 4), after >= before)
    (folder / OUTCOME).write_text(json.dumps(outcome._asdict(), indent=1) + "\n", encoding="utf-8")
    return outcome


def held_back(labelled: Sequence[tuple[Path, Path]]) -> tuple[list[tuple[Path, Path]], list[tuple[Path, Path]]]:
    """Part labelled images for training and validation.

    By a hash of their names, so that an image that was once held back is so in later trainings, too, but for the first
    few. There is one at least on either side.
    """
    ordered = sorted(labelled, key=lambda each: _draw(each[0]))
    count = sum(_draw(image) < _HELD_BACK for image, _ in labelled)
    count = min(max(count, 1), len(labelled) - 1)
    return ordered[count:], ordered[:count]


def _draw(image: Path) -> float:
    """A number from 0 to 1 that an image always has."""
    return int.from_bytes(hashlib.sha256(image.name.encode()).digest()[:4], "big") / 2**32


def _item(folder: Path, bundle: Bundle, image: Path, label: Path) -> Item:
    """An item of a datalist, its label drawn in the way that the bundle learns from."""
    if bundle.label_values:
        drawn = folder / "labels" / f"{image.stem}.png"
        drawn.parent.mkdir(exist_ok=True)
        write_class_label(drawn, read_label(label).astype(np.uint8), bundle.label_values)
        label = drawn
    return {"image": str(image), "label": str(label), "group": image.stem}


def _mean_dice(predictor: Predictor, labelled: Sequence[tuple[Path, Path]]) -> float:
    """Over images, of each the mean over classes."""
    return float(np.mean([_dice(predictor, predictor(image).classes, read_label(label)) for image, label in labelled]))


def _dice(predictor: Predictor, classes: NDArray[np.uint8], truth: NDArray[np.generic]) -> float:
    return float(np.mean([dice(classes == number, truth == number) for number in predictor.bundle.classes]))
