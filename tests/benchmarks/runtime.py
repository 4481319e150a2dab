"""How fast each runtime and precision runs the networks, beside eager torch, and whether its masks are torch's.

    python -m tests.benchmarks.runtime

prints the table of docs/reports/runtimes.md in about ten minutes: images per second on one core, four at a time, the
best of several rounds in which all runtimes take turns. The bundles learn generated images for a while first, so that
their masks are of something. All masks of unseen images together are compared with eager torch's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.losses import DiceCELoss
from numpy.typing import NDArray

from masksup_med.bundle import Bundle, Predictor
from masksup_med.data.phantoms import gland_phantom, polyp_phantom
from masksup_med.inferers.runtimes import open_runtime
from masksup_med.inferers.runtimes.export import PRECISIONS, export
from tests.bundle.bundles import SMALL_UNET, blank_copy

SIDE, BATCH, ROUNDS, UNSEEN = 352, 4, 5, 24
BASIC_UNET = {"_target_": "BasicUNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 1}
BUNDLES = {  # name in the table: bundle, phantom, other settings, steps of training and pixels along a side in them
    "polyp_masksup": ("polyp_masksup", polyp_phantom, {}, 250, 128),
    "gland_masksup": ("gland_masksup", gland_phantom, {}, 250, 128),
    "polyp_masksup with BasicUNet": ("polyp_masksup", polyp_phantom, {"network_def": BASIC_UNET}, 100, 96),
}
Run = Callable[[torch.Tensor], torch.Tensor]
Phantom = Callable[[tuple[int, int], np.random.Generator], tuple[NDArray[Any], NDArray[Any]]]


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    print("| network | runtime | images/s | of eager torch | IoU of masks |\n|---|---|---:|---:|---:|")
    for name, settings in BUNDLES.items():
        with tempfile.TemporaryDirectory() as folder:
            measure(name, *settings, Path(folder) / "bundle")


def measure(name: str, bundle_name: str, phantom: Phantom, settings: Any, steps: int, side: int, folder: Path) -> None:
    """Print the lines of one network."""
    bundle = trained(bundle_name, phantom, settings, steps, side, folder)
    unseen, _ = batch(phantom, UNSEEN, 2, SIDE)
    runs = runtimes(bundle)
    masks = {
        runtime: np.concatenate([(run(part) > 0).numpy() for part in unseen.split(BATCH)]) for runtime, run in runs
    }
    best = dict.fromkeys(masks, np.inf)
    for _ in range(ROUNDS):
        for runtime, run in runs:
            best[runtime] = min(best[runtime], seconds(run, unseen[:BATCH]))
    eager = next(iter(best))
    for runtime, taken in best.items():
        common, union = (masks[eager] & masks[runtime]).sum(), (masks[eager] | masks[runtime]).sum()
        speed, iou = f"{BATCH / taken:.1f} | {best[eager] / taken:.2f}", f"{common / union:.4f}"
        print(f"| {name} | {runtime} | {speed} | {iou} |", flush=True)


def runtimes(bundle: Bundle) -> list[tuple[str, Run]]:
    """Every runtime in every precision, eager torch first."""
    eager = Predictor(bundle, "cpu").network
    last = Predictor(bundle, "cpu").network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    cpu = torch.device("cpu")

    @torch.inference_mode()
    def in_torch(images: torch.Tensor) -> torch.Tensor:
        return eager(images)

    @torch.inference_mode()
    def channels_last(images: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            return last(images.to(memory_format=torch.channels_last)).float()

    runs: list[tuple[str, Run]] = [
        ("torch, eager", in_torch),
        ("torch, channels last", channels_last),
        ("torch, channels last, bf16", lambda images: channels_last(images, torch.bfloat16)),
    ]
    for form in ("onnx", "openvino"):
        for precision in PRECISIONS[form]:
            export(bundle, form, precision)
            runs.append((f"{form}, {precision}", open_runtime(bundle, form, eager, cpu)))
    return runs


def seconds(run: Run, images: torch.Tensor) -> float:
    """How long a batch takes; the second of two, for the first may have to warm up again."""
    run(images)
    start = time.perf_counter()
    run(images)
    return time.perf_counter() - start


def trained(name: str, phantom: Phantom, settings: Any, steps: int, side: int, folder: Path) -> Bundle:
    """A copy of a bundle, with other settings, that has learnt phantoms."""
    blank_copy(name, folder, **{**SMALL_UNET, **settings})
    weights = folder / "models" / "model.pt"
    torch.save({}, weights)  # a bundle without weights does not open
    torch.manual_seed(0)
    network: torch.nn.Module = Bundle.open(folder).made("network").train()
    optimiser, loss = torch.optim.Adam(network.parameters(), 5e-3), DiceCELoss(sigmoid=True)
    for step in range(steps):
        images, labels = batch(phantom, BATCH, [1, step], side)
        optimiser.zero_grad()
        loss(network(images), labels).backward()
        optimiser.step()
    torch.save(network.state_dict(), weights)
    return Bundle.open(folder)


def batch(phantom: Phantom, count: int, seed: int | Sequence[int], side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images from -1 to 1 and labels of 0 and 1, shape (count, channels, side, side)."""
    random = np.random.default_rng(seed)
    images, labels = zip(*(phantom((side, side), random) for _ in range(count)), strict=True)
    pictures = np.stack(images).astype(np.float32).transpose(0, 3, 2, 1) / 127.5 - 1
    return torch.from_numpy(pictures), torch.from_numpy(
        (np.stack(labels) > 0).astype(np.float32).swapaxes(1, 2)[:, None]
    )


if __name__ == "__main__":
    main()
