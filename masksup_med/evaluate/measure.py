"""Measure all cases, an image at a time in each process, on all cores that this process may use."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tqdm import tqdm

from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.figures import Measured, Settings
from masksup_med.evaluate.tasks import TASKS

__all__ = ["measure_cases"]

_PER_PROCESS = 50  # images at least, that a new process pays


def measure_cases(cases: Sequence[Case], task: str, protocol: str, settings: Settings) -> list[Measured]:
    """Measure each case, in the order in which they are given.

    Raises:
        DataError: a file cannot be read, or holds values that the task does not know.
    """
    measure = partial(_measure, task=task, protocol=protocol, settings=settings)
    processes = min(_cores(), len(cases) // _PER_PROCESS)
    progress = partial(tqdm, total=len(cases), desc="evaluate", unit="image", disable=None)
    if processes < 2:
        return list(progress(map(measure, cases)))
    # not forked: a process that has loaded torch must not be
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_leave_interrupts_to_parent) as pool:
        return list(progress(pool.map(measure, cases, chunksize=4)))


def _measure(case: Case, task: str, protocol: str, settings: Settings) -> Measured:
    return TASKS[task][protocol].measure(case, settings)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
