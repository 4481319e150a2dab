"""From the numbers that a DICOM file stores to what a viewer shows first, in 8 bits.

Written out because pydicom 3.0 is wrong, without a word, in rare cases: it lets the index into tables of more than
256 entries of 8 bits wrap round, takes palettes in big-endian files for little-endian ones, and inverts windows after
a negative rescale slope.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["VALUE_TAGS", "numbers", "shown"]

_PALETTES = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
VALUE_TAGS = [
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *(f"{name}{part}" for name in _PALETTES for part in ("Descriptor", "Data")),
    *(f"Segmented{name}Data" for name in _PALETTES),
]


def shown(stored: NDArray[Any], header: Dataset) -> NDArray[np.uint8]:
    """Map integers of shape (H, W), or (H, W, 3) of RGB, to 0..255.

    Grey values go through the modality's table or rescaling, then through the first window, else the first VOI
    table; a window that shows nothing (its width 0, say) is passed over. Without either, 8 bits stay as they are,
    and others are scaled from all that BitsStored can hold. MONOCHROME1 is inverted, palettes are looked up.

    Returns:
        Array of shape (H, W, 1) or (H, W, 3).

    Raises:
        Exception: of nearly any class, for attributes that are damaged.
    """
    if header.PhotometricInterpretation == "PALETTE COLOR":
        return _palette_colours(stored, header)
    if stored.ndim == 3:
        return _scaled(stored, _stored_range(header))
    grey = _grey(stored, header)[..., None]
    return 255 - grey if header.PhotometricInterpretation == "MONOCHROME1" else grey


def numbers(header: Dataset, keyword: str) -> list[float]:
    """Return the finite numbers of an attribute, none where it is absent or not all of them are numbers."""
    try:
        found = np.atleast_1d(np.asarray(header.get(keyword), np.float64))
    except Exception:  # pydicom meets text that is no number with errors of several classes
        return []
    return found.tolist() if np.isfinite(found).all() else []


def _grey(stored: NDArray[Any], header: Dataset) -> NDArray[np.uint8]:
    values, ends = _modality(stored, header)
    if window := _window(header):
        return _scaled(_through(values, *window), (0, 1))
    if tables := header.get("VOILUTSequence"):
        table, first, ends = _table(tables[0].LUTDescriptor, tables[0].LUTData, header)
        values = _looked_up(values, table, first)
    return _scaled(values, ends)


def _modality(stored: NDArray[Any], header: Dataset) -> tuple[NDArray[Any], tuple[float, float]]:
    """Values as the modality means them (Hounsfield units, say), and the least and greatest that can be."""
    if tables := header.get("ModalityLUTSequence"):
        table, first, ends = _table(tables[0].LUTDescriptor, tables[0].LUTData, header)
        return _looked_up(stored, table, first), ends
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    if slope in (None, "") or intercept in (None, ""):
        return stored, _stored_range(header)
    least, greatest = sorted(end * float(slope) + float(intercept) for end in _stored_range(header))
    if not np.isfinite(greatest - least):
        raise ValueError
    return stored.astype(np.float64) * float(slope) + float(intercept), (least, greatest)


def _stored_range(header: Dataset) -> tuple[int, int]:
    values, signed = 1 << header.BitsStored, header.PixelRepresentation == 1
    return (-values // 2, values // 2 - 1) if signed else (0, values - 1)


def _window(header: Dataset) -> tuple[str, float, float] | None:
    """Function, centre and width of the first window, if it shows anything."""
    function = header.get("VOILUTFunction") or "LINEAR"
    centres, widths = numbers(header, "WindowCenter"), numbers(header, "WindowWidth")
    if not centres or not widths or widths[0] <= 0 or (function == "LINEAR" and widths[0] < 1):
        return None
    return function, centres[0], widths[0]


def _through(values: NDArray[Any], function: str, centre: float, width: float) -> NDArray[np.float64]:
    """Shares of a window (DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3); below 0 and above 1 is outside."""
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    distance = values.astype(np.float64) - centre
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # an infinite divisor gives the 0 that is meant
            return 1 / (1 + np.exp(-4 * distance / width))
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise ValueError
    return distance / width + 0.5 if width else (distance > 0).astype(np.float64)


def _palette_colours(stored: NDArray[Any], header: Dataset) -> NDArray[np.uint8]:
    if f"{_PALETTES[0]}Data" in header:
        tables = [_table(header[f"{name}Descriptor"].value, header[f"{name}Data"].value, header) for name in _PALETTES]
        colours, first = np.stack([table for table, _, _ in tables], axis=-1), tables[0][1]
    else:
        colours, first = _segmented_palette(header)
    shown = colours >> 8 if colours.max() > 255 else colours  # some programs store 0 to 255 in 16 bits
    return _looked_up(stored, shown.astype(np.uint8), first)


def _segmented_palette(header: Dataset) -> tuple[NDArray[Any], int]:
    from pydicom.pixels import apply_color_lut

    entries, first, bits = header[f"{_PALETTES[0]}Descriptor"].value
    if bits == 8 and not 0 < entries <= 256:  # pydicom's index would wrap round
        raise ValueError
    return apply_color_lut(np.arange(first, first + (entries or 65536)), header), first


def _table(descriptor: Any, data: Any, header: Dataset) -> tuple[NDArray[Any], int, tuple[int, int]]:
    """Entries of a look-up table, the value that the first of them is for, and the range they are from."""
    count, first, bits = (int(number) for number in descriptor)
    count = count & 0xFFFF or 65536
    if isinstance(data, bytes):
        words = np.frombuffer(data, "<u2" if header.original_encoding[1] else ">u2").astype("<u2")
        table = words if len(words) >= count else words.view(np.uint8)  # two entries of 8 bits in a word
    else:
        table = np.atleast_1d(np.asarray(data, np.int64))
    if len(table) < count:
        raise ValueError
    return table[:count], first, (0, (1 << bits) - 1)


def _looked_up(values: NDArray[Any], table: NDArray[Any], first: int) -> NDArray[Any]:
    """Entries for values; those before the first and after the last take these (DICOM PS3.3, C.11.1.1)."""
    return table[np.clip(np.rint(values.astype(np.float64)) - first, 0, len(table) - 1).astype(np.intp)]


def _scaled(values: NDArray[Any], ends: tuple[float, float]) -> NDArray[np.uint8]:
    """Map a range to 0..255, and what is outside to its ends."""
    least, greatest = ends
    if ends == (0, 255) and values.dtype.kind in "iu":
        return np.clip(values, 0, 255).astype(np.uint8)
    if greatest <= least:
        return np.zeros(values.shape, np.uint8)
    share = (values.astype(np.float64) - least) / (greatest - least)
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
