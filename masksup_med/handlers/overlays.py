"""From an evaluator's output to overlays on the pictures that it is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray
from PIL import Image

from masksup_med.data.decode import read_image
from masksup_med.outputs.overlay import draw_overlay, write_picture

__all__ = ["class_map", "write_overlays"]


def write_overlays(samples: Iterable[Mapping[str, MetaTensor]], folder: Path) -> None:
    """Write an overlay ``<number>_<name of the image file>.png`` for every sample.

    A picture is read from the file that the image was loaded from. If its size is not that of the prediction,
    because the validation scores at the network's size, the picture is resized.

    Args:
        samples: from ``engine.state.output``: ``image`` with the metadata of its file, ``pred`` and, if known,
            ``label``, both ``(C, W, H)``, discrete, one-hot where C > 1.
        folder: where to.
    """
    for number, sample in enumerate(samples, start=1):
        source = Path(sample["image"].meta["filename_or_obj"])
        write_picture(folder / f"{number:02d}_{source.stem}.png", _overlay(sample, source))


def _overlay(sample: Mapping[str, MetaTensor], source: Path) -> NDArray[np.uint8]:
    pred = class_map(sample["pred"])
    height, width = pred.shape
    picture = Image.fromarray(read_image(source))
    if picture.size != (width, height):
        picture = picture.resize((width, height))
    label = class_map(sample["label"]) if "label" in sample else None
    return draw_overlay(np.asarray(picture), pred, label)


def class_map(mask: MetaTensor) -> NDArray[Any]:
    """Turn MONAI's ``(C, W, H)``, one-hot where C > 1, or ``(W, H)`` into class numbers ``(H, W)``."""
    array = mask.detach().cpu().numpy()
    if array.ndim == 3:
        array = array[0] if len(array) == 1 else array.argmax(axis=0)
    return np.rint(array).astype(int).T
