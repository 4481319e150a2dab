"""The report of a prediction: how much was found, what failed, and the images to look at first.

Numbers and words are made here, their layout in ``templates/prediction.html``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import nsmallest
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from masksup_med.outputs.overlay import CLASS_COLOURS
from masksup_med.outputs.page import css_colour, write_page
from masksup_med.predict.manifest import MANIFEST, Line
from masksup_med.predict.tables import IMAGES, MEASUREMENTS
from masksup_med.predict.tally import BARS, ClassTally, ModelTally, Tally
from masksup_med.predict.thumbnails import result_file, thumbnail

__all__ = ["REPORT", "write_report"]

REPORT = "report.html"

_SHOWN = 24  # images with their pictures
_BLUE = "#3d8fd1"  # seen on white as on black
_UNITS = {"area_mm2": "mm²", "area_um2": "µm²"}
_FILES = {
    IMAGES: "a row for each image: its confidence, its flags, or why it failed",
    MEASUREMENTS: "a row for each object: its place, size and shape",
    MANIFEST: "all of this, with what each result was made from and by",
}
_FOLDERS = {
    "overlays": "the images with the contours of what was found",
    "masks": "what was found, on the images' own pixels: 0 is background",
    "probabilities": "how probable it is at each pixel, from 0 to 65535",
    "disagreement": "how far views of the image are apart at each pixel, from 0 to 65535",
    "polygons": "each object with its class and measurements, as GeoJSON for QuPath",
    "dicom-seg": "DICOM segmentations of the DICOM files, with the patient's attributes unless deidentified",
}
_FLAGS = {
    "doubtful": ("doubtful", "views of the image disagree by as much as in predictions that were bad"),
    "nothing_found": ("nothing found", "there may be nothing to find, or the model has missed it"),
    "at_edge": ("at the edge", "something that was found reaches the edge of the picture, and may go on beyond it"),
    "tiled": ("in tiles", "the image is too large to be predicted as a whole, and was predicted in parts"),
}


def write_report(path: Path, lines: Callable[[], Iterator[Line]], sources: Mapping[str, Path]) -> None:
    """Write the report of a prediction as one HTML file, with all it shows inside.

    Args:
        path: where to, in the output folder.
        lines: goes through the manifest, one line at a time; no more of them are kept than are shown.
        sources: where the images of this run lie, by the names that lines have for them.
    """
    tally = Tally(sources)
    doubtful = nsmallest(_SHOWN, tally.done(lines()), key=_trust)
    models = sorted((_model_row(*each) for each in tally.models.items()), key=lambda row: (-row.done, *row))
    write_page(
        path,
        "prediction.html",
        title=_title(models),
        tally=tally,
        unfinished=len(sources) - tally.here,
        classes=[_class_row(*each) for each in sorted(tally.classes.items())],
        compared=any("disagreement" in line for line in doubtful),
        cards=[_card(line, path.parent, sources.get(line["image"])) for line in doubtful],
        flags=[(*_flag(name), count) for name, count in sorted(tally.flags.items())],
        histogram=_histogram(tally.confidence) if len(doubtful) < tally.images["done"] else None,
        models=models,
        mixed=[model for model in models if model.done] if sum(model.done > 0 for model in models) > 1 else [],
        files=_FILES,
        folders={kind: about for kind, about in _FOLDERS.items() if kind in tally.folders},
    )


def _trust(line: Line) -> tuple[float, float]:
    """The less, the more an image is to be doubted; those whose views were compared come first."""
    return -line.get("disagreement", -1.0), line["mean_confidence"]


class _ModelRow(NamedTuple):
    """A model, as the page names it."""

    name: str
    weights: str
    settings: str
    done: int
    failed: int
    versions: list[str]


def _title(models: Sequence[_ModelRow]) -> str:
    if not models:
        return "Predictions"
    return f"Predictions by {models[0].name if len(models) == 1 else f'{len(models)} models'}"


def _model_row(hashes: tuple[str, str], model: ModelTally) -> _ModelRow:
    weights, settings = (digest[:12] for digest in hashes)
    name = ", ".join(sorted(model.names))
    return _ModelRow(name, weights, settings, model.images["done"], model.images["failed"], sorted(model.versions))


class _Area(NamedTuple):
    """The size of the objects whose size is known, in one unit."""

    total: str
    median: str
    objects: int


class _ClassRow(NamedTuple):
    """A class, as the page shows it."""

    name: str
    colour: str
    objects: int
    images: int
    share: str
    areas: list[_Area]


def _class_row(key: tuple[int, str], found: ClassTally) -> _ClassRow:
    number, name = key
    colour = css_colour(CLASS_COLOURS[(number - 1) % len(CLASS_COLOURS)])
    areas = [_area(found, unit) for unit in _UNITS if unit in found.areas]
    return _ClassRow(name, colour, found.objects, found.images, _percent(found.share / found.images), areas)


def _area(found: ClassTally, unit: str) -> _Area:
    counts = found.areas[unit]
    return _Area(_measure(found.total[unit], _UNITS[unit]), _measure(_median(counts), _UNITS[unit]), counts.total())


def _median(counts: Counter[float]) -> float:
    values = sorted(counts)
    ends = np.cumsum([counts[value] for value in values])  # how many come up to and with each
    middle = [values[np.searchsorted(ends, place, side="right")] for place in ((ends[-1] - 1) // 2, ends[-1] // 2)]
    return sum(middle) / 2


def _measure(value: float, unit: str) -> str:
    digits = f"{value:.3g}" if value < 100 else f"{value:,.0f}".replace(",", "\u202f")
    return f"{digits}\u00a0{unit}"


def _percent(share: float) -> str:
    if share < 0.0005:
        return "<\u00a00.1\u00a0%" if share else "0\u00a0%"
    return f"{100 * share:.1f}\u00a0%"


def _flag(name: str) -> tuple[str, str]:
    """A flag in words, and what it means."""
    return _FLAGS.get(name, (name.replace("_", " "), ""))


def _histogram(counts: Sequence[int]) -> Markup:
    """How many images have how much confidence; from 0.5, below which there is hardly any."""
    from matplotlib.figure import Figure  # here, since few images need no histogram, and Matplotlib takes its time
    from matplotlib.ticker import MaxNLocator

    from masksup_med.outputs.plots import figure_svg, plot_style

    low = 0 if any(counts[: BARS // 2]) else BARS // 2
    edges = np.arange(low, BARS + 1) / BARS
    with plot_style():
        figure = Figure((4.8, 1.9), layout="constrained")
        axes = figure.add_subplot()
        axes.bar(edges[:-1], counts[low:], 0.92 / BARS, align="edge", color=_BLUE, alpha=0.8)
        axes.set(xlim=(edges[0], 1), xlabel="mean confidence", ylabel="images")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(visible=False, axis="x")
        return figure_svg(figure)


class _Card(NamedTuple):
    """An image, as the page shows it."""

    folder: str
    name: str
    picture: str | None
    link: str | None
    disagreement: str | None
    confidence: str
    objects: int
    share: str
    flags: list[str]


def _card(line: Line, folder: Path, source: Path | None) -> _Card:
    place, slash, name = line["image"].rpartition("/")
    link = result_file(line, folder, *_FOLDERS)
    return _Card(
        place + slash,
        name,
        thumbnail(line, folder, source),
        None if link is None else quote(os.fsencode(link)),
        f"{line['disagreement']:.3f}" if "disagreement" in line else None,
        f"{line['mean_confidence']:.3f}",
        len(line["objects"]),
        _percent(line["area_share"]),
        [_flag(name)[0] for name in line["flags"]],
    )
