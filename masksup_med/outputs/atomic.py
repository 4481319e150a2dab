"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

__all__ = ["atomic_folder", "atomic_path", "atomic_paths", "sweep", "sweep_folder"]

_TEMPORARY = ".part"


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path to write to, which takes the place of ``path`` when the block ends without an error.

    The temporary file lies in the same folder, which is made if need be, and has the same suffix, from which many
    libraries tell the format; after an error it is removed and ``path`` is as it was.

        with atomic_path("out/mask.png") as temporary:
            image.save(temporary)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{_prefix(path)}{secrets.token_hex(4)}{_TEMPORARY}{path.suffix}"
    temporary.touch(exist_ok=False)  # not by tempfile, whose files are for their owner alone
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_paths(folder: str | os.PathLike, *names: str) -> Iterator[list[Path]]:
    """Give temporary paths for several files of a folder, which take their places together when the block ends.

    An error inside the block leaves all of them as they were.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(atomic_path(Path(folder) / name)) for name in names]


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a new folder beside another, whose place it takes when the block ends without an error.

    The other one must not be there, or be empty.
    """
    temporary = folder.parent / f".{folder.name}.{secrets.token_hex(4)}{_TEMPORARY}"
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if folder.is_dir():
            folder.rmdir()
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(path: str | os.PathLike) -> None:
    """Remove the temporary files that killed writers of ``path`` have left, while no other is writing it."""
    path = Path(path)
    for left in path.parent.glob(f"{glob.escape(_prefix(path))}*{_TEMPORARY}{glob.escape(path.suffix)}"):
        left.unlink(missing_ok=True)


def sweep_folder(folder: str | os.PathLike) -> None:
    """Remove all temporary files of killed writers in a folder and below it, while nobody is writing there."""
    for left in Path(folder).rglob(f".*{_TEMPORARY}.*"):
        left.unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    return f".{path.stem[:40]}."  # a name can be as long as a file system allows
