"""Find image files, pair them with their labels, and look up their groups: what all layouts are made of."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from masksup_med.errors import DataError, MissingDataError

__all__ = [
    "Pair",
    "child",
    "files_of",
    "image_files",
    "key_of",
    "look_up",
    "pair_up",
    "read_columns",
    "read_groups",
    "some",
]

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})


class Pair(NamedTuple):
    """An image, its label, and what it must not be parted from: the name of a patient or video sequence."""

    image: Path
    label: Path
    group: str


def child(folder: Path, *names: str) -> Path | None:
    """The sub-folder with the first of these lower-case names that is there, in whatever case."""
    folders = {path.name.casefold(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    return next((folders[name] for name in names if name in folders), None)


def image_files(folder: Path, *, deep: bool = False, name: re.Pattern[str] | None = None) -> dict[str, Path]:
    """Image files by their path in the folder without suffix.

    ``deep`` looks into sub-folders too; ``name`` is what file names without suffix must match in full. Hidden files
    are left out. A broken link is listed, so that whoever opens it says so.

    Raises:
        DataError: two files differ in their suffix only.
    """
    files: dict[str, Path] = {}
    for path in sorted(_walk(folder, deep)):
        if name and not name.fullmatch(path.stem):
            continue
        other = files.setdefault(key_of(path.relative_to(folder)), path)
        if other != path:
            raise DataError(f"{other} and {path.name} are two files of one name; remove or rename one of them.")
    return files


def files_of(folder: str | os.PathLike[str], what: str) -> dict[str, Path]:
    """All image files of a folder that a user has named, sub-folders included, as :func:`image_files` gives them.

    Raises:
        MissingDataError: there is no such folder, or no image in it; ``what`` it should hold is in the message.
        DataError: two files differ in their suffix only.
    """
    path = Path(os.path.abspath(Path(folder).expanduser()))
    if not path.is_dir():
        raise MissingDataError(f"There is no folder {path}; give the folder that holds the {what}.")
    files = image_files(path, deep=True)
    if not files:
        raise MissingDataError(f"{path} holds no PNG, JPEG, BMP or TIFF image; give the folder that holds the {what}.")
    return files


def key_of(path: Path) -> str:
    """``a/b.PNG`` and ``a/b`` both are ``a/b``; suffixes that are not of images belong to the name."""
    return (path.with_suffix("") if path.suffix.lower() in _SUFFIXES else path).as_posix()


def pair_up(
    folder: Path, images: Mapping[str, Path], labels: Mapping[str, Path], groups: Mapping[str, str]
) -> list[Pair]:
    """Pair images and labels of the same key, in the order of the keys.

    Raises:
        MissingDataError: there are no images.
        DataError: an image has no label, or a label no image.
    """
    if not images:
        raise MissingDataError(f"{folder} has folders for images but not one image; put PNG, JPEG, BMP or TIFF there.")
    _refuse_lonely("image", [images[key] for key in sorted(images.keys() - labels.keys())], "label")
    _refuse_lonely("label", [labels[key] for key in sorted(labels.keys() - images.keys())], "image")
    return [Pair(images[key], labels[key], groups[key]) for key in sorted(images)]


def look_up(keys: Iterable[str], table: Mapping[str, str], source: Path) -> dict[str, str]:
    """The table's values for these keys.

    Raises:
        DataError: a key is not in the table.
    """
    keys = sorted(keys)
    if absent := [key for key in keys if not table.get(key)]:
        raise DataError(
            f"{source} has no entry for {len(absent)} of {len(keys)} images ({some(absent)}); add them, "
            "so that no patient or sequence is torn apart."
        )
    return {key: table[key] for key in keys}


def read_groups(path: Path, keys: Iterable[str]) -> dict[str, str]:
    """The patient or sequence of every image, from a CSV file with a column for each.

    The column of images may be called image, name or frame, with or without suffix; that of groups group, patient,
    patient ID or sequence.

    Raises:
        DataError: a column is not there, or has no or two entries for an image.
    """
    table = read_columns(path, ("image", "name", "frame"), ("group", "patient", "patient ID", "sequence"))
    groups: dict[str, str] = {}
    for name, group in table.items():
        if groups.setdefault(key := key_of(Path(name.replace("\\", "/"))), group) != group:
            raise DataError(f"{path} gives '{key}' both to '{groups[key]}' and to '{group}'; remove one of them.")
    return look_up(keys, groups, path)


def read_columns(path: Path, key: str | Sequence[str], value: str | Sequence[str]) -> dict[str, str]:
    """Two columns of a CSV file as a dict; headers compare without case and outer spaces.

    Args:
        path: the file, with headers in its first line.
        key: the header of the first column, or several, of which the first that is there counts.
        value: that of the second column, likewise.

    Raises:
        DataError: a column is not there, or a key has two different values.
    """
    # universal newlines on purpose: GlaS's table ends its lines with bare carriage returns
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        try:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
        except csv.Error as error:
            raise DataError(f"{path} is no table that can be read ({error}); save it as CSV.") from error
    header = rows[0] if rows else []
    columns = [_column(path, header, names) for names in (key, value)]
    table: dict[str, str] = {}
    for row in rows[1:]:
        name, cell = (row[column] if column < len(row) else "" for column in columns)
        if table.setdefault(name, cell) != cell:
            column = header[columns[1]]
            raise DataError(f"{path} gives '{name}' both {column} '{table[name]}' and '{cell}'; remove one of them.")
    return table


def some(names: Collection[str], count: int = 4) -> str:
    """The first few names, and how many more there are."""
    listed = ", ".join(list(names)[:count])
    return listed if len(names) <= count else f"{listed} and {len(names) - count} more"


def _column(path: Path, header: Sequence[str], names: str | Sequence[str]) -> int:
    names = [names] if isinstance(names, str) else names
    known = [name.casefold() for name in header]
    there = [known.index(name.casefold()) for name in names if name.casefold() in known]
    if not there:
        raise DataError(f"{path} has no column '{names[0]}'; its first line must name it, and commas part columns.")
    return there[0]


def _walk(folder: Path, deep: bool, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder that it lies in
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if deep:
                yield from _walk(path, deep, above | {real})
        elif path.suffix.lower() in _SUFFIXES and (path.is_file() or path.is_symlink()):
            yield path


def _refuse_lonely(kind: str, paths: Collection[Path], partner: str) -> None:
    if paths:
        count = f"{len(paths)} {kind}{'s have' if len(paths) > 1 else ' has'}"
        raise DataError(
            f"{count} no {partner}: {some([str(path) for path in paths])}; add the {partner}, or remove it."
        )
