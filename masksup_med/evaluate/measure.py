"""Measure all cases, an image at a time in each process, on all cores that this process may use."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial

from tqdm import tqdm

from masksup_med.errors import MaskSupError
from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.figures import Measured, Settings
from masksup_med.evaluate.tasks import TASKS

__all__ = ["measure_cases"]

_PER_PROCESS = 50  # images at least, that a new process pays


def measure_cases(cases: Sequence[Case], task: str, protocol: str, settings: Settings) -> list[Measured]:
    """Measure each case, in the order in which they are given.

    Raises:
        DataError: a file cannot be read, or holds values that the task does not know.
        MaskSupError: something has killed one of the processes.
    """
    measure = partial(_measure, task=task, protocol=protocol, settings=settings)
    processes = min(_cores(), len(cases) // _PER_PROCESS)
    progress = partial(tqdm, total=len(cases), desc="evaluate", unit="image", disable=None)
    if processes < 2:
        return list(progress(map(measure, cases)))
    # not forked: a process that has loaded torch must not be
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(processes, context, initializer=_end_with_parent) as pool:
            with _interrupts_ignored():  # which the processes that start here inherit, and keep
                results = pool.map(measure, cases, chunksize=4)
            return list(progress(results))
    except BrokenProcessPool as error:
        raise MaskSupError(
            "A process that measures images was killed, perhaps because memory ran out; close other programs and run "
            "this again."
        ) from error


def _measure(case: Case, task: str, protocol: str, settings: Settings) -> Measured:
    return TASKS[task][protocol].measure(case, settings)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # where signals cannot be set
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_with_parent() -> None:
    """Leave no process behind when the one that waits for the results is killed."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
