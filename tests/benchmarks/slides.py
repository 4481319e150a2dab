"""Time and memory of `masksup predict` on a large generated slide: glands on a third of it, glass elsewhere.

    python -m tests.benchmarks.slides BUNDLE [--width 40000] [--height 30000] [--levels 3] [--folder DIR]

BUNDLE must take slides (`mpp` in its inference.yaml); the gland bundle, trained on phantoms for a minute, will do.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tifffile import TiffWriter

from masksup_med.data.phantoms import gland_phantom

BLOCK, TILE, FACTOR = 2048, 256, 4
MPP = 0.5
SHARE = 0.35  # of the blocks that are tissue
KINDS, FIELD = 6, 512  # of tissue, and the side of a phantom in it
MASKSUP = str(Path(sys.executable).parent / "masksup")
# in a small process of its own, since a child's memory counts that of the process it was started from
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


class Blocks:
    """The squares that a slide is laid with, at each level."""

    def __init__(self, levels: int) -> None:
        rng = np.random.default_rng(0)
        glass = np.clip(rng.normal(243, 1.5, (BLOCK, BLOCK, 1)) + np.array([0, 0, -1]), 0, 255).astype(np.uint8)
        fields = [glass, *(_tissue(rng) for _ in range(KINDS))]
        self._levels = [
            [np.asarray(Image.fromarray(field).reduce(FACTOR**level)) for field in fields] for level in range(levels)
        ]

    def tiles(self, level: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
        """Tiles of a level, row by row; a tile may hold several blocks, or a block several tiles."""
        width, height = size
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                step = min(TILE, BLOCK // FACTOR**level)
                places = range(0, TILE, step)
                rows = [np.concatenate([self._part(level, top + y, left + x, step) for x in places], 1) for y in places]
                yield np.concatenate(rows)

    def _part(self, level: int, top: int, left: int, size: int) -> np.ndarray:
        side = BLOCK // FACTOR**level
        y, x = top % side, left % side
        return self._levels[level][self._kind(top // side, left // side)][y : y + size, x : x + size]

    def _kind(self, row: int, column: int) -> int:
        rng = np.random.default_rng([row, column])
        return int(rng.integers(1, KINDS + 1)) if rng.random() < SHARE else 0


def _tissue(rng: np.random.Generator) -> np.ndarray:
    side = range(BLOCK // FIELD)
    rows = [np.concatenate([gland_phantom((FIELD, FIELD), rng)[0] for _ in side], axis=1) for _ in side]
    return np.concatenate(rows)


def write_slide(path: Path, width: int, height: int, levels: int) -> None:
    """Write a pyramidal TIFF in JPEG tiles."""
    blocks = Blocks(levels)
    with TiffWriter(path, bigtiff=True) as tiff:
        for level in range(levels):
            size = width // FACTOR**level, height // FACTOR**level
            pixels_per_cm = 1e4 / MPP / FACTOR**level
            tiff.write(
                blocks.tiles(level, size),
                shape=(*size[::-1], 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 85},
                subfiletype=int(level > 0),
                resolution=(pixels_per_cm, pixels_per_cm),
                resolutionunit="CENTIMETER",
                metadata=None,
            )


def measure(bundle: str, folder: Path, width: int, height: int, levels: int) -> None:
    """Write a slide if it is not there, predict it, and print time and memory."""
    name = f"{width}x{height}x{levels}"
    slide, out = folder / f"{name}.tif", folder / f"{name}_out"
    if not slide.exists():
        write_slide(slide, width, height, levels)
    print(f"slide     {width} × {height} pixels of {MPP} µm, {slide.stat().st_size >> 20} MB")
    command = [MASKSUP, "predict", str(slide), "-o", str(out), "--bundle", bundle, "--overwrite"]
    command += ["--outputs", "masks,overlays,polygons"]
    start = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", MEASURE, *command], check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - start
    line = json.loads((out / "manifest.jsonl").read_text())
    print(f"predicted {line['tissue_share']:.2f} of its tiles, {len(line['objects'])} objects")
    print(f"time      {seconds:.0f} s")
    print(f"memory    {int(run.stdout.split()[-1]) >> 10} MB at most")
    for path in line["outputs"]:
        print(f"{path}: {(out / path).stat().st_size >> 10} KB")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--width", type=int, default=40_000)
    parser.add_argument("--height", type=int, default=30_000)
    parser.add_argument("--levels", type=int, default=3, help="sizes that the slide has")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        measure(args.bundle, args.folder or Path(temporary), args.width, args.height, args.levels)


if __name__ == "__main__":
    main()
