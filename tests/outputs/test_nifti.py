from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from masksup_med.data import frames, image_size, pixel_size, read_image
from masksup_med.errors import DataError, MissingDataError
from masksup_med.outputs.nifti import write_nifti

SHAPES = [(9, 6), (9, 6, 1), (9, 6, 4), (9, 6, 2, 3), (9, 6, 1, 3), (9, 6, 1, 1, 1)]
KINDS = [nibabel.Nifti1Image, nibabel.Nifti2Image]
SECRET = "SECRET^NAME"
OBLIQUE = np.array([[0, -0.5, 0.1, 3], [0.7, 0, 0, -20], [0, 0.1, 2, 5], [0, 0, 0, 1]])
# What the quaternion of a qform can hold: a rotation, a flip and zooms.
TURNED = np.array([[0, -0.5, 0, 3], [0.7, 0, 0, -20], [0, 0, -2, 5], [0, 0, 0, 1.0]])
FORMS: dict[str, dict[str, np.ndarray]] = {
    "both": {"qform": TURNED, "sform": OBLIQUE},
    "qform": {"qform": TURNED},
    "sform": {"sform": OBLIQUE},
    "none": {},
}
RNG = np.random.default_rng(0)


def nifti_file(
    path: Path, array: np.ndarray, kind: Any = KINDS[0], order: str = "<", forms: dict[str, np.ndarray] = FORMS["both"]
) -> Path:
    """Write an array with all that may name a patient."""
    header = kind.header_class(endianness=order)
    header.set_data_dtype(array.dtype)
    image = kind(array, None, header)
    header = image.header
    header.set_xyzt_units("mm", "sec")
    header["pixdim"][1:4] = 0.7, 0.5, 2
    header.set_qform(forms.get("qform"), 1 if "qform" in forms else 0)
    header.set_sform(forms.get("sform"), 2 if "sform" in forms else 0)
    for field in ("descrip", "intent_name", "aux_file", *(["db_name"] if kind is KINDS[0] else [])):
        header[field] = SECRET
    header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", SECRET.encode()))
    image.to_filename(path)
    return path


def random_classes(path: Path) -> list[np.ndarray]:
    width, height = image_size(path)
    return [RNG.integers(0, 4, (height, width)).astype(np.uint8) for _ in range(frames(path))]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("forms", FORMS.values(), ids=FORMS)
def test_lies_where_its_source_lies(tmp_path: Path, kind: Any, order: str, forms: dict[str, np.ndarray]) -> None:
    source = nifti_file(tmp_path / "a.nii.gz", RNG.integers(0, 99, (9, 6, 4)).astype(np.int16), kind, order, forms)
    write_nifti(tmp_path / "out.nii.gz", source, random_classes(source))
    before, after = nibabel.load(source), nibabel.load(tmp_path / "out.nii.gz")
    assert type(after) is kind
    np.testing.assert_array_equal(after.affine, before.affine)
    for name in ("get_qform", "get_sform"):
        for old, new in zip(getattr(before, name)(coded=True), getattr(after, name)(coded=True), strict=True):
            np.testing.assert_array_equal(new, old)
    np.testing.assert_array_equal(after.header.get_zooms(), before.header.get_zooms())
    assert after.header.get_xyzt_units() == ("mm", "sec")
    assert pixel_size(tmp_path / "out.nii.gz") == pixel_size(source)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_lies_on_the_grid_of_its_source(tmp_path: Path, shape: tuple[int, ...], kind: Any) -> None:
    """A source whose pictures are bytes, given back as the classes, must come out as it went in."""
    values = RNG.integers(0, 256, shape, np.uint8)
    source = nifti_file(tmp_path / "a.nii", values, kind)
    classes = [read_image(source, number)[..., 0] for number in range(1, frames(source) + 1)]
    write_nifti(tmp_path / "out.nii.gz", source, classes)
    after = nibabel.load(tmp_path / "out.nii.gz")
    assert after.shape == shape and after.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asanyarray(after.dataobj), values)
    for number, expected in enumerate(classes, start=1):
        np.testing.assert_array_equal(read_image(tmp_path / "out.nii.gz", number)[..., 0], expected)


@pytest.mark.parametrize("dtype", ["i2", "u2", "f4", "f8"])
def test_one_pixel_of_one_slice(tmp_path: Path, dtype: str) -> None:
    values = np.zeros((9, 6, 4), dtype)
    values[7, 2, 3] = 1
    source = nifti_file(tmp_path / "a.nii", values)
    classes = [(read_image(source, number)[..., 0] > 0).astype(np.uint8) for number in range(1, 5)]
    assert [int(each.sum()) for each in classes] == [0, 0, 0, 1] and classes[3][2, 7] == 1
    write_nifti(tmp_path / "out.nii.gz", source, classes)
    np.testing.assert_array_equal(np.asanyarray(nibabel.load(tmp_path / "out.nii.gz").dataobj), values)


@pytest.mark.parametrize("typed", [False, True], ids=["vectors", "RGB24"])
def test_colours_become_one_plane(tmp_path: Path, typed: bool) -> None:
    colours = RNG.integers(0, 256, (9, 6, 1, 1, 3), np.uint8)
    if typed:
        colours = colours.reshape(9, 6, 3).view(np.dtype([(name, np.uint8) for name in "RGB"])).reshape(9, 6)
    source = nifti_file(tmp_path / "a.nii", colours)
    (classes,) = random_classes(source)
    write_nifti(tmp_path / "out.nii.gz", source, [classes])
    after = nibabel.load(tmp_path / "out.nii.gz")
    assert after.shape == (9, 6)
    np.testing.assert_array_equal(np.asanyarray(after.dataobj).T, classes)
    np.testing.assert_array_equal(after.affine, nibabel.load(source).affine)


def test_scaling_and_windows_stay_behind(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(RNG.integers(0, 99, (9, 6)).astype(np.int16), OBLIQUE)
    image.header.set_slope_inter(2, 5)
    image.header["cal_max"] = 1000
    image.to_filename(tmp_path / "a.nii")
    classes = random_classes(tmp_path / "a.nii")
    write_nifti(tmp_path / "out.nii.gz", tmp_path / "a.nii", classes)
    after = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(after.get_fdata(), classes[0].T)
    assert after.header["cal_max"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_texts_stay_behind(tmp_path: Path, kind: Any) -> None:
    source = nifti_file(tmp_path / "a.nii", RNG.integers(0, 99, (9, 6, 2), np.uint8), kind)
    assert source.read_bytes().count(SECRET.encode()) >= 4
    write_nifti(tmp_path / "out.nii.gz", source, random_classes(source))
    content = (tmp_path / "out.nii.gz").read_bytes()
    assert b"SECRET" not in content and b"SECRET" not in gzip.decompress(content)
    assert not nibabel.load(tmp_path / "out.nii.gz").header.extensions
    assert b"out" not in content[:64]  # gzip's header can hold the name and the time


def test_same_bytes_when_written_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = nifti_file(tmp_path / "a.nii", RNG.integers(0, 99, (9, 6, 2), np.uint8))
    classes, before = random_classes(source), source.read_bytes()
    write_nifti(tmp_path / "out.nii.gz", source, classes)
    monkeypatch.setattr("time.time", lambda: 0.0)
    write_nifti(tmp_path / "again" / "other.nii.gz", source, classes)
    assert (tmp_path / "out.nii.gz").read_bytes() == (tmp_path / "again" / "other.nii.gz").read_bytes()
    assert source.read_bytes() == before


def test_a_source_that_is_gone_or_changed(tmp_path: Path) -> None:
    source = nifti_file(tmp_path / "a.nii", RNG.integers(0, 99, (9, 6, 2), np.uint8))
    classes, output = random_classes(source), tmp_path / "out.nii.gz"
    write_nifti(output, source, classes)
    before = output.read_bytes()
    for content in (b"no header", source.read_bytes()[:100], b"\x1f\x8bSECRET"):
        source.write_bytes(content)
        with pytest.raises(DataError, match=rf"^Cannot read image .*{source.name}: [^\n]+; [^\n]+\.$") as caught:
            write_nifti(output, source, classes)
        assert "SECRET" not in str(caught.value)
    source.unlink()
    with pytest.raises(MissingDataError, match=r"^There is no image file .*a\.nii"):
        write_nifti(output, source, classes)
    assert output.read_bytes() == before and list(tmp_path.iterdir()) == [output]


def test_nothing_reaches_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = nifti_file(tmp_path / "a.nii", RNG.integers(0, 99, (9, 6), np.uint8), forms=FORMS["none"])
    capfd.readouterr()
    write_nifti(tmp_path / "out.nii.gz", source, random_classes(source))
    output = capfd.readouterr()
    assert output.out == output.err == ""
