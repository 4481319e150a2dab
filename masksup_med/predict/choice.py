"""Which of the runtimes that a bundle was exported for is the fastest here, and still says what torch says."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from masksup_med.bundle import Bundle, Predictor
from masksup_med.bundle.processing import Prediction
from masksup_med.data.decode import read_image
from masksup_med.inferers.runtimes.files import exports_of
from masksup_med.predict.discovery import Found
from masksup_med.predict.pipeline import threads_for

__all__ = ["Choice", "choose"]

_FEW = 32  # images; to try runtimes takes longer than these
_TRIED = 4  # images
_AGREEMENT = 0.999  # IoU with the masks of torch
_NEAR = 0.01  # of probability, where torch finds nothing
_OTHERS = ("onnx", "openvino")
_OVERVIEW = 1024  # pixels, of a slide's longer side
_LONGEST = 200  # letters of a reason


class Choice(NamedTuple):
    """A runtime, and why it was chosen."""

    runtime: str
    reason: str


class _Tried(NamedTuple):
    picture: NDArray[np.uint8]  # (H, W, 3)
    prediction: Prediction  # of torch


def choose(bundle: Bundle, device: str, images: Sequence[Found], workers: int) -> Choice:
    """Try what was exported on some of the images, as many at a time as in the run itself.

    Args:
        bundle: that predicts.
        device: that it runs on.
        images: of the run.
        workers: threads that call the network.
    """
    exported = [name for name in _OTHERS if name in exports_of(bundle)]
    if not exported:
        return Choice("torch", "nothing else was exported; see `masksup export`")
    if len(images) < _FEW and not any(found.kind == "slide" for found in images):
        return Choice("torch", "to try others takes longer than so few images")
    plain = Predictor(bundle, device)
    tried = list(_predicted(plain, images))
    if not tried:
        return Choice("torch", "there was no image to try others on")
    best, reasons, torch_seconds = ("torch", 1.0), [], _seconds(plain, tried, workers)
    for name in exported:
        try:
            other = Predictor(bundle, device, runtime=name)
            agreement, speed = _agreement(other, tried), torch_seconds / _seconds(other, tried, workers)
        except Exception as error:  # of whatever kind an engine raises; the run goes on without it
            reasons.append(f"{name} does not run: {' '.join(str(error).split())[:_LONGEST].rstrip('.')}")
            continue
        reasons.append(f"{name} {other.runtime.precision} is {speed:.2f} × as fast, IoU of its masks {agreement:.4f}")
        if agreement >= _AGREEMENT and speed > best[1]:
            best = name, speed
    return Choice(best[0], f"compared with torch on {len(tried)} images: {'; '.join(reasons)}")


def _predicted(plain: Predictor, images: Sequence[Found]) -> Iterator[_Tried]:
    """A few pictures from all over the run, or small ones of slides, that the network takes at once."""
    pictures = [found for found in images if found.kind != "slide" and not found.problem] or images
    for number in range(min(_TRIED, len(pictures))):
        found = pictures[number * len(pictures) // min(_TRIED, len(pictures))]
        try:
            picture = _overview(found) if found.kind == "slide" else read_image(found.path, found.frame)
            if not plain.needs_tiles(picture):
                yield _Tried(picture, plain(picture))
        except Exception:  # the run will say what is wrong with it
            continue


def _overview(found: Found) -> NDArray[np.uint8]:
    from masksup_med.data.slides import Slide

    with Slide(found.path) as slide:
        return slide.overview(_OVERVIEW)


def _seconds(predictor: Predictor, tried: Sequence[_Tried], workers: int) -> float:
    """How long the network takes for the pictures, once it has warmed up."""
    inputs = [predictor.prepare(each.picture).image for each in tried]

    def infer(number: int) -> None:
        predictor.infer([inputs[number % len(inputs)]])

    with threads_for(workers if predictor.device.type == "cpu" else 1), ThreadPoolExecutor(workers) as threads:
        for _ in range(2):
            start = time.perf_counter()
            list(threads.map(infer, range(2 * len(inputs))))
        return time.perf_counter() - start


def _agreement(other: Predictor, tried: Sequence[_Tried]) -> float:
    """IoU of the masks of all pictures together, class by class; where there is nothing, whether both are near."""
    common, union, furthest = 0, 0, 0.0
    for picture, first in tried:
        second = other(picture)
        found = (first.classes > 0) | (second.classes > 0)
        union += int(np.count_nonzero(found))
        common += int(np.count_nonzero(found & (first.classes == second.classes)))
        furthest = max(furthest, float(np.abs(first.probability - second.probability).max()))
    return common / union if union else float(furthest <= _NEAR)
