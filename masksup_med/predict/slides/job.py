"""What is done with one slide; a run that was interrupted goes on with the next of its tiles."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from masksup_med.data.slides import Slide
from masksup_med.errors import DataError, SettingError
from masksup_med.predict.discovery import Found
from masksup_med.predict.job import NO_PLACE, Job
from masksup_med.predict.manifest import Line
from masksup_med.predict.pipeline import threads_for
from masksup_med.predict.slides.grid import Grid, grid_of
from masksup_med.predict.slides.probabilities import Assembled, TileStore
from masksup_med.predict.slides.result import OVERVIEW, write_results
from masksup_med.predict.slides.tissue import tissue_in

__all__ = ["lines_of_slides"]

_TILES = ".slides"  # folder for tiles of slides that are not done
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
    complete = True
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
            complete = False
        else:
            yield line | {"seconds": round(time.perf_counter() - start, 4)}
    if complete:
        shutil.rmtree(job.results.output_dir / _TILES, ignore_errors=True)  # of slides that have changed since, too


def _predicted(job: Job, found: Found, sha256: str, slide: Slide, workers: int, shown: _Shown) -> Line:
    bundle = job.predictor.bundle
    if bundle.mpp is None:
        raise SettingError(
            f"{found.key} is a slide, and the inference.yaml of {bundle.name} has no mpp; add it, the µm per pixel of "
            "the images that it is made for, or leave out slides."
        )
    overview = slide.overview(OVERVIEW)
    grid = grid_of(slide.size, slide.mpp, bundle.mpp, bundle.max_pixels)
    tiles = grid.with_tissue(tissue_in(overview))
    folder = _folder(job, found, sha256, grid)
    store = TileStore(folder)
    todo = [number for number in tiles if not store.has(number)]
    _predict_tiles(job, slide, grid, todo, store, workers, lambda items: shown(items, len(todo), found.key, "tile"))
    if job.hash(found) != sha256:
        raise DataError(f"{found.key} changed while it was read; give the same command again.")
    assembled = Assembled(grid, tiles, store, job.predictor, slide.size)
    line = write_results(job, found, sha256, slide, overview, assembled)
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
        store.put(number, job.predictor.maps_of(picture)[:, columns, rows])

    executor = ThreadPoolExecutor(workers, "tile")
    with threads_for(workers if job.predictor.device.type == "cpu" else 1):
        try:
            deque(shown(executor.map(predict, todo)), maxlen=0)
        finally:
            executor.shutdown(cancel_futures=True)
