"""What a figure is: a name, a definition, and how it comes out of sums over images.

Every image is measured into a few numbers; a figure is a function of their sums. That one rule gives the mean of a
metric, the pooled F1 of a whole set and a bootstrap of either, which only changes how often an image is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masksup_med.evaluate.cases import Case

__all__ = ["Figure", "Measured", "Measures", "Protocol", "Settings", "Sums", "divide", "mean_of"]

# What an image is measured into; arrays have the same shape for all images.
Measures = dict[str, float | NDArray[Any]]
# Over the images, by the same names and "images", with resamples as first axis.
Sums = Mapping[str, NDArray[np.float64]]


class Settings(NamedTuple):
    """How to evaluate, as far as one image's measurement depends on it."""

    tolerance: float = 2.0  # of the outline, in pixels
    numbers: bool = False  # predictions are masks of 0 and 1
    classes: Mapping[int, str] = {}  # names by number


class Measured(NamedTuple):
    """What came out for one image."""

    measures: Measures
    label_empty: bool
    pred_empty: bool
    object_share: float | None = None  # the label's mean object, as a share of the picture


class Figure(NamedTuple):
    """One line of the results; its words may hold ``{tolerance}``."""

    name: str
    title: str
    definition: str
    value: Callable[[Sums], NDArray[np.float64]]
    column: str | None = None  # the measure whose mean over the images it is, if it is one
    unit: str = ""
    lower_is_better: bool = False
    needs: str = ""  # a measure that must not be 0 for all images, for the figure to say anything


class Protocol(NamedTuple):
    """A way to evaluate: how an image is measured, and the figures that are made of that."""

    about: str
    measure: Callable[[Case, Settings], Measured]
    show: Callable[[Case, Settings], tuple[NDArray[Any], NDArray[Any]]]  # prediction and label, as numbers to draw
    figures: Sequence[Figure]
    key: str  # the column that ranks images from worst to best
    strata: tuple[float, float] | None = None  # object shares where medium and large begin
    size: tuple[int, int] | None = None  # predictions may have this width and height instead of their label's


def mean_of(
    column: str,
    title: str,
    definition: str,
    *,
    name: str = "",
    unit: str = "",
    lower_is_better: bool = False,
    needs: str = "",
) -> Figure:
    """The mean of a measure over the images."""

    def value(sums: Sums) -> NDArray[np.float64]:
        return sums[column] / sums["images"]

    return Figure(name or column, title, definition, value, column, unit, lower_is_better, needs)


def divide(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide; NaN, which results show as undefined, where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
