"""What is done with one image: it is read and prepared; its results are measured, written, and noted in a line."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masksup_med.bundle import Predictor
from masksup_med.bundle.processing import Prediction, Prepared
from masksup_med.data.decode import pixel_size, read_image
from masksup_med.errors import MaskSupError
from masksup_med.handlers.provenance import package_versions, sha256_of
from masksup_med.metrics.disagreement import disagreement
from masksup_med.metrics.objects import Object, Region, measured, regions_of, touches_edge
from masksup_med.outputs.maps import mask_picture, probability_picture
from masksup_med.outputs.overlay import draw_overlay, write_picture
from masksup_med.outputs.polygons import Ring, outline, write_polygons
from masksup_med.predict.discovery import Found
from masksup_med.predict.features import feature
from masksup_med.predict.files import WholeFiles
from masksup_med.predict.manifest import Line
from masksup_med.predict.results import Results

__all__ = ["DOUBTFUL", "NO_PLACE", "Job", "Loaded", "end_of_line"]

DOUBTFUL = "doubtful"  # a flag

NO_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENODEV}  # what fails every image alike
_VERSIONS = ("masksup-med", "monai", "torch", "numpy", "pillow", "scikit-image", "python")


class Loaded(NamedTuple):
    """An image that waits for the network."""

    found: Found
    sha256: str
    picture: NDArray[np.uint8]  # (H, W, 3)
    prepared: Prepared | None  # None for one that is predicted in tiles
    seconds: float


class Job:
    """What the images of a run have in common. Its methods may be called from several threads.

    Args:
        predictor: that predicts them.
        results: where their results go.
        files: that keeps what results of whole files are made from.
        overwrite: whether to do again what is done.
        threshold: of the views' disagreement, from which on a prediction is doubtful; None if it is not known.
    """

    def __init__(
        self,
        predictor: Predictor,
        results: Results,
        files: WholeFiles,
        overwrite: bool,
        threshold: float | None = None,
    ) -> None:
        self.predictor = predictor
        self._bundle = predictor.bundle
        self.results = results
        self._files = files
        self._overwrite = overwrite
        self._threshold = threshold
        installed = package_versions()
        runtime = f"{predictor.runtime.name} {predictor.runtime.precision}"
        self._versions = {**{name: installed[name] for name in _VERSIONS}, "runtime": runtime}

    def load(self, found: Found) -> Loaded | Line | None:
        """Read an image and prepare it; its line if it cannot be read, None if it is done."""
        start, sha256 = time.perf_counter(), None
        if found.problem:
            return self.failed(found, None, f"{found.key} {found.problem}.", 0)
        try:
            before = _stamp(found)
            sha256 = self.hash(found)
            if self.is_done(found, sha256):
                return None
            picture = read_image(found.path, found.frame)
            if _stamp(found) != before:
                return self.failed(
                    found, None, f"{found.key} changed while it was read; give the same command again.", 0
                )
            prepared = None if self.predictor.needs_tiles(picture) else self.predictor.prepare(picture)
        except Exception as error:
            return self.failed(found, sha256, error, time.perf_counter() - start)
        return Loaded(found, sha256, picture, prepared, time.perf_counter() - start)

    def hash(self, found: Found) -> str:
        """The SHA-256 of an image's file."""
        return _sha256(found.path, _stamp(found))

    def is_done(self, found: Found, sha256: str) -> bool:
        """Whether nothing is left to do for an image whose file has this hash."""
        return not self._overwrite and self.results.are_done(found, sha256)

    def write(self, loaded: Loaded, prediction: Prediction, seconds: float) -> Line:
        """Write the results of an image, which the network took some seconds for; return its line.

        Raises:
            OSError: nothing can be written any more, as on a full disk.
        """
        start, (found, sha256, *_) = time.perf_counter(), loaded
        try:
            regions = list(regions_of(prediction.classes))
            measures, scale = self._measured(loaded, prediction, regions), self._bundle.mask_scale
            outputs = self.results.write(
                self.results.paths(found),
                {
                    "masks": lambda path: write_picture(path, mask_picture(prediction.classes, scale)),
                    "overlays": lambda path: write_picture(path, draw_overlay(loaded.picture, prediction.classes)),
                    "probabilities": lambda path: write_picture(path, probability_picture(prediction.probability)),
                    "disagreement": lambda path: write_picture(path, _distance_picture(prediction)),
                    "polygons": lambda path: write_polygons(path, _polygons(regions, measures)),
                },
            )
            self._files.keep(found, prediction.classes)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in NO_PLACE:
                raise
            return self.failed(found, sha256, error, seconds)
        self.results.remove_former(found.key, but=outputs)
        seconds += loaded.seconds + time.perf_counter() - start
        return self.line(found, "done", sha256) | measures | end_of_line(outputs, seconds, None)

    def failed(self, found: Found, sha256: str | None, reason: Exception | str, seconds: float) -> Line:
        """The line of an image that could not be predicted.

        Its former results are removed, unless the image cannot even be opened: then it may come back as it was.
        """
        error = reason if isinstance(reason, str) else _sentence(found, reason)
        outputs = self.results.former(found.key) if sha256 is None else {}
        self.results.remove_former(found.key, but=outputs)
        return self.line(found, "failed", sha256) | end_of_line(outputs, seconds, error)

    def line(self, found: Found, status: str, sha256: str | None) -> Line:
        """The beginning of an image's line, which says what was done by what."""
        made_by = {"bundle": self._bundle.name, **self.results.identity(found, sha256), "versions": self._versions}
        return {"image": found.key, "frame": found.frame, "status": status, **made_by}

    def measures(
        self,
        size: tuple[int, int],
        pixel_size: tuple[float, float] | None,
        found: int,
        confidence: float,
        doubt: float | None,
        objects: Sequence[Object],
        tiled: bool,
    ) -> Line:
        """What a line says of an image that is done.

        Args:
            size: width and height.
            pixel_size: height and width of a pixel in mm.
            found: how many pixels are not background.
            confidence: see ``docs/predict.md``.
            doubt: disagreement of the views, if there are several.
            objects: that they make up.
            tiled: whether it was predicted in parts.
        """
        width, height = size
        flags = {
            DOUBTFUL: doubt is not None and self._threshold is not None and doubt >= self._threshold,
            "nothing_found": not objects,
            "at_edge": any(touches_edge(each, (height, width)) for each in objects),
            "tiled": tiled,
        }
        return {
            "width": width,
            "height": height,
            "pixel_size_mm": pixel_size,
            "area_share": round(found / (width * height), 6),
            "mean_confidence": round(confidence, 4),
            **({} if doubt is None else {"disagreement": round(doubt, 4)}),
            "flags": [name for name, holds in flags.items() if holds],
            "objects": [self.named(each) for each in objects],
        }

    def named(self, found: Object) -> dict[str, Any]:
        """An object as a line has it, with the name of its class."""
        measures = {name: value for name, value in found._asdict().items() if value is not None}
        return {"class": self._bundle.classes.get(found.class_number, str(found.class_number)), **measures}

    def _measured(self, loaded: Loaded, prediction: Prediction, regions: Sequence[Region]) -> Line:
        height, width = loaded.picture.shape[:2]
        return self.measures(
            (width, height),
            pixel_size(loaded.found.path),
            int(np.count_nonzero(prediction.classes)),
            _confidence(prediction, len(self._bundle.classes)),
            _disagreement(prediction),
            [measured(region, *prediction[1:]) for region in regions],
            loaded.prepared is None,
        )


@lru_cache(maxsize=16)  # all frames of a file have one
def _sha256(path: Path, stamp: tuple[int, ...]) -> str:
    """The hash of a file, for as long as its stamp is the same."""
    return sha256_of(path)


def _polygons(regions: Sequence[Region], measures: Line) -> Iterator[tuple[dict[str, Any], list[Ring]]]:
    for region, found in zip(regions, measures["objects"], strict=True):
        yield feature(found, measures["pixel_size_mm"]), outline(region.mask, region.corner)


def _stamp(found: Found) -> tuple[int, ...]:
    """What changes when a file is written to, or another takes its place."""
    status = found.path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def end_of_line(outputs: dict[str, str], seconds: float, error: str | None) -> Line:
    """What a line ends with."""
    return {"outputs": outputs, "seconds": round(seconds, 4), "error": error}


def _confidence(prediction: Prediction, classes: int) -> float:
    """Mean probability of what was found; where nothing was, one minus the highest probability of anything."""
    found = prediction.classes > 0
    if found.any():
        return float(prediction.probability[found].mean())
    return float(1 - prediction.probability.max() if classes == 1 else prediction.probability.min())


def _distance_picture(prediction: Prediction) -> NDArray[np.uint16]:
    assert prediction.distance is not None
    return probability_picture(prediction.distance)


def _disagreement(prediction: Prediction) -> float | None:
    distance, foreground = prediction.distance, prediction.foreground
    return None if distance is None or foreground is None else disagreement(distance, foreground, distance.size)


def _sentence(found: Found, error: Exception) -> str:
    """An error without the folders above the image, whose names are nobody's business."""
    if isinstance(error, MaskSupError):
        return str(error).replace(str(found.path), found.key)
    reason = getattr(error, "strerror", None) or f"{type(error).__name__} {error}".strip()
    return f"Cannot predict {found.key}: {reason}; see that it can be read and that the results can be written."
