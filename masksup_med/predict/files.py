"""Results of whole files: a DICOM segmentation of all frames, a NIfTI mask of all slices."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masksup_med.bundle import Bundle
from masksup_med.errors import MaskSupError
from masksup_med.outputs.nifti import write_nifti
from masksup_med.predict.discovery import Found
from masksup_med.predict.manifest import Line
from masksup_med.predict.results import Results

__all__ = ["WholeFiles"]

_Kept = tuple[bytes, tuple[int, int]]


class WholeFiles:
    """Keeps what was found in the frames of a file until all are there. Frames may be kept by several threads.

    Args:
        results: where results go.
        bundle: that predicts.
        deidentify: whether DICOM segmentations are without attributes of the patient.
    """

    def __init__(self, results: Results, bundle: Bundle, deidentify: bool) -> None:
        self._results = results
        self._bundle = bundle
        self._deidentify = deidentify
        self._kept: dict[str, _Kept] = {}

    def keep(self, found: Found, classes: NDArray[np.uint8]) -> None:
        """Keep the class numbers (H, W) of an image, if its file has results of its own."""
        if self._results.paths_of_file(found):
            self._kept[found.key] = zlib.compress(classes.tobytes(), 1), classes.shape

    def complete(self, images: Iterable[Found], lines: Iterable[Line | None]) -> Iterator[Line | None]:
        """Pass on the lines of images, None for those done before; those of such files when their results are there.

        If a frame has failed, its file gets none of them; the other frames keep theirs, and are done again next time.

        Raises:
            OSError: nothing can be written any more.
        """
        waiting: list[tuple[Found, Line]] = []
        for line, found in zip(lines, images, strict=False):  # lines first, so that they come to their end
            if line is None or not self._results.paths_of_file(found):
                yield line
                continue
            waiting.append((found, line))
            if found.frame in (None, found.frames):
                self._write(waiting)
                for _, each in waiting:
                    yield each
                    self._kept.pop(each["image"], None)
                waiting = []

    def _write(self, frames: list[tuple[Found, Line]]) -> None:
        found = frames[0][0]
        if any(line["status"] != "done" for _, line in frames):
            return
        classes = [_restored(*self._kept[frame.key]) for frame, _ in frames]
        paths = self._results.paths_of_file(found)
        try:
            outputs = self._results.write(
                paths,
                {
                    "masks": lambda path: write_nifti(path, found.path, classes),
                    "dicom-seg": lambda path: self._write_segmentation(path, found.path, classes),
                },
            )
        except MaskSupError as error:
            for _, line in frames:
                line |= {"status": "failed", "error": str(error).replace(str(found.path), found.file)}
            return
        for _, line in frames:
            line["outputs"] |= outputs

    def _write_segmentation(self, path: Path, source: Path, classes: list[NDArray[np.uint8]]) -> None:
        from masksup_med.outputs.dicom_seg import Model, write_segmentation

        bundle = self._bundle
        hashes = {"weights_sha256": bundle.weights_sha256, "settings_sha256": bundle.settings_sha256}
        model = Model(bundle.name, bundle.version, hashes)
        write_segmentation(path, source, classes, bundle.segments, model, self._deidentify)


def _restored(content: bytes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    return np.frombuffer(zlib.decompress(content), np.uint8).reshape(shape)
