"""Annotation in simulation: which images to label next, by disagreement, by entropy, or by chance.

    python -m tests.benchmarks.active_learning DATA OUT --seed 0  # and 1, and 2: hours on a CPU; goes on where it was
    python -m tests.benchmarks.active_learning DATA OUT --table  # and OUT/annotation.png

Each seed holds out a third of the patients to measure on. Of the other images 5 are labelled at first, the same for
each way to choose; then five times 5 more, that the model of before would like to have labelled. Each model is
trained from the start, with MaskSup, for as many steps.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GroupKFold

from masksup_med.bundle.bundle import Bundle
from masksup_med.bundle.edit import with_settings
from masksup_med.bundle.predictor import Predictor
from masksup_med.data.datalist import load_datalist, save_datalist
from masksup_med.data.decode import read_image, read_label
from masksup_med.data.splits import Item
from masksup_med.evaluate.paired import Difference, difference, resampled_means
from masksup_med.evaluate.quality.scores import answer, entropy
from masksup_med.label.scores import disagreement_of, viewing
from masksup_med.metrics.overlap import iou
from masksup_med.metrics.statistics import Bootstrap, interval
from masksup_med.train.workflow import fit, reports
from tests.bundle.bundles import SMALL_UNET, blank_copy

WAYS = ("random", "disagreement", "entropy")
STEP, ROUNDS, FOLDS = 5, 5, 3
BATCH, BATCHES = 8, 600
SETTINGS = {
    "image_size": [128, 80], "compile": True, "val_interval": "@max_epochs", "batch_size": BATCH,
    "learning_rate": 0.001, "training_size": "@image_size",
    "context_weight": 0.3, "hiding#ratio": "medium", **SMALL_UNET,
}  # fmt: skip


def simulate(data: Path, folder: Path, seed: int) -> None:
    """Label, train and measure, round by round, in each way; a model that is there already is not trained again."""
    lists = load_datalist(data)
    items = [*lists["training"], *lists["validation"]]
    groups = [item["group"] for item in items]
    inside, outside = list(GroupKFold(FOLDS).split(items, groups=groups))[seed % FOLDS]
    pool, held_out = [items[index] for index in inside], [items[index] for index in outside]
    first = np.random.default_rng(seed).permutation(len(pool))[:STEP]
    for way in WAYS:
        labelled = [pool[index] for index in first]
        for number in range(ROUNDS + 1):
            shared = way if number else "start"
            bundle = trained(folder / f"seed{seed}" / shared / str(len(labelled)), labelled, held_out, seed)
            measure(folder / f"seed{seed}" / way / f"{len(labelled)}.csv", bundle, held_out)
            waiting = [item for item in pool if item not in labelled]
            labelled = [*labelled, *chosen(way, bundle, waiting, [seed, number])]


def trained(folder: Path, labelled: list[Item], held_out: list[Item], seed: int) -> Bundle:
    """The model of some labels."""
    weights = folder / "models" / "model.pt"
    if not weights.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        blank_copy("polyp_masksup", folder)
        settings = {**SETTINGS, "seed": seed, "max_epochs": BATCHES // -(-len(labelled) // BATCH)}
        for name in ("train", "inference"):
            file = folder / "configs" / f"{name}.yaml"
            own = settings if name == "train" else {"image_size": settings["image_size"], **SMALL_UNET}
            file.write_text(with_settings(file.read_text(encoding="utf-8"), own), encoding="utf-8")
        save_datalist({"training": labelled, "validation": held_out}, folder / "images.json")
        with reports():
            fit(folder, resume=False, dataset_dir=str(folder / "images.json"))
        (folder / "eval" / "checkpoint.pt").unlink()
    return Bundle(folder)


def chosen(way: str, bundle: Bundle, waiting: list[Item], seed: list[int]) -> list[Item]:
    """The images to label next."""
    if way == "random":
        scores = np.random.default_rng(seed).random(len(waiting))
    elif way == "entropy":
        predictor = Predictor(bundle)
        scores = np.array([entropy(answer(predictor, read_image(item["image"]))) for item in waiting])
    else:
        predictor = viewing(bundle)
        scores = np.array([disagreement_of(predictor, Path(item["image"])) for item in waiting])
    return [waiting[index] for index in np.argsort(-scores)[:STEP]]


def measure(file: Path, bundle: Bundle, held_out: list[Item]) -> None:
    """Write the IoU of each held-out image, at its own size."""
    if file.is_file():
        return
    predictor = Predictor(bundle)
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", newline="", encoding="utf-8") as output:
        writer = csv.writer(output)
        writer.writerow(["image", "group", "iou"])
        for item in held_out:
            found, truth = predictor(item["image"]).classes > 0, read_label(item["label"]) > 0
            writer.writerow([Path(item["image"]).stem, item["group"], iou(found, truth)])


class Point(NamedTuple):
    """What a way to choose has come to with a number of labels."""

    mean: float  # IoU
    interval: tuple[float, float]
    difference: Difference | None  # from chance


Points = Sequence[tuple[int, dict[str, Point]]]


def points(folder: Path) -> Iterator[tuple[int, dict[str, Point]]]:
    """IoU by number of labels, all folds together, with 95 % intervals over patients."""
    for count in range(STEP, STEP * (ROUNDS + 2), STEP):
        rows = {
            way: [row for file in sorted(folder.glob(f"seed*/{way}/{count}.csv")) for row in _rows(file)]
            for way in WAYS
        }
        if len({len(each) for each in rows.values()}) > 1 or not rows["random"]:
            continue
        groups = [row["group"] for row in rows["random"]]
        bootstrap, draws = Bootstrap(groups), np.random.default_rng(0)
        values = {way: np.array([[float(row["iou"])] for row in each]) for way, each in rows.items()}
        means = {way: resampled_means(each, bootstrap, draws) for way, each in values.items()}
        found = {}
        for way in WAYS:
            pair = (means["random"], means[way])
            from_chance = None if way == "random" else difference(values["random"], values[way], pair, groups)
            found[way] = Point(float(values[way].mean()), interval(means[way]) or (np.nan, np.nan), from_chance)
        yield count, found


def table(found: Points) -> Iterator[str]:
    """The points as Markdown."""
    yield "| labels | " + " | ".join(f"{way} | difference" if way != "random" else way for way in WAYS) + " |"
    yield "|---:|" + "---:|" * (2 * len(WAYS) - 1)
    for count, ways in found:
        cells = []
        for mean, (low, high), from_chance in ways.values():
            cells.append(f"{mean:.3f} ({low:.3f} to {high:.3f})")
            if from_chance:
                low, high = from_chance.interval or (np.nan, np.nan)
                cells.append(f"{from_chance.mean:+.3f} ({low:+.3f} to {high:+.3f}), p {from_chance.p:.2g}")
        yield f"| {count} | {' | '.join(cells)} |"


def draw(found: Points, file: Path) -> None:
    """The points as a picture."""
    counts = np.array([count for count, _ in found])
    figure, axes = plt.subplots(figsize=(6, 3.8), layout="constrained")
    for number, (way, colour) in enumerate(zip(WAYS, ("0.4", "#0072b2", "#d55e00"), strict=True)):
        means = np.array([ways[way].mean for _, ways in found])
        low, high = np.array([ways[way].interval for _, ways in found]).T
        places = counts + (number - 1) * 0.25  # beside each other
        axes.errorbar(places, means, (means - low, high - means), color=colour, marker="o", capsize=2, label=way)
    axes.set(xlabel="labelled images", ylabel="IoU on patients held out", xticks=counts)
    axes.legend(frameon=False)
    figure.savefig(file, dpi=110)


def _rows(file: Path) -> list[dict[str, str]]:
    with open(file, newline="", encoding="utf-8") as content:
        return list(csv.DictReader(content))


def main() -> None:
    """Simulate a seed, or print the table of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="such as ../shared/data/glas/train")
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if args.table:
        if not (found := list(points(args.output))):
            parser.error(f"no round in {args.output} is finished in all ways")
        print("\n".join(table(found)))
        draw(found, args.output / "annotation.png")
    else:
        simulate(args.data, args.output, args.seed)


if __name__ == "__main__":
    main()
