"""Predict images into a folder: do what is left to do, and keep manifest, tables and report in step."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from masksup_med.bundle import Bundle, Predictor
from masksup_med.errors import SettingError
from masksup_med.handlers.provenance import sha256_of
from masksup_med.outputs.atomic import sweep_folder
from masksup_med.predict.discovery import Found, Inputs
from masksup_med.predict.files import WholeFiles
from masksup_med.predict.job import DOUBTFUL, Job
from masksup_med.predict.manifest import MANIFEST, Line, Manifest
from masksup_med.predict.model import Settings, model_of, views_in_words
from masksup_med.predict.names import result_names
from masksup_med.predict.pipeline import lines_of
from masksup_med.predict.report import REPORT, write_report
from masksup_med.predict.results import OUTPUTS, Results
from masksup_med.predict.tables import IMAGES, MEASUREMENTS, write_tables

__all__ = ["Summary", "planned", "predict_images"]

_LOCK = ".lock"
_Shown = Callable[..., Iterable[Any]]  # of the items, their number, what is done, and what each of them is


class Summary:
    """What a run has done."""

    def __init__(self, images: int) -> None:
        self.images = images
        self.predicted = 0
        self.done_before = 0
        self.failed: dict[str, str] = {}  # image and reason
        self.doubtful: int | None = None  # images of this run and former ones that are flagged so, where that is asked
        self.notes: list[str] = []  # what else users should know
        self.stopped = ""  # why nothing could be written any more

    @property
    def done(self) -> int:
        """Images whose results are there."""
        return self.predicted + self.done_before

    def count(self, line: Line | None) -> None:
        """Count an image, None for one that was done before."""
        if line is None:
            self.done_before += 1
        elif line["status"] == "done":
            self.predicted += 1
        else:
            self.failed[line["image"]] = line["error"]


def predict_images(
    bundle: Bundle, inputs: Inputs, output_dir: Path, settings: Settings, shown: _Shown = lambda items, *_: items
) -> Summary:
    """Predict the images that are not done yet, and bring manifest, tables and report up to date.

    Args:
        bundle: that predicts them.
        inputs: from :func:`~masksup_med.predict.discovery.find_images`.
        output_dir: made if need be.
        settings: see :class:`Settings`.
        shown: passes items on and shows progress, as :func:`~masksup_med.predict.progress.shown`.

    Raises:
        SettingError: another run is writing there, the folder holds other files in the results' places, there is
            no such device, there are not so many views, or DICOM segmentations are wanted and cannot be made.
        KeyboardInterrupt: with a sentence that says how much is done; manifest, tables and report are up to date.
    """
    if "dicom-seg" in settings.outputs:
        _check_segmentation(bundle)
    workers, summary = settings.workers or _workers(), Summary(len(inputs.images))
    model = model_of(bundle, settings, inputs.images, workers)
    summary.notes += model.notes
    with _owned(output_dir) as manifest:
        results = _results(bundle, inputs, output_dir, manifest, settings, model.views)
        files = WholeFiles(results, bundle, settings.deidentify)
        job = Job(model.predictor, results, files, settings.overwrite, model.threshold)
        slides = [found for found in inputs.images if found.kind == "slide"]
        pictures = [found for found in inputs.images if found.kind != "slide"]
        images = pictures + slides
        batch_size = settings.batch_size or _batch_size(model.predictor)
        try:
            with closing(_lines(job, pictures, slides, workers, batch_size, shown)) as lines:
                for line in files.complete(images, shown(lines, len(images))):
                    if line is not None:
                        manifest.append(line)
                    summary.count(line)
            _flag_anew(manifest, results, model.threshold)
            doubtful = _bring_up_to_date(output_dir, manifest, inputs)
            summary.doubtful = doubtful if settings.quality else None
        except OSError as error:
            summary.stopped = error.strerror or str(error)
        except KeyboardInterrupt:
            _bring_up_to_date(output_dir, manifest, inputs)
            raise KeyboardInterrupt(
                f"Interrupted: {summary.done} of {summary.images} images are done; the same command goes on from there."
            ) from None
    return summary


def _lines(
    job: Job, pictures: Sequence[Found], slides: Sequence[Found], workers: int, batch_size: int, shown: _Shown
) -> Generator[Line | None]:
    yield from lines_of(job, pictures, workers, batch_size)
    if slides:
        from masksup_med.predict.slides.job import lines_of_slides

        yield from lines_of_slides(job, slides, workers, shown)


def _check_segmentation(bundle: Bundle) -> None:
    """Raise :class:`SettingError` if DICOM segmentations cannot be made, before anything else is done."""
    from masksup_med.outputs.dicom_seg import check_highdicom

    check_highdicom()
    if not bundle.segments:
        raise SettingError(f"The bundle {bundle.name} has no classes; leave out dicom-seg.")


def planned(bundle: Bundle, inputs: Inputs, output_dir: Path, settings: Settings) -> Iterator[tuple[str, str]]:
    """What :func:`predict_images` would do, without doing it: each image, and ``predict``, ``done`` or its problem."""
    with closing(Manifest(output_dir / MANIFEST, read_only=True)) as manifest:
        results = _results(bundle, inputs, output_dir, manifest, settings, views_in_words(bundle, settings))
        digest = lru_cache(maxsize=1)(sha256_of)  # all frames of a file have one, and come one after the other
        for found in inputs.images:
            problem, done = found.problem, False
            try:
                done = not problem and not settings.overwrite and results.are_done(found, digest(found.path))
            except OSError as error:
                problem = f"cannot be opened ({error.strerror}); allow reading it"
            yield found.key, problem or ("done" if done else "predict")


@contextmanager
def _owned(output_dir: Path) -> Iterator[Manifest]:
    """Open the manifest of a folder that no other run is writing to, and that holds nobody else's results."""
    _refuse_others(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(output_dir / _LOCK, blocking=False):
            manifest = Manifest(output_dir / MANIFEST)
            try:
                sweep_folder(output_dir)
                yield manifest
            finally:
                manifest.close()
    except Timeout:
        raise SettingError(f"Another run is writing to {output_dir}; wait for it, or name another folder.") from None


def _refuse_others(output_dir: Path) -> None:
    if (output_dir / MANIFEST).exists():
        return
    for name in (*OUTPUTS, IMAGES, MEASUREMENTS, REPORT):
        if os.path.lexists(output_dir / name):
            raise SettingError(f"{output_dir / name} is not from masksup predict; name another folder for the results.")


def _results(
    bundle: Bundle, inputs: Inputs, output_dir: Path, manifest: Manifest, settings: Settings, views: str
) -> Results:
    """Results with names unlike those of images that were done by former runs, too."""
    names = result_names({*(found.key for found in inputs.images), *manifest.keys()})
    return Results(output_dir, manifest, bundle, names, settings.outputs, settings.deidentify, views, settings.average)


def _workers() -> int:
    return min(4, os.cpu_count() or 1)


def _batch_size(predictor: Predictor) -> int:
    """On a CPU nothing is gained by more than one; an inferer that slides makes batches of windows itself."""
    return 8 if predictor.device.type != "cpu" and predictor.takes_whole_pictures else 1


def _flag_anew(manifest: Manifest, results: Results, threshold: float | None) -> None:
    """Let the threshold of today decide which images are doubtful, also of those that were done before."""
    for line in list(results.of_these_views()) if threshold is not None else []:
        others = [flag for flag in line["flags"] if flag != DOUBTFUL]
        flags = [DOUBTFUL, *others] if line["disagreement"] >= threshold else others
        if flags != line["flags"]:
            manifest.append(line | {"flags": flags})


def _bring_up_to_date(output_dir: Path, manifest: Manifest, inputs: Inputs) -> int:
    """Put the manifest in order, and write what is made from it; return how many of the images are doubtful."""
    here, gone, doubtful = {found.key for found in inputs.images}, [], 0
    for line in manifest.lines():
        if line["image"] in here:
            doubtful += DOUBTFUL in line.get("flags", ())
        elif not line["outputs"]:
            gone.append(line["image"])
    manifest.put_in_order(without=gone)
    write_tables(output_dir, manifest.lines())
    write_report(output_dir / REPORT, manifest.lines, {found.key: found.path for found in inputs.images})
    return doubtful
