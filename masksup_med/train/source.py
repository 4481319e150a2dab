"""The images and labels to learn from, paired and split."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from masksup_med.data.datalist import Datalist, check_datalist, load_datalist
from masksup_med.data.pairing import files_of, pair_up, read_groups
from masksup_med.data.splits import split_by_group
from masksup_med.errors import DataError, MissingDataError
from masksup_med.train.survey import Picture, Survey

__all__ = ["absent", "from_data_sets", "from_folders", "leaks"]

_SHARE = 0.2  # for validation
_ALIKE = 0.94  # correlation of thumbnails less their mean; frames of one video have more

PathLike = str | os.PathLike[str]


def from_folders(images: PathLike, labels: PathLike, groups: PathLike | None = None, seed: int = 0) -> Datalist:
    """Pair a folder of images with a folder of labels, and hold whole groups out for validation.

    A label has its image's name, suffix aside, or all labels have one and the same ending more, as in
    ``case1.jpg`` and ``case1_mask.png``. Sub-folders are searched.

    Args:
        images: folder of images.
        labels: folder of labels.
        groups: a CSV file with the patient or video sequence of every image; without it each image is its own.
        seed: decides which groups are held out.

    Raises:
        MissingDataError: a folder or file is not there, or holds nothing.
        DataError: images and labels do not pair up, differ in size, or are of one group only.
    """
    found, drawn = files_of(images, "images"), files_of(labels, "labels")
    drawn = _without_ending(drawn, found)
    table: Mapping[str, str] = {key: key for key in found}
    if groups is not None:
        file = Path(groups).expanduser()
        if not file.is_file():
            raise MissingDataError(f"There is no file {file}; give a CSV file with the columns image and group.")
        table = read_groups(file, found)
    items = [
        {"image": str(pair.image), "label": str(pair.label), "group": pair.group}
        for pair in pair_up(Path(images), found, drawn, table)
    ]
    if any(os.path.realpath(item["image"]) == os.path.realpath(item["label"]) for item in items):
        raise DataError(f"{images} is given for images and labels; give the folder of labels second.")
    check_datalist(items)
    training, validation = split_by_group(items, _SHARE, seed)
    return {"training": training, "validation": validation}


def from_data_sets(data_sets: Sequence[PathLike], seed: int = 0) -> Datalist:
    """Load data sets in known layouts, or datalists; see :func:`masksup_med.data.load_datalist`."""
    lists = load_datalist(data_sets, _SHARE, seed)
    for name in ("training", "validation"):
        if not lists[name]:
            raise MissingDataError(f"{', '.join(map(str, data_sets))} has no images for {name}; give some that has.")
        if bare := [item["image"] for item in lists[name] if "label" not in item]:
            raise DataError(f"{bare[0]} has no label; give one to each image that is to be learnt.")
    return {name: lists[name] for name in ("training", "validation")}


def absent(datalist: Datalist, seen: Survey) -> dict[str, list[str]]:
    """Classes that no label of a part of the split has.

    Args:
        datalist: the split.
        seen: of the images for training, and then those for validation.
    """
    first = len(datalist["training"])
    parts = {"training": seen.present[:first], "validation": seen.present[first:]}
    return {
        part: [name for number, name in enumerate(seen.drawn.names, 1) if not present[:, number].any()]
        for part, present in parts.items()
    }


def leaks(datalist: Datalist, pictures: Mapping[str, Picture]) -> list[tuple[str, str]]:
    """Images for validation that are also, or nearly, among those for training, each with the nearest of these.

    What all images have in common, such as a round field of view, takes no part in the comparison.

    Args:
        datalist: the split.
        pictures: by the image's path.
    """
    training, validation = ([item["image"] for item in datalist[name]] for name in ("training", "validation"))
    thumbnails = np.stack([pictures[image].thumbnail for image in (*training, *validation)])
    thumbnails = thumbnails - thumbnails.mean(axis=0)
    thumbnails /= np.maximum(np.linalg.norm(thumbnails, axis=1, keepdims=True), 1e-6)
    digests = {pictures[image].digest: image for image in training}
    pairs = []
    for image, thumbnail in zip(validation, thumbnails[len(training) :], strict=True):
        alike = thumbnails[: len(training)] @ thumbnail
        if pictures[image].digest in digests:
            pairs.append((image, digests[pictures[image].digest]))
        elif alike.max() > _ALIKE:
            pairs.append((image, training[int(alike.argmax())]))
    return pairs


def _without_ending(labels: Mapping[str, Path], images: Mapping[str, Path]) -> dict[str, Path]:
    """Labels by the names of their images, where all have the same ending more."""
    if labels.keys() & images.keys():
        return dict(labels)
    for name in sorted(labels):
        for ending in (name.removeprefix(image) for image in images if name.startswith(image)):
            if all(label.endswith(ending) for label in labels):
                return {label.removesuffix(ending): path for label, path in labels.items()}
        break  # one label tells
    return dict(labels)
