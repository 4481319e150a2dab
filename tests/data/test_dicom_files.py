"""The files that pydicom tests itself with, against what pydicom makes of them."""

from __future__ import annotations

import warnings
from pathlib import Path
from shutil import copy

import numpy as np
import pydicom
import pytest
from pydicom import dcmread
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_windowing, pixel_array

from masksup_med.data import frames, image_size, pixel_size, read_image
from masksup_med.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:Expected explicit VR", "ignore:The pixel data is")  # our reference's
FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
COLOURS = [
    *("ExplVR_BigEnd", "GDCMJ2K_TextGBR", "SC_rgb_gdcm_KY", "SC_rgb_jls_lossy_line", "SC_rgb_jls_lossy_sample"),
    *("SC_rgb_jpeg_dcmd", "SC_rgb_jpeg_gdcm", "SC_rgb_rle", "SC_rgb_rle_2frame", "SC_rgb_small_odd"),
    *("SC_rgb_small_odd_big_endian", "SC_rgb_small_odd_jpeg", "SC_ybr_full_422_uncompressed", "examples_jpeg2k"),
    *("examples_rgb_color", "examples_ybr_color", "SC_rgb_dcmtk_+eb+cy+n1", "SC_rgb_dcmtk_+eb+cy+n2"),
    *("SC_rgb_dcmtk_+eb+cy+np", "SC_rgb_dcmtk_+eb+cy+s2", "SC_rgb_dcmtk_+eb+cy+s4", "SC_rgb_jpeg_dcmtk"),
    *("SC_rgb_jpeg_lossy_gdcm", "SC_rgb_jpeg", "SC_rgb_dcmtk_+eb+cr", "SC_jpeg_no_color_transform"),
]
ADOBE = ["SC_rgb_jpeg", "SC_rgb_dcmtk_+eb+cr", "SC_jpeg_no_color_transform"]  # Pillow converts those with its marker
DEEP_COLOURS = ["SC_rgb_rle_16bit", "SC_rgb_rle_16bit_2frame", "SC_rgb_rle_32bit", "SC_rgb_rle_32bit_2frame"]
GREYS = [
    *("693_J2KI", "J2K_pixelrep_mismatch", "CT_small", "JPEG2000", "JPEGLSNearLossless_08", "JPEGLSNearLossless_16"),
    *("JPGExtended", "MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_expb", "MR_small_implicit"),
    *("MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_padded", "examples_overlay", "image_dfl"),
    *("rtdose", "rtdose_1frame", "rtdose_expb", "rtdose_expb_1frame", "rtdose_rle", "rtdose_rle_1frame"),
]
INVERTED = ["CR1/6154", "CR2/6247", "CR3/6278"]
REFUSED = {
    "ExplVR_BigEndNoMeta": "it is no PNG",
    "JPEG-lossy": "its pixel data is incomplete",
    "JPEG2000-embedded-sequence-delimiter": "its pixel data is incomplete",
    "MR_truncated": "its pixel data is incomplete",
    "UN_sequence": "without a picture",
    "badVR": "its header is incomplete or damaged",
    "liver_1frame": "it is a DICOM segmentation",
    "liver_expb_1frame": "it is a DICOM segmentation",
    "meta_missing_tsyntax": "without a picture",
    "no_meta": "it is no PNG",
    "reportsi": "without a picture",
    "rtplan": "without a picture",
    "test-SR": "without a picture",
    "waveform_ecg": "without a picture",
}


def pictures(path: Path) -> np.ndarray:
    """All frames, (N, H, W, 3)."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.stack([read_image(path, number) for number in range(1, frames(path) + 1)])


def stored(path: Path) -> np.ndarray:
    """All frames as pydicom decodes them by default, with or without colours."""
    header = dcmread(path, stop_before_pixels=True)
    array = pixel_array(dcmread(path))  # given a path, it neither inflates nor tells the syntax that is written
    return array if int(header.get("NumberOfFrames") or 1) > 1 else array[None]


def stretched(values: np.ndarray, least: float, greatest: float) -> np.ndarray:
    share = (values.astype(np.float64) - least) / (greatest - least)
    return np.rint(np.clip(share, 0, 1) * 255)


def grey(path: Path) -> np.ndarray:
    """Through the first window of all that can be stored, as pydicom does it."""
    header, values = dcmread(path, stop_before_pixels=True), stored(path)
    bits, signed = header.BitsStored, header.PixelRepresentation
    ends = np.array([-(1 << bits) // 2, (1 << bits) // 2 - 1] if signed else [0, (1 << bits) - 1])
    ends = apply_modality_lut(ends, header)
    values = apply_modality_lut(values, header)
    if "WindowWidth" in header:
        header.BitsStored = header.BitsAllocated  # what is stored may exceed the fewer bits
        values = apply_windowing(values, header)
        ends = apply_windowing(np.array([-1e9, 1e9]), header)
    return stretched(values, *ends)


def as_rgb(greys: np.ndarray) -> np.ndarray:
    return np.stack([greys] * 3, axis=-1)


@pytest.mark.parametrize("name", COLOURS)
def test_colours(name: str) -> None:
    difference = np.abs(pictures(FOLDER / f"{name}.dcm").astype(int) - stored(FOLDER / f"{name}.dcm"))
    assert difference.max() <= (1 if name in ADOBE else 0)


@pytest.mark.parametrize("name", DEEP_COLOURS)
def test_colours_of_more_bits(name: str) -> None:
    values = stored(FOLDER / f"{name}.dcm")
    expected = stretched(values, 0, np.iinfo(values.dtype).max)
    np.testing.assert_array_equal(pictures(FOLDER / f"{name}.dcm"), expected)


@pytest.mark.parametrize("name", GREYS)
def test_greys(name: str) -> None:
    path = FOLDER / f"{name}.dcm"
    difference = np.abs(pictures(path) - as_rgb(grey(path)))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.001  # halves are rounded either way


@pytest.mark.parametrize("name", INVERTED)
def test_monochrome1(name: str) -> None:
    path = FOLDER / "dicomdirtests" / "77654033" / name
    assert dcmread(path).PhotometricInterpretation == "MONOCHROME1"
    assert np.abs(pictures(path) - as_rgb(255 - grey(path))).max() <= 1


def test_palette() -> None:
    path = FOLDER / "examples_palette.dcm"
    colours = apply_color_lut(stored(path), dcmread(path))
    shown = colours >> 8 if colours.dtype == np.uint16 else colours
    np.testing.assert_array_equal(pictures(path), shown)


def test_frames_and_sizes() -> None:
    for name in (*COLOURS, *DEEP_COLOURS, *GREYS):
        header = dcmread(FOLDER / f"{name}.dcm", stop_before_pixels=True)
        assert frames(FOLDER / f"{name}.dcm") == int(header.get("NumberOfFrames") or 1)
        assert image_size(FOLDER / f"{name}.dcm") == (header.Columns, header.Rows)


@pytest.mark.parametrize("name", ["examples_ybr_color", "SC_rgb_rle_2frame", "rtdose", "image_dfl", "MR_small_RLE"])
@pytest.mark.parametrize("suffix", ["", ".png", ".42"])
def test_any_suffix(tmp_path: Path, name: str, suffix: str) -> None:
    source, path = FOLDER / f"{name}.dcm", tmp_path / f"a{suffix}"
    copy(source, path)
    number = frames(source)
    assert frames(path) == number and image_size(path) == image_size(source)
    np.testing.assert_array_equal(read_image(path, number), read_image(source, number))


@pytest.mark.parametrize("number", [0, 31, -1, None])
def test_frames_that_are_not_there(number: int | None) -> None:
    with pytest.raises(DataError, match=r"^Cannot read image .*examples_ybr_color\.dcm: it h[^\n]+; [^\n]+\.$"):
        read_image(FOLDER / "examples_ybr_color.dcm", number)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("examples_ybr_color", (0.510497056, 0.510497056)),  # of its ultrasound region
        ("MR_small", (0.3125, 0.3125)),
        ("SC_rgb_small_odd", (33.333333, 33.333333)),  # nominal
        ("dicomdirtests/98892001/CT2N/6293", (0.545455, 0.596847)),
        ("dicomdirtests/77654033/CR1/6154", None),  # that of the detector
        ("examples_rgb_color", None),
        ("image_dfl", None),
    ],
)
def test_pixel_size(name: str, expected: tuple[float, float] | None) -> None:
    path = FOLDER / name
    assert pixel_size(path if path.is_file() else FOLDER / f"{name}.dcm") == expected


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    path = FOLDER / f"{name}.dcm"
    with pytest.raises(DataError, match=rf"^Cannot read image .*{name}\.dcm: [^\n]+; [^\n]+\.$") as caught:
        pictures(path)
    assert REFUSED[name] in str(caught.value)


def test_nothing_reaches_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    for name in (*COLOURS, *GREYS):
        read_image(FOLDER / f"{name}.dcm", 1)
    for name in REFUSED:
        with pytest.raises(DataError):
            read_image(FOLDER / f"{name}.dcm")
    output = capfd.readouterr()
    assert output.out == output.err == ""
