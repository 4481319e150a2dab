"""Labels as annotators hand them in: PNG and the like, NIfTI, NRRD, or ASAP's XML; all become class numbers.

A label has the image's own grid: the first pixel of its file is the image's first pixel, whatever a header says of
places in space, since pictures are nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import itk
import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from masksup_med.data.decode import read_label
from masksup_med.errors import DataError

__all__ = ["read_annotation"]

_VOLUMES = (".nii", ".nii.gz", ".nrrd")


def read_annotation(path: str | os.PathLike[str], size: tuple[int, int], names: Mapping[int, str]) -> NDArray[np.uint8]:
    """Read a label, whatever its format.

    Where there is one class, anything above 0 is it; polygons of XML are filled in their order, a pixel being inside if
    its middle is.

    Args:
        path: of its file.
        size: width and height of its image.
        names: of the classes, from 1.

    Returns:
        Class numbers, shape (H, W), 0 for background.

    Raises:
        MissingDataError: there is no such file.
        DataError: it cannot be read, is of another size, or marks what is none of the classes.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith(".xml"):
        return _fill(path, size, names)
    values: NDArray[Any] = _read_volume(path) if name.endswith(_VOLUMES) else read_label(path)
    if values.shape != size[::-1]:
        given = " × ".join(map(str, values.shape[::-1]))
        raise DataError(
            f"The label has {given} pixels, its image {size[0]} × {size[1]}; save it in the image's own size."
        )
    if len(names) == 1:
        return (values > 0).astype(np.uint8)
    if unknown := sorted(set(np.unique(values).tolist()) - {0, *names}):
        known = ", ".join(f"{number} {each}" for number, each in names.items())
        raise DataError(f"The label has the value {unknown[0]}; classes are 0 background, {known}.")
    return values.astype(np.uint8)


def _read_volume(path: Path) -> NDArray[Any]:
    """A slice of NIfTI or NRRD, shape (H, W)."""
    try:
        values: NDArray[Any] = itk.array_from_image(itk.imread(os.fspath(path)))
    except RuntimeError as error:
        raise DataError(f"The label {path.name} cannot be read; save it as a grey PNG.") from error
    while values.ndim > 2 and values.shape[0] == 1:
        values = values[0]
    if values.ndim != 2:
        raise DataError(f"The label {path.name} has several slices or channels; save one, as a grey PNG.")
    return values


def _fill(path: Path, size: tuple[int, int], names: Mapping[int, str]) -> NDArray[np.uint8]:
    """Draw the polygons of ASAP's XML."""
    try:
        annotations = ElementTree.parse(path).getroot().iter("Annotation")
        polygons = [(each.attrib, _points(each)) for each in annotations]
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise DataError(f"The label {path.name} is no XML of ASAP ({error}); export it anew.") from error
    numbers = {name: number for number, name in names.items()}
    classes = np.zeros(size[::-1], np.uint8)
    for attributes, points in polygons:
        called = [attributes.get(key, "") for key in ("PartOfGroup", "Name")]
        number = next((numbers[each] for each in called if each in numbers), None)
        if number is None:
            raise DataError(f"The label has a polygon of {called[0]!r}; classes are {', '.join(numbers)}.")
        if len(points) > 2:
            classes[polygon2mask(classes.shape, points[:, ::-1] - 0.5)] = number
    return classes


def _points(annotation: ElementTree.Element) -> NDArray[np.float64]:
    """Corners in their order, shape (points, 2), x and y."""
    coordinates = sorted(annotation.iter("Coordinate"), key=lambda each: float(each.attrib["Order"]))
    return np.array([[float(each.attrib["X"]), float(each.attrib["Y"])] for each in coordinates]).reshape(-1, 2)
