"""What the released bundles are worth on validation images: the tables of their model cards.

    python -m tests.benchmarks.released DATA -o OUT

DATA holds the data sets as ../shared/data does. Validation images are those that the recipes hold out: a fifth, by
video sequence or patient, and Kvasir-SEG's own validation part. Each evaluation's files, and those of the occlusion
test, stay in OUT. Takes about a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from masksup_med.bundle import Bundle, Predictor
from masksup_med.data.datalist import load_datalist, save_datalist
from masksup_med.data.decode import read_image
from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.occlusion import measure_occlusion
from masksup_med.evaluate.predict import labelled_cases, predict_cases
from masksup_med.evaluate.run import evaluate_cases
from masksup_med.evaluate.write import PER_IMAGE
from masksup_med.inferers.runtimes.export import export

FIGURES = ("iou", "dice", "precision", "recall", "hd95", "nsd", "ece", "brier")
ROUNDS, FEW = 3, 20


class Released(NamedTuple):
    """A bundle, the data sets of its card, and by which of them groups are listed."""

    task: str
    sets: dict[str, str]
    grouped: str


BUNDLES = {
    "polyp_masksup": Released(
        "polyp", {"CVC-ClinicDB": "cvc_clinicdb/png", "Kvasir-SEG": "kvasir_seg"}, "CVC-ClinicDB"
    ),
    "gland_masksup": Released("gland", {"GlaS": "glas/train"}, "GlaS"),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("--bundle", choices=BUNDLES, help="only this one")
    args = parser.parse_args()
    for name, released in BUNDLES.items():
        if args.bundle in (None, name):
            print(f"\n## {name}\n")
            measure(name, released, args.data, args.output / name)


def measure(name: str, released: Released, data: Path, folder: Path) -> None:
    """Print a bundle's tables."""
    predictor = Predictor(Bundle.open(name))
    both = {"all": [data / place for place in released.sets.values()]} if len(released.sets) > 1 else {}
    places = {**{each: [data / place] for each, place in released.sets.items()}, **both}
    results: dict[str, dict[str, Any]] = {}
    for each, sources in places.items():
        save_datalist(load_datalist(sources), folder / f"{each}.json")
        predicted = predict_cases(predictor, labelled_cases(folder / f"{each}.json", "validation"), folder / each)
        results[each] = evaluate_cases(predicted, folder / each, released.task)
    whole = list(places)[-1]
    print("\n".join((*_figures(results), "", *_strata(results[whole]), "", *_groups(folder / released.grouped))))
    cases = labelled_cases(folder / f"{whole}.json", "validation")
    occlusion = measure_occlusion(predictor, cases, folder / "occlusion")
    print("\n".join(("", *_occlusion(occlusion), "", *_speeds(name, cases))))


def _figures(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield f"| | {' | '.join(results)} |"
    yield f"|---|{'---|' * len(results)}"
    yield _line("images, groups", (f"{of['images']}, {of['groups']}" for of in results.values()))
    for figure in FIGURES:
        yield _line(
            next(iter(results.values()))["metrics"][figure]["title"],
            (_interval(of["metrics"][figure]) for of in results.values()),
        )


def _strata(results: dict[str, Any]) -> Iterator[str]:
    yield "| size of what is marked | images | IoU | Dice |\n|---|---:|---|---|"
    for size, of in results["strata"].items():
        cells = (_interval(of["metrics"][figure]) for figure in ("iou", "dice"))
        least, most = of["object_share"] or (0, 0)
        yield _line(f"{size}, {least:.0%} to {most:.0%} of the image", (str(of["images"]), *cells))


def _groups(folder: Path) -> Iterator[str]:
    values = defaultdict(list)
    with open(folder / PER_IMAGE, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            values[row["group"]].append(float(row["iou"]))
    yield "| group | images | IoU, mean | least |\n|---|---:|---:|---:|"
    for group, of in sorted(values.items(), key=lambda item: len(item[1]), reverse=True):
        yield _line(group, (str(len(of)), f"{sum(of) / len(of):.3f}", f"{min(of):.3f}"))


def _occlusion(results: dict[str, Any]) -> Iterator[str]:
    yield f"| hidden | {' | '.join(f'{ratio:.0%}' for ratio in results['ratios'])} |"
    yield f"|---|{'---:|' * len(results['ratios'])}"
    for kind, curve in results["hidings"].items():
        yield _line(f"{kind}, IoU", (f"{iou:.3f}" for iou in curve["iou"]))
        yield _line("of the whole", (f"{iou / curve['iou'][0]:.0%}" for iou in curve["iou"]))


def _speeds(name: str, cases: list[Case]) -> Iterator[str]:
    """Each runtime, an image at a time, from the decoded picture to the mask at its size, on OMP_NUM_THREADS cores."""
    yield f"| runtime, {torch.get_num_threads()} core(s) | ms for an image | masks as torch's, IoU |\n|---|---:|---:|"
    pictures = [read_image(str(case.image)) for case in cases[:FEW]]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, name)
        shutil.copytree(Bundle.open(name).folder, folder)
        bundle, masks = Bundle(folder), {}
        for runtime in ("torch", "onnx", "openvino"):
            if runtime != "torch":
                export(bundle, runtime, "fp32")
            predictor = Predictor(bundle, runtime=runtime)
            spent = []
            for _ in range(ROUNDS):
                begun = time.perf_counter()
                masks[runtime] = [predictor(picture).classes > 0 for picture in pictures]
                spent.append((time.perf_counter() - begun) / len(pictures))
            shared = sum(int((a & b).sum()) for a, b in zip(masks[runtime], masks["torch"], strict=True))
            either = sum(int((a | b).sum()) for a, b in zip(masks[runtime], masks["torch"], strict=True))
            yield _line(runtime, (f"{min(spent) * 1e3:.0f}", f"{shared / either:.6f}"))


def _interval(metric: dict[str, Any]) -> str:
    if metric["value"] is None:
        return "–"
    bounds = metric["interval"]
    return f"{metric['value']:.3f}" + ("" if bounds is None else f" ({bounds[0]:.3f}–{bounds[1]:.3f})")


def _line(title: str, cells: Iterable[str]) -> str:
    return f"| {title} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
