"""TIFF files of one picture, by tifffile, since Pillow and ITK scramble those of CVC-ClinicDB without a word."""

from __future__ import annotations

import math
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffPage

from masksup_med.data._raster import Raster, upright
from masksup_med.data._refusals import COPY_AGAIN, Refusal, check_area, withheld

__all__ = ["TIFF_STARTS", "decode_page", "open_page", "page_orientation"]

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# CVC-ClinicDB's frames are (MINISBLACK, 3): colour, whatever their tag says.
_KINDS = {
    (PHOTOMETRIC.MINISBLACK, 1),
    (PHOTOMETRIC.MINISWHITE, 1),
    (PHOTOMETRIC.PALETTE, 1),
    (PHOTOMETRIC.MINISBLACK, 3),
    (PHOTOMETRIC.RGB, 3),
    (PHOTOMETRIC.RGB, 4),
}


@withheld("its header is damaged")
def open_page(file: BinaryIO) -> TiffPage:
    """The only page of a TIFF, if it is a picture that this module reads right, and complete.

    Raises:
        Refusal: it is not.
    """
    return _checked_page(TiffFile(file))


def _checked_page(tiff: TiffFile) -> TiffPage:
    """The only page of a TIFF, if it is a picture that this module reads right, and complete."""
    remedy = "save it as a single 8-bit or 16-bit grey or RGB picture"
    if len(tiff.pages) != 1:
        raise Refusal(f"it holds {len(tiff.pages)} pages", remedy)
    page = tiff.pages.first
    if (page.photometric, page.samplesperpixel) not in _KINDS or page.imagedepth != 1:
        kind = getattr(page.photometric, "name", page.photometric)
        raise Refusal(f"it is a TIFF of kind {kind} with {page.samplesperpixel} samples per pixel", remedy)
    if page.dtype not in (bool, np.uint8, np.uint16) or page.bitspersample not in (1, 8, 16):
        raise Refusal(f"it holds {page.bitspersample}-bit samples of type {page.dtype}", remedy)
    check_area(page.imagewidth, page.imagelength)
    if not _is_complete(page, tiff.filehandle.size):
        raise Refusal("it is cut short", COPY_AGAIN)
    return page


def _is_complete(page: TiffPage, file_size: int) -> bool:
    """Whether all strips or tiles are in the file; tifffile fills absent ones with zeros."""
    ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if not ends or max(ends) > file_size or 0 in page.databytecounts:
        return False
    if page.compression == COMPRESSION.NONE:
        return sum(page.databytecounts) >= page.size * page.bitspersample // 8
    return len(ends) >= math.prod(page.chunked)


def decode_page(page: TiffPage) -> Raster:
    """Decode the page; raises :class:`Refusal`."""
    with withheld("its pixels are damaged, or no picture that can be decoded"):
        samples = page.asarray()
    if samples.ndim == 2:
        samples = samples[..., None]
    elif page.axes == "SYX":
        samples = np.moveaxis(samples, 0, -1)
    if (inverted := page.photometric == PHOTOMETRIC.MINISWHITE) and samples.dtype != bool:
        samples = np.iinfo(samples.dtype).max - samples
    elif inverted:
        samples = ~samples
    palette = None if page.photometric != PHOTOMETRIC.PALETTE else _palette(page)
    doubt = "its TIFF tag says that 0 is white" if inverted else ""
    return Raster(upright(samples, page_orientation(page)), palette, doubt)


def _palette(page: TiffPage) -> NDArray[np.uint8]:
    colours = np.asarray(page.colormap).T
    return (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)  # some programs store 0 to 255


def page_orientation(page: TiffPage) -> int:
    """The orientation of the page, as in EXIF."""
    tag = page.tags.get(ExifTags.Base.Orientation)
    return 1 if tag is None else tag.value
