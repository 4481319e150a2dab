"""What a file holds, as far as it must be known before it is read: one picture, several, or a slide."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from masksup_med.data.decode import frames
from masksup_med.data.dicom import is_dicom
from masksup_med.data.slides import dicom_level, is_tiff_slide
from masksup_med.data.tiff import TIFF_STARTS
from masksup_med.errors import MaskSupError

__all__ = ["Contents", "contents_of", "is_dicom_file"]

_NIFTI = (b"\x1f\x8b", b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c")  # gzip, and header sizes
_DIRECTORY = re.compile(rb"1\.2\.840\.10008\.1\.3\.10(?![\d.])")  # of a DICOM disk: a list of its files
_START = 512


class Contents(NamedTuple):
    """What a file holds."""

    kind: str = "picture"  # or dicom, nifti, slide
    frames: int = 1
    series: str = ""  # of a DICOM slide, which it is a level of
    width: int = 0  # of that level


def contents_of(path: Path) -> Contents:
    """Look into a file; one that cannot be read counts as a picture, which will say why when it is read."""
    try:
        start = _start(path)
        if is_dicom(start):
            level = dicom_level(path)
            return Contents("dicom", frames(path)) if level is None else Contents("slide", 1, *level)
        if start.startswith(TIFF_STARTS):
            return Contents("slide" if is_tiff_slide(path) else "picture")
        return Contents("nifti", frames(path)) if start.startswith(_NIFTI) else Contents()
    except (MaskSupError, OSError):
        return Contents()


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM, whatever its name; not the list of files on a DICOM disk."""
    try:
        start = _start(path)
    except OSError:
        return False
    return is_dicom(start) and not _DIRECTORY.search(start)


def _start(path: Path) -> bytes:
    """The first bytes of a file; none of a pipe, on which reading would wait for ever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        return b""
    with open(path, "rb") as file:
        return file.read(_START)
