"""Folders as values that can be compared, and what must hold of an output folder at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

__all__ = ["assert_whole", "done", "fingerprint", "is_temporary", "lines_of", "tree"]

_MANIFEST, _LOCK = "manifest.jsonl", ".lock"


def tree(out: Path) -> dict[str, bytes]:
    """All files of an output folder but the lock, and its folders; lines of the manifest without their time."""
    found = {}
    for path, entry in _walk(out):
        if entry.is_dir():
            found[f"{path}/"] = b""
        elif path == _MANIFEST:
            found[path] = b"".join(map(_timeless, Path(entry.path).read_bytes().splitlines(keepends=True)))
        elif path != _LOCK:
            found[path] = Path(entry.path).read_bytes()
    return found


def is_temporary(path: str) -> bool:
    """Whether a path is that of a file that is being written."""
    name = os.path.basename(path)
    return name.startswith(".") and ".part" in name


def fingerprint(folder: Path) -> dict[str, tuple[Any, ...]]:
    """What could change of the files in a folder: kind and rights, time, content or target."""
    found = {}
    for path, entry in _walk(folder):
        status = os.lstat(entry.path)
        content = None
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(Path(entry.path).read_bytes()).hexdigest()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(entry.path)
        found[path] = status.st_mode, status.st_mtime_ns, content
    return found


def lines_of(out: Path) -> list[dict[str, Any]]:
    """Complete lines of the manifest."""
    path = out / _MANIFEST
    return [json.loads(text) for text in _complete(path)] if path.exists() else []


def done(out: Path) -> set[str]:
    """Images that the manifest says are done; the last line of each counts."""
    return {
        key for key, status in {line["image"]: line["status"] for line in lines_of(out)}.items() if status == "done"
    }


def assert_whole(out: Path, undisturbed: dict[str, bytes], done_before: Collection[str] = ()) -> None:
    """Check that what an output folder holds under final names is what an undisturbed run writes, to the last byte.

    Args:
        out: the folder, which may lack anything.
        undisturbed: the folder of a run that nothing has disturbed, with the same inputs and settings.
        done_before: images that were done before the disturbance.
    """
    present = tree(out) if out.exists() else {}
    manifest = undisturbed[_MANIFEST].splitlines(keepends=True)
    for path, content in present.items():
        if path != _MANIFEST and not is_temporary(path):
            assert content == undisturbed.get(path), path
    if _MANIFEST in present:
        assert {_timeless(text) for text in _complete(out / _MANIFEST)} <= set(manifest)
    for line in lines_of(out):
        assert line["outputs"].keys() <= present.keys(), line["image"]
    assert done(out) >= set(done_before)


def _complete(path: Path) -> list[bytes]:
    return [text for text in path.read_bytes().splitlines(keepends=True) if text.endswith(b"\n")]


def _timeless(text: bytes) -> bytes:
    try:
        line = json.loads(text)
    except ValueError:  # a torn line
        return text
    del line["seconds"]
    return json.dumps(line).encode() + text[len(text.rstrip(b"\n")) :]


def _walk(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything below a folder, with its relative path; without recursion, for folders may lie deep."""
    stack = [str(folder)]
    while stack:
        for entry in os.scandir(stack.pop()):
            yield os.path.relpath(entry.path, folder), entry
            if entry.is_dir(follow_symlinks=False):
                stack.append(entry.path)
