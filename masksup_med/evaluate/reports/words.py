"""Numbers and words that all reports write alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

__all__ = ["FEW", "PROTOCOL_WORDS", "TASK_WORDS", "Plot", "number", "resampling_words", "span"]

FEW = 10  # groups, below which a bootstrap of them gives intervals that are too narrow

TASK_WORDS = {"polyp": "Polyp segmentation", "gland": "Gland segmentation", "semantic": "Semantic segmentation"}
PROTOCOL_WORDS = {
    "native": "at native size",
    "paper": "by the MaskSup paper's protocol",
    "pranet": "by PraNet's protocol",
    "glas": "by the GlaS challenge's protocol",
}


class Plot(NamedTuple):
    """A plot, and what it is for those who cannot see it."""

    about: str
    svg: Markup


def number(value: float, figure: Mapping[str, Any]) -> str:
    """Write a value of a figure: tenths of a pixel, thousandths of anything else."""
    return f"{value:.1f}" if figure["unit"] == "px" else f"{value:.3f}"


def span(bounds: Sequence[float], figure: Mapping[str, Any]) -> str:
    """Write two values of a figure, from the lower to the higher."""
    return "–".join(number(bound, figure) for bound in bounds)


def resampling_words(grouped: bool, confidence: float) -> dict[str, str]:
    """What the resampling draws, and between which bounds its intervals lie."""
    group, groups = ("patient or sequence", "patients or sequences") if grouped else ("image", "images")
    percent = 100 * confidence
    bounds = f"{(100 - percent) / 2:g}th to the {(100 + percent) / 2:g}th"
    return {"group": group, "groups": groups, "confidence": f"{percent:g}\u00a0%", "bounds": bounds}
