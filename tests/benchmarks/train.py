"""Images per second of a bundle's training, beside the pattern of the published training loop, in one run.

    python -m tests.benchmarks.train --size 128

The pattern: each epoch decodes and resizes all files anew in workers, the network runs once for each view, in single
precision. The bundle's: decoded once, augmented and hidden as batches, both views in one batch, compiled by torch where
that can be had. Network, batch, size, loss and optimiser are the same; only the bundle's augments.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from masksup_med.bundle import find_bundle
from masksup_med.bundle.location import overlay
from masksup_med.data.phantoms import write_phantoms
from masksup_med.transforms import RandMask, RandPatchMask, RandScribbleMask

IMAGES, BATCH = 64, 8


class FromFiles(Dataset):
    """Images and labels as the published loop reads them: from their files, each time."""

    def __init__(self, folder: Path, size: int) -> None:
        self.files = sorted((folder / "images").iterdir())
        self.size = (size, size)
        self.hiding = RandPatchMask("medium", 16)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        file = self.files[index]
        picture = Image.open(file).convert("RGB").resize(self.size, Image.Resampling.BILINEAR)
        label = (
            Image.open(file.parents[1] / "labels" / file.name).convert("L").resize(self.size, Image.Resampling.NEAREST)
        )
        image = torch.from_numpy(np.asarray(picture, np.float32) / 127.5 - 1).permute(2, 0, 1).contiguous()
        return image, torch.from_numpy((np.asarray(label) > 127).astype(np.float32))[None], self.hiding(image)[0]


def published(config: ConfigParser, folder: Path, size: int) -> Callable[[], None]:
    """One epoch of the published pattern."""
    torch.manual_seed(0)
    network = config.get_parsed_content("network_def", instantiate=True)
    loss, optimizer = config.get_parsed_content("loss"), torch.optim.AdamW(network.parameters(), 0.001)
    loader = DataLoader(FromFiles(folder, size), BATCH, shuffle=True, num_workers=2, persistent_workers=True)

    def epoch() -> None:
        for image, label, masked in loader:
            optimizer.zero_grad()
            loss(network(image), label, network(masked)).total.backward()
            optimizer.step()

    return epoch


def ours(config: ConfigParser) -> Callable[[], None]:
    """One epoch of the bundle's own trainer."""
    trainer = config.get_parsed_content("train#trainer")
    epochs = itertools.count(1)

    def epoch() -> None:
        trainer.state.max_epochs = next(epochs)
        trainer.run()

    return epoch


def floor(config: ConfigParser, size: int) -> Callable[[], None]:
    """As many steps on batches that are there: forward, loss, backward, optimiser."""
    network = config.get_parsed_content("network_def", instantiate=True).to(memory_format=torch.channels_last)
    run = torch.compile(network, dynamic=False) if config["compile"] else network
    loss, optimizer = config.get_parsed_content("loss"), torch.optim.AdamW(network.parameters(), 0.001)
    both = torch.rand(2 * BATCH, 3, size, size) * 2 - 1
    label = (torch.rand(BATCH, 1, size, size) > 0.7).float()

    def epoch() -> None:
        for _ in range(IMAGES // BATCH):
            optimizer.zero_grad()
            first, second = run(both).chunk(2)
            loss(first, label, second).total.backward()
            optimizer.step()

    return epoch


def data(config: ConfigParser) -> Callable[[], None]:
    """An epoch's data alone: loaded, augmented, hidden."""
    loader, prepare = config.get_parsed_content("train#dataloader"), config.get_parsed_content("train#prepare_batch")

    def epoch() -> None:
        for batch in loader:
            prepare(batch, "cpu")

    return epoch


def hiding(kind: RandMask, size: int) -> Callable[[], None]:
    """An epoch's hiding alone."""
    images = torch.rand(BATCH, 3, size, size)

    def epoch() -> None:
        for _ in range(IMAGES // BATCH):
            kind.hide_batch(images)

    return epoch


@contextmanager
def configured(size: int, compiled: bool) -> Iterator[tuple[ConfigParser, Path]]:
    """The polyp bundle on phantoms, without handlers."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "phantoms")
        write_phantoms("polyp", folder, count=IMAGES, size=(288, 384))
        config, root = ConfigParser(), find_bundle("polyp_masksup")
        config.read_config(str(root / "configs" / "train.yaml"))
        config.read_meta(str(root / "configs" / "metadata.json"))
        items = [
            {"image": str(file), "label": str(folder / "labels" / file.name)} for file in (folder / "images").iterdir()
        ]
        config.update(
            {
                **overlay("network", "residual_unet"),
                "device": "cpu", "image_size": [size, size], "training_size": "@image_size",
                "compile": compiled, "output_dir": temporary,
                "train#dataset#data": items, "train#dataset#progress": False, "train#trainer#train_handlers": [],
            }
        )  # fmt: skip
        yield config, folder


def per_image(epochs: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Milliseconds per image, the least of some rounds, after one that does not count."""
    best: dict[str, float] = {}
    for number in range(rounds + 1):
        for name, epoch in epochs.items():
            started = time.perf_counter()
            epoch()
            spent = (time.perf_counter() - started) / IMAGES * 1e3
            if number:
                best[name] = min(best.get(name, spent), spent)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="of the network's input (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    args = parser.parse_args()
    with configured(args.size, not args.eager) as (config, folder):
        times = per_image(
            {
                "published pattern": published(config, folder, args.size),
                "bundle": ours(config),
                "floor": floor(config, args.size),
                "data": data(config),
                "hiding, patches": hiding(RandPatchMask("medium", 16), args.size),
                "hiding, scribbles": hiding(RandScribbleMask("medium"), args.size),
            },
            args.rounds,
        )
    print(f"{args.size}², batch {BATCH}, {torch.get_num_threads()} threads, {'eager' if args.eager else 'compiled'}")
    for name, spent in times.items():
        print(f"{name:20} {spent:8.2f} ms/image  {1e3 / spent:8.1f} images/s  {spent / times['bundle']:7.1%} of a step")
    print(f"speed-up {times['published pattern'] / times['bundle']:.2f}")


if __name__ == "__main__":
    main()
