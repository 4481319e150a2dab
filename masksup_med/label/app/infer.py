"""Predictions as MONAI Label hands them out: masks, and outlines for programs that draw them."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import itk
import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from numpy.typing import NDArray

from masksup_med.data.decode import image_size
from masksup_med.errors import SettingError
from masksup_med.label.answers import Found, asap, cvat, dsa, found_in
from masksup_med.label.served import Served
from masksup_med.outputs.overlay import write_picture

__all__ = ["Infer", "outlines_file"]

_SUFFIXES = (".png", ".nrrd")


class Infer(InferTask):
    """Answer with what is in an image.

    Args:
        served: the model.
    """

    def __init__(self, served: Served) -> None:
        bundle = served.predictor.bundle
        self._served, self._names = served, bundle.classes
        labels = {name: number for number, name in bundle.classes.items()}
        super().__init__(InferType.SEGMENTATION, labels, 2, bundle.metadata.get("description", ""))

    def is_valid(self) -> bool:
        """Whether it can predict, which a bundle that was opened always can."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Predict.

        Args:
            request: ``image``, a file; ``location`` and ``size`` of a region, x and y; ``output``, ``json`` for
                contours alone; ``result_extension`` of the mask.

        Returns:
            File of the mask, class numbers in the image's own size, and what else there is to say.
        """
        started = time.monotonic()
        image = Path(request["image"])
        classes, corner = self._served(image, _region(request))
        seconds = round(time.monotonic() - started, 3)
        params: dict[str, Any] = {"label_names": self.labels, "latencies": {"total": seconds}}
        if request.get("output") in ("json", "found"):
            found = found_in(classes, self._names, corner)
            return None, params | ({"annotations": cvat(found)} if request["output"] == "json" else {"found": found})
        whole: NDArray[np.uint8] = np.zeros(image_size(image)[::-1], np.uint8)
        left, top = corner
        whole[top : top + classes.shape[0], left : left + classes.shape[1]] = classes
        return _mask_file(whole, str(request.get("result_extension") or ".png")), params


def outlines_file(found: Sequence[Found], output: str, model: str, folder: Path) -> dict[str, Any]:
    """What MONAI Label's routes for slides answer with: ASAP's XML, the Digital Slide Archive's JSON, or contours."""
    name = f"masksup {model}"
    if output == "json":
        return {"params": {"annotations": cvat(found)}}
    suffix, text = (".xml", asap(found)) if output == "asap" else (".json", json.dumps(dsa(found, name)))
    with tempfile.NamedTemporaryFile("w", suffix=suffix, dir=folder, delete=False, encoding="utf-8") as file:
        file.write(text)
    return {"file": file.name, "params": {}}


def _mask_file(classes: NDArray[np.uint8], suffix: str) -> str:
    """Write class numbers, shape (H, W); who sends the file removes it."""
    if suffix not in _SUFFIXES:
        raise SettingError(f"Masks are not written as {suffix!r}; ask for {' or '.join(_SUFFIXES)}.")
    handle, path = tempfile.mkstemp(suffix)
    os.close(handle)
    if suffix == ".png":
        write_picture(path, classes)
    else:
        itk.imwrite(itk.image_from_array(classes[np.newaxis]), path)  # one slice, as 3D Slicer reads a picture
    return path


def _region(request: Mapping[str, Any]) -> list[int] | None:
    """Left, top, width and height, if a region is meant."""
    place, size = request.get("location") or [0, 0], request.get("size") or [0, 0]
    try:
        box = [int(value) for value in (*place, *size)]
    except (TypeError, ValueError):
        box = []
    if len(box) != 4:
        raise SettingError(f"A region has a location and a size of two numbers each, not {place} and {size}.")
    return box if box[2] > 0 and box[3] > 0 else None
