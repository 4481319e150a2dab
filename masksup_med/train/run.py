"""What ``masksup train`` does before and after training: look, choose, write the bundle; measure it, describe it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from masksup_med.bundle.bundle import Bundle
from masksup_med.bundle.predictor import Predictor
from masksup_med.data.datalist import Datalist, load_datalist
from masksup_med.errors import DataError, SettingError
from masksup_med.evaluate.predict import labelled_cases, predict_cases
from masksup_med.evaluate.run import evaluate_cases
from masksup_med.outputs.atomic import atomic_folder
from masksup_med.train.card import write_card
from masksup_med.train.choices import Choice, Wishes, choose
from masksup_med.train.compose import DATALIST, check_wishes, compose
from masksup_med.train.source import absent, leaks
from masksup_med.train.survey import Survey, survey

__all__ = ["begin", "check_same", "finish", "usable_folder"]

_BEGUN = Path("eval", "begun.json")


def usable_folder(folder: Path, resume: bool, inputs: Sequence[str] = ()) -> bool:
    """Whether there is a training in a folder to go on with.

    Args:
        folder: of the bundle.
        resume: whether to go on is meant.
        inputs: folders to learn from.

    Raises:
        SettingError: there is something in it that would be overwritten, it lies among the images, or its name cannot
            be a bundle's.
    """
    if not re.fullmatch(r"[\w.][\w. +-]*", folder.name):
        raise SettingError(
            f"{folder.name!r} cannot be a bundle's name; take letters, digits, and . _ - + between them."
        )
    for given in inputs:
        if folder.is_relative_to(os.path.abspath(os.path.expanduser(given))):
            raise SettingError(f"{folder} lies in {given}, whose images are to be learnt; name a folder elsewhere.")
    if (folder / _BEGUN).is_file():
        if not resume:
            raise SettingError(
                f"{folder} holds a training; go on with it by --resume, remove it, or name a new folder."
            )
        return True
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingError(f"{folder} exists and is no training of `masksup train`; name a new folder.")
    return False


def begin(
    folder: Path, datalist: Datalist, wishes: Wishes, classes: Sequence[str]
) -> tuple[Survey, list[Choice], list[tuple[str, str]]]:
    """Look at the data, choose, and write the bundle, which is there whole or not at all.

    Args:
        folder: of the bundle.
        datalist: images for training and validation.
        wishes: of the user.
        classes: what the user says of the labels; see :func:`masksup_med.train.labels.parse_classes`.

    Returns:
        What the data look like, what was chosen, and which validation images are nearly among those for training.

    Raises:
        DataError: images or labels cannot be used.
        SettingError: something was asked for that there is not.
    """
    check_wishes(wishes)  # before all images are read
    items = [*datalist["training"], *datalist["validation"]]
    seen = survey(items, classes)
    found = leaks(datalist, {item["image"]: picture for item, picture in zip(items, seen.pictures, strict=True)})
    _refuse_empty(datalist, seen)
    base, choices = choose(seen, len(datalist["training"]), wishes)
    with atomic_folder(folder) as whole:
        compose(whole, folder.resolve().name, base, seen.drawn, choices, wishes, datalist)
        begun = {
            "asked": _asked(wishes, classes),
            "choices": [choice._asdict() for choice in choices],
            "data": _described(seen, datalist, len(found)),
        }
        (whole / _BEGUN).parent.mkdir()
        (whole / _BEGUN).write_text(json.dumps(begun, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return seen, choices, found


def check_same(folder: Path, datalist: Datalist, wishes: Wishes, classes: Sequence[str]) -> None:
    """Refuse to go on with a training that was begun otherwise.

    Raises:
        SettingError: naming what differs.
    """
    before, now = _begun(folder)["asked"], _asked(wishes, classes)
    for name, value in now.items():
        if before.get(name) != value:
            raise SettingError(
                f"The training in {folder} was begun with {name} {_shown(before.get(name))}, not {_shown(value)}; go "
                "on as it was begun, or name a new folder."
            )
    begun = load_datalist(folder / DATALIST)
    for what, keys in (("images", ["image"]), ("labels", ["image", "label"])):
        if _rows(begun, keys) != _rows(datalist, keys):
            raise SettingError(f"The training in {folder} was begun with other {what}; name a new folder for these.")
    if any(_rows({"": begun[name]}, ["image"]) != _rows({"": datalist[name]}, ["image"]) for name in begun):
        raise SettingError(f"The training in {folder} was begun with other groups; name a new folder for these.")


def finish(folder: Path) -> dict[str, Any]:
    """Measure a trained bundle on its validation images, at their own size, and write its model card.

    Returns:
        The results, as ``metrics.json`` has them.
    """
    bundle = Bundle.open(folder)
    cases = labelled_cases(folder / DATALIST, "validation", bundle.label_values)
    output = folder / "eval" / "validation"
    several = len(bundle.classes) > 1
    predicted = predict_cases(Predictor(bundle), cases, output)
    classes = {0: "background", **bundle.classes} if several else None
    results = evaluate_cases(predicted, output, "semantic" if several else "polyp", classes=classes)
    metrics = {name: metric["value"] for name, metric in results["metrics"].items()}
    bundle.note(eval_metrics=metrics, weights_sha256=bundle.weights_sha256)
    write_card(bundle, _begun(folder), results, predicted)
    return results


def _refuse_empty(datalist: Datalist, seen: Survey) -> None:
    """Refuse a split in which there is nothing to learn, or to measure."""
    for name, classes in absent(datalist, seen).items():
        if len(classes) == len(seen.drawn.names):
            raise DataError(
                f"Nothing is marked in any of the {len(datalist[name])} images for {name}, though in others there is; "
                "give more images in which something is, other --groups, or another --seed to split by."
            )


def _asked(wishes: Wishes, classes: Sequence[str]) -> dict[str, Any]:
    return {**wishes._asdict(), "classes": list(classes)}


def _begun(folder: Path) -> dict[str, Any]:
    return json.loads((folder / _BEGUN).read_text(encoding="utf-8"))


def _shown(value: Any) -> str:
    return " ".join(value) or "none" if isinstance(value, list) else "none" if value is None else str(value)


def _described(seen: Survey, datalist: Datalist, leaking: int) -> dict[str, Any]:
    """A data set in a few numbers, for the model card."""
    mean, deviation = seen.mean_and_deviation
    return {
        "images": {name: len(items) for name, items in datalist.items()},
        "groups": {name: len({item["group"] for item in items}) for name, items in datalist.items()},
        "smallest": seen.sizes[0],
        "largest": seen.sizes[1],
        "labels": seen.drawn.why,
        "classes": ["background", *seen.drawn.names],
        "shares": seen.shares,
        "present": seen.present.sum(axis=0).tolist(),
        "empty": seen.empty,
        "diameter": seen.diameter,
        "mean": mean.tolist(),
        "deviation": deviation.tolist(),
        "grey": seen.grey,
        "leaks": leaking,
    }


def _rows(datalist: Mapping[str, Sequence[Mapping[str, Any]]], keys: Sequence[str]) -> set[tuple[str, ...]]:
    return {tuple(item[key] for key in keys) for items in datalist.values() for item in items}
