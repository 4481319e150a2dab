"""Whole slides: which files are slides, and reading parts of one; OpenSlide is imported when the first is opened.

A slide is a picture too large to be in memory at once, kept in tiles and usually at several sizes: Aperio's ``.svs``,
other TIFF files with several sizes, large tiled ones, and DICOM whole slide microscopy, each level a file.

Example::

    with Slide(Path("slide.svs")) as slide:
        slide.size  # (46000, 32914), width and height
        slide.mpp  # (0.499, 0.499), µm per pixel, across and down
        slide.region((1000, 2000, 3000, 4000), (500, 500)).shape  # (500, 500, 3)
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tifffile import PLANARCONFIG, TiffFile

from masksup_med.data._refusals import COPY_AGAIN, Refusal, naming, withheld
from masksup_med.data.dicom import read_header
from masksup_med.data.tiff import TIFF_STARTS

__all__ = ["DicomLevel", "Slide", "dicom_level", "is_tiff_slide"]

_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_INSTALL = 'pip install "masksup-med[slides]"'
_WHITE = 255
_LARGEST_TILE = 1 << 26  # pixels
_MOST_PIXELS = 1 << 25  # that are read at once
_MICRONS = {"nm": 0.001, "µm": 1.0, "mm": 1000.0, "cm": 10_000.0}
_MPP = (0.05, 20)  # of microscopes; TIFF files may tell the resolution of a printer instead


def is_tiff_slide(path: Path) -> bool:
    """Whether a TIFF file is a slide.

    Raises:
        DataError: it is damaged.
    """
    with naming("image", path), TiffFile(path) as tiff:
        first = tiff.pages.first
        limit = Image.MAX_IMAGE_PIXELS or math.inf
        large = first.is_tiled and first.imagewidth * first.imagelength > limit
        return bool(tiff.is_svs or large or any(len(series.levels) > 1 for series in tiff.series))


class DicomLevel(NamedTuple):
    """What a DICOM file of a slide says of itself."""

    series: str  # that all levels of the slide have in common
    width: int  # of the level; 0 for what is not part of the slide's picture, as its label


def dicom_level(path: Path) -> DicomLevel | None:
    """The level of a slide that a DICOM file holds, None if it is no slide.

    Raises:
        DataError: it is damaged.
    """
    tags: list[Any] = ["SOPClassUID", "SeriesInstanceUID", "ImageType", "TotalPixelMatrixColumns"]
    with naming("image", path), open(path, "rb") as file, withheld("its header is incomplete or damaged"):
        header = read_header(file, tags)
        if header.get("SOPClassUID") != _WHOLE_SLIDE:
            return None
        is_level = "VOLUME" in (header.get("ImageType") or ()) or "THUMBNAIL" in (header.get("ImageType") or ())
        width = int(header.get("TotalPixelMatrixColumns") or 0)
        return DicomLevel(str(header.get("SeriesInstanceUID")), width if is_level else 0)


class Slide:
    """An open slide. Its parts can be read by several threads.

    Args:
        path: of its file; for DICOM, of any of its levels, the others lying in the same folder.

    Raises:
        DataError: it cannot be read, or does not say how large its pixels are; or OpenSlide is not installed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with naming("slide", path):
            self._slide = _opened(path)
            _check_tiles(self._slide.properties)
            self.size: tuple[int, int] = self._slide.dimensions
            self.mpp = _mpp(self._slide.properties, _ome_mpp(path))

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slide.close()

    def region(self, box: Sequence[float], size: tuple[int, int]) -> NDArray[np.uint8]:
        """Read a part of the slide from the smallest level that is fine enough, resampled with anti-aliasing.

        Args:
            box: left, top, right and bottom in pixels of the finest level, inside the slide.
            size: width and height to resample to.

        Returns:
            Array of shape (height, width, 3); what the slide leaves out is white.

        Raises:
            DataError: it is damaged there.
        """
        left, top, right, bottom = box
        wanted = max(1.0, min((right - left) / size[0], (bottom - top) / size[1]))
        level = self._slide.get_best_level_for_downsample(wanted * 1.01)  # levels are seldom halved to the digit
        step = self._slide.level_downsamples[level]
        width, height = self._slide.level_dimensions[level]
        x, y = min(int(left / step), width - 1), min(int(top / step), height - 1)
        count = max(1, min(math.ceil(right / step), width) - x), max(1, min(math.ceil(bottom / step), height) - y)
        if count[0] * count[1] > _MOST_PIXELS and max(size) > 1:
            return self._halves(box, size)
        with naming("slide", self._path), withheld("it is damaged"):
            stored = self._slide.read_region((round(x * step), round(y * step)), level, count)
        on_white = Image.new("RGB", count, (_WHITE,) * 3)
        on_white.paste(stored, mask=stored.getchannel("A"))
        ends = min(right / step - x, count[0]), min(bottom / step - y, count[1])
        inside = (min(left / step - x, ends[0] - 0.5), min(top / step - y, ends[1] - 0.5), *ends)
        return np.asarray(on_white.resize(size, Image.Resampling.BILINEAR, inside))

    def _halves(self, box: Sequence[float], size: tuple[int, int]) -> NDArray[np.uint8]:
        """Read a part that is too large to be in memory before it is resampled."""
        (left, top, right, bottom), (width, height) = box, size
        if width >= height:
            middle = left + (right - left) * (width // 2) / width
            boxes = (left, top, middle, bottom), (middle, top, right, bottom)
            parts = [self.region(boxes[0], (width // 2, height)), self.region(boxes[1], (width - width // 2, height))]
            return np.concatenate(parts, axis=1)
        middle = top + (bottom - top) * (height // 2) / height
        boxes = (left, top, right, middle), (left, middle, right, bottom)
        return np.concatenate(
            [self.region(boxes[0], (width, height // 2)), self.region(boxes[1], (width, height - height // 2))]
        )

    def overview(self, longest: int) -> NDArray[np.uint8]:
        """The whole slide, its longer side not above a number of pixels; shape (h, w, 3)."""
        width, height = self.size
        share = min(1, longest / max(width, height))
        return self.region((0, 0, width, height), (max(1, round(width * share)), max(1, round(height * share))))


def _opened(path: Path) -> Any:
    try:
        from openslide import OpenSlide, OpenSlideError
    except ImportError:  # the package, or the library that it needs
        raise Refusal("it is a slide, and OpenSlide, which reads slides, is not installed", _INSTALL) from None
    try:
        return OpenSlide(os.fspath(path))
    except OpenSlideError:  # whose text may quote the file
        raise Refusal("OpenSlide cannot read it", f"{COPY_AGAIN}, or convert it to a pyramidal TIFF") from None


def _check_tiles(properties: Any) -> None:
    """Refuse tiles that memory would not suffice for: OpenSlide ends the process then, without an error."""
    for name, width in properties.items():
        if name.endswith(".tile-width"):
            height = properties.get(name.replace("width", "height"), "1")
            if int(width) * int(height) > _LARGEST_TILE:
                raise Refusal(f"its tiles have {width} × {height} pixels", COPY_AGAIN)


def _ome_mpp(path: Path) -> tuple[float, float] | None:
    """µm per pixel as OME-TIFF says it, which OpenSlide does not read; None for other files.

    Raises:
        Refusal: its colours are not in one page, of which OpenSlide would show the first.
    """
    with open(path, "rb") as file:
        if not file.read(4).startswith(TIFF_STARTS):
            return None
    with withheld("its header is damaged"), TiffFile(path) as tiff:
        page = tiff.pages.first
        if page.samplesperpixel != 3 or page.planarconfig != PLANARCONFIG.CONTIG:
            raise Refusal("its colours are not stored side by side", "convert it to a pyramidal RGB TIFF")
        if not tiff.ome_metadata:
            return None
        for pixels in ElementTree.fromstring(tiff.ome_metadata).iterfind(".//{*}Pixels"):
            sides = [(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XY"]
            if all(size is not None and unit in _MICRONS for size, unit in sides):
                across, down = (float(size or 0) * _MICRONS[unit] for size, unit in sides)
                return across, down
    return None


def _mpp(properties: Any, ome: tuple[float, float] | None) -> tuple[float, float]:
    try:
        mpp = ome or (float(properties["openslide.mpp-x"]), float(properties["openslide.mpp-y"]))
    except (KeyError, ValueError):
        raise Refusal("it does not say how many µm a pixel has", "write its resolution into the file") from None
    if not all(_MPP[0] <= each <= _MPP[1] for each in mpp):
        raise Refusal(f"it says that a pixel has {mpp[0]:g} µm", "write its true resolution into the file")
    return mpp
