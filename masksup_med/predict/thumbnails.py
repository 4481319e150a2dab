"""Small pictures of what was found, from whatever results there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masksup_med.data.decode import read_image, read_label
from masksup_med.outputs.overlay import draw_overlay
from masksup_med.outputs.page import picture_uri
from masksup_med.predict.manifest import Line

__all__ = ["result_file", "thumbnail"]

_SIDE = 240  # in pixels


def thumbnail(line: Line, folder: Path, source: Path | None) -> str | None:
    """A small picture with contours; None if there is nothing any more to make it from.

    The contours of an overlay get faint when it gets small, so they are drawn again if there is a mask.
    """
    overlay, mask = (result_file(line, folder, kind) for kind in ("overlays", "masks"))
    classes = None if mask is None else _tried(_classes, folder / mask, line)
    ground = None if overlay is None else _tried(_overlay, folder / overlay)
    if ground is None and classes is not None and source is not None:
        ground = _tried(_image, source, line)
    if ground is None:
        return None
    if classes is not None:
        size = ground.shape[1], ground.shape[0]
        ground = draw_overlay(ground, np.asarray(Image.fromarray(classes).resize(size, Image.Resampling.NEAREST)))
    return picture_uri(ground, _SIDE)


def _tried(read: Callable[..., NDArray[np.uint8]], path: Path, *args: Line) -> NDArray[np.uint8] | None:
    with suppress(Exception):  # decoders answer damaged bytes with nearly any class of error
        return read(path, *args)
    return None


def _overlay(path: Path) -> NDArray[np.uint8]:
    """Read an overlay, small; the decoder itself halves a large one, which saves nearly all the time."""
    with Image.open(path, formats=["JPEG"]) as image:
        image.draft("RGB", (_SIDE, _SIDE))
        return _small(image.convert("RGB"))


def _image(path: Path, line: Line) -> NDArray[np.uint8]:
    return _small(Image.fromarray(_checked(read_image(path, line.get("frame")), line)))


def _small(image: Image.Image) -> NDArray[np.uint8]:
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _classes(path: Path, line: Line) -> NDArray[np.uint8]:
    """Read a mask as class numbers, which are grey levels divided by one number."""
    mask = _checked(read_label(path), line)
    scale = mask.max() // max((found["class_number"] for found in line["objects"]), default=1)
    return mask // max(scale, 1)


def _checked(picture: NDArray[np.integer], line: Line) -> NDArray[np.integer]:
    if picture.shape[:2] != (line["height"], line["width"]):
        raise ValueError("The file is another one by now.")
    return picture


def result_file(line: Line, folder: Path, *kinds: str) -> str | None:
    """The path of an image's result, the first that there is of some kinds; none that leads out of their folders."""
    for kind in kinds:
        for path in line["outputs"]:  # which can come from anywhere
            if path.startswith(f"{kind}/") and ".." not in PurePath(path).parts and os.path.isfile(folder / path):
                return path
    return None
