"""Predictions as DICOM segmentations, which viewers lay over the pictures they were made from; needs highdicom.

This is the only output that holds attributes of patients, for a viewer finds a picture's segmentation by them.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.pixels.utils import pack_bits
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as Coded
from pydicom.uid import SecondaryCaptureImageStorage

from masksup_med.data._refusals import Refusal, naming, withheld
from masksup_med.data.dicom import read_header
from masksup_med.errors import SettingError
from masksup_med.outputs.atomic import atomic_path

__all__ = ["Code", "Model", "Segment", "check_highdicom", "write_segmentation"]

# All that a segmentation needs of its source, without patient, dates, people and places.
_WITHOUT_PATIENT = [
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality"),
    *("Rows", "Columns", "NumberOfFrames", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PatientOrientation"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DimensionIndexSequence"),
    *("DimensionOrganizationSequence",),
]
_EMPTIED = [  # where they are absent: highdicom wants them, and DICOM allows that nothing is in them
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
]
_PLANE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")


class Code(NamedTuple):
    """A concept of DICOM PS3.16, or of a scheme of one's own, whose name begins with 99."""

    value: str
    scheme: str
    meaning: str


class Segment(NamedTuple):
    """A class, and what it is in codes."""

    number: int
    name: str
    category: Code
    type: Code


class Model(NamedTuple):
    """What has made a segmentation."""

    name: str
    version: str
    parameters: Mapping[str, str]  # such as the hash of its weights


def check_highdicom() -> None:
    """Raise :class:`SettingError` if highdicom is not installed."""
    try:
        import highdicom  # noqa: F401
    except ImportError:
        message = 'DICOM segmentations need highdicom: pip install "masksup-med[dicom]", or leave out dicom-seg.'
        raise SettingError(message) from None


def write_segmentation(
    path: Path,
    source: Path,
    classes: Sequence[NDArray[np.uint8]],
    segments: Sequence[Segment],
    model: Model,
    deidentify: bool,
) -> None:
    """Write one segmentation of all frames of a DICOM file; a file of that name is whole or untouched.

    Args:
        path: where to.
        source: the DICOM file.
        classes: class numbers of each frame, shape (H, W).
        segments: the classes above 0.
        model: that found them.
        deidentify: whether to leave out all attributes of the patient, the study and the people in it. UIDs stay, for
            they lead back to the source (DICOM PS3.15 E.3.9).

    Raises:
        DataError: the file lacks what a segmentation must refer to.
    """
    reason = "it lacks attributes that a DICOM segmentation needs from its source"
    with naming("image", source), withheld(reason, "export it again, or leave out dicom-seg"):
        header = _header(source, deidentify)
        if int(header.get("NumberOfFrames") or 1) != len(classes):
            raise Refusal("it has changed", "give the same command again")
        labels = np.stack(classes)
        if _is_placed(header):
            segmentation = _segmentation(header, labels, segments, model)
        else:
            segmentation = _unplaced(header, labels, segments, model)
        if deidentify:
            segmentation.PatientIdentityRemoved = "YES"
            segmentation.DeidentificationMethod = "Only attributes of pixels and UIDs were taken from the source"
        with atomic_path(path) as temporary:
            segmentation.save_as(temporary)


def _header(source: Path, deidentify: bool) -> Dataset:
    with open(source, "rb") as file:
        header = read_header(file, list(_WITHOUT_PATIENT) if deidentify else None)
    header.decode()
    header.SpecificCharacterSet = "ISO_IR 192"  # which has the letters of all names: of patients, and of classes
    for keyword in _EMPTIED:
        if keyword not in header:
            setattr(header, keyword, "")
    return header


def _is_placed(header: Dataset) -> bool:
    """Whether the source says where in the patient its frames lie; endoscopes and most ultrasound do not."""
    functional = "PerFrameFunctionalGroupsSequence" in header
    plane = int(header.get("NumberOfFrames") or 1) == 1 and all(header.get(keyword) for keyword in _PLANE)
    return bool(header.get("FrameOfReferenceUID")) and (functional or plane)


def _segmentation(header: Dataset, labels: NDArray[np.uint8], segments: Sequence[Segment], model: Model) -> Dataset:
    import highdicom as hd

    logging.getLogger("highdicom").setLevel(logging.CRITICAL)  # its warnings quote names
    family = codes.cid7162.ArtificialIntelligence
    algorithm = hd.AlgorithmIdentificationSequence(
        model.name[:64], family, model.version[:64], parameters=dict(model.parameters)
    )
    descriptions = [
        hd.seg.SegmentDescription(
            segment.number,
            segment.name[:64],
            Coded(*segment.category),
            Coded(*segment.type),
            hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm,
        )
        for segment in segments
    ]
    return hd.seg.Segmentation(
        [header],
        labels,
        hd.seg.SegmentationTypeValues.BINARY,
        descriptions,
        series_instance_uid=hd.UID(),
        series_number=1,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="masksup-med",
        manufacturer_model_name=model.name[:64],
        software_versions=model.version[:64],
        device_serial_number="1",
        content_description="Predicted, and not checked by a person",
    )


def _unplaced(header: Dataset, labels: NDArray[np.uint8], segments: Sequence[Segment], model: Model) -> Dataset:
    """Segmentation of frames that lie nowhere in the patient: highdicom makes that of one, to which others are put."""
    single = copy.deepcopy(header)
    single.pop("FrameOfReferenceUID", None)
    if not single.get("SliceThickness"):  # without which highdicom cannot read a pixel's size again
        for keyword in ("SliceThickness", "PixelSpacing"):
            single.pop(keyword, None)
    # of classes that can have several frames, highdicom takes only those that say where these lie
    single.SOPClassUID = SecondaryCaptureImageStorage
    result = _segmentation(single, labels[:1], segments, model)
    _refer_to(result, header.SOPClassUID)
    result.PatientOrientation = header.get("PatientOrientation", "")  # must be there where there is no plane
    if len(labels) == 1:
        return result
    derivation = result.PerFrameFunctionalGroupsSequence[0].get("DerivationImageSequence")
    derivation = derivation or result.SharedFunctionalGroupsSequence[0].DerivationImageSequence
    numbers = [segment.number for segment in segments]
    found = [(frame, number) for frame in range(len(labels)) for number in numbers if (labels[frame] == number).any()]
    found = found or [(0, numbers[0])]  # there is no segmentation without a frame
    for keyword in ("DerivationImageSequence", "SegmentIdentificationSequence"):  # which each frame has of its own
        result.SharedFunctionalGroupsSequence[0].pop(keyword, None)
    result.PerFrameFunctionalGroupsSequence = [_functional_groups(derivation, *each) for each in found]
    result.NumberOfFrames = len(found)
    result.PixelData = pack_bits(np.stack([labels[frame] == number for frame, number in found]).astype(np.uint8))
    return _with_frames_as_dimension(result)


def _refer_to(dataset: Dataset, sop_class: str) -> None:
    """Name the true class of the source wherever it is referred to."""
    for element in dataset.iterall():
        if element.keyword == "ReferencedSOPClassUID":
            element.value = sop_class


def _functional_groups(derivation: Sequence[Dataset], frame: int, number: int) -> Dataset:
    """What a frame of the segmentation shows: a segment, in a frame of the source that is numbered from 0."""
    group, content, segment = Dataset(), Dataset(), Dataset()
    group.DerivationImageSequence = copy.deepcopy(derivation)
    for image in group.DerivationImageSequence[0].SourceImageSequence:
        image.ReferencedFrameNumber = frame + 1
    content.DimensionIndexValues = [number, frame + 1]
    content.TemporalPositionIndex = frame + 1
    segment.ReferencedSegmentNumber = number
    group.FrameContentSequence, group.SegmentIdentificationSequence = [content], [segment]
    return group


def _with_frames_as_dimension(segmentation: Dataset) -> Dataset:
    """Name the number of the source's frame as the second dimension, beside the segment's."""
    dimension = copy.deepcopy(segmentation.DimensionIndexSequence[0])
    dimension.DimensionIndexPointer = tag_for_keyword("TemporalPositionIndex")
    dimension.FunctionalGroupPointer = tag_for_keyword("FrameContentSequence")
    dimension.DimensionDescriptionLabel = "Frame of the source"
    segmentation.DimensionIndexSequence.append(dimension)
    return segmentation
