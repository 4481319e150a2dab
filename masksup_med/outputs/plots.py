"""Figures for pages: drawn in one style, and put into the page as ``<svg>``."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from contextlib import AbstractContextManager

from markupsafe import Markup
from matplotlib import style
from matplotlib.figure import Figure

__all__ = ["INK", "figure_svg", "plot_style"]

INK = "#010203"  # in a figure: the colour of the text around it, in light and in dark

_FONT = "DejaVu Sans"  # comes with Matplotlib, to measure text by; the page's own, which is narrower, is shown
# "default" first, so that a user's matplotlibrc does not change the page; text stays text, to be searched and read out.
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "masksup",
    "font.family": [_FONT],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "figure.dpi": 144,
    "legend.frameon": False,
    **dict.fromkeys(
        ["axes.edgecolor", "axes.labelcolor", "grid.color", "text.color", "xtick.color", "ytick.color"], INK
    ),
}
_NO_METADATA = dict.fromkeys(["Creator", "Date", "Format", "Type"])


def plot_style() -> AbstractContextManager[None]:
    """Draw figures for a page in this context: quiet, and the same whatever the user has set up for Matplotlib.

    Example::

        with plot_style():
            figure = Figure((3, 2), layout="constrained")
            figure.add_subplot().hist(values)
        write_page(path, "evaluation.html", plot=figure_svg(figure))
    """
    return style.context(["default", _STYLE])


def figure_svg(figure: Figure) -> Markup:
    """Return a figure as an ``<svg>`` element without background; what is drawn in :data:`INK` follows the text."""
    file = io.StringIO()
    with plot_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # in the font to measure by, not in that of the page
        figure.savefig(file, format="svg", transparent=True, metadata=_NO_METADATA)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor").replace(f"'{_FONT}'", "inherit")
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)  # would style all the page
    # ids are unique in a figure only, and a page holds several
    name = hashlib.sha256(svg.encode()).hexdigest()[:8]
    return Markup(re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>f{name}-", svg))
