"""HTML pages that need nothing but themselves: pictures and figures inside, no network, no script, no date.

A report is read years later, from a mail or a backup, and compared byte by byte: whatever it shows is in it, and the
same results give the same page.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import style
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from masksup_med.outputs.atomic import atomic_path

__all__ = ["INK", "css_colour", "figure_svg", "picture_uri", "plot_style", "write_page"]

INK = "#010203"  # in a figure: the colour of the text around it, in light and in dark

_FONT = "DejaVu Sans"  # comes with Matplotlib, to measure text by; the page's own, which is narrower, is shown
_TEMPLATES = Path(__file__).parent / "templates"
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


def picture_uri(picture: NDArray[np.uint8], side: int = 320) -> str:
    """Return a picture as the JPEG that an ``<img src="…">`` can hold.

    Args:
        picture: shape ``(H, W, 3)`` or ``(H, W)``, uint8.
        side: what its longer side may have at most, in pixels; a smaller picture stays as it is.
    """
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85, subsampling=0)  # thin coloured outlines do not survive halved colour
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def css_colour(colour: Sequence[int]) -> str:
    """Write red, green and blue, 0 to 255, as CSS has them: ``#56b4e9``."""
    return "#" + bytes(colour).hex()


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


def write_page(path: str | os.PathLike[str], template: str, **content: Any) -> None:
    """Write a page; a file of that name is either whole or untouched.

    Args:
        path: where to.
        template: name of a file in ``templates/``, beside this one.
        content: what the template shows. All text is escaped but what :func:`figure_svg` returns.

    Raises:
        jinja2.UndefinedError: the template needs what ``content`` does not have.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    html = environment.get_template(template).render(content)
    with atomic_path(path) as temporary:
        temporary.write_bytes(html.encode("utf-8", errors="replace"))  # names of files need not be valid text
