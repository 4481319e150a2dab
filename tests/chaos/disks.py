"""Disks that are soon full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["PAGE", "Disk", "mounted"]

PAGE = 4096  # tmpfs gives room by pages


class Disk:
    """A file system in memory.

    Args:
        folder: where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remount(self, *options: str) -> None:
        """Change how large it is, say."""
        _mount(self.folder, "remount", *options)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Disk]:
    """Mount a disk; the test is skipped where that is not allowed."""
    folder.mkdir()
    try:
        _mount(folder, *options)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a tmpfs here: {getattr(error, 'stderr', None) or error}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _mount(folder: Path, *options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True, text=True)
