"""The report of a prediction: how much was found, what failed, and the images to look at first.

Numbers and words are made here, their layout in ``templates/prediction.html``.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from heapq import nsmallest
from pathlib import Path, PurePath
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from masksup_med.data.decode import read_image, read_label
from masksup_med.outputs.overlay import CLASS_COLOURS, draw_overlay
from masksup_med.outputs.page import css_colour, figure_svg, picture_uri, plot_style, write_page
from masksup_med.predict.manifest import MANIFEST, Line
from masksup_med.predict.tables import IMAGES, MEASUREMENTS, _physical

__all__ = ["REPORT", "write_report"]

REPORT = "report.html"

_SHOWN = 24  # images with their pictures
_LISTED = 200  # failures; the table has all
_SIDE = 240  # of a picture, in pixels
_BARS = 40  # of the confidence, from 0 to 1
_BLUE = "#3d8fd1"  # seen on white as on black
_UNITS = {"area_mm2": "mm²", "area_um2": "µm²"}
_FILES = {
    IMAGES: "a row for each image: its confidence, its flags, or why it failed",
    MEASUREMENTS: "a row for each object: its place, size and shape",
    MANIFEST: "all of this, with what each result was made from and by",
}
_FOLDERS = {
    "overlays": "the images with the contours of what was found",
    "masks": "what was found, as pictures of the images' size in which 0 is background",
    "probabilities": "how probable it is at each pixel, from 0 to 65535",
}
_FLAGS = {
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
    tally = _Tally(sources)
    doubtful = nsmallest(_SHOWN, tally.done(lines()), key=lambda line: line["mean_confidence"])
    models = sorted((_model_row(*each) for each in tally.models.items()), key=lambda row: (-row.done, *row))
    write_page(
        path,
        "prediction.html",
        title=_title(models),
        tally=tally,
        unfinished=len(sources) - tally.here,
        classes=[_class_row(*each) for each in sorted(tally.classes.items())],
        cards=[_card(line, path.parent, sources.get(line["image"])) for line in doubtful],
        flags=[(*_flag(name), count) for name, count in sorted(tally.flags.items())],
        histogram=_histogram(tally.confidence) if len(doubtful) < tally.images["done"] else None,
        models=models,
        mixed=[model for model in models if model.done] if sum(model.done > 0 for model in models) > 1 else [],
        files=_FILES,
        folders={kind: about for kind, about in _FOLDERS.items() if kind in tally.folders},
    )


class _Class:
    """What was found of a class."""

    def __init__(self) -> None:
        self.objects = 0
        self.images = 0
        self.share = 0.0  # of the pictures, summed
        self.total: defaultdict[str, float] = defaultdict(float)  # by unit
        self.areas: defaultdict[str, Counter[float]] = defaultdict(Counter)  # to three digits, so that they stay few

    def count(self, areas: Sequence[int], line: Line) -> None:
        """Count the objects of an image."""
        self.objects += len(areas)
        self.images += 1
        self.share += sum(areas) / (line["width"] * line["height"])
        for area in areas:
            for unit, value in _physical(area, line["pixel_size_mm"]).items():
                self.total[unit] += value
                self.areas[unit][float(f"{value:.2e}")] += 1


class _Model:
    """What stems from a model."""

    def __init__(self) -> None:
        self.images = Counter[str]()  # by status
        self.names = Counter[str]()
        self.versions = Counter[str]()

    def count(self, line: Line) -> None:
        """Count an image."""
        self.images[line["status"]] += 1
        self.names[line["bundle"]] += 1
        self.versions[", ".join(f"{name} {version}" for name, version in line["versions"].items())] += 1


class _Tally:
    """What is counted while lines go by, so that none of them need be kept.

    Args:
        sources: names of this run's images.
    """

    def __init__(self, sources: Container[str]) -> None:
        self._sources = sources
        self.here = 0  # images of this run
        self.images = Counter[str]()  # by status
        self.failures: list[tuple[str, str]] = []
        self.objects = 0
        self.empty = 0  # images in which nothing was found
        self.classes: defaultdict[tuple[int, str], _Class] = defaultdict(_Class)
        self.models: defaultdict[tuple[str, str], _Model] = defaultdict(_Model)  # by weights and settings
        self.flags = Counter[str]()
        self.confidence = [0] * _BARS
        self.folders: set[str] = set()

    def done(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Count all lines, and pass on those of images that are done."""
        for line in lines:
            self.here += line["image"] in self._sources
            self.images[line["status"]] += 1
            self.models[line["weights_sha256"], line["settings_sha256"]].count(line)
            if line["status"] == "done":
                self._count(line)
                yield line
            elif len(self.failures) < _LISTED:
                self.failures.append((line["image"], _reason(line)))

    def _count(self, line: Line) -> None:
        self.objects += len(line["objects"])
        self.empty += not line["objects"]
        self.flags.update(line["flags"])
        self.confidence[min(round(line["mean_confidence"] * 10_000) * _BARS // 10_000, _BARS - 1)] += 1
        self.folders.update(path.partition("/")[0] for path in line["outputs"])
        areas: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
        for found in line["objects"]:
            areas[found["class_number"], found["class"]].append(found["area_px"])
        for key, each in areas.items():
            self.classes[key].count(each, line)


def _reason(line: Line) -> str:
    """Why an image failed, without its name, which stands beside it."""
    reason = line["error"].removeprefix(f"{line['image']} ")
    for mark in ":;":
        reason = reason.replace(f" {line['image']}{mark}", mark, 1)
    return reason


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


def _model_row(hashes: tuple[str, str], model: _Model) -> _ModelRow:
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


def _class_row(key: tuple[int, str], found: _Class) -> _ClassRow:
    number, name = key
    colour = css_colour(CLASS_COLOURS[(number - 1) % len(CLASS_COLOURS)])
    areas = [_area(found, unit) for unit in _UNITS if unit in found.areas]
    return _ClassRow(name, colour, found.objects, found.images, _percent(found.share / found.images), areas)


def _area(found: _Class, unit: str) -> _Area:
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
    low = 0 if any(counts[: _BARS // 2]) else _BARS // 2
    edges = np.arange(low, _BARS + 1) / _BARS
    with plot_style():
        figure = Figure((4.8, 1.9), layout="constrained")
        axes = figure.add_subplot()
        axes.bar(edges[:-1], counts[low:], 0.92 / _BARS, align="edge", color=_BLUE, alpha=0.8)
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
    confidence: str
    objects: int
    share: str
    flags: list[str]


def _card(line: Line, folder: Path, source: Path | None) -> _Card:
    place, slash, name = line["image"].rpartition("/")
    link = _result(line, folder, *_FOLDERS)
    return _Card(
        place + slash,
        name,
        _picture(line, folder, source),
        None if link is None else quote(os.fsencode(link)),
        f"{line['mean_confidence']:.3f}",
        len(line["objects"]),
        _percent(line["area_share"]),
        [_flag(name)[0] for name in line["flags"]],
    )


def _result(line: Line, folder: Path, *kinds: str) -> str | None:
    """The path of an image's result, the first that there is of some kinds; none that leads out of their folders."""
    for kind in kinds:
        for path in line["outputs"]:  # which can come from anywhere
            if path.startswith(f"{kind}/") and ".." not in PurePath(path).parts and os.path.isfile(folder / path):
                return path
    return None


def _picture(line: Line, folder: Path, source: Path | None) -> str | None:
    """A small picture with contours; None if there is nothing any more to make it from.

    The contours of an overlay get faint when it gets small, so they are drawn again if there is a mask.
    """
    overlay, mask = (_result(line, folder, kind) for kind in ("overlays", "masks"))
    classes = None if mask is None else _tried(_classes, folder / mask, line)
    ground = None if overlay is None else _tried(_overlay, folder / overlay)
    if ground is None and classes is not None and source is not None:
        ground = _tried(_image, source, line)
    if ground is None:
        return None
    if classes is not None:
        size = ground.shape[1], ground.shape[0]
        ground = draw_overlay(ground, np.asarray(Image.fromarray(classes).resize(size, Image.Resampling.NEAREST)))
    return picture_uri(ground, _SIDE)


def _tried(read: Callable[..., NDArray[np.uint8]], path: Path, *args: Line) -> NDArray[np.uint8] | None:
    with suppress(Exception):  # decoders answer damaged bytes with nearly any class of error
        return read(path, *args)
    return None


def _overlay(path: Path) -> NDArray[np.uint8]:
    """Read an overlay, small; the decoder itself halves a large one, which saves nearly all the time."""
    with Image.open(path, formats=["JPEG"]) as image:
        image.draft("RGB", (_SIDE, _SIDE))
        return _small(image.convert("RGB"))


def _image(path: Path, line: Line) -> NDArray[np.uint8]:
    return _small(Image.fromarray(_checked(read_image(path), line)))


def _small(image: Image.Image) -> NDArray[np.uint8]:
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _classes(path: Path, line: Line) -> NDArray[np.uint8]:
    """Read a mask as class numbers, which are grey levels divided by one number."""
    mask = _checked(read_label(path), line)
    scale = mask.max() // max((found["class_number"] for found in line["objects"]), default=1)
    return mask // max(scale, 1)


def _checked(picture: NDArray[np.integer], line: Line) -> NDArray[np.integer]:
    if picture.shape[:2] != (line["height"], line["width"]):
        raise ValueError("The file is another one by now.")
    return picture
