"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

__all__ = ["shown"]

_Item = TypeVar("_Item")
_SECONDS = 10  # between lines


def shown(items: Iterable[_Item], total: int, what: str = "predict", unit: str = "image") -> Iterator[_Item]:
    """Pass items on, and show on standard error how many there were, how fast, and how long the rest will take."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=what, unit=unit, leave=None)
        return
    start = last = time.monotonic()
    for number, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= _SECONDS and number < total:
            last, rate = now, number / (now - start)
            left = tqdm.format_interval((total - number) / rate)
            print(
                f"{what}: {number} of {total} {unit}s, {rate:.1f} {unit}s/s, {left} left", file=sys.stderr, flush=True
            )
