"""Lists of training, validation and test images, as MONAI's datasets take them.

Example::

    datalist = load_datalist("~/data/Kvasir-SEG", validation=0.2, seed=0)
    datalist["training"][0]  # {"image": "/…/images/cju….jpg", "label": "/…/masks/cju….jpg", "group": "cju…"}
    save_datalist(datalist, "runs/1/datalist.json")
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from masksup_med.data.decode import image_size
from masksup_med.data.layouts import list_pairs
from masksup_med.data.pairing import key_of, some
from masksup_med.data.splits import Item, check_split_settings, split_by_group
from masksup_med.errors import DataError, MissingDataError, SettingError
from masksup_med.outputs.atomic import atomic_path

__all__ = ["Datalist", "check_datalist", "datalist_digest", "load_datalist", "part", "save_datalist"]

Datalist = dict[str, list[Item]]
PathLike = str | os.PathLike[str]

_LISTS = ("training", "validation", "test")


def load_datalist(dataset_dir: PathLike | Sequence[PathLike], validation: float = 0.2, seed: int = 0) -> Datalist:
    """List a data set's images and labels for training and validation, and for test where it has such a part.

    Args:
        dataset_dir: a folder in one of the known layouts (see :mod:`masksup_med.data.layouts`), a Decathlon-style
            ``.json`` with paths relative to its own folder, or several of these, whose lists are joined.
        validation: share of the training images to hold out, by whole groups. A data set that brings a
            validation part keeps that instead; of several data sets each is split on its own.
        seed: decides which groups are held out.

    Returns:
        ``training`` and ``validation``, empty for a data set that is for test only, and ``test`` if there is one.
        Items have the absolute paths ``image`` and ``label``, and ``group``; test images of a JSON may lack a label.

    Raises:
        SettingError: ``validation`` or ``seed`` is out of range, or no or the same ``dataset_dir`` is given twice.
        MissingDataError: a folder or file is not there, or holds no data set.
        DataError: files do not pair up, cannot be read or differ in size, or an image is in two lists.
    """
    check_split_settings(validation, seed)
    sources = _sources(dataset_dir)
    loaded = {source: _load_source(source, validation, seed) for source in sources}
    if len(loaded) > 1:
        _refuse_shared({str(source): chain.from_iterable(lists.values()) for source, lists in loaded.items()})
        loaded = {source: _renamed_groups(source, sources, lists) for source, lists in loaded.items()}
    joined = {name: [item for lists in loaded.values() for item in lists.get(name, [])] for name in _LISTS}
    if not any("test" in lists for lists in loaded.values()):
        del joined["test"]
    _refuse_shared(joined)
    _warn_of_shared_groups(joined)
    check_datalist(chain.from_iterable(joined.values()))
    return joined


def part(datalist: Mapping[str, list[Item]], name: str, share: float = 1.0, seed: int = 0) -> list[Item]:
    """Return one of the lists, or a share of it.

    Args:
        datalist: the lists.
        name: of the one to return.
        share: of its items to return, one at least; a smaller share is part of a larger one.
        seed: decides which.

    Raises:
        MissingDataError: there is no such list, or it is empty.
        SettingError: ``share`` is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise SettingError(f"share={share!r} is no share of images; give a number above 0, up to 1.")
    if not datalist.get(name):
        have = ", ".join(f"{len(items)} for {other}" for other, items in datalist.items() if items)
        raise MissingDataError(
            f"The data set has no images for {name}, but {have}; give one that has, or another list."
        )
    items = datalist[name]
    if share == 1:
        return items
    chosen = np.random.default_rng(seed).permutation(len(items))[: max(1, round(share * len(items)))]
    return [items[number] for number in sorted(chosen)]


def check_datalist(items: Iterable[Mapping[str, Any]]) -> None:
    """Check by their headers that all files can be read and that labels are as large as their images.

    Raises:
        MissingDataError: a file is not there.
        DataError: a file cannot be read, or a label differs from its image in size.
    """
    pairs = [(item["image"], item.get("label")) for item in items]
    sizes = [(image_size(image), None if label is None else image_size(label)) for image, label in pairs]
    wrong = [
        f"{image} has {size[0]} × {size[1]} pixels, its label {label} {other[0]} × {other[1]}"
        for (image, label), (size, other) in zip(pairs, sizes, strict=True)
        if other is not None and other != size
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise DataError(f"{wrong[0]}{more}; give each image a label that was drawn on it.")


def save_datalist(datalist: Mapping[str, Sequence[Mapping[str, Any]]], path: PathLike) -> None:
    """Write lists as a Decathlon-style JSON that :func:`load_datalist` reads back, even if both move together.

    Paths are written relative to the JSON's folder, which is created if need be.
    """
    path = Path(os.path.abspath(path))
    lists = {name: [_relative(item, path.parent) for item in items] for name, items in datalist.items()}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(lists, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def datalist_digest(datalist: Mapping[str, Iterable[Mapping[str, Any]]]) -> str:
    """SHA-256, in hexadecimal, of what the lists hold: the bytes of all images and labels, and which list has them.

    Neither the order of the items nor the names and places of the files matter.
    """
    lines = [
        f"{name} {_file_digest(item['image'])} {_file_digest(item['label']) if 'label' in item else '-'}"
        for name, items in datalist.items()
        for item in items
    ]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _sources(dataset_dir: PathLike | Sequence[PathLike]) -> list[Path]:
    given = [dataset_dir] if isinstance(dataset_dir, str | os.PathLike) else list(dataset_dir)
    sources = [Path(os.path.abspath(Path(each).expanduser())) for each in given]
    if not sources or len(set(sources)) < len(sources):
        raise SettingError(f"dataset_dir={dataset_dir!r} names no folder, or one twice; name each data set once.")
    return sources


def _load_source(source: Path, validation: float, seed: int) -> Datalist:
    lists = _read_json(source) if source.suffix.lower() == ".json" else _list_folder(source)
    if "validation" in lists or not lists.get("training"):
        return lists
    training, held_out = split_by_group(lists["training"], validation, seed)
    return {**lists, "training": training, "validation": held_out}


def _list_folder(folder: Path) -> Datalist:
    _, lists = list_pairs(folder)
    return {
        name: [{"image": str(pair.image), "label": str(pair.label), "group": pair.group} for pair in pairs]
        for name, pairs in lists.items()
    }


def _read_json(path: Path) -> Datalist:
    """Read a Decathlon-style JSON; unlike MONAI's reader this takes nothing but ``image`` and ``label`` for paths."""
    if not path.is_file():
        raise MissingDataError(f"There is no datalist {path}; correct the path.")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{path} is no valid JSON ({error}); write it anew.") from error
    lists = {name: content[name] for name in _LISTS if name in content} if isinstance(content, dict) else {}
    if not any(lists.values()) or not all(isinstance(items, list) for items in lists.values()):
        raise DataError(f"{path} has none of the lists {', '.join(_LISTS)}; write them as a Decathlon datalist does.")
    return {name: [_absolute(item, name, path) for item in items] for name, items in lists.items()}


def _absolute(item: Any, name: str, source: Path) -> Item:
    item = {"image": item} if name == "test" and isinstance(item, str) else item
    keys = ("image", "label") if name != "test" or (isinstance(item, dict) and "label" in item) else ("image",)
    if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in keys):
        wanted = " and a ".join(f"path '{key}'" for key in keys)
        raise DataError(f"{source} has in its list '{name}' the item {item!r}; give it a {wanted}.")
    group = key_of(Path(item["image"])) if item.get("group") is None else str(item["group"])
    return {**item, "group": group, **{key: os.path.normpath(source.parent / item[key]) for key in keys}}


def _relative(item: Mapping[str, Any], folder: Path) -> Item:
    paths = {key: Path(os.path.relpath(item[key], folder)).as_posix() for key in ("image", "label") if key in item}
    return {**item, **paths}


def _renamed_groups(source: Path, sources: Sequence[Path], lists: Datalist) -> Datalist:
    """The same lists with groups that start with the part of the path by which this source differs from others."""
    prefix = os.path.relpath(source, os.path.commonpath(sources))
    return {name: [{**item, "group": f"{prefix}/{item['group']}"} for item in items] for name, items in lists.items()}


def _refuse_shared(lists: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    homes: dict[str, str] = {}
    for name, items in lists.items():
        for item in items:
            home = homes.setdefault(os.path.realpath(item["image"]), name)
            if home != name:
                raise DataError(f"{item['image']} is both in {home} and in {name}; leave it in one of them.")


def _warn_of_shared_groups(lists: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """A data set that brings its own validation part may have it wrong."""
    training, validation = ({item["group"] for item in lists[name]} for name in ("training", "validation"))
    if shared := sorted(training & validation):
        warnings.warn(
            f"Training and validation share {len(shared)} groups ({some(shared)}), so that validation flatters; "
            "part the lists by patient or sequence.",
            stacklevel=3,
        )


def _file_digest(path: PathLike) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
