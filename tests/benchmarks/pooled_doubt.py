"""What scores of doubt are worth on the validation images of several bundles together, as with several splits.

    python -m tests.benchmarks.pooled_doubt OUT OUT …

reads quality.csv from folders that `masksup calibrate --compare` has written, and prints the rows of a table of
docs/reports/quality.md: figures with 95 % intervals by patient, at three passes beside the plain one.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from masksup_med.evaluate.quality.figures import BAD, worth
from masksup_med.evaluate.results import RESAMPLES
from masksup_med.metrics.statistics import Bootstrap

PASSES = ("3", "0")  # entropy takes none


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="+", type=Path)
    rows = [row for folder in parser.parse_args().folder for row in read(folder)]
    iou = np.array([float(row["iou"]) for row in rows])
    averaged = np.mean([float(row["iou_averaged_3"]) for row in rows])
    bootstrap = Bootstrap([row["group"] for row in rows], RESAMPLES)
    bad = np.count_nonzero(iou < BAD)
    print(f"{len(rows)} images, {bootstrap.groups} groups, {bad} below {BAD:g}; IoU {iou.mean():.3f}")
    print(f"IoU of four views' mean: {averaged:.3f}\n")
    print("| score | Spearman | AUROC | risk–coverage |\n|---|---|---|---|")
    for name in rows[0]:
        score, _, passes = name.rpartition(" ")
        if passes in PASSES:
            figures = worth(np.array([float(row[name]) for row in rows]), iou, bootstrap)
            cells = [cell(figures[key], figures[f"{key}_interval"]) for key in ("spearman", "auroc", "risk_coverage")]
            print(f"| {score} | {' | '.join(cells)} |")


def read(folder: Path) -> list[dict[str, str]]:
    """The rows of a folder."""
    with open(folder / "quality.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cell(value: float | None, bounds: Sequence[float] | None) -> str:
    """A figure and its interval."""
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else "")


if __name__ == "__main__":
    main()
