"""Decoders of compressed DICOM, of which pydicom knows whether they are there."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from masksup_med.doctor.findings import Absent, Finding, tried

__all__ = ["COMPRESSIONS", "Compression", "check_decoders"]

_INSTALL = "pip install 'masksup-med[dicom]'"


class Compression(NamedTuple):
    """How pixels of DICOM files can be stored."""

    name: str
    syntaxes: tuple[str, ...]  # their names in pydicom.uid
    plugins: frozenset[str] = frozenset()  # of which one is needed for all of it; empty where any will do
    otherwise: str = ""  # what works with other plug-ins


COMPRESSIONS = (
    Compression("DICOM in, RLE", ("RLELossless",)),
    Compression("DICOM in, 8-bit JPEG", ("JPEGBaseline8Bit",)),
    Compression(
        "DICOM in, 12-bit and lossless JPEG",
        ("JPEGExtended12Bit", "JPEGLossless", "JPEGLosslessSV1"),
        frozenset({"pylibjpeg", "gdcm"}),
    ),
    Compression("DICOM in, JPEG-LS", ("JPEGLSLossless", "JPEGLSNearLossless")),
    Compression(
        "DICOM in, JPEG 2000",
        ("JPEG2000Lossless", "JPEG2000"),
        frozenset({"pylibjpeg", "gdcm"}),
        f"by Pillow alone, which cannot decode all of it; {_INSTALL}",
    ),
)


def check_decoders() -> list[Finding]:
    """Ask for the decoders of each compression."""
    return [tried(each.name, partial(_find, each), remedy=_INSTALL) for each in COMPRESSIONS]


def _find(compression: Compression) -> str:
    """Ask pydicom for the decoders of all transfer syntaxes of a kind."""
    from pydicom import uid
    from pydicom.pixels import get_decoder

    decoders = [get_decoder(getattr(uid, name)) for name in compression.syntaxes]
    if lacking := [decoder.UID.name for decoder in decoders if not decoder.is_available]:
        raise Absent(f"there is no decoder of {lacking[0]}")
    if all(not compression.plugins or compression.plugins & set(each.available_plugins) for each in decoders):
        return ""
    if not compression.otherwise:
        raise Absent("the decoders that there are do not decode all of it")
    return compression.otherwise
