"""Files have the rights that the user's umask leaves, however many threads write them."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from masksup_med.outputs.atomic import atomic_path


@pytest.fixture
def umask() -> Iterator[int]:
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def test_rights_of_files_that_two_threads_write(umask: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    meeting, set_umask = threading.Barrier(2, timeout=0.5), os.umask

    def set_and_wait(mask: int) -> int:
        before = set_umask(mask)
        with suppress(threading.BrokenBarrierError):  # where threads do this one after the other, they do not meet
            meeting.wait()
        return before

    def write(path: Path) -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"a patient's picture")

    monkeypatch.setattr(os, "umask", set_and_wait)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, paths))
    monkeypatch.undo()
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o666 & ~umask] * 2
    assert os.umask(umask) == umask
