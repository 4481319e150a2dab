"""DICOM pictures as 8-bit grey or RGB, frame by frame; pydicom is imported when the first of them is read.

No attribute of a patient is parsed, only those that say how pixels are stored and shown; nor does an error quote
the file.
"""

from __future__ import annotations

import io
import logging
import math
import os
import re
import threading
import warnings
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from masksup_med.data._dicom_spacing import SPACING_TAGS, spacing
from masksup_med.data._dicom_values import VALUE_TAGS, shown
from masksup_med.data._refusals import COPY_AGAIN, Refusal, check_area, check_volume, withheld

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.pixels.decoders.base import Decoder

__all__ = ["DicomFile", "is_dicom", "read_header"]

_CHANNELS = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1}
_CHANNELS |= dict.fromkeys(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"), 3)
_TAGS = [
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("SOPClassUID", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *SPACING_TAGS,
    *VALUE_TAGS,
]
_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66."  # and 4 for segmentations, 7 for label maps, 3 and 5 for others
_DEFLATED, _PLAIN = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"  # transfer syntaxes
_LONGEST = 1 << 20  # bytes of a deflated header
_SMALLEST = 64  # bytes of a compressed frame: the header of RLE
_BITS = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
_RLE = 64  # bytes, at most, that one byte stands for
_JPEG_END = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000
_EXPORT = "export the picture as PNG"
_INSTALL = 'pip install "masksup-med[dicom]"'
_PYDICOM = re.compile(r"(high|py)dicom(\.|$)")
_lock = threading.Lock()


def is_dicom(start: bytes) -> bool:
    """Whether a file that begins with these bytes, 132 or more, is DICOM."""
    return start[128:132] == b"DICM"


class DicomFile:
    """A DICOM file, of which only the header was read. Raises :class:`Refusal`, as do its methods."""

    kind = "DICOM"

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._header, self._pixels = _read(file)

    def frames(self) -> int:
        """How many pictures it holds."""
        return int(self._header.get("NumberOfFrames") or 1)

    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return int(self._header.Columns), int(self._header.Rows)

    def pixel_size(self) -> tuple[float, float] | None:
        """Height and width of a pixel in mm; None where it is not known."""
        return spacing(self._header)

    def picture(self, frame: int) -> NDArray[np.uint8]:
        """Decode a frame, numbered from 0, as a viewer shows it first.

        Returns:
            Array of shape (H, W, 1) or (H, W, 3), mapped as :func:`masksup_med.data._dicom_values.shown` says.
        """
        header = self._header
        self._file.seek(self._pixels)
        stored = _decode(self._file, header, frame)
        with withheld("its values cannot be mapped to grey or colours"):
            return shown(stored, header)


@withheld("its header is incomplete or damaged")
def _read(file: BinaryIO) -> tuple[BinaryIO, Dataset, int]:
    """Parse the header, and check that it is that of pictures of a kind and size that can be read.

    Returns:
        A file that is not deflated, the header, and where the pixels begin.
    """
    deflated, header = _is_deflated(file), read_header(file, _TAGS)
    if str(header.get("SOPClassUID")).startswith(_SEGMENTATION):
        raise Refusal("it is a DICOM segmentation, not a picture", "leave it out")
    if header.get("Rows") is None or header.get("Columns") is None:
        raise Refusal("it is a DICOM file without a picture, or cut short", f"leave it out, or {COPY_AGAIN}")
    if _CHANNELS.get(header.PhotometricInterpretation) != header.SamplesPerPixel:
        raise Refusal("its pixels are neither grey nor palette, RGB or YBR colours", _EXPORT)
    frames = int(header.get("NumberOfFrames") or 1)
    if min(header.Rows, header.Columns, frames) < 1:
        raise ValueError
    check_area(header.Columns, header.Rows)
    # a damaged attribute may be several numbers
    size = frames * math.prod(int(header.get(name)) for name in _BITS) // 8
    if deflated:
        check_volume(size)
        file = _inflated(file, _LONGEST + size)
        header = _parse(file, _TAGS)
    pixels = file.tell()
    if frames > 1:
        if header.file_meta.TransferSyntaxUID.is_compressed:
            size = frames * _SMALLEST
        if size * 2 // 3 > file.seek(0, os.SEEK_END):  # as little as YBR_FULL_422 takes
            raise ValueError
    return file, header, pixels


def read_header(file: BinaryIO, tags: list[Any] | None = None) -> Dataset:
    """Parse some attributes, or all, before the pixels, at which the file stands then if it is not deflated."""
    _keep_quiet()
    return _parse(_inflated(file, _LONGEST) if _is_deflated(file) else file, tags)


def _parse(file: BinaryIO, tags: list[Any] | None) -> Dataset:
    import pydicom

    file.seek(0)
    return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags)


def _is_deflated(file: BinaryIO) -> bool:
    file.seek(0)
    return _DEFLATED in file.read(512)


def _inflated(file: BinaryIO, size: int) -> BinaryIO:
    """A deflated file as one that is not, up to a size: pydicom would inflate any number of bytes."""
    file.seek(0)
    start = file.read(144)
    meta = start + file.read(int.from_bytes(start[140:144], "little"))  # whose length its first attribute gives
    return io.BytesIO(meta.replace(_DEFLATED, _PLAIN) + zlib.decompressobj(-15).decompress(file.read(), size))


def _keep_quiet() -> None:
    """Keep pydicom's warnings off the terminal for good; catching them around each call is not safe with threads.

    Users can do nothing about them, and some quote the file. The filter is put first again whenever it is not,
    because others' ``warnings.catch_warnings()`` (pytest's, MONAI's) take it away.
    """
    logging.getLogger("pydicom").propagate = False
    if not _is_quiet():
        with _lock:  # else one thread would take away for a moment what another has just put there
            if not _is_quiet():
                warnings.filterwarnings("ignore", module=_PYDICOM.pattern)


def _is_quiet() -> bool:
    return bool(warnings.filters) and warnings.filters[0][3] == _PYDICOM


def _decode(file: BinaryIO, header: Dataset, frame: int) -> NDArray[Any]:
    """Decode the pixels of a frame, at the first of which the file stands: integers, (H, W) or (H, W, 3) of RGB."""
    with withheld("its header is incomplete or damaged"):
        decoder = _decoder(header)
    remedy = f"{COPY_AGAIN}, or try: {_INSTALL}" if _is_missing(decoder) else COPY_AGAIN
    with withheld("its pixel data is incomplete or cannot be decoded", remedy):
        options = _to_pixels(file, header)
        options |= _plugin(decoder, _encoded(file, options, frame), header)
        stored, properties = decoder.as_array(file, index=frame, **options)
        if stored.ndim == 3 and "raw" not in options and properties["photometric_interpretation"] != "RGB":
            raise ValueError
        return stored


def _to_pixels(file: BinaryIO, header: Dataset) -> dict[str, Any]:
    """Go on to the first byte of the pixels (DICOM PS3.5, 7.1.2); return how pydicom is told to decode them."""
    from pydicom.pixels import as_pixel_options

    tag, kind = file.read(4), file.read(2)
    if tag not in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10"):
        raise ValueError
    explicit = kind in (b"OB", b"OW", b"UN")  # whatever the transfer syntax says
    file.seek(6 if explicit else 2, os.SEEK_CUR)
    options = {"pixel_keyword": "PixelData", "pixel_vr": kind.decode() if explicit else "OW"}
    return as_pixel_options(header, transfer_syntax_uid=header.file_meta.TransferSyntaxUID, **options)


def _encoded(file: BinaryIO, options: dict[str, Any], frame: int) -> bytes | None:
    """The bytes of a frame as they are encoded, None for pixels that are not; the file stays where it is.

    Some decoders make up what is missing of a JPEG, so that its end must be there; RLE must be long enough.
    """
    from pydicom.encaps import get_frame
    from pydicom.uid import RLELossless

    if not options["transfer_syntax_uid"].is_compressed:
        return None
    start = file.tell()
    frames, offsets = options["number_of_frames"], options.get("extended_offsets")
    encoded = get_frame(file, frame, number_of_frames=frames, extended_offsets=offsets)
    file.seek(start)
    if options["transfer_syntax_uid"] == RLELossless:
        is_whole = options["rows"] * options["columns"] * options["samples_per_pixel"] <= _RLE * len(encoded)
    else:
        is_whole = _JPEG_END in encoded[-16:]
    if not is_whole:
        raise ValueError
    return encoded


def _decoder(header: Dataset) -> Decoder:
    from pydicom.pixels import get_decoder

    syntax = header.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        # not any text that stands where its number should be
        name = syntax.name if syntax.name != str(syntax) else "an unknown transfer syntax"
        raise Refusal(f"its pixels are stored in {name}", _EXPORT) from None
    if not decoder.is_available:
        raise Refusal(f"no decoder of {syntax.name} is installed", f"{_INSTALL}, or {_EXPORT}")
    highest = header.BitsStored - 1
    if decoder.is_native and header.BitsAllocated > header.BitsStored and header.get("HighBit", highest) != highest:
        raise Refusal("its pixels do not begin at the lowest bit", _EXPORT)
    return decoder


def _is_missing(decoder: Decoder) -> bool:
    """Whether the extra has a decoder of a transfer syntax that is not installed."""
    from pydicom import uid

    jpegs = *uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes, *uid.JPEG2000TransferSyntaxes
    return decoder.UID in jpegs and not {"pylibjpeg", "pyjpegls"} & set(decoder.available_plugins)


def _plugin(decoder: Decoder, encoded: bytes | None, header: Dataset) -> dict[str, Any]:
    """Check the size that a JPEG or JPEG 2000 itself names, and choose how to decode it.

    Pillow turns a JPEG with Adobe's marker to RGB, after which pydicom would convert it once more.
    """
    if encoded is None or "pillow" not in decoder.available_plugins:
        return {}
    try:
        with Image.open(io.BytesIO(encoded), formats=("JPEG", "JPEG2000")) as image:
            if image.size != (header.Columns, header.Rows):
                raise ValueError
            return {"decoding_plugin": "pillow", "raw": True} if "adobe_transform" in image.info else {}
    except UnidentifiedImageError:  # another plug-in may know it
        return {}
