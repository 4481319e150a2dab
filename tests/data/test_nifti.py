from __future__ import annotations

import gzip
import struct
import time
import tracemalloc
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from masksup_med.data import frames, image_size, pixel_size, read_image, read_label
from masksup_med.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (9, 6), np.uint8)  # (W, H), as NIfTI stores
RGB = RNG.integers(0, 256, (9, 6, 3), np.uint8)
RGB_TYPE = np.dtype([(name, np.uint8) for name in "RGB"])
RGBA_TYPE = np.dtype([(name, np.uint8) for name in "RGBA"])
NAMES = ["a.nii", "a.nii.gz"]


def nifti_file(path: Path, array: np.ndarray, version: int = 1, order: str = "<", **fields: Any) -> Path:
    """Write an array as it is; fields of the header may contradict it."""
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    header = kind.header_class(endianness=order)
    header.set_data_dtype(array.dtype)
    header.set_xyzt_units("mm")
    kind(array, np.diag([-1, -1, 1, 1]), header).to_filename(path)  # RAS+ would turn it round
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        content = file.read()
    size = header.sizeof_hdr
    header = kind.header_class(content[:size], check=False)
    for name, value in fields.items():
        header[name] = value
    with opened(path, "wb") as file:
        file.write(header.binaryblock + content[size:])
    return path


def as_rgb(grey: np.ndarray) -> np.ndarray:
    """(W, H) as the picture (H, W, 3)."""
    return np.stack([grey.T] * 3, axis=-1)


def stretched(values: np.ndarray) -> np.ndarray:
    return np.rint((values - values.min()) / np.ptp(values) * 255)


def quietly(read: Callable[[Path], Any], path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read(path)


def refusal(path: Path, read: Callable[[Path], Any] = read_image) -> str:
    with pytest.raises(DataError, match=rf"^Cannot read (image|label) .*{path.name}: [^\n]+; [^\n]+\.$") as caught:
        quietly(read, path)
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
def test_bytes_stay(tmp_path: Path, name: str, version: int, order: str) -> None:
    path = nifti_file(tmp_path / name, GREY, version, order)
    image = quietly(read_image, path)
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    np.testing.assert_array_equal(image, as_rgb(GREY))
    assert quietly(image_size, path) == (9, 6)
    assert quietly(pixel_size, path) == (1, 1)


@pytest.mark.parametrize("dtype", ["i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_other_types_are_stretched(tmp_path: Path, dtype: str, order: str, version: int) -> None:
    values = RNG.integers(0, 100, (9, 6)) - (0 if dtype.startswith("u") else 50)
    path = nifti_file(tmp_path / "a.nii", values.astype(dtype), version, order)
    np.testing.assert_array_equal(quietly(read_image, path), as_rgb(stretched(values)))


def test_scaling_factor(tmp_path: Path) -> None:
    path = nifti_file(tmp_path / "a.nii", GREY, scl_slope=-0.5, scl_inter=3)
    np.testing.assert_array_equal(read_image(path), as_rgb(stretched(-GREY.astype(float))))
    for slope in (0, np.nan, np.inf):
        path = nifti_file(tmp_path / "a.nii", GREY, scl_slope=slope, scl_inter=3)
        np.testing.assert_array_equal(read_image(path), as_rgb(GREY))
    assert "damaged" in refusal(nifti_file(tmp_path / "a.nii", GREY, scl_slope=2, scl_inter=np.inf))


def test_what_is_not_finite_is_black(tmp_path: Path) -> None:
    values = RNG.normal(size=(9, 6))
    values[0, :3] = np.nan, np.inf, -np.inf
    finite = np.where(np.isfinite(values), values, values[1:].min())
    expected = stretched(np.where(np.isfinite(values), values, finite.min()))
    np.testing.assert_array_equal(quietly(read_image, nifti_file(tmp_path / "a.nii", values)), as_rgb(expected))
    for constant in (7.0, np.nan, np.inf):
        path = nifti_file(tmp_path / "a.nii", np.full((9, 6), constant))
        assert not quietly(read_image, path).any()
    assert not read_image(nifti_file(tmp_path / "a.nii", np.full((9, 6), 7, np.int16))).any()


def test_extreme_values_do_not_overflow(tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 54).reshape(9, 6) * 1.7e308
    expected = np.rint(np.linspace(0, 1, 54).reshape(9, 6) * 255)
    np.testing.assert_array_equal(quietly(read_image, nifti_file(tmp_path / "a.nii", values)), as_rgb(expected))


@pytest.mark.parametrize("shape", [(9, 6), (9, 6, 1), (9, 6, 1, 1), (9, 6, 1, 1, 1), (9, 6, 1, 1, 1, 1, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_more_dimensions_of_length_1(tmp_path: Path, shape: tuple[int, ...], name: str) -> None:
    path = nifti_file(tmp_path / name, GREY.reshape(shape))
    np.testing.assert_array_equal(read_image(path), as_rgb(GREY))
    assert image_size(path) == (9, 6)


@pytest.mark.parametrize("dtype", [RGB_TYPE, RGBA_TYPE], ids=["RGB24", "RGBA32"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_colours(tmp_path: Path, dtype: np.dtype, order: str) -> None:
    stored = np.zeros((9, 6, 1), dtype)
    for index, name in enumerate("RGB"):
        stored[name] = RGB[:, :, None, index]
    for array in (stored, stored[..., 0]):
        path = nifti_file(tmp_path / "a.nii", array, order=order)
        np.testing.assert_array_equal(quietly(read_image, path), RGB.swapaxes(0, 1))
        assert image_size(path) == (9, 6)


def test_vectors_of_three_bytes_are_colours_if_not_scaled(tmp_path: Path) -> None:
    assert "9 × 6 × 1 × 1 × 3" in refusal(nifti_file(tmp_path / "a.nii", RGB[:, :, None, None], scl_slope=2))
    path = nifti_file(tmp_path / "a.nii.gz", RGB[:, :, None, None])
    np.testing.assert_array_equal(quietly(read_image, path), RGB.swapaxes(0, 1))
    assert image_size(path) == (9, 6)


@pytest.mark.parametrize(
    "array",
    [
        RGB[:, :, None, None].astype(np.float32),  # a field of vectors
        np.zeros((9, 6, 1, 1, 4), np.uint8),
        np.zeros((9, 6, 1, 1, 3), RGB_TYPE),
        GREY[:, None],
        GREY[None],
        np.zeros((4, 4, 4, 4, 2), np.int16),
        GREY[0],
    ],
    ids=lambda array: f"{array.shape} {array.dtype.kind}",
)
@pytest.mark.parametrize("read", [read_image, image_size, pixel_size])
def test_other_shapes_are_refused(tmp_path: Path, array: np.ndarray, read: Any) -> None:
    shape = " × ".join(str(length) for length in array.shape)
    path = nifti_file(tmp_path / "a.nii", array)
    assert f"it has the shape {shape}, which" in refusal(path, read)


def test_stacks(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(9, 6, 2, 3)).astype(np.float32)
    path = nifti_file(tmp_path / "a.nii.gz", values)
    assert frames(path) == 6 and image_size(path) == (9, 6)
    share = (values - values.min()) / (values.max() - values.min())  # of the range of the whole file
    for number in range(6):
        expected = np.rint(share.reshape(9, 6, 6, order="F")[:, :, number].T * 255)
        assert np.abs(read_image(path, number + 1)[..., 0] - expected).max() <= 1
    assert "it holds 6 pictures; say which" in refusal(path)
    coloured = np.zeros((9, 6, 2), RGB_TYPE)
    coloured["G"][3, 2, 1] = 200
    path = nifti_file(tmp_path / "b.nii", coloured)
    assert frames(path) == 2 and read_image(path, 2)[2, 3].tolist() == [0, 200, 0]


@pytest.mark.parametrize("array", [GREY.astype(np.complex64), GREY.astype(np.complex128)], ids=["c8", "c16"])
def test_other_types_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    for read in (read_image, image_size, pixel_size):
        assert f"values are of type {array.dtype}" in refusal(nifti_file(tmp_path / "a.nii", array), read)


@pytest.mark.parametrize(
    "fields",
    [
        {"dim": [0, 9, 6, 1, 1, 1, 1, 1]},
        {"dim": [8, 9, 6, 1, 1, 1, 1, 1]},
        {"dim": [-2, 9, 6, 1, 1, 1, 1, 1]},
        {"dim": [2, 0, 6, 1, 1, 1, 1, 1]},
        {"dim": [2, -9, 6, 1, 1, 1, 1, 1]},
        {"dim": [3, 9, 6, 0, 1, 1, 1, 1]},
        {"dim": [3, -1, 1, 1, 1, 1, 1, 1]},
        {"datatype": 3},
        {"datatype": 0},
        {"datatype": 1},
        {"vox_offset": 100},
        {"vox_offset": -352},
        {"vox_offset": 1e30},
        {"vox_offset": np.nan},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", NAMES)
def test_damaged_headers_are_refused(tmp_path: Path, fields: dict, name: str) -> None:
    refusal(nifti_file(tmp_path / name, GREY, **fields))


def test_offset(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(nifti_file(tmp_path / "a.nii", GREY, vox_offset=0)), as_rgb(GREY))
    image = nibabel.Nifti1Image(GREY, np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 5000))
    image.to_filename(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "b.nii.gz"), as_rgb(GREY))


def test_the_affine_turns_nothing(tmp_path: Path) -> None:
    for affine in (np.eye(4), np.diag([-1, 1, 1, 1]), np.eye(4)[[1, 0, 2, 3]]):
        nibabel.Nifti1Image(GREY, affine).to_filename(tmp_path / "a.nii")
        np.testing.assert_array_equal(read_image(tmp_path / "a.nii"), as_rgb(GREY))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keep", [0.03, 0.5, 0.9, 0.999])
def test_truncated(tmp_path: Path, name: str, keep: float) -> None:
    path = nifti_file(tmp_path / name, RNG.integers(0, 256, (64, 64), np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    refusal(path)


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    path = nifti_file(tmp_path / "a.nii.gz", RNG.integers(0, 256, (64, 64), np.uint8))
    content = path.read_bytes()
    for damaged in (content[:-4] + bytes(4), content[:-8], content[:20] + b"\xff" * 20 + content[40:]):
        path.write_bytes(damaged)
        assert "cut short or damaged" in refusal(path)
    path.write_bytes(content[:-8] + bytes(8))
    assert "cut short or damaged" in refusal(path)  # the checksum


def test_damage_raises_nothing_but_data_errors(tmp_path: Path) -> None:
    for name in NAMES:
        content = nifti_file(tmp_path / name, GREY.astype(np.int16)).read_bytes()
        for seed in range(60):
            rng, damaged = np.random.default_rng(seed), bytearray(content)
            for position in rng.integers(4, len(content), 6):
                damaged[position] = rng.integers(256)
            (tmp_path / name).write_bytes(damaged)
            for read in (read_image, image_size, pixel_size):
                try:
                    quietly(read, tmp_path / name)
                except DataError:
                    continue


@pytest.mark.parametrize("name", NAMES)
def test_bombs(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = nifti_file(tmp_path / name, GREY, dim=[2, 32767, 32767, 1, 1, 1, 1, 1])
    for read in (read_image, image_size, pixel_size):
        assert "32767 × 32767 pixels exceed" in refusal(bomb, read)
    empty = nifti_file(tmp_path / name, GREY, dim=[2, 9000, 9000, 1, 1, 1, 1, 1])
    started = time.process_time()
    assert "cut short" in refusal(empty)
    assert time.process_time() - started < 1
    path = nifti_file(tmp_path / name, GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    assert "MAX_IMAGE_PIXELS" in refusal(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read_image(path).shape == (6, 9, 3)


def test_no_more_is_decompressed_than_the_shape_needs(tmp_path: Path) -> None:
    path = nifti_file(tmp_path / "a.nii", GREY)
    tail = gzip.compress(bytes(1 << 24), 9)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(path.read_bytes() + bytes(1 << 26), 9) + tail * 20)
    far = nifti_file(tmp_path / "a.nii", GREY, vox_offset=float(1 << 33)).read_bytes()
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(far) + tail * 20)
    tracemalloc.start()
    started = time.process_time()
    np.testing.assert_array_equal(read_image(tmp_path / "b.nii.gz"), as_rgb(GREY))
    refusal(tmp_path / "c.nii.gz")
    assert time.process_time() - started < 0.3
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (0.5, 0.7)),
        ({"xyzt_units": 2 + 8}, (0.5, 0.7)),  # mm and seconds
        ({"xyzt_units": 3}, (0.0005, 0.0007)),
        ({"xyzt_units": 1}, (500, 700)),
        ({"xyzt_units": 0}, None),
        ({"xyzt_units": 7}, None),
        ({"pixdim": [1, 0, 0.5, 1, 1, 1, 1, 1]}, None),
        ({"pixdim": [1, 0.7, -0.5, 1, 1, 1, 1, 1]}, None),
        ({"pixdim": [1, np.nan, 0.5, 1, 1, 1, 1, 1]}, None),
        ({"pixdim": [1, np.inf, 0.5, 1, 1, 1, 1, 1]}, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("version", [1, 2])
def test_pixel_size(tmp_path: Path, fields: dict, expected: tuple[float, float] | None, version: int) -> None:
    fields = {"pixdim": [1, 0.7, 0.5, 9, 1, 1, 1, 1]} | fields
    size = quietly(pixel_size, nifti_file(tmp_path / "a.nii", GREY, version, **fields))
    assert size == (None if expected is None else pytest.approx(expected, rel=1e-12))
    assert size is None or {type(length) for length in size} == {float}


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_refused(tmp_path: Path, name: str) -> None:
    path = nifti_file(tmp_path / name, np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(DataError, match=rf"^Cannot read mask .*{name}: it is a NIfTI file; save it as a grey PNG\.$"):
        read_label(path, "mask")


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    path = nifti_file(tmp_path / "a.nii.gz", GREY).rename(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(path), as_rgb(GREY))
    Image.fromarray(GREY).save(tmp_path / "b.nii.gz", "PNG")
    assert read_image(tmp_path / "b.nii.gz").shape == (9, 6, 3)
    text = b"no header " * 100
    pair = nibabel.Nifti1Pair(GREY, np.eye(4)).header.binaryblock
    for content in (text, gzip.compress(text), gzip.compress(b""), pair, struct.pack("<i", 348) + text):
        (tmp_path / "c.nii").write_bytes(content)
        assert "no PNG, JPEG, BMP, TIFF, DICOM or NIfTI" in refusal(tmp_path / "c.nii")


def test_oddities_of_headers_are_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fields = {"pixdim": [5, -1, 1, 1, 1, 1, 1, 1], "bitpix": 99, "qform_code": 77, "vox_offset": 353}
    path = nifti_file(tmp_path / "a.nii", GREY, **fields)
    path.write_bytes(path.read_bytes()[:352] + b"\0" + path.read_bytes()[352:])
    capfd.readouterr()
    np.testing.assert_array_equal(read_image(path), as_rgb(GREY))
    output = capfd.readouterr()
    assert output.out == output.err == ""


def test_threads(tmp_path: Path) -> None:
    arrays = [RNG.integers(0, 256, (90, 60), np.uint8) for _ in range(8)]
    paths = [nifti_file(tmp_path / f"{i}{Path(NAMES[i % 2]).name}", array) for i, array in enumerate(arrays)]
    with ThreadPoolExecutor(8) as threads:
        images = list(threads.map(read_image, paths * 4))
    for image, array in zip(images, arrays * 4, strict=True):
        np.testing.assert_array_equal(image, as_rgb(array))
