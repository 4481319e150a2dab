"""A grid from start to end: every training that is not finished yet, one after the other."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout
from sklearn.model_selection import GroupKFold

from masksup_med.data.datalist import Datalist, datalist_digest, load_datalist, save_datalist
from masksup_med.data.splits import Item
from masksup_med.errors import DataError, MaskSupError, MissingDataError, SettingError
from masksup_med.experiments.cell import measure_cell, write_cell
from masksup_med.experiments.grid import Cell, Grid, Part
from masksup_med.experiments.store import Store, Training
from masksup_med.handlers.provenance import read_passport
from masksup_med.train.workflow import fit, stages

__all__ = ["Task", "plan", "run_tasks"]

logger = logging.getLogger("masksup_med")

_SPLIT_SEED, _SHARE = 0, 0.2  # of the split that all trainings share where there are no folds


class Task(NamedTuple):
    """A training, and where it is done."""

    training: Training
    part: Part
    cell: Cell
    datalist: Path
    folder: Path


def plan(grid: Grid, data: Path, folder: Path) -> list[Task]:
    """All trainings of a grid: every cell with the first seed, then with the next, so that all can be compared soon.

    Writes the splits of each data set: one that all trainings on it share, or one for each fold.

    Args:
        grid: what to train.
        data: folder that the grid's data sets are in.
        folder: for the bundles of all trainings.

    Raises:
        MissingDataError: a data set is not there.
        SettingError: the folder has a split of other images.
        DataError: a data set has fewer groups than folds.
    """
    splits = {part.name: _splits(part, data, folder) for part in grid.parts}
    digests = {file: datalist_digest(load_datalist(file)) for files in splits.values() for file in files}
    return [
        Task(
            Training(part.name, name, grid.baselines(part).get(name, ""), seed, _digest(cell, digests[split])),
            part,
            cell,
            split,
            folder / part.name / cell.folder_name / f"seed{seed}",
        )
        for number, seed in enumerate(grid.seeds)
        for part in grid.parts
        for split in [splits[part.name][number % part.folds]]
        for name, cell in grid.cells(part).items()
    ]


def run_tasks(tasks: Sequence[Task], store: Store) -> list[str]:
    """Do all trainings that are not finished, and go on with what was interrupted.

    Several processes may share the work: each takes what no other is at.

    Returns:
        What went wrong, a sentence for each training that could not be done.
    """
    finished = store.measured()
    waiting = [task for task in tasks if task.training not in finished]
    logger.info("%d trainings, %d of them finished.", len(tasks), len(tasks) - len(waiting))
    failures = []
    for task, left in _with_time_left(waiting):
        training = task.training
        name = f"{training.part}, {training.cell}, seed {training.seed}"
        try:
            with _claimed(task.folder):
                if training not in store.measured():
                    logger.info("\n%s (%s)", name, left)
                    _train(task, store)
        except Timeout:
            logger.info("\n%s: another process is at it.", name)
        except Exception as error:  # of a network that does not fit, say; the other trainings may do
            failures.append(f"{name}: {_told(error, task.folder)}")
            logger.error("Error: %s", failures[-1])
    return failures


def _splits(part: Part, data: Path, folder: Path) -> list[Path]:
    """The splits of a part, which stay as they were first made."""
    sources = [data / each for each in part.folders]
    if missing := [source for source in sources if not source.exists()]:
        raise MissingDataError(f"There is no data set {missing[0]}; give the folder that it is in by --data.")
    lists = load_datalist(sources, _SHARE, _SPLIT_SEED)
    splits = [{name: lists[name] for name in ("training", "validation")}]
    if part.folds > 1:
        splits = _folds([*lists["training"], *lists["validation"]], part)
    files = [Path(os.path.abspath(folder / part.name / f"split{number}.json")) for number in range(len(splits))]
    for file, split in zip(files, splits, strict=True):
        if not file.exists():
            save_datalist(split, file)
        elif load_datalist(file) != split:
            raise SettingError(f"{file} was made from other images than {data} now has; name a new folder.")
    return files


def _folds(items: Sequence[Item], part: Part) -> list[Datalist]:
    """Splits that hold out each group once, in folds of about as many images."""
    groups = [item["group"] for item in items]
    if len(set(groups)) < part.folds:
        raise DataError(f"{part.name} has {len(set(groups))} groups for {part.folds} folds; ask for fewer.")
    return [
        {"training": [items[index] for index in training], "validation": [items[index] for index in held_out]}
        for training, held_out in GroupKFold(part.folds).split(items, groups=groups)
    ]


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Hold the lock of a training; raise Timeout if another process does."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock"), blocking=False):
        yield


def _told(error: Exception, folder: Path) -> str:
    """An error in a sentence; what is not the user's own is kept with all its causes beside the folder."""
    if own := MaskSupError.among(error):
        return str(own)
    file = folder.with_name(f"{folder.name}-error.txt")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    while error.__cause__ is not None:
        error = error.__cause__  # type: ignore[assignment]
    return f"{type(error).__name__}: {' '.join(str(error).split())} (see {file})"


def _digest(cell: Cell, data: str) -> str:
    return hashlib.sha256(f"{json.dumps(cell.settings, sort_keys=True)} {data}".encode()).hexdigest()[:16]


def _with_time_left(tasks: Sequence[Task]) -> Iterator[tuple[Task, str]]:
    """Tasks, each with how many there are and how long they take if they take as long as those before."""
    started = time.monotonic()
    for number, task in enumerate(tasks):
        hours = (time.monotonic() - started) / max(number, 1) * (len(tasks) - number) / 3600
        yield task, f"{number + 1} of {len(tasks)}" + (f", about {hours:.1f} h left" if number else "")


def _train(task: Task, store: Store) -> None:
    write_cell(task.folder, task.part, task.cell, task.training.seed, task.datalist)
    parts = stages(task.folder)
    begun = any((task.folder / stage.checkpoint).is_file() for stage in parts)
    fit(task.folder, resume=begun, **store.tracking(task.training))
    runs = [_run_of(task.folder / stage.weights) for stage in parts]
    store.keep(runs, measure_cell(task.folder))
    for stage in parts:
        (task.folder / stage.checkpoint).unlink()  # three times as large as the weights


def _run_of(weights: Path) -> str:
    passport = read_passport(weights)
    assert passport is not None
    return passport["run_id"]
