"""Moments of a run at which it is disturbed: the calls that put a file in its place, or a line into the manifest."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Fill", "Interrupt", "Kill", "Pause", "Point", "count_calls", "disturb", "points"]


class Point(NamedTuple):
    """Just before or just after one call."""

    call: str  # "replace" or "append"
    number: int  # from 1
    when: str  # "before" or "after"


class Kill:
    """The process kills itself: what follows in any of its threads is not done."""

    def __call__(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


class Interrupt:
    """Ctrl-C, by the process itself."""

    def __call__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


class Pause(NamedTuple):
    """Make a file, and wait for whatever comes."""

    file: Path

    def __call__(self) -> None:
        self.file.touch()
        time.sleep(60)


class Fill(NamedTuple):
    """Fill the disk."""

    file: Path

    def __call__(self) -> None:
        with open(self.file, "wb", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while file.write(b"\0" * size) == size:
                        pass
                except OSError:
                    pass


def disturb(point: Point, act: Callable[[], None]) -> None:
    """From now on, act at a moment."""
    _patch(lambda call, number, when: act() if Point(call, number, when) == point else None)


def count_calls(file: Path) -> None:
    """From now on, write the name of every call to a file, for :func:`points`."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    _patch(lambda call, _, when: when == "before" and os.write(descriptor, f"{call}\n".encode()))


def points(file: Path) -> Iterator[Point]:
    """All moments of a run whose calls were counted."""
    for call, count in sorted(Counter(file.read_text().split()).items()):
        for number, when in itertools.product(range(1, count + 1), ("before", "after")):
            yield Point(call, number, when)


def _patch(see: Callable[[str, int, str], Any]) -> None:
    from masksup_med.predict.manifest import Manifest

    os.replace = _seen(os.replace, "replace", see)
    Manifest.append = _seen(Manifest.append, "append", see)


def _seen(function: Callable[..., Any], call: str, see: Callable[[str, int, str], Any]) -> Callable[..., Any]:
    numbers = itertools.count(1)  # threads get different ones

    @functools.wraps(function)
    def seen(*args: Any, **kwargs: Any) -> Any:
        number = next(numbers)
        see(call, number, "before")
        result = function(*args, **kwargs)
        see(call, number, "after")
        return result

    return seen
