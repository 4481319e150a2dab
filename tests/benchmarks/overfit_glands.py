"""How long each network takes to learn four real gland images by heart, a sign that it can learn at all.

    python tests/benchmarks/overfit_glands.py ../shared/data/glas/train [NAME …]

prints the table of docs/reports/networks.md. Long: some networks take ten minutes on a CPU.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from monai.losses import DiceCELoss
from monai.metrics import compute_iou
from monai.transforms import Compose, Resize, ScaleIntensityRange

from masksup_med.data import read_image, read_label
from masksup_med.networks import NETWORKS, create_network

IMAGES = ("train_1", "train_20", "train_40", "train_60")
SIDES = {"kiunet": 64}  # the others 128
RATES = {"axial_unet": 5e-3, "medt": 5e-3}  # the others 1e-3
GOAL = 0.90
CHECK_EVERY = 5


def glands(folder: Path, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return four images in [-1, 1] and their labels of 0 and 1, ``(4, 3, side, side)`` and ``(4, 1, side, side)``."""
    image = Compose([Resize((side, side), mode="area"), ScaleIntensityRange(0, 255, -1, 1)])
    label = Resize((side, side), mode="nearest")
    images = [image(read_image(folder / "images" / f"{name}.png").transpose(2, 0, 1)) for name in IMAGES]
    labels = [label((read_label(folder / "instances" / f"{name}.png") > 0)[None]) for name in IMAGES]
    return torch.stack(images).as_tensor(), torch.stack(labels).as_tensor().float()


def overfit(name: str, folder: Path, max_steps: int) -> tuple[int, float, float]:
    """Train until the mean IoU of the four images, in evaluation, is 0.90; return steps, seconds and that IoU."""
    torch.manual_seed(0)
    images, labels = glands(folder, SIDES.get(name, 128))
    network, loss = create_network(name, 3, 1), DiceCELoss(sigmoid=True, batch=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATES.get(name, 1e-3))
    began, step, iou = time.perf_counter(), 0, 0.0
    while step < max_steps and iou < GOAL:
        network.train()
        for _ in range(CHECK_EVERY):
            optimizer.zero_grad()
            loss(network(images), labels).backward()
            optimizer.step()
        step += CHECK_EVERY
        network.eval()
        with torch.no_grad():
            iou = compute_iou((network(images) > 0).float(), labels).mean().item()
    return step, time.perf_counter() - began, iou


def main() -> None:
    """Print a line of the table per network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="GlaS, with images/ and instances/")
    parser.add_argument("names", metavar="NAME", nargs="*", help="networks; all by default")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| network | side | steps | seconds | IoU |\n| --- | ---: | ---: | ---: | ---: |")
    for name in args.names or NETWORKS:
        steps, seconds, iou = overfit(name, args.folder, max_steps=600)
        print(f"| `{name}` | {SIDES.get(name, 128)} | {steps} | {seconds:.0f} | {iou:.3f} |", flush=True)


if __name__ == "__main__":
    main()
