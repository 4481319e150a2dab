"""Names of results: those of the images, but no two alike, on any file system."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

__all__ = ["result_names"]

_SUFFIXES = (".nii.gz",)  # those of two parts
_FRAME = re.compile(r"(?P<file>.*)/\d+")
_RESULTS = (".png", ".jpg", ".geojson", ".dcm", ".nii.gz", ".ome.tif")


def result_names(keys: Iterable[str]) -> dict[str, str]:
    """Name the results of each image, and of each file that holds several, without suffix.

    Usually the image's relative path without suffix, and the number of the frame. Where that would make two names
    alike - ``a.png`` and ``a.jpg``,
    names that differ only in case, or in how their accents are encoded, or a file named as a folder - those images
    keep their suffix, and if that does not do, get eight digits from the hash of their path.

    Example::

        >>> result_names(["a.png", "b.png", "b.jpg"])
        {'a.png': 'a', 'b.png': 'b.png', 'b.jpg': 'b.jpg'}
        >>> result_names(["cine.dcm/1", "cine.dcm/2"])
        {'cine.dcm/1': 'cine/1', 'cine.dcm/2': 'cine/2', 'cine.dcm': 'cine'}
    """
    images = list(keys)
    files = [match["file"] for match in map(_FRAME.fullmatch, images) if match]
    choices = {key: _choices(key) for key in (*images, *files)}
    level = dict.fromkeys(choices, 0)
    while raised := _alike({key: choices[key][level[key]] for key in choices}, level):
        for key in raised:
            level[key] += 1
    return {key: choices[key][level[key]] for key in choices}


def _choices(key: str) -> tuple[str, str, str]:
    match = _FRAME.fullmatch(key)  # or a file without suffix that has a number for its name
    file = match["file"] if match else key
    suffix = next((suffix for suffix in _SUFFIXES if file.lower().endswith(suffix)), PurePosixPath(file).suffix)
    digits = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:8]
    return file[: len(file) - len(suffix)] + key[len(file) :], key, f"{key}~{digits}"


def _alike(names: dict[str, str], level: dict[str, int]) -> list[str]:
    """The images whose names are taken by others, and that have another choice."""
    folded = {key: _folded(name) for key, name in names.items()}
    count = Counter(folded.values())
    folders = {str(parent) for name in folded.values() for parent in PurePosixPath(name).parents}

    def taken(name: str) -> bool:
        return count[name] > 1 or any(name + suffix in folders for suffix in _RESULTS)

    return [key for key, name in folded.items() if taken(name) and level[key] < 2]


def _folded(name: str) -> str:
    """A name as a file system that ignores case and encoding of accents compares it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
