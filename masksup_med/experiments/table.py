"""What the trainings of a grid have reached: means over images and seeds, and differences from the baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masksup_med.errors import DataError
from masksup_med.evaluate.hiding import HIDINGS, RATIOS
from masksup_med.evaluate.paired import difference, resampled_means
from masksup_med.evaluate.results import RESAMPLES
from masksup_med.experiments.store import Finished
from masksup_med.metrics.statistics import Bootstrap, holm, interval

__all__ = ["FIGURES", "Line", "Table", "tables"]

FIGURES = {
    "iou": "IoU",
    "dice": "Dice",
    "patch 0.3": "IoU, 30 % hidden in patches",
    "patch 0.6": "IoU, 60 % hidden in patches",
    "scribble 0.6": "IoU, 60 % hidden under scribbles",
}


Rows = dict[str, dict[str, str]]  # figures by image


class Line(NamedTuple):
    """A cell of a grid, over all its seeds."""

    cell: str
    baseline: str
    seeds: int  # trainings
    steps: int  # of the optimiser, pre-training counted, too
    passes: int  # images that went through the network and back, both views counted
    minutes: float  # of a training, on average
    figures: dict[str, dict[str, Any]]  # value, interval, seed_sd, and difference, with interval and p, by figure
    curves: dict[str, list[float]]  # mean IoU by hidden share, by kind of hiding


class Table(NamedTuple):
    """A data set's cells."""

    part: str
    images: int
    groups: int
    lines: list[Line]


def tables(finished: Sequence[Finished], seed: int = 0) -> list[Table]:
    """Sum up trainings, data set by data set.

    Trainings of a cell that were measured on different images, because each held out another fold, are put together: a
    figure then stands for all folds, each image measured by a network that was trained without its group.

    Intervals come from resampling groups of images, the same for all cells, and seeds, each cell's own. Wilcoxon's test
    takes one difference for each group, the mean over its images and the seeds; p-values are corrected by Holm, for
    each figure over all cells of a data set.

    Args:
        finished: trainings that were measured.
        seed: of the bootstrap.

    Raises:
        DataError: cells of one data set were measured on different images.
    """
    parts = dict.fromkeys(each.training.part for each in finished)
    return [_table(part, [each for each in finished if each.training.part == part], seed) for part in parts]


def _table(part: str, finished: Sequence[Finished], seed: int) -> Table:
    cells: dict[str, list[Finished]] = {}
    for each in _comparable(finished):
        cells.setdefault(each.training.cell, []).append(each)
    for runs in cells.values():
        runs.sort(key=lambda run: run.training.seed)
    columns = {cell: _columns(runs) for cell, runs in cells.items()}
    rows = next(iter(columns.values()))[0]
    if any(each.keys() != rows.keys() for several in columns.values() for each in several):
        raise DataError(f"The trainings of {part} were measured on different images; name a new folder for some.")
    groups = [row["group"] for row in rows.values()]
    bootstrap = Bootstrap(groups, RESAMPLES, seed)
    draws = np.random.default_rng([seed, 1])
    values = {(cell, name): _values(columns[cell], name) for cell in cells for name in FIGURES}
    means = {key: resampled_means(each, bootstrap, draws) for key, each in values.items()}
    figures = {
        cell: {name: _figure(values[cell, name], means[cell, name], bootstrap.groups) for name in FIGURES}
        for cell in cells
    }
    baselines = {cell: runs[0].training.baseline for cell, runs in cells.items()}
    for name in FIGURES:
        compared = {cell: base for cell, base in baselines.items() if base in cells}
        differences = {
            cell: difference(values[base, name], values[cell, name], (means[base, name], means[cell, name]), groups)
            for cell, base in compared.items()
        }
        corrected = holm([each.p for each in differences.values()])
        for (cell, found), p in zip(differences.items(), corrected, strict=True):
            figures[cell][name] |= {"difference": found.mean, "bounds": found.interval, "p": p}
    lines = [_line(cell, runs, figures[cell], columns[cell]) for cell, runs in cells.items()]
    return Table(part, len(rows), bootstrap.groups, lines)


def _comparable(finished: Sequence[Finished]) -> list[Finished]:
    """Of a grid under way with folds, the folds that most cells have done, and the cells that have done them all."""
    if len({frozenset(each.rows) for each in finished}) == 1:
        return list(finished)
    cells = Counter(each.training.seed for each in finished)
    seeds = {seed for seed, count in cells.items() if count == max(cells.values())}
    kept = [each for each in finished if each.training.seed in seeds]
    whole = Counter(each.training.cell for each in kept)
    return [each for each in kept if whole[each.training.cell] == len(seeds)]


def _columns(runs: Sequence[Finished]) -> list[Rows]:
    """The rows of each run, or of all folds together, in the order of the images; what is not whole is left out."""
    columns: list[Rows] = []
    for run in runs:
        column = next((each for each in columns if not each.keys() & run.rows.keys()), None)
        if column is None:
            columns.append(dict(run.rows))
        else:
            column.update(run.rows)
    return [dict(sorted(column.items())) for column in columns if len(column) == len(columns[0])]


def _values(columns: Sequence[Rows], name: str) -> NDArray[np.float64]:
    """A figure of every image and seed, shape (images, seeds)."""
    return np.array([[float(row[name]) for row in column.values()] for column in columns]).T


def _figure(values: NDArray[np.float64], means: NDArray[np.float64], groups: int) -> dict[str, Any]:
    of_seeds = values.mean(axis=0)
    return {
        "value": float(values.mean()),
        "interval": interval(means) if groups > 1 else None,
        "seed_sd": float(of_seeds.std(ddof=1)) if len(of_seeds) > 1 else None,
    }


def _line(cell: str, runs: Sequence[Finished], figures: dict[str, dict[str, Any]], columns: Sequence[Rows]) -> Line:
    params = runs[0].params
    epochs, batch, images = (int(params[key]) for key in ("max_epochs", "batch_size", "datalist/training"))
    before, pictures = runs[0].pretraining
    views = 2 if any(float(params[f"{term}_weight"]) for term in ("context", "similarity")) else 1
    return Line(
        cell,
        runs[0].training.baseline,
        len(runs),
        epochs * -(-images // batch) + before * -(-pictures // batch),
        epochs * images * views + before * pictures,
        float(np.mean([run.minutes for run in runs])),
        figures,
        {kind: _curve(columns, kind) for kind in HIDINGS},
    )


def _curve(columns: Sequence[Rows], kind: str) -> list[float]:
    return [float(_values(columns, f"{kind} {ratio}").mean()) for ratio in RATIOS]
