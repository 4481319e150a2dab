"""HTML pages that need nothing but themselves: pictures and figures inside, no network, no script, no date.

A report is read years later, from a mail or a backup, and compared byte by byte: whatever it shows is in it, and the
same results give the same page.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from masksup_med.outputs.atomic import atomic_path

__all__ = ["css_colour", "picture_uri", "write_page"]

_TEMPLATES = Path(__file__).parent / "templates"


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


def write_page(path: str | os.PathLike[str], template: str, **content: Any) -> None:
    """Write a page; a file of that name is either whole or untouched.

    Args:
        path: where to.
        template: name of a file in ``templates/``, beside this one.
        content: what the template shows. All text is escaped but what
            :func:`~masksup_med.outputs.plots.figure_svg` returns.

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
