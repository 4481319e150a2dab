"""The size of a DICOM picture's pixels, wherever the file says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masksup_med.data._dicom_values import numbers

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["SPACING_TAGS", "spacing"]

SPACING_TAGS = [
    *("PixelSpacing", "NominalScannedPixelSpacing"),
    *("SharedFunctionalGroupsSequence", "SequenceOfUltrasoundRegions"),
]
_CENTIMETRES = 3  # DICOM PS3.3, C.8.5.5.1.15


def spacing(header: Dataset) -> tuple[float, float] | None:
    """Height and width of a pixel in mm; None where it is not known.

    It stands in PixelSpacing or NominalScannedPixelSpacing, in the pixel measures that all frames share, or in the
    regions of an ultrasound picture, if all of them agree. ImagerPixelSpacing is left aside: it is measured at the
    detector, not in the patient.
    """
    shared = _items(header, "SharedFunctionalGroupsSequence")
    measures = [measure for group in shared for measure in _items(group, "PixelMeasuresSequence")]
    for source in (header, *measures):
        for keyword in ("PixelSpacing", "NominalScannedPixelSpacing"):
            found = numbers(source, keyword)
            if len(found) == 2 and min(found) > 0:
                return found[0], found[1]
    return _ultrasound(_items(header, "SequenceOfUltrasoundRegions"))


def _ultrasound(regions: list[Dataset]) -> tuple[float, float] | None:
    """What the regions agree on: a picture beside a Doppler curve has no size that holds everywhere."""
    found = {_region(region) for region in regions}
    return found.pop() if len(found) == 1 else None


def _region(region: Dataset) -> tuple[float, float] | None:
    units = [region.get(f"PhysicalUnits{axis}Direction") for axis in "YX"]
    deltas = [abs(delta) for axis in "YX" for delta in numbers(region, f"PhysicalDelta{axis}")]
    if units != [_CENTIMETRES] * 2 or len(deltas) != 2 or min(deltas) <= 0:
        return None
    height, width = (float(f"{10 * delta:.9g}") for delta in deltas)
    return height, width


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence, none where it is absent or damaged."""
    try:
        return list(dataset.get(keyword) or [])
    except Exception:  # pydicom answers damaged bytes with nearly any class of error
        return []
