"""The manifest: one line of JSON for each image, and the only truth that a later run trusts."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from masksup_med.outputs.atomic import atomic_path

__all__ = ["MANIFEST", "Line", "Manifest"]

MANIFEST = "manifest.jsonl"
Line = dict[str, Any]


class Manifest:
    """Lines on disk, found by the image's key; the last of a key counts. Memory holds where they are, no more.

    Lines are appended while a run goes on, so that at any moment all are there but perhaps the last, torn one, which is
    cut off when the file is opened again. Its methods may be called from several threads.

    Args:
        path: the file, which is made if it is not there.
        read_only: whether to leave it as it is.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self._path = Path(os.devnull) if read_only and not path.exists() else path
        self._mode = "rb" if read_only else "a+b"
        self._lock = threading.Lock()
        self._open()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def get(self, key: str) -> Line | None:
        """The line of an image, None if there is none."""
        with self._lock:
            place = self._places.get(key)
            return None if place is None else json.loads(self._read(*place))

    def append(self, line: Line) -> None:
        """Write a line; when that fails, as on a full disk, the file is as it was."""
        text = json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            start = self._file.seek(0, os.SEEK_END)
            try:
                written = 0
                while written < len(text):
                    written += self._file.write(text[written:]) or 0
            except OSError:
                self._file.truncate(start)
                raise
            self._places[line["image"]] = start, len(text)

    def keys(self) -> list[str]:
        """All images, in order."""
        return sorted(self._places)

    def lines(self) -> Iterator[Line]:
        """All lines, in the order of the images; one at a time in memory."""
        for key in self.keys():
            line = self.get(key)
            assert line is not None
            yield line

    def put_in_order(self, without: Collection[str] = ()) -> None:
        """Replace the file by one that holds the lines that count, in order, but for those of some images."""
        self.close()
        self._open()  # an interrupted run may have written a line and not noted where
        try:
            with atomic_path(self._path) as temporary:
                with open(temporary, "wb") as file:
                    for key in self.keys():
                        if key not in without:
                            file.write(self._read(*self._places[key]))
                    file.flush()
                    os.fsync(file.fileno())
                self.close()
        finally:
            self._open()

    def _open(self) -> None:
        self._file = open(self._path, self._mode, buffering=0)  # noqa: SIM115 - as long as this object
        self._places: dict[str, tuple[int, int]] = {}
        end = 0
        with open(self._path, "rb") as file:
            for text in file:
                if text.endswith(b"\n"):
                    if key := _key(text):
                        self._places[key] = end, len(text)
                    end += len(text)
        if self._file.writable():
            self._file.truncate(end)

    def _read(self, start: int, length: int) -> bytes:
        self._file.seek(start)
        return self._file.read(length) or b""


def _key(text: bytes) -> str | None:
    """The image of a line that this module has written; others do not count."""
    try:
        line = json.loads(text)
        return line["image"] if isinstance(line["image"], str) and isinstance(line["outputs"], dict) else None
    except (ValueError, KeyError, TypeError):
        return None
