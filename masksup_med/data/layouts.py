"""Recognise the folders in which data sets come, and list their pairs of image and label.

Example::

    layout, lists = list_pairs("~/data/Kvasir-SEG")
    lists["training"][0].image  # Path of the first image

Layouts return None for a folder that is not theirs, and raise for one that is theirs but broken.
"""

from __future__ import annotations

import bisect
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from masksup_med.data.pairing import Pair, child, image_files, key_of, look_up, pair_up, read_columns, read_groups, some
from masksup_med.errors import DataError, MissingDataError

__all__ = ["LAYOUTS", "Layout", "Lists", "Pair", "list_pairs"]

_PARTS = {"training": ("train", "training"), "validation": ("validation", "valid", "val"), "test": ("test", "testing")}
_GLAS_IMAGE = re.compile(r"(?:train|test[AB]?)_\d+", re.IGNORECASE)
_GLAS_LABEL = re.compile(rf"{_GLAS_IMAGE.pattern}_anno", re.IGNORECASE)
_CVC_PATH = re.compile(r"clinicdb[^/]*(/(png|tiff?|original))?$", re.IGNORECASE)
# Last frame of each of the 29 video sequences, from the README.txt that comes with CVC-ClinicDB.
# fmt: off
_CVC_LAST_FRAMES = [
    25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317,
    342, 363, 383, 408, 428, 447, 466, 478, 503, 528, 546, 571, 591, 612,
]
# fmt: on

Lists = dict[str, list[Pair]]  # by "training", "validation" and "test"; a layout without validation is yet to split


class Layout(NamedTuple):
    """A way to lay out a data set: its name, what it looks like, and a function that lists it or returns None."""

    name: str
    looks: str
    find: Callable[[Path], Lists | None]


def list_pairs(folder: str | os.PathLike[str]) -> tuple[str, Lists]:
    """Recognise the layout of a folder and list its pairs, sorted by name.

    Returns:
        The layout's name, and pairs by list: ``training``, and ``validation`` and ``test`` where the folder has
        them apart.

    Raises:
        MissingDataError: there is no such folder, or nothing in it that a layout knows.
        DataError: an image or label has no partner, a name stands twice, or a table of groups has gaps.
    """
    folder = Path(os.path.abspath(Path(folder).expanduser()))
    if not folder.is_dir():
        raise MissingDataError(f"There is no folder {folder}; give the folder that holds the data set.")
    for layout in LAYOUTS:
        if lists := layout.find(folder):
            return layout.name, lists
    known = "; ".join(f"{layout.name}: {layout.looks}" for layout in LAYOUTS)
    raise MissingDataError(f"{folder} has none of the known layouts ({known}); give a folder that has one of them.")


def _glas_original(folder: Path) -> Lists | None:
    """GlaS as published: everything in one folder, the label of ``train_1.bmp`` in ``train_1_anno.bmp``."""
    labels = {key[: -len("_anno")]: path for key, path in image_files(folder, name=_GLAS_LABEL).items()}
    return _glas_lists(folder, image_files(folder, name=_GLAS_IMAGE), labels) if labels else None


def _glas_folders(folder: Path) -> Lists | None:
    """GlaS in ``images/`` and ``instances/``, under the published names."""
    images, labels = child(folder, "images"), child(folder, "instances")
    if images is None or labels is None:
        return None
    return _glas_lists(folder, image_files(images), image_files(labels))


def _glas_lists(folder: Path, images: Mapping[str, Path], labels: Mapping[str, Path]) -> Lists:
    table = folder / "Grade.csv"
    if not table.is_file():
        raise MissingDataError(f"There is no {table} to tell whose image is whose; put GlaS's own Grade.csv there.")
    patients = look_up(images, read_columns(table, "name", "patient ID"), table)
    pairs = pair_up(folder, images, labels, {name: f"patient_{patient}" for name, patient in patients.items()})
    is_test = [pair.image.stem.lower().startswith("test") for pair in pairs]
    lists = {
        "training": [pair for pair, test in zip(pairs, is_test, strict=True) if not test],
        "test": [pair for pair, test in zip(pairs, is_test, strict=True) if test],
    }
    return {name: pairs for name, pairs in lists.items() if pairs}


def _cvc_clinicdb(folder: Path) -> Lists | None:
    """CVC-ClinicDB as published, as converted, or a folder above one of these: PNGs first, TIFFs else.

    Frames of one sequence are near-copies of each other. The sequence comes from ``sequences.csv``, in this
    folder or the one above, or else from the published table.
    """
    for inner in (folder, child(folder, "png"), child(folder, "tif", "tiff"), child(folder, "original")):
        if inner and (folders := _cvc_folders(inner)):
            images, labels = (image_files(each) for each in folders)
            return {"training": pair_up(inner, images, labels, _cvc_sequences(inner, images))}
    return None


def _cvc_folders(folder: Path) -> tuple[Path, Path] | None:
    """The folders of frames and masks, if their names, a table or the folder's name mark them as CVC-ClinicDB."""
    images, masks = child(folder, "original"), child(folder, "ground truth", "ground_truth", "groundtruth")
    if images and masks:
        return images, masks
    images, masks = child(folder, "images"), child(folder, "masks")
    marked = _CVC_PATH.search(folder.as_posix()) or _cvc_table(folder)
    return (images, masks) if images and masks and marked else None


def _cvc_table(folder: Path) -> Path | None:
    tables = (folder / "sequences.csv", folder.parent / "sequences.csv")
    return next((table for table in tables if table.is_file()), None)


def _cvc_sequences(folder: Path, images: Mapping[str, Path]) -> dict[str, str]:
    if table := _cvc_table(folder):
        numbers = look_up(images, read_columns(table, "frame", "sequence"), table)
        return {frame: f"sequence_{number}" for frame, number in numbers.items()}
    if odd := [str(path) for key, path in images.items() if not _is_cvc_frame(key)]:
        raise DataError(
            f"CVC-ClinicDB's frames are numbered 1 to 612, unlike {some(odd)}; give them their published names, or "
            f"put a sequences.csv with the columns frame and sequence into {folder}."
        )
    return {key: f"sequence_{bisect.bisect_left(_CVC_LAST_FRAMES, int(key)) + 1}" for key in images}


def _is_cvc_frame(key: str) -> bool:
    return key.isascii() and key.isdigit() and 1 <= int(key) <= _CVC_LAST_FRAMES[-1]


def _paired_folders(folder: Path) -> Lists | None:
    """``images/`` beside ``labels/`` or ``masks/``: Kvasir-SEG, or anyone's own data.

    Sub-folders are searched. Each image is a group of its own unless ``groups.csv`` says otherwise.
    """
    images_folder, labels_folder, masks_folder = (child(folder, name) for name in ("images", "labels", "masks"))
    if labels_folder and masks_folder:
        raise DataError(f"{folder} has both labels/ and masks/; rename the one that is not to be learnt from.")
    labels_folder = labels_folder or masks_folder
    if images_folder is None or labels_folder is None:
        return None
    images, labels = image_files(images_folder, deep=True), image_files(labels_folder, deep=True)
    return {"training": pair_up(folder, images, labels, _own_groups(folder, images))}


def _own_groups(folder: Path, images: Mapping[str, Path]) -> dict[str, str]:
    table = folder / "groups.csv"
    if not table.is_file():
        return {key: key for key in images}
    return read_groups(table, images)


def _parts(folder: Path) -> Lists | None:
    """``train/`` and perhaps ``validation/`` and ``test/``, each in a layout of its own."""
    if child(folder, *_PARTS["training"]) is None:
        return None
    lists: Lists = {}
    for name, synonyms in _PARTS.items():
        if part := child(folder, *synonyms):
            for inner, pairs in list_pairs(part)[1].items():
                lists.setdefault(inner if name == "training" else name, []).extend(_of_part(part, pairs))
    return lists


def _of_part(part: Path, pairs: Iterable[Pair]) -> Iterable[Pair]:
    """Images without a group are often numbered anew in each part, and are not the same for that."""
    for pair in pairs:
        alone = key_of(pair.image).endswith(f"/{pair.group}")
        yield pair._replace(group=f"{part.name}/{pair.group}") if alone else pair


LAYOUTS = (
    Layout("GlaS", "train_1.bmp, train_1_anno.bmp, … and Grade.csv", _glas_original),
    Layout("GlaS in folders", "images/, instances/ and Grade.csv", _glas_folders),
    Layout("CVC-ClinicDB", "Original/ and Ground Truth/, or images/, masks/ and sequences.csv", _cvc_clinicdb),
    Layout("paired folders", "images/ beside labels/ or masks/, as in Kvasir-SEG", _paired_folders),
    Layout("parts", "train/ and perhaps validation/ and test/, each in one of the other layouts", _parts),
)
