"""Examples for the occlusion report: what was left of a picture, and what was found in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masksup_med.bundle.predictor import Predictor
from masksup_med.data.decode import read_image
from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.hiding import HIDINGS, hide
from masksup_med.evaluate.reading import read_foreground
from masksup_med.evaluate.reports.pictures import Picture, stretched
from masksup_med.outputs.overlay import draw_overlay
from masksup_med.outputs.page import picture_uri

__all__ = ["example_pictures"]

_COUNT, _RATIOS, _SIDE = 3, (0, 0.3, 0.6, 0.9), 240


def example_pictures(predictor: Predictor, cases: Sequence[Case], seed: int) -> dict[str, list[Picture]]:
    """Draw a few cases, evenly spread over the list, under each kind of hiding.

    Returns:
        By the cases' names the pictures, one row after the other.
    """
    places = np.unique(np.linspace(0, len(cases) - 1, min(_COUNT, len(cases))).round().astype(int))
    return {cases[place].name: list(_pictures(predictor, cases[place], seed)) for place in places.tolist()}


def _pictures(predictor: Predictor, case: Case, seed: int) -> Iterator[Picture]:
    prepared, label = predictor.prepare(read_image(str(case.image))), read_foreground(case.label, case.values)
    for hiding in HIDINGS:
        for ratio in _RATIOS:
            left = hide(prepared.image, hiding, ratio, case.name, seed)
            found = predictor.finish(prepared, predictor.infer([left])[0]).classes
            picture = _as_picture(left)
            drawn = draw_overlay(picture, *(stretched(each, picture.shape[:2]) for each in (found, label)))
            yield Picture(f"{hiding}, {ratio:.0%} hidden" if ratio else "nothing hidden", picture_uri(drawn, _SIDE))


def _as_picture(image: Any) -> NDArray[np.uint8]:
    """A network's input (C, W, H) as RGB (H, W, 3), for three channels or the first of others."""
    channels = np.asarray(image).T
    channels = channels if channels.shape[-1] == 3 else channels[..., :1].repeat(3, axis=-1)
    return ((channels + 1) * 127.5).clip(0, 255).round().astype(np.uint8)
