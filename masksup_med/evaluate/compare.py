"""Which of several models is better, and how sure that is: paired, image by image, on the same images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masksup_med import __version__
from masksup_med.data.pairing import some
from masksup_med.errors import DataError, MissingDataError, SettingError
from masksup_med.evaluate.paired import difference, resampled_means
from masksup_med.evaluate.reports.comparison import write_comparison_report
from masksup_med.evaluate.results import CONFIDENCE, RESAMPLES
from masksup_med.evaluate.write import (
    COMPARISON,
    METRICS,
    PER_IMAGE,
    REPORT,
    Evaluation,
    read_evaluation,
    usable_output,
    write_json,
    write_rows,
)
from masksup_med.metrics.statistics import Bootstrap, holm, interval
from masksup_med.outputs.atomic import atomic_paths

__all__ = ["compare_runs"]


class Configuration(NamedTuple):
    """Evaluations that differ in nothing but their seed."""

    name: str
    seeds: list[Evaluation]

    def values(self, column: str) -> NDArray[np.float64]:
        """A measure of every image and seed, shape (images, seeds)."""
        return np.array([[float(row[column]) for row in seed.rows.values()] for seed in self.seeds]).T


def compare_runs(
    runs: Sequence[str | os.PathLike[str]], output_dir: str | os.PathLike[str], seed: int = 0
) -> dict[str, Any]:
    """Compare evaluations of the same images, pair by pair, in every figure that each image has.

    An image's value is its mean over a configuration's seeds, so that three seeds do not count as three times as many
    images. Intervals come from resampling groups of images, the same for all configurations, and seeds, each
    configuration's own. Wilcoxon's test takes one difference per group; p-values are corrected by Holm for all tests
    of the comparison.

    Args:
        runs: two or more folders that ``masksup evaluate`` has written, or whose sub-folders it has, one per seed.
        output_dir: where ``per_image.csv``, ``comparison.json`` and ``report.html`` go.
        seed: of the bootstrap.

    Returns:
        What ``comparison.json`` holds.

    Raises:
        SettingError: fewer than two runs, one given twice, or ``output_dir`` cannot be used.
        MissingDataError: a folder holds no evaluation.
        DataError: evaluations differ in more than the predictions: in task, protocol, settings, images or labels.
    """
    folder = usable_output(output_dir, COMPARISON)
    configurations = _read(runs)
    reference = configurations[0].seeds[0]
    groups = [row["group"] for row in reference.rows.values()]
    metrics = {name: each for name, each in reference.results["metrics"].items() if _is_common(name, configurations)}
    bootstrap = Bootstrap(groups, RESAMPLES, seed)
    draws = np.random.default_rng([seed, 1])
    means = {
        name: {each.name: resampled_means(each.values(metric["column"]), bootstrap, draws) for each in configurations}
        for name, metric in metrics.items()
    }
    pairs = [
        _pair(first, second, name, metric, means[name], groups)
        for first, second in combinations(configurations, 2)
        for name, metric in metrics.items()
    ]
    for pair, corrected in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = corrected
    results = {
        "task": reference.results["task"],
        "protocol": reference.results["protocol"],
        "version": __version__,
        "images": len(groups),
        "groups": bootstrap.groups,
        "grouped": reference.results["grouped"],
        "settings": {"resamples": RESAMPLES, "confidence": CONFIDENCE, "seed": seed},
        "configurations": {
            each.name: _summary(each, metrics, means if bootstrap.groups > 1 else {}) for each in configurations
        },
        "pairs": pairs,
    }
    rows = _rows(configurations, metrics)
    with atomic_paths(folder, PER_IMAGE, COMPARISON, REPORT) as (table, comparison, report):
        write_rows(table, rows)
        write_json(comparison, results)
        write_comparison_report(report, results, rows)
    return results


def _read(runs: Sequence[str | os.PathLike[str]]) -> list[Configuration]:
    folders = [Path(os.path.abspath(Path(run).expanduser())) for run in runs]
    if len(folders) < 2 or len(set(folders)) < len(folders):
        raise SettingError("Give two or more different evaluations to compare, each once.")
    configurations = [
        Configuration(name, _seeds(folder)) for name, folder in zip(_names(folders), folders, strict=True)
    ]
    first, *others = (seed for each in configurations for seed in each.seeds)
    for other in others:
        _check_same(first, other)
    return configurations


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' names, or where two are alike their paths below the folder that they have in common."""
    count = Counter(folder.name for folder in folders)
    common = os.path.commonpath([folder.parent for folder in folders])
    return [folder.name if count[folder.name] == 1 else folder.relative_to(common).as_posix() for folder in folders]


def _seeds(folder: Path) -> list[Evaluation]:
    seeds = sorted(path.parent for path in folder.glob(f"*/{METRICS}"))
    if (folder / METRICS).is_file():
        if seeds:
            raise DataError(f"{folder} holds an evaluation, and so do its sub-folders; part them.")
        return [read_evaluation(folder)]
    if not seeds:
        raise MissingDataError(
            f"{folder} holds no {METRICS}, nor do its sub-folders; give folders that `masksup evaluate` has written."
        )
    return [read_evaluation(seed) for seed in seeds]


def _check_same(one: Evaluation, other: Evaluation) -> None:
    both = f"{one.folder} and {other.folder}"
    for key in ("task", "protocol"):
        if one.results[key] != other.results[key]:
            raise DataError(
                f"{both} differ in {key}: {one.results[key]} and {other.results[key]}; evaluate both the same way."
            )
    if one.results["settings"].get("tolerance_px") != other.results["settings"].get("tolerance_px"):
        raise DataError(f"{both} were evaluated with another --tolerance; evaluate both with one.")
    if strange := sorted(one.rows.keys() ^ other.rows.keys()):
        raise DataError(f"{both} are not of the same images: {some(strange)} in one only; evaluate both on one set.")
    if one.results["settings"].get("classes") != other.results["settings"].get("classes"):
        raise DataError(f"{both} were evaluated with other --classes; evaluate both with the same.")
    if changed := [image for image, row in one.rows.items() if _label_of(row) != _label_of(other.rows[image])]:
        raise DataError(f"{both} have another label for {some(changed)}; evaluate both against the same labels.")
    if torn := [image for image, row in one.rows.items() if row["group"] != other.rows[image]["group"]]:
        raise DataError(f"{both} give {torn[0]} to different groups; use one table of groups.")


def _label_of(row: Mapping[str, str]) -> list[str | None]:
    """What an evaluation keeps of an image's label."""
    return [row.get(name) for name in ("label_empty", "object_share", "void_pixels")]


def _is_common(metric: str, configurations: Sequence[Configuration]) -> bool:
    return all("column" in seed.results["metrics"].get(metric, {}) for each in configurations for seed in each.seeds)


def _pair(
    first: Configuration,
    second: Configuration,
    name: str,
    metric: dict[str, Any],
    means: dict[str, NDArray[np.float64]],
    groups: Sequence[str],
) -> dict[str, Any]:
    """How much the second differs from the first."""
    both = first.values(metric["column"]), second.values(metric["column"])
    found = difference(*both, (means[first.name], means[second.name]), groups)
    worse, better = (found.rises, found.falls) if metric["lower_is_better"] else (found.falls, found.rises)
    return {
        "first": first.name,
        "second": second.name,
        "metric": name,
        "title": metric["title"],
        "unit": metric["unit"],
        "lower_is_better": metric["lower_is_better"],
        "difference": found.mean,
        "interval": found.interval,
        "second_better": better,
        "first_better": worse,
        "equal": len(groups) - better - worse,
        "units": found.units,
        "p": found.p,
    }


def _summary(
    configuration: Configuration, metrics: dict[str, Any], means: dict[str, dict[str, NDArray[np.float64]]]
) -> dict[str, Any]:
    """A configuration's figures: over all seeds, with the spread between them."""
    seeds = [seed.results["metrics"] for seed in configuration.seeds]
    figures = {}
    for name, metric in seeds[0].items():
        values = [seed[name]["value"] for seed in seeds if name in seed and seed[name]["value"] is not None]
        known = len(values) == len(seeds)
        figures[name] = {
            "title": metric["title"],
            "unit": metric["unit"],
            "lower_is_better": metric["lower_is_better"],
            "value": float(np.mean(values)) if known else None,
            "interval": interval(means[name][configuration.name]) if name in means else None,
            "seed_sd": float(np.std(values, ddof=1)) if known and len(values) > 1 else None,
            "paired": name in metrics,
        }
    return {"seeds": len(seeds), "metrics": figures}


def _rows(configurations: Sequence[Configuration], metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """For each image every configuration's measures, mean over its seeds."""
    reference = configurations[0].seeds[0].rows
    rows: list[dict[str, Any]] = [{"image": image, "group": row["group"]} for image, row in reference.items()]
    for name, metric in metrics.items():
        for each in configurations:
            for row, value in zip(rows, each.values(metric["column"]).mean(axis=1).tolist(), strict=True):
                row[f"{name}: {each.name}"] = value
    return rows
