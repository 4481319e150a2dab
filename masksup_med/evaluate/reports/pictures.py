"""The pictures of a case in the report: image, label, prediction, and the outlines of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masksup_med.data.decode import read_image
from masksup_med.errors import MaskSupError
from masksup_med.evaluate.cases import Case
from masksup_med.outputs.overlay import CLASS_COLOURS, draw_overlay
from masksup_med.outputs.page import css_colour, picture_uri

__all__ = ["COLOURS", "Picture", "Show", "case_pictures", "colour_of", "stretched"]

Show = Callable[[Case], tuple[NDArray[Any], NDArray[Any]]]  # gives prediction and label

_DARK = 24  # what outlines are drawn over where there is no image
_DIM = 2  # how much darker the image is under the outlines, which are thin and would drown in bright tissue
_VOID = 255


def _palette() -> NDArray[np.uint8]:
    """The hues of outlines, as they are, lighter, and darker."""
    hues = np.array(CLASS_COLOURS, float)
    return np.concatenate([hues, hues * 0.45 + 255 * 0.55, hues * 0.5]).astype(np.uint8)


COLOURS = _palette()


class Picture(NamedTuple):
    """A picture as the page shows it."""

    title: str
    uri: str


def colour_of(number: int) -> str:
    """The colour of a class or object in the pictures, as CSS has it; they repeat."""
    return css_colour(COLOURS[(number - 1) % len(COLOURS)].tolist()) if 0 < number != _VOID else "#000000"


def case_pictures(case: Case, show: Show, classes: bool) -> tuple[list[Picture], list[str]]:
    """Draw a case, and tell what could not be drawn as it is.

    Args:
        case: what to draw.
        show: gives the prediction and the label as masks or as numbers of objects or classes.
        classes: whether numbers are classes, each outlined in its own colour, and 255 is void.

    Returns:
        The pictures, from left to right, and notes for the reader.
    """
    pred, label = (np.where(each == _VOID, 0, each) if classes else each for each in show(case))
    image, notes = _image(case, label.shape)
    pictures = [] if image is None else [Picture("Image", picture_uri(image))]
    pictures += [Picture("Label", picture_uri(_coloured(label))), Picture("Prediction", picture_uri(_coloured(pred)))]
    if pred.shape != label.shape:
        notes.append(f"The prediction has {_size(pred.shape)} pixels; its outline is stretched to the label's size.")
        pred = stretched(pred, label.shape)
    ground = np.full((*label.shape, 3), _DARK, np.uint8) if image is None else image // _DIM
    outlines = draw_overlay(ground, *(each if classes else each > 0 for each in (pred, label)))
    return [*pictures, Picture("Outlines", picture_uri(outlines))], notes


def _image(case: Case, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8] | None, list[str]]:
    if case.image is None:
        return None, []
    try:
        image = read_image(case.image)
    except MaskSupError:  # its message has a path, which is nobody's business who gets the report
        return None, ["The image cannot be read."]
    if image.shape[:2] != shape:
        return None, [f"The image has {_size(image.shape)} pixels, its label {_size(shape)}; it is not shown."]
    return image, []


def _coloured(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Masks white, numbers above 0 each in a colour, all else black."""
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    picture = COLOURS[(values.astype(np.intp) - 1) % len(COLOURS)]
    picture[values <= 0] = 0
    return picture


def stretched(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Nearest neighbours on a grid of another size."""
    rows, columns = (np.arange(to) * side // to for to, side in zip(shape, values.shape, strict=True))
    return values[np.ix_(rows, columns)]


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} × {shape[0]}"
