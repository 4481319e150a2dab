from __future__ import annotations

import shutil
import subprocess
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, config, dcmread, uid
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset

from masksup_med.errors import DataError
from masksup_med.outputs.dicom_seg import Code, Model, Segment, write_segmentation

CATEGORY = Code("49755003", "SCT", "Morphologically Abnormal Structure")
TYPE = Code("68496003", "SCT", "Polyp of colon")
SEGMENTS = [Segment(1, "polyp", CATEGORY, TYPE), Segment(2, "other", CATEGORY, Code("1", "99TEST", "Other"))]
MODEL = Model("polyp_masksup", "0.1.0", {"weights_sha256": "ab" * 32})
FILES = [
    "examples_ybr_color.dcm",
    "SC_rgb_rle_2frame.dcm",
    "examples_palette.dcm",
    "examples_rgb_color.dcm",
    "CT_small.dcm",
    "MR_small_RLE.dcm",
]
SECRET = "SECRET^NAME"
PATIENT = ["PatientName", "PatientID", "AccessionNumber", "StudyID", "ReferringPhysicianName"]
DATES = ["PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "SeriesDate", "ContentDate", "AcquisitionDate"]


def bundled(name: str) -> Path:
    return Path(str(get_testdata_file(name)))


def plane() -> dict[str, Any]:
    position = {"ImagePositionPatient": [1, 2, 3], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    return {"FrameOfReferenceUID": "1.2.7", "PixelSpacing": [0.5, 0.7], "SliceThickness": 2} | position


def dicom_file(path: Path, size: tuple[int, int] = (6, 9), count: int = 1, **attributes: Any) -> Path:
    """Write a grey source; an attribute that is None is left out."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.SOPClassUID = uid.UltrasoundMultiFrameImageStorage if count > 1 else uid.UltrasoundImageStorage
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = "1.2.4", "1.2.5", "US"
    for keyword in (*PATIENT, *DATES):
        setattr(data, keyword, "")
    data.Rows, data.Columns = size
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    if count > 1:
        data.NumberOfFrames = count
    data.PixelData = bytes(size[0] * size[1] * count + (size[0] * size[1] * count) % 2)
    data["PixelData"].VR = "OB"
    with config.disable_value_validation():
        for keyword, value in attributes.items():
            setattr(data, keyword, value)
            if value is None:
                delattr(data, keyword)
        data.save_as(path, enforce_file_format=True)
    return path


def enhanced(path: Path, count: int = 3) -> Path:
    """An enhanced MR file, whose frames lie one above the other."""

    def item(**attributes: Any) -> Dataset:
        result = Dataset()
        for keyword, value in attributes.items():
            setattr(result, keyword, value)
        return result

    measures = item(PixelSpacing=[0.5, 0.7], SliceThickness=2, SpacingBetweenSlices=2)
    orientation = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared = item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])
    frames = [
        item(
            FrameContentSequence=[item(DimensionIndexValues=[index + 1], FrameComments=SECRET)],
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 2 * index])],
        )
        for index in range(count)
    ]
    return dicom_file(
        path,
        count=count,
        SOPClassUID=uid.EnhancedMRImageStorage,
        Modality="MR",
        FrameOfReferenceUID="1.2.7",
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=frames,
    )


def random_classes(source: Path, highest: int = 2) -> list[np.ndarray]:
    header = dcmread(source, stop_before_pixels=True)
    rng, count = np.random.default_rng(0), int(header.get("NumberOfFrames") or 1)
    size = header.Rows, header.Columns
    return [rng.integers(0, highest + 1, size).astype(np.uint8) for _ in range(count)]


def write(
    path: Path, source: Path, classes: list[np.ndarray], segments: list[Segment] = SEGMENTS, deidentify: bool = False
) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_segmentation(path, source, classes, segments, MODEL, deidentify)
    return dcmread(path)


def by_pydicom(segmentation: Dataset, count: int) -> np.ndarray:
    stored = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    (shared,) = segmentation.SharedFunctionalGroupsSequence
    result = np.zeros((count, *stored.shape[1:]), np.uint8)
    for plane, own in zip(stored, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        identification = (own.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence)[0]
        derivation = own.get("DerivationImageSequence") or shared.get("DerivationImageSequence")
        number = 1
        if derivation:  # highdicom leaves it out of frames without a pixel
            number = int(derivation[0].SourceImageSequence[0].get("ReferencedFrameNumber", 1))
        assert not (result[number - 1].astype(bool) & plane.astype(bool)).any()
        result[number - 1] += (plane * identification.ReferencedSegmentNumber).astype(np.uint8)
    return result


def by_highdicom(path: Path, source: Dataset, count: int) -> np.ndarray:
    segmentation = hd.seg.segread(path)
    options: dict[str, Any] = {"combine_segments": True, "ignore_spatial_locations": True}
    options["assert_missing_frames_are_empty"] = True
    if count == 1:
        return segmentation.get_pixels_by_source_instance([source.SOPInstanceUID], **options)
    numbers = list(range(1, count + 1))
    return segmentation.get_pixels_by_source_frame(source.SOPInstanceUID, numbers, **options)


def check(path: Path, source: Path, classes: list[np.ndarray], **options: Any) -> Dataset:
    segmentation, header = write(path, source, classes, **options), dcmread(source, stop_before_pixels=True)
    np.testing.assert_array_equal(by_pydicom(segmentation, len(classes)), np.stack(classes))
    np.testing.assert_array_equal(by_highdicom(path, header, len(classes)), np.stack(classes))
    assert segmentation.SOPClassUID == uid.SegmentationStorage and segmentation.Modality == "SEG"
    assert segmentation.StudyInstanceUID == header.StudyInstanceUID
    assert segmentation.SeriesInstanceUID != header.SeriesInstanceUID
    (series,) = segmentation.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == header.SeriesInstanceUID
    assert [each.ReferencedSOPInstanceUID for each in series.ReferencedInstanceSequence] == [header.SOPInstanceUID]
    names = {each.value for each in segmentation.iterall() if each.keyword == "ReferencedSOPClassUID"}
    assert names == {header.SOPClassUID}
    return segmentation


@pytest.mark.parametrize("deidentify", [False, True], ids=["named", "deidentified"])
@pytest.mark.parametrize("name", FILES)
def test_files_of_pydicom(tmp_path: Path, name: str, deidentify: bool) -> None:
    classes = random_classes(bundled(name))
    check(tmp_path / "seg.dcm", bundled(name), classes, deidentify=deidentify)


@pytest.mark.parametrize("highest", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (5, 7), (1, 9), (8, 8)], ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_sizes(tmp_path: Path, size: tuple[int, int], count: int, highest: int) -> None:
    """Frames of one bit per pixel share bytes, where their size is odd."""
    source = dicom_file(tmp_path / "a.dcm", size, count)
    check(tmp_path / "seg.dcm", source, random_classes(source, highest), segments=SEGMENTS[:highest])


@pytest.mark.parametrize("source", [{}, plane()], ids=["unplaced", "placed"])
def test_one_empty_mask(tmp_path: Path, source: dict[str, Any]) -> None:
    path = dicom_file(tmp_path / "a.dcm", **source)
    segmentation = check(tmp_path / "seg.dcm", path, [np.zeros((6, 9), np.uint8)])
    assert segmentation.NumberOfFrames >= 1 and len(segmentation.SegmentSequence) == 2


@pytest.mark.parametrize("full", [[], [0], [2], [1, 3], [0, 1, 2, 3]], ids=str)
@pytest.mark.parametrize("make", [dicom_file, enhanced], ids=["unplaced", "enhanced"])
def test_some_frames_hold_something(tmp_path: Path, make: Callable[..., Path], full: list[int]) -> None:
    source = make(tmp_path / "a.dcm", count=4)
    classes = [each * (index in full) for index, each in enumerate(random_classes(source))]
    segmentation = check(tmp_path / "seg.dcm", source, classes)
    if full:
        assert segmentation.NumberOfFrames == 2 * len(full)


@pytest.mark.parametrize("orientation", [None, "", ["L", "F"]])
def test_unplaced_frames_say_how_they_are_turned(tmp_path: Path, orientation: Any) -> None:
    """It must be there where there is no plane, be it empty (PS3.3, C.7.6.1.1.1)."""
    source = dicom_file(tmp_path / "a.dcm", PatientOrientation=orientation)
    segmentation = check(tmp_path / "seg.dcm", source, random_classes(source), deidentify=True)
    assert segmentation["PatientOrientation"].value == (orientation or "")


def test_placed_frames_keep_their_place(tmp_path: Path) -> None:
    source = dicom_file(tmp_path / "a.dcm", **plane())
    segmentation = check(tmp_path / "seg.dcm", source, random_classes(source))
    assert segmentation.FrameOfReferenceUID == "1.2.7"
    (shared,) = segmentation.SharedFunctionalGroupsSequence
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.5, 0.7]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        assert frame.PlanePositionSequence[0].ImagePositionPatient == [1, 2, 3]


def test_segments_and_algorithm(tmp_path: Path) -> None:
    source = dicom_file(tmp_path / "a.dcm", count=2)
    segmentation = check(tmp_path / "seg.dcm", source, random_classes(source))
    for found, segment in zip(segmentation.SegmentSequence, SEGMENTS, strict=True):
        assert (found.SegmentNumber, found.SegmentLabel) == (segment.number, segment.name)
        for keyword, code in (("Category", segment.category), ("Type", segment.type)):
            (stored,) = found[f"SegmentedProperty{keyword}CodeSequence"].value
            assert (stored.CodeValue, stored.CodingSchemeDesignator, stored.CodeMeaning) == code
        (algorithm,) = found.SegmentationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (MODEL.name, MODEL.version)
        assert "weights_sha256" in algorithm.AlgorithmParameters and "ab" * 32 in algorithm.AlgorithmParameters
        assert found.SegmentAlgorithmType == "AUTOMATIC"
    assert segmentation.SegmentationType == "BINARY"


@pytest.mark.parametrize("count", [1, 2])
def test_attributes_of_the_patient_follow_the_source(tmp_path: Path, count: int) -> None:
    values = dict.fromkeys(PATIENT, SECRET) | {"PatientBirthDate": "19700102", "PatientSex": "F"}
    values |= {"StudyDate": "20200304", "StudyTime": "101112"}
    source = dicom_file(tmp_path / "a.dcm", count=count, **values)
    segmentation = check(tmp_path / "seg.dcm", source, random_classes(source))
    assert {keyword: segmentation[keyword].value for keyword in values} == values
    assert "PatientIdentityRemoved" not in segmentation


def with_secrets(source: Path, to: Path) -> Path:
    """Put a name into everything of a file that may hold one, also into sequences and private attributes."""
    nested, deeper, data = Dataset(), Dataset(), dcmread(source)
    deeper.PatientName = deeper.InstitutionName = SECRET
    nested.ReferencedPatientPhotoSequence, nested.PatientComments = [deeper], SECRET
    texts = [*PATIENT, "InstitutionName", "InstitutionAddress", "PerformingPhysicianName", "OperatorsName"]
    texts += ["StudyDescription", "SeriesDescription", "PatientComments", "OtherPatientNames", "PatientAddress"]
    texts += ["StationName", "DeviceSerialNumber", "ProtocolName", "ImageComments", "EthnicGroup", "Manufacturer"]
    texts += ["PositionReferenceIndicator", "SoftwareVersions", "PatientTelephoneNumbers", "RequestingPhysician"]
    with config.disable_value_validation():
        for keyword in (*texts, *DATES, "PatientAge"):
            setattr(data, keyword, SECRET)
        for keyword in ("RequestAttributesSequence", "ReferencedStudySequence", "SharedFunctionalGroupsSequence"):
            if keyword not in data or keyword != "SharedFunctionalGroupsSequence":
                setattr(data, keyword, [nested])
        for group in data.get("PerFrameFunctionalGroupsSequence", []):
            group.PatientComments, group.FrameContentSequence[0].FrameComments = SECRET, SECRET
        for block in (data, nested):
            private = block.private_block(0x0011, "SECRET CREATOR", create=True)
            private.add_new(1, "LO", SECRET)
            private.add_new(2, "SQ", [deeper])
        data.save_as(to)
    assert to.read_bytes().count(b"SECRET") > 20
    return to


def deidentify_sources(folder: Path) -> list[Path]:
    made = [dicom_file(folder / "1.dcm"), dicom_file(folder / "3.dcm", count=3), enhanced(folder / "enhanced.dcm")]
    return [*made, dicom_file(folder / "placed.dcm", **plane()), *map(bundled, FILES)]


@pytest.mark.parametrize("index", range(4 + len(FILES)))
def test_deidentified(tmp_path: Path, index: int, capfd: pytest.CaptureFixture[str]) -> None:
    source = with_secrets(deidentify_sources(tmp_path)[index], tmp_path / "secret.dcm")
    capfd.readouterr()
    segmentation = check(tmp_path / "seg.dcm", source, random_classes(source), deidentify=True)
    assert b"SECRET" not in (tmp_path / "seg.dcm").read_bytes()
    assert segmentation.PatientIdentityRemoved == "YES" and segmentation.DeidentificationMethod
    for keyword in (*PATIENT, "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"):
        assert segmentation[keyword].value in ("", None)
    assert not [element for element in segmentation.iterall() if element.tag.is_private]
    output = capfd.readouterr()
    assert output.out == output.err == ""


@pytest.mark.parametrize("deidentify", [False, True], ids=["named", "deidentified"])
def test_a_source_without_a_study_is_refused(tmp_path: Path, deidentify: bool) -> None:
    source = dicom_file(tmp_path / "a.dcm", StudyInstanceUID=None, PatientName=SECRET, PatientID=SECRET)
    output = tmp_path / "seg.dcm"
    with pytest.raises(DataError, match=r"^Cannot read image .*a\.dcm: it lacks attributes[^\n]+; [^\n]+\.$") as caught:
        write(output, source, random_classes(source), deidentify=deidentify)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))
    assert list(tmp_path.iterdir()) == [source]


def test_a_source_with_another_number_of_frames_is_refused(tmp_path: Path) -> None:
    source = dicom_file(tmp_path / "a.dcm", count=3)
    with pytest.raises(DataError, match="it has changed; give the same command again"):
        write(tmp_path / "seg.dcm", source, random_classes(source)[:2])


@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192"])
def test_names_in_other_letters(tmp_path: Path, charset: str) -> None:
    source = dicom_file(tmp_path / "a.dcm", SpecificCharacterSet=charset, PatientName="Müller^Jörg")
    assert check(tmp_path / "seg.dcm", source, random_classes(source)).PatientName == "Müller^Jörg"


def test_names_in_japanese(tmp_path: Path) -> None:
    attributes = {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"}
    source = dicom_file(tmp_path / "a.dcm", **attributes)
    assert check(tmp_path / "seg.dcm", source, random_classes(source)).PatientName == "Yamada^Tarou=山田^太郎"


def test_names_of_classes_in_other_letters(tmp_path: Path) -> None:
    source = dicom_file(tmp_path / "a.dcm", SpecificCharacterSet="ISO_IR 100")
    segments = [SEGMENTS[0]._replace(name="腺体"), SEGMENTS[1]]
    write_segmentation(tmp_path / "seg.dcm", source, random_classes(source), segments, MODEL, False)
    assert dcmread(tmp_path / "seg.dcm").SegmentSequence[0].SegmentLabel == "腺体"


@pytest.mark.parametrize("attributes", [plane(), {"PixelSpacing": [0.5, 0.7]}], ids=["placed", "unplaced"])
def test_empty_thickness(tmp_path: Path, attributes: dict[str, Any]) -> None:
    """As DICOM allows it in CT and MR (PS3.3, C.7.6.2)."""
    source = dicom_file(tmp_path / "a.dcm", **attributes | {"SliceThickness": ""})
    check(tmp_path / "seg.dcm", source, random_classes(source))


@pytest.mark.parametrize("count", [1, 2])
def test_attributes_that_simple_exporters_leave_out(tmp_path: Path, count: int) -> None:
    absent = dict.fromkeys(("PatientID", "PatientBirthDate", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"))
    source = dicom_file(tmp_path / "a.dcm", count=count, PatientName="A^B", **absent)
    assert check(tmp_path / "seg.dcm", source, random_classes(source)).PatientName == "A^B"


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy, of Debian's dicom3tools")
@pytest.mark.parametrize("deidentify", [False, True], ids=["named", "deidentified"])
@pytest.mark.parametrize(
    "index", [index for index in range(4 + len(FILES)) if FILES[index - 4] != "SC_rgb_rle_2frame.dcm"]
)
def test_a_validator_finds_no_error(tmp_path: Path, index: int, deidentify: bool) -> None:
    """But for a source that has frames, and is of a class that has none."""
    source = deidentify_sources(tmp_path)[index]
    check(tmp_path / "seg.dcm", source, random_classes(source), deidentify=deidentify)
    found = subprocess.run(["dciodvfy", str(tmp_path / "seg.dcm")], capture_output=True, text=True)
    assert "Segmentation" in found.stderr and "Error" not in found.stderr + found.stdout
