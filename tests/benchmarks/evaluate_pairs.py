"""How fast pairs of masks are measured, beside MONAI and pysodmetrics on the same files, and in how much memory.

    python tests/benchmarks/evaluate_pairs.py [--count 1000]

prints the tables of docs/reports/evaluation.md. Pairs are generated: polyp-like blobs of 352 x 352 pixels, and maps of
probabilities near them. Each line reads the files again; every library gives the same figures, which is checked.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import py_sod_metrics as sod
import torch
from monai.metrics import (
    ConfusionMatrixMetric,
    DiceMetric,
    HausdorffDistanceMetric,
    MeanIoU,
    SurfaceDiceMetric,
    SurfaceDistanceMetric,
)
from PIL import Image
from scipy.ndimage import gaussian_filter, shift

from masksup_med.data.decode import read_label
from masksup_med.evaluate.figures import Settings
from masksup_med.evaluate.tasks.masks import mask_measures
from masksup_med.metrics.saliency import saliency_measures

SIDE = 352
Pair = tuple[Path, Path]
# in a small process of its own, since a child's memory counts that of the process it was started from
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, capture_output=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def write_pairs(folder: Path, count: int) -> list[Pair]:
    """Write labels and 8-bit maps, none of them empty; return their paths, prediction first."""
    rng = np.random.default_rng(0)
    down, right = np.mgrid[:SIDE, :SIDE] / SIDE
    pairs = []
    for number in range(count):
        centre, radius = rng.uniform(0.3, 0.7, 2), rng.uniform(0.08, 0.25)
        ripple = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 20) * 6
        label = np.hypot(down - centre[0], right - centre[1]) < radius * (1 + ripple)
        soft = gaussian_filter(shift(label.astype(float), rng.uniform(-8, 8, 2), order=1), rng.uniform(1, 5))
        pred = np.clip(soft + gaussian_filter(rng.normal(size=(SIDE, SIDE)), 9) * rng.uniform(0, 2), 0, 1)
        pair = tuple(folder / part / f"{number:04}.png" for part in ("pred", "label"))
        for path, values in zip(pair, (pred, label), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((values * 255).astype(np.uint8)).save(path)
        pairs.append(pair)
    return pairs


def read(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Read a map as 0 to 1 and a label."""
    return read_label(pair[0]) / 255, read_label(pair[1]) > 127


def ours_native(pairs: list[Pair]) -> dict[str, float]:
    """Overlap and boundary by this package, in one process."""
    rows = [mask_measures(pred > 0.5, label, Settings(tolerance=2)) for pred, label in map(read, pairs)]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def monai_native(pairs: list[Pair]) -> dict[str, float]:
    """The same by MONAI's metrics."""
    metrics = {
        "iou": MeanIoU(),
        "dice": DiceMetric(),
        "precision": ConfusionMatrixMetric(metric_name="precision", compute_sample=True),
        "recall": ConfusionMatrixMetric(metric_name="recall", compute_sample=True),
        "hd95": HausdorffDistanceMetric(percentile=95),
        "assd": SurfaceDistanceMetric(symmetric=True),
        "nsd": SurfaceDiceMetric(class_thresholds=[2], include_background=True),
    }
    for pred, label in map(read, pairs):
        tensors = torch.from_numpy(pred > 0.5)[None, None].float(), torch.from_numpy(label)[None, None].float()
        for metric in metrics.values():
            metric(*tensors)
    results = {name: metric.aggregate() for name, metric in metrics.items()}
    return {name: float(value[0] if isinstance(value, list) else value) for name, value in results.items()}


def ours_pranet(pairs: list[Pair]) -> dict[str, float]:
    """PraNet's protocol by this package, in one process."""
    rows = [saliency_measures(pred, label) for pred, label in map(read, pairs)]
    means = {name: np.mean([row[name] for row in rows], axis=0) for name in rows[0]}
    return {name: float(np.max(value)) for name, value in means.items()}


def sod_pranet(pairs: list[Pair]) -> dict[str, float]:
    """The same by pysodmetrics, with and without min-max."""
    results: dict[str, float] = {}
    for suffix in ("", "_min_max"):
        handlers = {"dice": sod.DICEHandler(True, False), "iou": sod.IOUHandler(True, False)}
        overlap = sod.FmeasureV2(handlers)
        others = sod.WeightedFmeasure(), sod.Smeasure(), sod.Emeasure(), sod.MAE()
        for pred, label in map(read, pairs):
            scaled = (pred - pred.min()) / np.ptp(pred) if suffix and np.ptp(pred) else pred
            for metric in (overlap, *others):
                metric.step(scaled, label, normalize=False)
        found = overlap.get_results()
        results |= {
            f"mean_dice{suffix}": found["dice"]["dynamic"].mean(),
            f"mean_iou{suffix}": found["iou"]["dynamic"].mean(),
            f"weighted_f{suffix}": others[0].get_results()["wfm"],
            f"s_measure{suffix}": others[1].get_results()["sm"],
            f"e_curve{suffix}": others[2].get_results()["em"]["curve"].max(),
            f"mae{suffix}": others[3].get_results()["mae"],
        }
    return {name: float(value) for name, value in results.items()}


def timed(work: Callable[[list[Pair]], dict[str, float]], pairs: list[Pair]) -> tuple[float, dict[str, float]]:
    """Milliseconds per pair, the best of two runs, and the figures."""
    spans = []
    for _ in range(2):
        began = time.perf_counter()
        figures = work(pairs)
        spans.append(time.perf_counter() - began)
    return min(spans) / len(pairs) * 1000, figures


def command(folder: Path, protocol: str) -> tuple[float, float]:
    """Seconds that the whole `masksup evaluate` takes, and the memory of its largest process, in MB."""
    masksup = [str(Path(sys.executable).parent / "masksup"), "evaluate", "--task", "polyp", "--protocol", protocol]
    files = ["--pred", str(folder / "pred"), "--label", str(folder / "label"), "-o", str(folder / protocol)]
    began = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", MEASURE, *masksup, *files], check=True, capture_output=True, text=True)
    return time.perf_counter() - began, int(run.stdout) / 1024


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="of pairs (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_pairs(Path(folder) / "all", args.count)
        write_pairs(Path(folder) / "tenth", args.count // 10)
        print("| figures | library | ms per pair, one process | times |\n|---|---|---:|---:|")
        for title, reference, theirs, ours in (
            ("overlap and boundary", "MONAI", monai_native, ours_native),
            ("PraNet's, raw and scaled", "pysodmetrics", sod_pranet, ours_pranet),
        ):
            (slow, expected), (fast, found) = timed(theirs, pairs), timed(ours, pairs)
            difference = max(abs(found[name] - value) / max(1, abs(value)) for name, value in expected.items())
            assert difference < 1e-6, (title, difference)
            print(f"| {title} | {reference} | {slow:.1f} | 1 |")
            print(f"| | masksup | {fast:.1f} | {slow / fast:.1f} (largest difference {difference:.0e}) |")
        print("\n| `masksup evaluate` | pairs | seconds | MB, largest process |\n|---|---:|---:|---:|")
        for name, count in (("tenth", args.count // 10), ("all", args.count)):
            for protocol in ("native", "pranet"):
                seconds, megabytes = command(Path(folder) / name, protocol)
                print(f"| {protocol} | {count} | {seconds:.1f} | {megabytes:.0f} |")


if __name__ == "__main__":
    main()
