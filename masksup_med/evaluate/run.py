"""An evaluation from start to end: check, measure, sum up, write."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from masksup_med.errors import SettingError
from masksup_med.evaluate.cases import Case, check_sizes
from masksup_med.evaluate.figures import Protocol, Settings
from masksup_med.evaluate.measure import measure_cases
from masksup_med.evaluate.reading import holds_numbers
from masksup_med.evaluate.reports.evaluation import write_report
from masksup_med.evaluate.results import per_image_rows, summarise, worst_cases
from masksup_med.evaluate.tasks import TASKS
from masksup_med.evaluate.write import METRICS, PER_IMAGE, REPORT, usable_output, write_json, write_rows
from masksup_med.outputs.atomic import atomic_paths

__all__ = ["evaluate_cases", "usable_protocol"]


def evaluate_cases(
    cases: Sequence[Case],
    output_dir: str | os.PathLike[str],
    task: str,
    protocol: str = "native",
    *,
    classes: Mapping[int, str] | None = None,
    tolerance: float = 2.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Evaluate predictions and write ``per_image.csv``, ``metrics.json`` and ``report.html``.

    Nothing is written before everything is measured; each file is whole or not there.

    Args:
        cases: what to evaluate; see :mod:`masksup_med.evaluate.cases`.
        output_dir: where the files go.
        task: one of :data:`~masksup_med.evaluate.tasks.TASKS`.
        protocol: one of the task's.
        classes: names of the classes by their number, for the task ``semantic``.
        tolerance: how far outlines may lie apart for NSD, in pixels.
        seed: of the bootstrap.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        SettingError: task, protocol, classes, tolerance, seed or output_dir cannot be used.
        DataError: a file cannot be read, sizes differ, or values mean nothing for the task.
    """
    way = usable_protocol(task, protocol, classes)
    folder = usable_output(output_dir, METRICS)
    if not 0 <= tolerance < math.inf or seed < 0:
        raise SettingError(f"tolerance is {tolerance} and seed {seed}; give numbers from 0 on.")
    check_sizes(cases, way.size)
    preds = [case.pred for case in cases if case.pred is not None]
    numbers = task == "polyp" and holds_numbers(preds)
    settings = Settings(tolerance, numbers, dict(classes or {}))
    measured = measure_cases(cases, task, protocol, settings)
    results = {"task": task, "protocol": protocol, **summarise(cases, measured, way, settings, seed)}
    worst = worst_cases(cases, measured, way)
    rows = per_image_rows(cases, measured, way)
    with atomic_paths(folder, PER_IMAGE, METRICS, REPORT) as (table, metrics, report):
        write_rows(table, rows)
        write_json(metrics, results)
        write_report(report, results, rows, worst, lambda case: way.show(case, settings))
    return results


def usable_protocol(task: str, protocol: str, classes: Mapping[int, str] | None) -> Protocol:
    """Look up a protocol, before anything costs time.

    Raises:
        SettingError: there is no such protocol for the task, or classes are missing or too many.
    """
    if task not in TASKS or protocol not in TASKS[task]:
        known = ", ".join(f"{name} ({', '.join(protocols)})" for name, protocols in TASKS.items())
        raise SettingError(f"There is no protocol {protocol} for the task {task}; choose from {known}.")
    if (task == "semantic") != bool(classes):
        raise SettingError(
            "The task semantic, and no other, needs its classes; give their numbers, as in --classes 1-40 for "
            "NYUDv2's 40, or with names, as in --classes 0:wall 1:floor."
        )
    return TASKS[task][protocol]
