"""The results of a slide, written band by band and object by object, and its line in the manifest."""

from __future__ import annotations

import json
import math
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksup_med.data.slides import Slide
from masksup_med.metrics.disagreement import disagreement
from masksup_med.metrics.objects import Object
from masksup_med.outputs.ome_tiff import TILE, write_ome_tiff
from masksup_med.outputs.overlay import draw_overlay, write_picture
from masksup_med.outputs.polygons import Ring, write_polygons
from masksup_med.predict.discovery import Found
from masksup_med.predict.features import feature
from masksup_med.predict.job import Job, end_of_line
from masksup_med.predict.manifest import Line
from masksup_med.predict.slides.grid import Box
from masksup_med.predict.slides.objects import ObjectFinder, cut_out
from masksup_med.predict.slides.probabilities import Assembled

__all__ = ["OVERVIEW", "write_results"]

OVERVIEW = 2048  # pixels, of the longer side
_LINE = 2  # pixels of the overview: objects are small in it
_WIDTH = 4096  # columns whose probabilities are in memory at once


def write_results(
    job: Job, found: Found, sha256: str, slide: Slide, overview: NDArray[np.uint8], assembled: Assembled
) -> Line:
    """Write the results of a slide, and return its line.

    Args:
        job: what is done with an image.
        found: the slide.
        sha256: of its file.
        slide: open.
        overview: a small picture of it, its longer side of :data:`OVERVIEW` pixels.
        assembled: what was predicted.

    Raises:
        OSError: nothing can be written any more.
    """
    paths, seen = job.results.paths(found), _Seen(assembled, len(job.predictor.bundle.classes))
    across, down = slide.mpp
    pixel_size = down / 1000, across / 1000
    objects: list[Object] = []

    def features() -> Iterator[tuple[dict[str, Any], list[Ring]]]:
        for number, box in seen.objects.boxes():
            for cut in cut_out(assembled, number, box):
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
    measures = job.measures(slide.size, pixel_size, seen.found, seen.confidence, seen.doubt, objects, tiled=True)
    return job.line(found, "done", sha256) | measures | end_of_line(outputs, 0, None)


class _Seen:
    """What is gathered while a slide's class numbers go by, band by band."""

    def __init__(self, assembled: Assembled, classes: int) -> None:
        self._assembled = assembled
        self._several = classes > 1
        self.objects = ObjectFinder()
        self._step = math.ceil(max(assembled.size) / OVERVIEW)
        self.found = 0  # pixels
        self._confidence = 0.0  # summed over these
        self._views: NDArray[np.float64] | None = None  # how far they are apart, and how much they see, summed
        self._surest = 1.0  # probability of background where it is least, if nothing is found
        self._small: list[NDArray[np.uint8]] = []

    def bands(self) -> Iterator[NDArray[np.uint8]]:
        """Class numbers of :data:`TILE` rows at a time."""
        width, height = self._assembled.size
        for top in range(0, height, TILE):
            bottom = min(top + TILE, height)
            lefts = range(0, width, _WIDTH)
            band = np.concatenate([self._part(Box(x, top, min(x + _WIDTH, width), bottom)) for x in lefts], axis=1)
            self._small.append(band[-top % self._step :: self._step, :: self._step].copy())
            self.objects.add(band)
            yield band

    def _part(self, box: Box) -> NDArray[np.uint8]:
        prediction = self._assembled.predict(box)
        classes, probability = prediction.classes, prediction.probability
        is_found, known = classes > 0, probability[probability > 0]
        self.found += int(np.count_nonzero(is_found))
        self._confidence += float(probability[is_found].sum(dtype=np.float64))
        if prediction.distance is not None and prediction.foreground is not None:
            sums = np.array([each.sum(dtype=np.float64) for each in (prediction.distance, prediction.foreground)])
            self._views = sums if self._views is None else self._views + sums
        if len(known):
            self._surest = min(self._surest, float(known.min() if self._several else 1 - known.max()))
        return classes

    @property
    def confidence(self) -> float:
        """Mean probability of what was found; where nothing was, that of background where it is least."""
        return self._confidence / self.found if self.found else self._surest

    @property
    def doubt(self) -> float | None:
        """Disagreement of the views, None if the slide is only looked at as it is."""
        if self._views is None:
            return None
        return disagreement(self._views[0], self._views[1], math.prod(self._assembled.size))

    def overlay(self, overview: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Contours drawn over a small picture of the slide."""
        classes = np.concatenate(self._small)
        rows, columns = (np.arange(new) * old // new for old, new in zip(classes.shape, overview.shape, strict=False))
        return draw_overlay(overview, classes[rows[:, None], columns], width=_LINE)
