"""What a run predicts with: its settings, and the model that they make of a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from masksup_med.bundle import Bundle, Predictor
from masksup_med.bundle.quality import Quality, quality_of
from masksup_med.errors import SettingError
from masksup_med.inferers.views import views
from masksup_med.predict.choice import choose
from masksup_med.predict.discovery import Found

__all__ = ["Model", "Settings", "model_of", "views_in_words"]


class Settings(NamedTuple):
    """How images are predicted; nothing here but ``average`` changes what is found in them to speak of."""

    outputs: tuple[str, ...] = ("masks", "overlays")  # of OUTPUTS
    device: str = "auto"
    batch_size: int | None = None  # pictures that the network takes at once; None for what suits the device
    workers: int | None = None  # threads that read, and as many that write; None for what suits the machine
    overwrite: bool = False  # do again what is done
    deidentify: bool = False  # leave out attributes of the patient in DICOM segmentations
    quality: int = 0  # views of each image beside the image as it is, whose disagreement says what is doubtful
    average: bool = False  # let the mean of all views decide what is found
    runtime: str = "torch"  # of RUNTIMES, or auto for the fastest that agrees with torch


class Model(NamedTuple):
    """A bundle that predicts as a run's settings want it to."""

    predictor: Predictor
    views: str  # in words; empty if images are only looked at as they are
    threshold: float | None  # of the views' disagreement, from which on a prediction is doubtful
    notes: list[str]  # what users should know of it


def model_of(bundle: Bundle, settings: Settings, images: Sequence[Found], workers: int) -> Model:
    """Make a bundle ready to predict.

    Args:
        bundle: that predicts.
        settings: of the run.
        images: of the run, to try runtimes on.
        workers: threads that call the network.

    Raises:
        SettingError: there is no such device, there are not so many views, or the runtime is not installed.
        MissingDataError: the bundle was not exported for the runtime.
    """
    runtime, notes = settings.runtime, []
    if runtime == "auto":
        runtime, reason = choose(bundle, settings.device, images, workers)
        notes.append(f"Runtime {runtime}: {reason}.")
    if not settings.quality:
        return Model(Predictor(bundle, settings.device, runtime=runtime), "", None, notes)
    quality = quality_of(bundle)
    seen = views(quality.kind, settings.quality)
    predictor = Predictor(bundle, settings.device, seen, settings.average, runtime)
    if any(view.transposed for view in seen) and not predictor.takes_turned:
        raise SettingError(
            f"The network of {bundle.name} does not take pictures on their side; give --quality 3 at most."
        )
    threshold = quality.thresholds.get(settings.quality)
    if threshold is None:
        notes.append(
            f"No image is flagged as doubtful, because {bundle.name} has no threshold for {settings.quality} views; "
            "`masksup calibrate` sets it. The report and images.csv have the disagreement all the same."
        )
    return Model(predictor, _in_words(settings, quality), threshold, notes)


def views_in_words(bundle: Bundle, settings: Settings) -> str:
    """The views of a run that is only planned.

    Raises:
        SettingError: there are not so many.
    """
    if not settings.quality:
        return ""
    quality = quality_of(bundle)
    views(quality.kind, settings.quality)
    return _in_words(settings, quality)


def _in_words(settings: Settings, quality: Quality) -> str:
    return f"{settings.quality} {quality.kind}"
