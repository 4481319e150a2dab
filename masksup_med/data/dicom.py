"""Single-frame DICOM pictures as 8-bit grey or RGB; pydicom is imported when the first of them is read.

No attribute of a patient is parsed, only those that say how pixels are stored and shown; nor does an error quote
the file.
"""

from __future__ import annotations

import io
import logging
import re
import threading
import warnings
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from masksup_med.data._dicom_values import VALUE_TAGS, numbers, shown
from masksup_med.data._refusals import COPY_AGAIN, Refusal, check_area, withheld

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.pixels.decoders.base import Decoder

__all__ = ["DicomFile", "is_dicom"]

_CHANNELS = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1}
_CHANNELS |= dict.fromkeys(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"), 3)
_TAGS = [
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelSpacing", "NominalScannedPixelSpacing"),
    *VALUE_TAGS,
]
_EXPORT = "export the picture as PNG"
_PYDICOM = re.compile(r"pydicom(\.|$)")
_lock = threading.Lock()


def is_dicom(start: bytes) -> bool:
    """Whether a file that begins with these bytes, 132 or more, is DICOM."""
    return start[128:132] == b"DICM"


class DicomFile:
    """A DICOM file, open but not read yet. All its methods raise :class:`Refusal`."""

    kind = "DICOM"

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the header."""
        header = _read(self._file)
        return int(header.Columns), int(header.Rows)

    def pixel_size(self) -> tuple[float, float] | None:
        """Height and width of a pixel in mm; None where it is not known.

        ImagerPixelSpacing is left aside: it is measured at the detector, not in the patient.
        """
        header = _read(self._file)
        for keyword in ("PixelSpacing", "NominalScannedPixelSpacing"):
            spacing = numbers(header, keyword)
            if len(spacing) == 2 and min(spacing) > 0:
                return spacing[0], spacing[1]
        return None

    def picture(self) -> NDArray[np.uint8]:
        """Decode the frame, as a viewer shows it first.

        Returns:
            Array of shape (H, W, 1) or (H, W, 3), mapped as :func:`masksup_med.data._dicom_values.shown` says.
        """
        header = _read(self._file)
        stored = _decode(self._file, header)
        with withheld("its values cannot be mapped to grey or colours"):
            return shown(stored, header)


@withheld("its header is incomplete or damaged")
def _read(file: BinaryIO) -> Dataset:
    """Parse the header, and check that it is that of one picture of a kind and size that can be read."""
    header = _parse(file, _TAGS, stop_before_pixels=True)
    if header.get("Rows") is None or header.get("Columns") is None:
        raise Refusal("it is a DICOM file without a picture, or cut short", f"leave it out, or {COPY_AGAIN}")
    if (frames := int(header.get("NumberOfFrames") or 1)) != 1:
        raise Refusal(f"it holds {frames} frames", "export the one you need as a file of its own")
    if _CHANNELS.get(header.PhotometricInterpretation) != header.SamplesPerPixel:
        raise Refusal("its pixels are neither grey nor palette, RGB or YBR colours", _EXPORT)
    if min(header.Rows, header.Columns) < 1:
        raise ValueError
    check_area(header.Columns, header.Rows)
    return header


def _parse(file: BinaryIO, tags: list[Any], stop_before_pixels: bool) -> Dataset:
    import pydicom

    _keep_quiet()
    file.seek(0)
    return pydicom.dcmread(file, stop_before_pixels=stop_before_pixels, specific_tags=tags)


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


def _decode(file: BinaryIO, header: Dataset) -> NDArray[Any]:
    """Decode the pixels: integers of shape (H, W), or (H, W, 3) of RGB."""
    with withheld("its header is incomplete or damaged"):
        decoder = _decoder(header)
    packages = _packages(decoder)
    remedy = f"{COPY_AGAIN}, or try: pip install {packages}" if packages else COPY_AGAIN
    with withheld("its pixel data is incomplete or cannot be decoded", remedy):
        dataset = _parse(file, [*_TAGS, "PixelData"], stop_before_pixels=False)
        options = _options(decoder, dataset)
        stored, properties = decoder.as_array(dataset, index=0, **options)
        if stored.ndim == 3 and not options and properties["photometric_interpretation"] != "RGB":
            raise ValueError
        return stored


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
        raise Refusal(f"no decoder of {syntax.name} is installed", f"pip install {_packages(decoder)}, or {_EXPORT}")
    highest = header.BitsStored - 1
    if decoder.is_native and header.BitsAllocated > header.BitsStored and header.get("HighBit", highest) != highest:
        raise Refusal("its pixels do not begin at the lowest bit", _EXPORT)
    return decoder


def _packages(decoder: Decoder) -> str:
    """Return what to install to decode a transfer syntax, or more kinds of it; "" where nothing is missing."""
    from pydicom import uid

    if decoder.UID in uid.JPEGLSTransferSyntaxes:
        return "pyjpegls"
    if decoder.UID in uid.JPEG2000TransferSyntaxes:
        return "pylibjpeg pylibjpeg-openjpeg"
    return "pylibjpeg pylibjpeg-libjpeg" if decoder.UID in uid.JPEGTransferSyntaxes else ""


def _options(decoder: Decoder, dataset: Dataset) -> dict[str, Any]:
    """Check the size that a JPEG or JPEG 2000 itself names, and choose how to decode it.

    Pillow turns a JPEG with Adobe's marker to RGB, after which pydicom would convert it once more.
    """
    if "pillow" not in decoder.available_plugins:
        return {}
    from pydicom.encaps import get_frame

    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    try:
        with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as image:
            if image.size != (dataset.Columns, dataset.Rows):
                raise ValueError
            return {"decoding_plugin": "pillow", "raw": True} if "adobe_transform" in image.info else {}
    except UnidentifiedImageError:  # another plug-in may know it
        return {}
