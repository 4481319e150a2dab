"""How fast `masksup predict` is beside its own network alone and beside the stock bundle, and in how much memory.

    python -m tests.benchmarks.predict [--count 500] [--files 4000]

prints the tables of docs/reports/prediction.md, in about ten minutes. Images are generated colonoscopy frames, by turns
JPEG and PNG, by turns of CVC-ClinicDB's size (384 x 288) and of one that is common in Kvasir-SEG (622 x 529). The
bundle is polyp_masksup with the residual U-Net, after half a minute of training on such frames, so that it finds a
polyp or two in most.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.losses import DiceCELoss
from PIL import Image

from masksup_med.bundle import Bundle, Predictor
from masksup_med.bundle.linear import LinearProcessing
from masksup_med.bundle.processing import MonaiProcessing
from masksup_med.data.decode import read_image
from masksup_med.data.phantoms import polyp_phantom
from masksup_med.predict.discovery import find_images
from masksup_med.predict.model import Settings
from masksup_med.predict.run import predict_images
from tests.bundle.bundles import SMALL_UNET, blank_copy

SIZES = ((288, 384), (529, 622))
SIDE, STEPS, BATCH = 352, 120, 2  # of training
MASKSUP = str(Path(sys.executable).parent / "masksup")
# in a small process of its own, since a child's memory counts that of the process it was started from
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, capture_output=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def write_frames(folder: Path, count: int) -> None:
    """Write frames, by turns of two kinds of file and two sizes."""
    folder.mkdir()
    for number in range(count):
        frame, _ = polyp_phantom(SIZES[number // 2 % 2], np.random.default_rng([1, number]))
        options: dict[str, Any] = {"quality": 90} if number % 2 else {}
        Image.fromarray(frame).save(folder / f"{number:04}.{'jpg' if number % 2 else 'png'}", **options)


def trained_bundle(folder: Path) -> Bundle:
    """A copy of polyp_masksup that has learnt for half a minute."""
    config = ConfigParser()
    own = {"image_size": [SIDE, SIDE], **SMALL_UNET}
    config.read_config(blank_copy("polyp_masksup", folder, **own) / "configs" / "inference.yaml")
    torch.manual_seed(0)
    network, processing = config.get_parsed_content("network_def"), LinearProcessing.of(config)
    assert processing is not None
    optimiser, loss = torch.optim.Adam(network.parameters(), 8e-3), DiceCELoss(sigmoid=True)
    for step in range(STEPS):
        drawn = [polyp_phantom((SIDE, SIDE), np.random.default_rng([2, step, number])) for number in range(BATCH)]
        images = torch.stack([processing.prepare(frame).image for frame, _ in drawn])
        labels = torch.stack([torch.from_numpy((label.T > 0).astype(np.float32))[None] for _, label in drawn])
        optimiser.zero_grad()
        loss(network(images), labels).backward()
        optimiser.step()
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return Bundle.open(folder)


def seconds(work: Callable[[], Any]) -> float:
    """How long something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def network_alone(predictor: Predictor, frames: list[Path], batch_size: int) -> float:
    """Seconds for all frames, once they are in memory as the network takes them."""
    prepared = [predictor.prepare(read_image(path)).image for path in frames[:50]]
    images = list(itertools.islice(itertools.cycle(prepared), len(frames)))
    batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    return seconds(lambda: [predictor.infer(batch) for batch in batches])


def stock(bundle: Bundle, frames: Path, output: Path) -> float:
    """Seconds that the bundle takes by itself; it writes masks alone."""
    workflow = ConfigWorkflow(
        config_file=str(bundle.folder / "configs" / "inference.yaml"),
        workflow_type="infer",
        logging_file=False,
        dataset_dir=str(frames),
        output_dir=str(output),
    )
    with contextlib.redirect_stderr(io.StringIO()):
        workflow.initialize()
        return seconds(workflow.run)


def whole(bundle: Bundle, frames: Path, output: Path, batch_size: int) -> float:
    """Seconds for all that `masksup predict` does once Python and its libraries are there."""
    shutil.rmtree(output, ignore_errors=True)
    settings = Settings(batch_size=batch_size)
    return seconds(lambda: predict_images(bundle, find_images([frames], output), output, settings))


def speed(bundle: Bundle, frames: Path, folder: Path) -> None:
    """Print images per second; each line's runs alternate with those of the network alone, and the best counts."""
    paths, predictor = sorted(frames.iterdir()), Predictor(bundle)
    print("| | batch | images/s | of the network alone |\n|---|---:|---:|---:|")
    ours = 0.0
    for batch_size in (1, 4):
        runs = [
            (network_alone(predictor, paths, batch_size), whole(bundle, frames, folder / "ours", batch_size))
            for _ in range(3)
        ]
        alone, all_of_it = (len(paths) / min(column) for column in zip(*runs, strict=True))
        ours = max(ours, all_of_it)
        share = all_of_it / alone
        print(f"| the network alone | {batch_size} | {alone:.1f} | 1 |")
        print(f"| `masksup predict`: masks, overlays, tables, report | {batch_size} | {all_of_it:.1f} | {share:.2f} |")
    monai = len(paths) / stock(bundle, frames, folder / "stock")
    print(f"| `python -m monai.bundle run`: masks | 1 | {monai:.1f} | |")
    print(f"\n`masksup predict` is {ours / monai:.1f} times as fast as the stock bundle.")
    print(f"Masks that differ in a pixel: {differing(folder / 'stock', folder / 'ours' / 'masks')} of {len(paths)}.\n")


def differing(first: Path, second: Path) -> int:
    """How many masks are not the same."""
    return sum(
        not np.array_equal(read_image(path), read_image(second / path.name)) for path in sorted(first.glob("*.png"))
    )


def processing(bundle: Bundle, frames: Path) -> None:
    """Print milliseconds for each image before and after the network, on one thread."""
    torch.set_num_threads(1)
    predictor, pictures = Predictor(bundle), [read_image(path) for path in sorted(frames.iterdir())[:40]]
    logits = [predictor.infer([predictor.prepare(picture).image])[0] for picture in pictures]
    print("| ms per image, one thread | before the network | after it |\n|---|---:|---:|")
    for name, way in (
        ("MONAI's transforms", MonaiProcessing(bundle.config)),
        ("masksup", LinearProcessing.of(bundle.config)),
    ):
        assert way is not None
        began = time.perf_counter()
        prepared = [way.prepare(picture) for picture in pictures]
        between = time.perf_counter()
        for pair in zip(prepared, logits, strict=True):
            way.decide(way.probabilities(*pair))
        before, after = between - began, time.perf_counter() - between
        print(f"| {name} | {before / len(pictures) * 1e3:.1f} | {after / len(pictures) * 1e3:.1f} |")
    print()


def memory(bundle: Bundle, frames: Path, folder: Path, files: int) -> None:
    """Print the memory of the whole command for few and for many files."""
    print("| files | MB at most | seconds, start included |\n|---:|---:|---:|")
    sources = sorted(frames.iterdir())
    for count in (files // 20, files):
        many = folder / f"files{count}"
        many.mkdir()
        for number in range(count):
            source = sources[number % len(sources)]
            os.link(source, many / f"{number:05}{source.suffix}")
        command = [MASKSUP, "predict", str(many), "-o", str(folder / f"out{count}"), "--bundle", str(bundle.folder)]
        began = time.perf_counter()
        run = subprocess.run([sys.executable, "-c", MEASURE, *command], check=True, capture_output=True, text=True)
        print(f"| {count} | {int(run.stdout) / 1024:.0f} | {time.perf_counter() - began:.0f} |")
    print()


def start(bundle: Bundle, frames: Path, folder: Path) -> None:
    """Print how long the command takes to start."""

    def best(*command: str) -> float:
        return min(
            seconds(lambda: subprocess.run([MASKSUP, *command], check=True, capture_output=True)) for _ in range(5)
        )

    frame = str(next(iter(sorted(frames.iterdir()))))
    one = best("predict", frame, "-o", str(folder / "one"), "--bundle", str(bundle.folder), "--overwrite")
    print("| | seconds |\n|---|---:|")
    print(f"| `masksup --help` | {best('--help'):.2f} |\n| `masksup predict` of one image | {one:.1f} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="of images for speed (default: %(default)s)")
    parser.add_argument("--files", type=int, default=4000, help="of files for memory (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_frames(folder / "frames", args.count)
        bundle = trained_bundle(folder / "bundle")
        speed(bundle, folder / "frames", folder)
        memory(bundle, folder / "frames", folder, args.files)
        start(bundle, folder / "frames", folder)
        processing(bundle, folder / "frames")


if __name__ == "__main__":
    main()
