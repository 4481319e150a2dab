"""Draw the pictures of the documentation and of the model cards, after ``make demo``.

    .venv/bin/python docs/images/draw.py

The report is looked at through Debian's chromium.
"""

import csv
import subprocess
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from masksup_med.bundle import Bundle, Predictor
from masksup_med.data import read_image, read_label
from masksup_med.data.phantoms import gland_phantom, polyp_phantom
from masksup_med.evaluate.reports.plots import BLUE
from masksup_med.outputs.overlay import draw_overlay, write_picture
from masksup_med.transforms import RandBlockMask, RandPatchMask, RandScribbleMask

HERE = Path(__file__).parent
DEMO = HERE.parents[1] / "demo"


def draw_phantoms(count: int = 4) -> None:
    """Three rows: frames, what training hides of them, and the demo's masks with the truth."""
    hide = RandPatchMask(ratio="medium", patch_size=24, fill=127).set_random_state(0)
    columns = []
    for mask in sorted((DEMO / "results" / "masks").glob("*.png"))[:count]:
        frame = read_image(DEMO / "frames" / "images" / mask.name)
        hidden = np.moveaxis(np.asarray(hide(np.moveaxis(frame, -1, 0))[0]), 0, -1)
        truth = read_label(DEMO / "frames" / "labels" / mask.name)
        found = draw_overlay(frame, read_label(mask) > 0, truth > 0)
        columns.append(np.concatenate([frame, hidden, found]))
    write_picture(HERE / "phantoms.jpg", np.concatenate(columns, axis=1))


def draw_report() -> None:
    """The upper part of the demo's report, as a browser shows it."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "report.png"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,1250"]
        page = (DEMO / "results" / "report.html").as_uri()
        subprocess.run(["chromium", *options, f"--screenshot={shot}", page], check=True, capture_output=True)
        write_picture(HERE / "report.jpg", np.asarray(Image.open(shot).convert("RGB")))


def draw_released(count: int = 5) -> None:
    """What the released bundles make of drawings, in their cards: found in blue, drawn in yellow."""
    for name, phantom in (("polyp_masksup", polyp_phantom), ("gland_masksup", gland_phantom)):
        predictor, pictures = Predictor(Bundle.open(name)), []
        for number in range(count):
            picture, truth = phantom((288, 320), np.random.default_rng([3, number]))
            pictures.append(draw_overlay(picture, predictor(picture).classes > 0, truth > 0))
        write_picture(HERE.parents[1] / "bundles" / name / "docs" / "phantoms.jpg", np.concatenate(pictures, axis=1))


def draw_masks(size: int = 160) -> None:
    """A row for patches, blocks and scribbles, a column for each level, hidden in white."""
    blank = np.zeros((1, size, size), dtype=np.float32)
    rows = []
    for kind in (RandPatchMask, RandBlockMask, RandScribbleMask):
        masks = [kind(ratio=level).set_random_state(1)(blank)[1][0] for level in ("low", "medium", "high")]
        rows.append(np.concatenate([np.pad(mask * np.uint8(255), 3, constant_values=127) for mask in masks], axis=1))
    Image.fromarray(np.concatenate(rows)).save(HERE / "masks.png", optimize=True)


def draw_experiments() -> None:
    """What each way to train costs on whole images of GlaS, and gains on hidden ones, from the reports' tables."""
    tables = HERE.parent / "reports" / "experiments"
    figure, axes = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    for name, colour in (("masking", BLUE), ("alphas_folds", "#d55e00")):
        with open(tables / f"{name}.csv", newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["data"] == "glas" and row["seeds"] == "3"]
        for row in rows:
            if row["baseline"] and not row["cell"].startswith("masksup"):
                x, y = (float(row[f"{each} difference"]) for each in ("iou", "patch 0.6"))
                axes.plot(x, y, "o", color=colour, markersize=5)
                text, at_left = row["cell"].removeprefix("context, "), row["cell"].endswith(("scribble_low", "long"))
                place, side = ((-6, -3), "right") if at_left else ((6, -3), "left")
                axes.annotate(text, (x, y), place, textcoords="offset points", size=8, ha=side)
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.margins(0.14)
    axes.set(xlabel="IoU on whole images, difference from the baseline", ylabel="IoU with 60 % hidden, difference")
    figure.savefig(HERE / "experiments.png", dpi=110)


if __name__ == "__main__":
    draw_experiments()
    draw_masks()
    draw_phantoms()
    draw_released()
    draw_report()
