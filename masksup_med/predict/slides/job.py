"""What is done with one slide; a run that was interrupted goes on with the next of its tiles."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksup_med.data.slides import Slide
from masksup_med.errors import SettingError
from masksup_med.metrics.objects import Object, touches_edge
from masksup_med.outputs.ome_tiff import TILE, write_ome_tiff
from masksup_med.outputs.overlay import draw_overlay, write_picture
from masksup_med.outputs.polygons import Ring, write_polygons
from masksup_med.predict.discovery import Found
from masksup_med.predict.features import feature
from masksup_med.predict.job import NO_PLACE, Job, end_of_line
from masksup_med.predict.manifest import Line
from masksup_med.predict.pipeline import threads_for
from masksup_med.predict.slides.grid import Box, Grid, grid_of
from masksup_med.predict.slides.objects import ObjectFinder, cut_out
from masksup_med.predict.slides.probabilities import Assembled, TileStore
from masksup_med.predict.slides.tissue import tissue_in

__all__ = ["lines_of_slides"]

_TILES = ".slides"  # folder for tiles of slides that are not done
_OVERVIEW = 2048  # pixels, of the longer side
_LINE = 2  # pixels of the overview: objects are small in it
_WIDTH = 4096  # columns whose probabilities are in memory at once
_Shown = Callable[..., Iterable[Any]]


def lines_of_slides(job: Job, slides: Iterable[Found], workers: int, shown: _Shown) -> Iterator[Line | None]:
    """Predict slides, one after the other; yield their lines, None for those done before.

    Args:
        job: what is done with an image.
        slides: that are to be done.
        workers: threads that each read, predict and store a tile.
        shown: passes tiles on and shows progress.

    Raises:
        OSError: nothing can be written any more.
    """
    for found in slides:
        start, sha256 = time.perf_counter(), None
        try:
            sha256 = job.hash(found)
            if job.is_done(found, sha256):
                yield None
                continue
            with Slide(found.path) as slide:
                line = _predicted(job, found, sha256, slide, workers, shown)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in NO_PLACE:
                raise
            yield job.failed(found, sha256, error, time.perf_counter() - start)
        else:
            yield line | {"seconds": round(time.perf_counter() - start, 4)}
    shutil.rmtree(job.results.output_dir / _TILES, ignore_errors=True)  # those of slides that have changed since


def _predicted(job: Job, found: Found, sha256: str, slide: Slide, workers: int, shown: _Shown) -> Line:
    bundle = job.predictor.bundle
    if bundle.mpp is None:
        raise SettingError(
            f"{found.key} is a slide, and the inference.yaml of {bundle.name} has no mpp; add it, the µm per pixel of "
            "the images that it is made for, or leave out slides."
        )
    overview = slide.overview(_OVERVIEW)
    grid = grid_of(slide.size, slide.mpp, bundle.mpp, bundle.max_pixels)
    tiles = grid.with_tissue(tissue_in(overview))
    folder = _folder(job, found, sha256, grid)
    store = TileStore(folder)
    todo = [number for number in tiles if not store.has(number)]
    _predict_tiles(job, slide, grid, todo, store, workers, lambda items: shown(items, len(todo), found.key, "tile"))
    seen = _Seen(Assembled(grid, tiles, store, job.predictor, slide.size), len(bundle.classes))
    line = _written(job, found, sha256, slide, overview, seen)
    shutil.rmtree(folder, ignore_errors=True)
    return line | {"tissue_share": round(len(tiles) / len(grid.tiles), 4)}


def _folder(job: Job, found: Found, sha256: str, grid: Grid) -> Path:
    """The folder for tiles from this slide, whatever its name, by this model."""
    identity = json.dumps([job.results.identity(found, sha256), grid])
    return job.results.output_dir / _TILES / hashlib.sha256(identity.encode()).hexdigest()[:16]


def _predict_tiles(
    job: Job,
    slide: Slide,
    grid: Grid,
    todo: Sequence[int],
    store: TileStore,
    workers: int,
    shown: Callable[[Iterable[None]], Iterable[None]],
) -> None:
    scale = [native / size for native, size in zip(slide.size, grid.size, strict=True)] * 2

    def predict(number: int) -> None:
        tile = grid.tiles[number]
        seen = grid.around(tile)
        place = [edge * factor for edge, factor in zip(seen, scale, strict=True)]
        picture = slide.region(place, (seen.right - seen.left, seen.bottom - seen.top))
        columns, rows = (
            slice(tile.left - seen.left, tile.right - seen.left),
            slice(tile.top - seen.top, tile.bottom - seen.top),
        )
        store.put(number, job.predictor.probabilities_of(picture)[:, columns, rows])

    executor = ThreadPoolExecutor(workers, "tile")
    with threads_for(workers if job.predictor.device.type == "cpu" else 1):
        try:
            deque(shown(executor.map(predict, todo)), maxlen=0)
        finally:
            executor.shutdown(cancel_futures=True)


class _Seen:
    """What is gathered while a slide's class numbers go by, band by band."""

    def __init__(self, assembled: Assembled, classes: int) -> None:
        self.assembled = assembled
        self._several = classes > 1
        self.objects = ObjectFinder()
        self.step = math.ceil(max(assembled.size) / _OVERVIEW)
        self.found = 0  # pixels
        self._confidence = 0.0  # summed over these
        self._surest = 1.0  # probability of background where it is least, if nothing is found
        self._small: list[NDArray[np.uint8]] = []

    def bands(self) -> Iterator[NDArray[np.uint8]]:
        """Class numbers of :data:`TILE` rows at a time."""
        width, height = self.assembled.size
        for top in range(0, height, TILE):
            bottom = min(top + TILE, height)
            lefts = range(0, width, _WIDTH)
            band = np.concatenate([self._part(Box(x, top, min(x + _WIDTH, width), bottom)) for x in lefts], axis=1)
            self._small.append(band[-top % self.step :: self.step, :: self.step].copy())
            self.objects.add(band)
            yield band

    def _part(self, box: Box) -> NDArray[np.uint8]:
        classes, probability = self.assembled.predict(box)
        is_found, known = classes > 0, probability[probability > 0]
        self.found += int(np.count_nonzero(is_found))
        self._confidence += float(probability[is_found].sum(dtype=np.float64))
        if len(known):
            self._surest = min(self._surest, float(known.min() if self._several else 1 - known.max()))
        return classes

    @property
    def confidence(self) -> float:
        """Mean probability of what was found; where nothing was, that of background where it is least."""
        return self._confidence / self.found if self.found else self._surest

    def overlay(self, overview: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Contours drawn over a small picture of the slide."""
        classes = np.concatenate(self._small)
        rows, columns = (np.arange(new) * old // new for old, new in zip(classes.shape, overview.shape, strict=False))
        return draw_overlay(overview, classes[rows[:, None], columns], width=_LINE)


def _written(job: Job, found: Found, sha256: str, slide: Slide, overview: NDArray[np.uint8], seen: _Seen) -> Line:
    """Write the results of a slide and return its line."""
    paths = job.results.paths(found)
    across, down = slide.mpp
    pixel_size = down / 1000, across / 1000
    objects: list[Object] = []

    def features() -> Iterator[tuple[dict[str, Any], list[Ring]]]:
        for number, box in seen.objects.boxes():
            for cut in cut_out(seen.assembled, number, box):
                objects.append(cut.measures)
                yield feature(job.named(cut.measures), list(pixel_size)), cut.rings

    identifier = str(uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(job.results.identity(found, sha256))))
    write: dict[str, Callable[[Path], str | None]] = {
        "masks": lambda path: write_ome_tiff(path, seen.bands(), slide.size, slide.mpp, identifier),
        "overlays": lambda path: write_picture(path, seen.overlay(overview)),
        "polygons": lambda path: write_polygons(path, features()),
    }
    if "masks" not in paths:
        deque(seen.bands(), maxlen=0)
    outputs = job.results.write({kind: paths[kind] for kind in write if kind in paths}, write)
    if "polygons" not in paths:
        deque(features(), maxlen=0)
    job.results.remove_former(found.key, but=outputs)
    width, height = slide.size
    flags = {
        "nothing_found": not objects,
        "at_edge": any(touches_edge(each, (height, width)) for each in objects),
        "tiled": True,
    }
    return {
        **job.line(found, "done", sha256),
        **{"width": width, "height": height, "pixel_size_mm": pixel_size},
        "area_share": round(seen.found / (width * height), 6),
        "mean_confidence": round(seen.confidence, 4),
        "flags": [name for name, holds in flags.items() if holds],
        "objects": [job.named(each) for each in objects],
        **end_of_line(outputs, 0, None),
    }
