from __future__ import annotations

import io
import logging
import struct
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, config, dcmread, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_fragments
from pydicom.pixels import get_decoder

from masksup_med.data import frames, image_size, pixel_size, read_image, read_label
from masksup_med.errors import DataError, MissingDataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 9), np.uint8)
GREY16 = RNG.integers(0, 65536, (6, 9), np.uint16)
RGB = RNG.integers(0, 256, (6, 9, 3), np.uint8)
ROWS, COLUMNS = np.mgrid[:32, :48]
SMOOTH = np.dstack([COLUMNS * 5, ROWS * 7, 255 - (ROWS + COLUMNS) * 3]).astype(np.uint8)
SECRET = "SECRET^NAME"
NATIVE = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
]


def names_of_a_patient(dataset: Dataset) -> None:
    """Put a name into whatever may hold one, also where a date, a number or a code should stand."""
    for keyword in ("PatientName", "PatientID", "OtherPatientNames", "PatientComments", "PatientAddress"):
        setattr(dataset, keyword, SECRET)
    for keyword in ("InstitutionName", "ReferringPhysicianName", "StudyDescription", "AccessionNumber"):
        setattr(dataset, keyword, SECRET)
    with config.disable_value_validation():
        for keyword in ("PatientBirthDate", "PatientSex", "PatientAge", "StudyDate", "StudyTime", "StudyInstanceUID"):
            setattr(dataset, keyword, SECRET)
    nested = Dataset()
    nested.PatientName = SECRET
    dataset.ReferencedPatientSequence = [nested]
    dataset["ReferencedPatientSequence"].is_undefined_length = True
    dataset.PatientWeight = "70.12345678"  # as long as SECRET, which takes its place below


def dicom_file(
    path: Path,
    array: np.ndarray,
    syntax: uid.UID = uid.ExplicitVRLittleEndian,
    frames: list[bytes] | None = None,
    pixel_vr: str | None = None,
    **attributes: Any,
) -> Path:
    """Write a picture of shape (H, W) or (H, W, 3), or frames that are encoded already."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = uid.SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    names_of_a_patient(data)
    bits = array.dtype.itemsize * 8
    data.Rows, data.Columns = array.shape[:2]
    data.SamplesPerPixel = array.shape[2] if array.ndim == 3 else 1
    data.PhotometricInterpretation = "RGB" if array.ndim == 3 else "MONOCHROME2"
    if array.ndim == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(array.dtype.kind == "i")
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    if "BitsStored" in attributes and "HighBit" not in attributes:
        data.HighBit = max(data.BitsStored - 1, 0)
    stored = array.astype(array.dtype.newbyteorder("<" if syntax.is_little_endian else ">")).tobytes()
    data.PixelData = encapsulate(frames) if frames else stored + b"\0" * (len(stored) % 2)
    data["PixelData"].VR = pixel_vr or ("OB" if frames or bits == 8 else "OW")
    data["PixelData"].is_undefined_length = bool(frames)
    data.save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes().replace(b"70.12345678", SECRET.encode()))
    return path


def as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey] * 3, axis=-1)


def eight_bits(share: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def quietly(read: Callable[[Path], Any], path: Path) -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = read(path)
    assert not caught
    return result


def grey_of(path: Path) -> np.ndarray:
    image = quietly(read_image, path)
    np.testing.assert_array_equal(image, as_rgb(image[..., 0]))
    return image[..., 0]


def refusal(path: Path, read: Callable[[Path], Any] = read_image) -> str:
    """The sentence that a file is refused with; neither it nor a traceback may name the patient."""
    with pytest.raises(DataError, match=rf"^Cannot read (image|label) .*{path.name}: [^\n]+; [^\n]+\.$") as caught:
        quietly(read, path)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.name)
def test_native(tmp_path: Path, syntax: uid.UID) -> None:
    path = dicom_file(tmp_path / "rgb", RGB, syntax)
    image = quietly(read_image, path)
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    np.testing.assert_array_equal(image, RGB)
    assert quietly(image_size, path) == (9, 6)
    np.testing.assert_array_equal(grey_of(dicom_file(tmp_path / "grey", GREY, syntax)), GREY)
    grey16 = grey_of(dicom_file(tmp_path / "16", GREY16, syntax))
    np.testing.assert_array_equal(grey16, np.rint(GREY16 / 257))


def test_planes_and_16_bit_colours(tmp_path: Path) -> None:
    planes = np.moveaxis(RGB, -1, 0).reshape(RGB.shape)
    path = dicom_file(tmp_path / "planes", planes, PlanarConfiguration=1)
    np.testing.assert_array_equal(read_image(path), RGB)
    wide = RNG.integers(0, 4096, (6, 9, 3)).astype(np.uint16)
    np.testing.assert_array_equal(
        read_image(dicom_file(tmp_path / "12", wide, BitsStored=12)), np.rint(wide / 4095 * 255)
    )


def test_big_endian_words_of_two_pixels(tmp_path: Path) -> None:
    path = dicom_file(
        tmp_path / "a", GREY.reshape(-1, 2)[:, ::-1].reshape(6, 9), uid.ExplicitVRBigEndian, pixel_vr="OW"
    )
    np.testing.assert_array_equal(grey_of(path), GREY)


def test_ybr(tmp_path: Path) -> None:
    """Against Pillow's conversion, which is that of JPEG, as the standard asks."""
    ybr = np.asarray(Image.fromarray(SMOOTH).convert("YCbCr"))
    image = read_image(dicom_file(tmp_path / "full", ybr, PhotometricInterpretation="YBR_FULL"))
    assert np.abs(image.astype(int) - SMOOTH).max() <= 3
    pairs = ybr.reshape(32, 24, 2, 3)
    halved = np.concatenate([pairs[..., 0], pairs[:, :, 0, 1:]], axis=-1)  # Y1 Y2 Cb Cr
    path = dicom_file(tmp_path / "422", ybr, PhotometricInterpretation="YBR_FULL_422")
    dataset = dcmread(path)
    dataset.PixelData = halved.tobytes()
    dataset.save_as(path)
    assert np.abs(read_image(path).astype(int) - SMOOTH).max() <= 12


@pytest.mark.parametrize("kind", ["YBR_PARTIAL_420", "YBR_RCT", "HSV", SECRET])
def test_other_colours_are_refused(tmp_path: Path, kind: str) -> None:
    with config.disable_value_validation():
        refusal(dicom_file(tmp_path / "a", RGB, PhotometricInterpretation=kind))


def test_bits(tmp_path: Path) -> None:
    low = GREY16 & 0xFFF  # the 4 bits above may hold anything, an overlay for instance
    np.testing.assert_array_equal(
        grey_of(dicom_file(tmp_path / "12", GREY16, BitsStored=12)), np.rint(low / 4095 * 255)
    )
    signed = np.where(low > 2047, low.astype(int) - 4096, low)
    path = dicom_file(tmp_path / "signed", GREY16.view(np.int16), BitsStored=12)
    np.testing.assert_array_equal(grey_of(path), np.rint((signed + 2048) / 4095 * 255))
    np.testing.assert_array_equal(grey_of(dicom_file(tmp_path / "8", GREY.astype(np.uint16), BitsStored=8)), GREY)
    path = dicom_file(tmp_path / "signed 8", GREY.view(np.int8))
    np.testing.assert_array_equal(grey_of(path), GREY.view(np.int8).astype(int) + 128)
    assert "lowest bit" in refusal(dicom_file(tmp_path / "high", GREY16, BitsStored=12, HighBit=15))


def test_one_bit(tmp_path: Path) -> None:
    mask = GREY > 127
    path = dicom_file(tmp_path / "a", GREY, BitsAllocated=1, BitsStored=1, HighBit=0)
    dataset = dcmread(path)
    dataset.PixelData = np.packbits(mask, bitorder="little").tobytes() + b"\0"
    dataset.save_as(path)
    np.testing.assert_array_equal(grey_of(path), np.where(mask, 255, 0))


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "a", GREY, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(grey_of(path), 255 - GREY)
    path = dicom_file(tmp_path / "b", GREY, PhotometricInterpretation="MONOCHROME1", WindowCenter=100, WindowWidth=51)
    np.testing.assert_array_equal(grey_of(path), 255 - eight_bits((GREY - 99.5) / 50 + 0.5))


CT = RNG.integers(-200, 3000, (6, 9)).astype(np.float64)
WINDOW = {"WindowCenter": 40, "WindowWidth": 400}


@pytest.mark.parametrize(
    ("attributes", "share"),
    [
        (WINDOW, (CT - 39.5) / 399 + 0.5),
        ({"WindowCenter": [40, 1000], "WindowWidth": [400, 2]}, (CT - 39.5) / 399 + 0.5),
        (WINDOW | {"VOILUTFunction": "LINEAR"}, (CT - 39.5) / 399 + 0.5),
        (WINDOW | {"VOILUTFunction": "LINEAR_EXACT"}, (CT - 40) / 400 + 0.5),
        (WINDOW | {"VOILUTFunction": "SIGMOID"}, 1 / (1 + np.exp(-(CT - 40) / 100))),
        ({"WindowCenter": 1000, "WindowWidth": 1}, CT >= 1000),
        (WINDOW | {"RescaleSlope": 2, "RescaleIntercept": -1000}, (2 * CT - 1000 - 39.5) / 399 + 0.5),
        (WINDOW | {"RescaleSlope": -1, "RescaleIntercept": 500}, (500 - CT - 39.5) / 399 + 0.5),
        ({"RescaleSlope": 2, "RescaleIntercept": -1000}, (CT + 32768) / 65535),
        ({"RescaleSlope": -2, "RescaleIntercept": -1000}, (32767 - CT) / 65535),
        ({"RescaleSlope": "", "RescaleIntercept": ""}, (CT + 32768) / 65535),
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, 0 * CT),
        ({"WindowCenter": 40, "WindowWidth": 0}, (CT + 32768) / 65535),
        ({"WindowCenter": "", "WindowWidth": 400}, (CT + 32768) / 65535),
    ],
    ids=lambda value: " ".join(f"{key}={number}" for key, number in value.items()) if isinstance(value, dict) else "",
)
def test_windows(tmp_path: Path, attributes: dict, share: np.ndarray) -> None:
    np.testing.assert_array_equal(
        grey_of(dicom_file(tmp_path / "a", CT.astype(np.int16), **attributes)), eight_bits(share)
    )


def test_a_window_that_is_no_number_is_passed_over(tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "a", GREY, WindowCenter="100.0123", WindowWidth="50")
    path.write_bytes(path.read_bytes().replace(b"100.0123", b"SECRET^N"))
    np.testing.assert_array_equal(grey_of(path), GREY)


@pytest.mark.parametrize(
    "attributes", [{"RescaleSlope": "1.012345"}, {"WindowCenter": 3, "WindowWidth": 3, "VOILUTFunction": "SECRET"}]
)
def test_greys_that_cannot_be_told_are_refused(tmp_path: Path, attributes: dict) -> None:
    path = dicom_file(tmp_path / "a", GREY, RescaleIntercept=0, **attributes)
    path.write_bytes(path.read_bytes().replace(b"1.012345", b"SECRET^N"))
    assert "cannot be mapped" in refusal(path)


def lut(values: list[int] | np.ndarray, first: int, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item.LUTData = [int(value) for value in values]
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return item


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.name)
def test_tables_of_greys(tmp_path: Path, syntax: uid.UID) -> None:
    values = RNG.integers(0, 4096, 100)
    expected = values[np.clip(GREY.astype(int) - 50, 0, 99)] / 4095
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        path = dicom_file(tmp_path / name, GREY, syntax, **{name: [lut(values, 50, 12)]})
        np.testing.assert_array_equal(grey_of(path), eight_bits(expected))
    tables = {"ModalityLUTSequence": [lut(values, 50, 12)], "VOILUTSequence": [lut(4095 - np.arange(4096), 0, 12)]}
    path = dicom_file(tmp_path / "both", GREY, syntax, **tables)
    np.testing.assert_array_equal(grey_of(path), eight_bits(1 - expected))


def palette(path: Path, indices: np.ndarray, entries: np.ndarray, first: int, bits: int, **more: Any) -> Path:
    """Write entries (N, 3), as words of one or two."""
    attributes: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    order = ">" if more.get("syntax") == uid.ExplicitVRBigEndian else "<"
    for name, column in zip(("Red", "Green", "Blue"), entries.T, strict=True):
        words = column.copy().view("<u2")
        attributes[f"{name}PaletteColorLookupTableDescriptor"] = [len(entries) % 65536, first, bits]
        attributes[f"{name}PaletteColorLookupTableData"] = words.astype(f"{order}u2").tobytes()
    return dicom_file(path, indices, **attributes, **more)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("bits", [8, 16])
def test_palette(tmp_path: Path, syntax: uid.UID, bits: int) -> None:
    entries = RNG.integers(0, 256, (200, 3)).astype(np.uint8)
    expected = entries[np.clip(GREY.astype(int) - 20, 0, 199)]
    stored = entries if bits == 8 else entries.astype(np.uint16) * 257
    np.testing.assert_array_equal(read_image(palette(tmp_path / "a", GREY, stored, 20, bits, syntax=syntax)), expected)


def test_palettes_that_pydicom_gets_wrong(tmp_path: Path) -> None:
    entries = RNG.integers(0, 256, (4096, 3)).astype(np.uint8)
    indices = RNG.integers(0, 4096, (6, 9)).astype(np.uint16)
    path = palette(tmp_path / "many of 8 bits", indices, entries, 0, 8)
    np.testing.assert_array_equal(read_image(path), entries[indices])
    path = palette(tmp_path / "8 bits in 16", indices, entries.astype(np.uint16), 0, 16)
    np.testing.assert_array_equal(read_image(path), entries[indices])


def test_segmented_palette(tmp_path: Path) -> None:
    segments = bytes([0, 2, 7, 9, 1, 254, 255])  # two entries as they are, then a ramp of 254 up to 255
    attributes: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        attributes[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 8]
        attributes[f"Segmented{name}PaletteColorLookupTableData"] = segments
    image = read_image(dicom_file(tmp_path / "a", np.arange(256, dtype=np.uint8)[None], **attributes))[0, :, 0]
    assert image[:2].tolist() == [7, 9]
    assert np.abs(image[2:] - np.linspace(9 + 246 / 254, 255, 254)).max() <= 1


def test_short_palette_is_refused(tmp_path: Path) -> None:
    path = palette(tmp_path / "a", GREY, RNG.integers(0, 256, (200, 3)).astype(np.uint8), 0, 8)
    dataset = dcmread(path)
    dataset.BluePaletteColorLookupTableData = bytes(100)
    dataset.save_as(path)
    assert "cannot be mapped" in refusal(path)


def rle(path: Path, to: Path) -> Path:
    with config.disable_value_validation():
        dataset = dcmread(path)
        dataset.compress(uid.RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        dataset.save_as(to)
    return to


def test_rle(tmp_path: Path) -> None:
    for name, array in {"rgb": RGB, "grey": GREY, "grey16": GREY16}.items():
        rle(dicom_file(tmp_path / f"{name}.dcm", array), tmp_path / name)
    np.testing.assert_array_equal(quietly(read_image, tmp_path / "rgb"), RGB)
    np.testing.assert_array_equal(grey_of(tmp_path / "grey"), GREY)
    np.testing.assert_array_equal(grey_of(tmp_path / "grey16"), np.rint(GREY16 / 257))


def encoded(array: np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def without_marker(jpeg: bytes) -> bytes:
    """Without JFIF's, which Pillow writes first."""
    return jpeg[:2] + jpeg[4 + struct.unpack(">H", jpeg[4:6])[0] :]


def with_adobe(jpeg: bytes) -> bytes:
    return jpeg[:2] + b"\xff\xee" + struct.pack(">H5sHHHB", 14, b"Adobe", 100, 0, 0, 1) + jpeg[2:]


JPEG = encoded(SMOOTH, "JPEG", quality=95)


@pytest.mark.parametrize("kind", ["YBR_FULL_422", "YBR_FULL", "RGB"])
@pytest.mark.parametrize(
    ("frame", "kinds"),
    [
        (JPEG, {"YBR_FULL_422", "YBR_FULL", "RGB"}),
        (encoded(SMOOTH, "JPEG", quality=95, keep_rgb=True), {"YBR_FULL_422", "YBR_FULL", "RGB"}),
        (without_marker(JPEG), {"YBR_FULL_422", "YBR_FULL"}),  # nothing in it contradicts a dataset that says RGB
        (with_adobe(without_marker(JPEG)), {"YBR_FULL_422", "YBR_FULL", "RGB"}),
        (with_adobe(JPEG), {"YBR_FULL_422", "YBR_FULL", "RGB"}),
    ],
    ids=["JFIF", "RGB", "no marker", "Adobe", "JFIF and Adobe"],
)
def test_jpeg_colours(tmp_path: Path, frame: bytes, kinds: set[str], kind: str) -> None:
    path = dicom_file(tmp_path / "a", SMOOTH, uid.JPEGBaseline8Bit, [frame], PhotometricInterpretation=kind)
    image = quietly(read_image, path).astype(int)
    assert (np.abs(image - np.asarray(Image.open(io.BytesIO(frame)))).max() <= 3) == (kind in kinds)


def test_jpeg_and_jpeg_2000_greys(tmp_path: Path) -> None:
    grey = SMOOTH[..., 0].copy()
    frame = encoded(grey, "JPEG")
    for syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit):
        path = dicom_file(tmp_path / "a", grey, syntax, [frame])
        np.testing.assert_array_equal(grey_of(path), np.asarray(Image.open(io.BytesIO(frame))))
    frame = encoded(GREY16, "JPEG2000", no_jp2=True)
    path = dicom_file(tmp_path / "b", GREY16, uid.JPEG2000Lossless, [frame])
    np.testing.assert_array_equal(grey_of(path), np.rint(GREY16 / 257))
    path = dicom_file(tmp_path / "c", GREY16, uid.JPEG2000Lossless, [frame], WindowCenter=30000, WindowWidth=20001)
    np.testing.assert_array_equal(grey_of(path), eight_bits((GREY16 - 29999.5) / 20000 + 0.5))


def test_jpeg_2000_colours(tmp_path: Path) -> None:
    frame = encoded(RGB, "JPEG2000", no_jp2=True, mct=1)
    path = dicom_file(tmp_path / "a", RGB, uid.JPEG2000Lossless, [frame], PhotometricInterpretation="YBR_RCT")
    np.testing.assert_array_equal(quietly(read_image, path), RGB)
    assert image_size(path) == (9, 6)


def test_frame_in_several_fragments(tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "a", SMOOTH, uid.JPEGBaseline8Bit, [JPEG], PhotometricInterpretation="YBR_FULL_422")
    whole = read_image(path)
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([JPEG], fragments_per_frame=3)
    dataset.save_as(path)
    np.testing.assert_array_equal(quietly(read_image, path), whole)


def without_extra(monkeypatch: pytest.MonkeyPatch, syntax: uid.UID) -> None:
    """Let pydicom have no more plugins than without the extra."""
    decoder = get_decoder(syntax)
    kept = {name: plugin for name, plugin in decoder._available.items() if name == "pillow"}
    monkeypatch.setattr(decoder, "_available", kept)


@pytest.mark.parametrize(
    "syntax", [uid.JPEGLSLossless, uid.HTJ2KLossless, uid.JPEGLosslessSV1], ids=["JPEG-LS", "HTJ2K", "JPEG Lossless"]
)
def test_a_missing_decoder_is_named(tmp_path: Path, syntax: uid.UID, monkeypatch: pytest.MonkeyPatch) -> None:
    without_extra(monkeypatch, syntax)
    path = dicom_file(tmp_path / "a", GREY, syntax, [b"some data"])
    assert f'{syntax.name} is installed; pip install "masksup-med[dicom]", or export' in refusal(path)
    assert image_size(path) == (9, 6)


def test_12_bit_jpeg_names_the_package_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = encoded(SMOOTH[..., 0].copy(), "JPEG")
    path = dicom_file(tmp_path / "a", GREY16, uid.JPEGExtended12Bit, [frame], Rows=32, Columns=48, BitsStored=12)
    assert "pip" not in refusal(path)
    without_extra(monkeypatch, uid.JPEGExtended12Bit)
    assert 'or try: pip install "masksup-med[dicom]"' in refusal(path)


@pytest.mark.parametrize(
    ("syntax", "name"), [(uid.MPEG2MPML, "MPEG2"), (uid.UID("1.2.3.4"), "unknown"), (None, "header is incomplete")]
)
def test_other_transfer_syntaxes_are_refused(tmp_path: Path, syntax: uid.UID | None, name: str) -> None:
    path = dicom_file(tmp_path / "a", GREY, uid.RLELossless, [b"some data"])
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax or uid.UID("")
    dataset.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=False)
    assert name in refusal(path)


def test_frames(tmp_path: Path) -> None:
    pictures = [GREY, 255 - GREY, np.roll(GREY, 1)]
    path = dicom_file(tmp_path / "a", np.vstack(pictures), Rows=6, NumberOfFrames=3)
    assert frames(path) == 3 and image_size(path) == (9, 6)
    for number, picture in enumerate(pictures, start=1):
        np.testing.assert_array_equal(read_image(path, number)[..., 0], picture)
    assert "it holds 3 pictures; say which" in refusal(path)
    for number in (0, 4, -1):
        assert f"it has no frame {number}, but 3; correct" in refusal(path, partial(read_image, frame=number))
    for count in (1, 0, ""):
        path = dicom_file(tmp_path / "b", GREY, NumberOfFrames=count)
        assert frames(path) == 1
        np.testing.assert_array_equal(grey_of(path), GREY)


def test_files_without_a_picture_are_refused(tmp_path: Path) -> None:
    dataset = dcmread(dicom_file(tmp_path / "a", GREY))
    del dataset.PixelData
    dataset.save_as(tmp_path / "a")
    assert "pixel data is incomplete" in refusal(tmp_path / "a")
    del dataset.Rows
    dataset.save_as(tmp_path / "b")
    for read in (read_image, image_size, pixel_size):
        assert "without a picture" in refusal(tmp_path / "b", read)


@pytest.mark.parametrize(
    "attributes",
    [
        {"SamplesPerPixel": 2},
        {"SamplesPerPixel": 1},
        {"Rows": 0},
        {"Rows": [6, 6]},
        {"BitsStored": 0},
        {"BitsStored": 9},
        {"BitsAllocated": 7},
        {"BitsAllocated": 24, "BitsStored": 24},
        {"PlanarConfiguration": 3},
        {"PixelRepresentation": 2},
        {"Columns": 10},
    ],
    ids=str,
)
def test_headers_that_contradict_themselves_are_refused(tmp_path: Path, attributes: dict) -> None:
    path = dicom_file(tmp_path / "a", RGB, **attributes)
    refusal(path)
    if "Rows" in attributes or "SamplesPerPixel" in attributes:
        refusal(path, image_size)


def every_syntax(folder: Path) -> list[Path]:
    array = RNG.integers(0, 256, (32, 48, 3), np.uint8)
    paths = [dicom_file(folder / f"{syntax}.dcm", array, syntax) for syntax in NATIVE]
    for syntax, kind in ((uid.JPEGBaseline8Bit, "JPEG"), (uid.JPEG2000Lossless, "JPEG2000")):
        options = {"no_jp2": True} if kind == "JPEG2000" else {"keep_rgb": True}
        paths.append(dicom_file(folder / f"{kind}.dcm", array, syntax, [encoded(array, kind, **options)]))
    return [*paths, rle(paths[0], folder / "rle.dcm")]


def test_truncated(tmp_path: Path) -> None:
    for path in every_syntax(tmp_path):
        content = path.read_bytes()
        read_image(path)
        for keep in (0.03, 0.3, 0.6, 0.99):
            path.write_bytes(content[: int(len(content) * keep)])
            refusal(path)


def test_frames_that_end_early_are_refused(tmp_path: Path) -> None:
    array = RNG.integers(0, 256, (32, 48, 3), np.uint8)
    for syntax, kind in ((uid.JPEGBaseline8Bit, "JPEG"), (uid.JPEG2000Lossless, "JPEG2000")):
        frame = encoded(array, kind, **({"no_jp2": True} if kind == "JPEG2000" else {}))
        for keep in (0.01, 0.5, 0.9):
            path = dicom_file(tmp_path / "a", array, syntax, [frame[: int(len(frame) * keep)]])
            assert "incomplete or cannot be decoded; copy it again" in refusal(path)


def attempt(read: Callable[[Path], Any], path: Path) -> str:
    try:
        quietly(read, path)
    except DataError as error:
        return "".join(traceback.format_exception(error))
    return ""


def test_sequences_in_sequences_without_end_are_refused(tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "a", GREY)
    sequence = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff"
    content = path.read_bytes()
    start = content.index(b"\x08\0\x20\0")
    path.write_bytes(content[:start] + sequence * 5000 + content[start:])
    for read in (read_image, image_size, pixel_size):
        assert "header is incomplete or damaged" in refusal(path, read)


def test_damage_raises_nothing_but_data_errors(tmp_path: Path) -> None:
    paths = every_syntax(tmp_path)
    contents = {path: path.read_bytes() for path in paths}
    for seed in range(120):
        rng, path = np.random.default_rng(seed), paths[seed % len(paths)]
        content = bytearray(contents[path])
        for position in rng.integers(128, len(content) if seed % 2 else 1200, 8):
            content[position] = rng.integers(256)
        path.write_bytes(content)
        for read in (read_image, image_size, pixel_size):
            assert "SECRET" not in attempt(read, path)


def test_size_is_checked_before_pixels_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bombs = [dicom_file(tmp_path / "native", GREY, Rows=65535, Columns=65535)]
    frame = encoded(GREY, "JPEG2000", no_jp2=True)
    bombs.append(dicom_file(tmp_path / "j2k", GREY, uid.JPEG2000Lossless, [frame], Rows=65535, Columns=65535))
    started = time.process_time()
    for path in bombs:
        for read in (read_image, image_size, pixel_size):
            assert "65535 × 65535 pixels exceed" in refusal(path, read)
    assert time.process_time() - started < 1
    path = dicom_file(tmp_path / "a", GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    assert "MAX_IMAGE_PIXELS" in refusal(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read_image(path).shape == (6, 9, 3)


def test_frames_larger_than_the_header_says_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "tobytes", lambda *_: pytest.fail("it was decoded"))
    frame = encoded(np.zeros((600, 600), np.uint8), "JPEG2000", no_jp2=True)
    refusal(dicom_file(tmp_path / "a", GREY, uid.JPEG2000Lossless, [frame]))


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, None),
        ({"PixelSpacing": [0.5, 0.25]}, (0.5, 0.25)),
        ({"PixelSpacing": [0.5, 0.25], "NominalScannedPixelSpacing": [1, 1]}, (0.5, 0.25)),
        ({"NominalScannedPixelSpacing": [0.5, 0.25]}, (0.5, 0.25)),
        ({"PixelSpacing": [0, 0.25], "NominalScannedPixelSpacing": [1, 2]}, (1, 2)),
        ({"ImagerPixelSpacing": [0.5, 0.25]}, None),
        ({"PixelSpacing": [0.5, 0]}, None),
        ({"PixelSpacing": [-0.5, 0.5]}, None),
        ({"PixelSpacing": ["1e400", "1"]}, None),
        ({"PixelSpacing": 0.5}, None),
        ({"PixelSpacing": ""}, None),
    ],
    ids=str,
)
def test_pixel_size(tmp_path: Path, attributes: dict, expected: tuple[float, float] | None) -> None:
    size = quietly(pixel_size, dicom_file(tmp_path / "a", GREY, **attributes))
    assert size == expected
    assert size is None or {type(length) for length in size} == {float}


def test_pixel_size_that_is_no_number(tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "a", GREY, PixelSpacing=[0.123456, 0.123456])
    path.write_bytes(path.read_bytes().replace(b"0.123456\\", b"SECRET^N\\"))
    assert quietly(pixel_size, path) is None


def test_only_attributes_of_pixels_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pydicom

    seen: list[Dataset] = []
    monkeypatch.setattr(pydicom, "dcmread", lambda *args, **kwargs: seen.append(dcmread(*args, **kwargs)) or seen[-1])
    path = dicom_file(tmp_path / "a", GREY, PixelSpacing=[1, 1], SpecificCharacterSet="ISO_IR 192")
    assert path.read_bytes().count(SECRET.encode()) >= 16
    for read in (read_image, image_size, pixel_size):
        read(path)
    assert len(seen) == 3
    parsed = {tag for dataset in seen for tag in dataset.keys()}  # noqa: SIM118 (Datasets iterate over values)
    assert {tag for tag in parsed if tag.group not in (0x0018, 0x0028, 0x7FE0)} <= {0x00080005, 0x00080016}


def test_nothing_reaches_the_terminal_or_a_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = every_syntax(tmp_path)
    paths.append(dicom_file(tmp_path / "jfif", SMOOTH, uid.JPEGBaseline8Bit, [JPEG]))  # says RGB and is not
    paths.append(dicom_file(tmp_path / "padding", np.vstack([RGB, RGB]), Rows=6))
    paths.append(dicom_file(tmp_path / "charset", GREY, SpecificCharacterSet="ISO_IR 192"))
    paths[-1].write_bytes(paths[-1].read_bytes().replace(b"ISO_IR 192", b"SECRET^NAM"))
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    capfd.readouterr()
    try:
        for path in paths:
            quietly(read_image, path)
            path.write_bytes(path.read_bytes()[:-200])
            refusal(path)
    finally:
        logging.getLogger().removeHandler(handler)
    output = capfd.readouterr()
    assert output.out == output.err == ""
    assert not records


def test_threads(tmp_path: Path) -> None:
    frames = [encoded(np.roll(SMOOTH, shift, axis=1), "JPEG", quality=95) for shift in range(8)]
    paths = [dicom_file(tmp_path / f"{i}", SMOOTH, uid.JPEGBaseline8Bit, [frame]) for i, frame in enumerate(frames)]
    (tmp_path / "bad").write_bytes(paths[0].read_bytes()[:-50])
    alone = [read_image(path) for path in paths]

    def read(index: int) -> bool:
        with pytest.raises(DataError):
            read_image(tmp_path / "bad")
        return np.array_equal(read_image(paths[index % 8]), alone[index % 8])

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(read, range(48)))
    assert not caught


@pytest.mark.parametrize("kind", ["label", "mask"])
def test_labels_are_refused(tmp_path: Path, kind: str) -> None:
    path = dicom_file(tmp_path / "a.dcm", np.vstack([GREY, GREY]), Rows=6, NumberOfFrames=2)
    with pytest.raises(DataError, match=rf"^Cannot read {kind} .*a\.dcm: it is a DICOM file; save it as a grey PNG\.$"):
        read_label(path, kind)


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(dicom_file(tmp_path / "a.png", RGB)), RGB)
    Image.fromarray(RGB).save(tmp_path / "a.dcm", "PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm"), RGB)
    assert pixel_size(tmp_path / "a.dcm") is None
    (tmp_path / "b.dcm").write_bytes(b"text " * 100)
    assert "no PNG, JPEG, BMP, TIFF, DICOM or NIfTI" in refusal(tmp_path / "b.dcm")
    tiff_in_front = bytearray(dicom_file(tmp_path / "c", RGB).read_bytes())
    tiff_in_front[:8] = b"II*\0\x08\0\0\0"
    (tmp_path / "c").write_bytes(tiff_in_front)
    np.testing.assert_array_equal(read_image(tmp_path / "c"), RGB)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"There is no image file .*a\.dcm"):
        pixel_size(tmp_path / "a.dcm")


@pytest.mark.real
def test_endoscopy_in_jpeg_2000(real_data: Path) -> None:
    path = real_data / "dicom" / "endoscopy_secondary_capture_j2k.dcm"
    image = quietly(read_image, path)
    assert image.shape == (486, 756, 3) and image_size(path) == (756, 486)
    red, green, blue = image[image.sum(-1) > 60].mean(0)
    assert red > 1.3 * green > 1.3 * blue > 30  # mucosa is red
    frame = b"".join(generate_fragments(dcmread(path).PixelData))
    independent = Image.open(io.BytesIO(frame))
    np.testing.assert_array_equal(image, np.asarray(independent))
    assert pixel_size(path) is None
