"""`masksup predict` with networks of which it is clear what they find: every image gets what belongs to it."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from filelock import FileLock
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset

from masksup_med.bundle import Bundle, Predictor
from masksup_med.cli import main
from masksup_med.predict.discovery import find_images
from masksup_med.predict.run import Settings, Summary, predict_images
from tests.bundle.bundles import (
    ARGMAX,
    FIRST,
    HALF,
    INVERT,
    LOAD,
    SAVE,
    SCALE,
    SIGMOID,
    SOFTMAX,
    blank_copy,
    brightness_bundle,
    colours_bundle,
    processing,
    write_bundle,
)

pytestmark = pytest.mark.filterwarnings("ignore")
SECRET = "SECRET^NAME"
REPORTS = ["images.csv", "manifest.jsonl", "measurements.csv", "report.html"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def bright(folder: Path) -> Path:
    """Finds where R + G + B > 382, and writes 255 there."""
    return brightness_bundle(folder / "bright")


@pytest.fixture(scope="module")
def soft(folder: Path) -> Path:
    """The same, less sure of it: the logit is (R + G + B) / 127.5 - 3."""
    return brightness_bundle(folder / "soft", gain=1)


@pytest.fixture(scope="module")
def colours(folder: Path) -> Path:
    """Finds where red (1) or green (2) is stronger than blue."""
    return colours_bundle(folder / "colours")


def run(bundle: Path, inputs: Path | Sequence[Path], out: Path, *options: str) -> int:
    inputs = [inputs] if isinstance(inputs, Path) else inputs
    return main(["predict", *map(str, inputs), "-o", str(out), "--bundle", str(bundle), *options])


def manifest(out: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["image"]: line for line in lines}


def rows(out: Path, table: str = "images.csv") -> list[dict[str, str]]:
    with open(out / table, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> list[str]:
    """All that a run leaves, but for its lock."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    )


def mask_of(out: Path, name: str, kind: str = "masks") -> np.ndarray:
    if (volume := out / kind / f"{name}.nii.gz").exists():
        return np.asarray(nibabel.load(volume).dataobj).T * np.uint8(255)
    with Image.open(out / kind / f"{name}.png") as file:
        return np.asarray(file)


def write(path: Path, picture: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, **options)
    return path


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def block(height: int, width: int, box: tuple[int, int, int, int], inside: int = 255, outside: int = 0) -> np.ndarray:
    """A picture that is dark but for a box (top, left, bottom, right)."""
    picture = np.full((height, width, 3), outside, np.uint8)
    picture[box[0] : box[2], box[1] : box[3]] = inside
    return picture


# every kind of file: thresholding gives the input back, on the image's own grid


class Writer(NamedTuple):
    """Writes one kind of file; returns where the picture is bright, as it is stored."""

    suffix: str
    write: Callable[..., np.ndarray]
    turned: bool = False  # whether it can carry an orientation


def pillow(draw: Callable[..., tuple[Image.Image, np.ndarray]], **options: Any) -> Callable[..., np.ndarray]:
    def write(path: Path, rng: np.random.Generator, size: tuple[int, int], orientation: int = 1) -> np.ndarray:
        image, bright = draw(rng, size)
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(path, **options, **({"exif": exif} if orientation > 1 else {}))
        return bright

    return write


def grey(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return rng.integers(0, 256, size, np.uint8)


def far(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Levels that JPEG does not carry over the middle."""
    return np.where(rng.random(size) < 0.5, rng.integers(0, 100, size), rng.integers(156, 256, size)).astype(np.uint8)


def bright_colours(colour: np.ndarray) -> np.ndarray:
    return colour[..., :3].sum(axis=-1, dtype=int) > 382


def a_bit(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, np.ndarray]:
    bits = grey(rng, size) > 127
    return Image.fromarray(bits), bits


def a_grey(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, np.ndarray]:
    values = grey(rng, size)
    return Image.fromarray(values), values > 127


def a_grey_with_alpha(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, np.ndarray]:
    values = grey(rng, size)
    return Image.merge("LA", [Image.fromarray(values), Image.fromarray(grey(rng, size))]), values > 127


def a_palette(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, np.ndarray]:
    indices, colour = grey(rng, size), rng.integers(0, 256, (256, 3), np.uint8)
    image = Image.frombytes("P", size[::-1], indices.tobytes())
    image.putpalette(colour.tobytes())
    return image, bright_colours(colour[indices])


def a_colour(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, np.ndarray]:
    colour = rng.integers(0, 256, (*size, 3), np.uint8)
    return Image.fromarray(colour), bright_colours(colour)


def a_colour_with_alpha(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, np.ndarray]:
    colour = rng.integers(0, 256, (*size, 4), np.uint8)
    return Image.fromarray(colour), bright_colours(colour)


def a_deep_grey(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, np.ndarray]:
    values = rng.integers(0, 65536, size, np.uint16)
    return Image.fromarray(values), values > 32767


def a_far_grey(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, np.ndarray]:
    values = far(rng, size)
    return Image.fromarray(values), values > 127


def a_far_colour(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, np.ndarray]:
    values = np.clip(far(rng, size)[..., None] + rng.integers(-9, 10, (*size, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(values), bright_colours(values)


def a_print(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, np.ndarray]:
    values = far(rng, size)
    ink = Image.fromarray(255 - values)
    return Image.merge("CMYK", [ink, ink, ink, Image.new("L", size[::-1])]), values > 127


def tiff(kind: str) -> Callable[..., np.ndarray]:
    def write(path: Path, rng: np.random.Generator, size: tuple[int, int], orientation: int = 1) -> np.ndarray:
        tags = {"extratags": [(0x0112, "H", 1, orientation, True)]} if orientation > 1 else {}
        if kind in ("grey", "white"):
            values = grey(rng, size)
            tifffile.imwrite(path, values, photometric="miniswhite" if kind == "white" else "minisblack", **tags)
            return values < 128 if kind == "white" else values > 127
        if kind == "deep":
            deep = rng.integers(0, 65536, size, np.uint16)
            tifffile.imwrite(path, deep, photometric="minisblack", **tags)
            return deep > 32767
        if kind == "deep colour":
            colour = rng.integers(0, 65536, (*size, 3), np.uint16)
            tifffile.imwrite(path, colour, photometric="rgb", **tags)
            return bright_colours(np.rint(colour / 257))
        colour = rng.integers(0, 256, (*size, 4 if kind == "alpha" else 3), np.uint8)
        extra = {"extrasamples": ["unassalpha"]} if kind == "alpha" else {}
        tifffile.imwrite(path, colour, photometric="rgb", metadata=None, **extra, **tags)
        if kind == "cvc":  # as CVC-ClinicDB's: colours under a tag that says grey
            with tifffile.TiffFile(path, mode="r+") as file:
                file.pages.first.tags["PhotometricInterpretation"].overwrite(1)
        return bright_colours(colour)

    return write


def nifti(path: Path, rng: np.random.Generator, size: tuple[int, int], orientation: int = 1) -> np.ndarray:
    values = grey(rng, size[::-1])  # stored with the index to the right first
    nibabel.Nifti1Image(values, np.diag([-0.5, 0.25, 1, 1])).to_filename(path)
    return values.T > 127


def dicom(kind: str, **attributes: Any) -> Callable[..., np.ndarray]:
    def write(path: Path, rng: np.random.Generator, size: tuple[int, int], orientation: int = 1) -> np.ndarray:
        values = rng.integers(0, 256, (*size, 3) if kind == "RGB" else size, np.uint8)
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = uid.SecondaryCaptureImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
        data.PatientName = data.PatientID = data.StudyDescription = SECRET
        data.Rows, data.Columns = size
        data.PhotometricInterpretation, data.SamplesPerPixel = kind, 3 if kind == "RGB" else 1
        if kind == "RGB":
            data.PlanarConfiguration = 0
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
        for keyword, value in attributes.items():
            setattr(data, keyword, value)
        content = values.tobytes()
        data.PixelData = content + b"\0" * (len(content) % 2)
        data.save_as(path, enforce_file_format=True)
        if kind == "RGB":
            return bright_colours(values)
        return values < 128 if kind == "MONOCHROME1" else values > 127

    return write


WRITERS = {
    "png 1": Writer("png", pillow(a_bit)),
    "png L": Writer("png", pillow(a_grey), turned=True),
    "png LA": Writer("png", pillow(a_grey_with_alpha)),
    "png P": Writer("png", pillow(a_palette), turned=True),
    "png P, transparent": Writer("png", pillow(a_palette, transparency=b"\x00\x80\x10")),
    "png RGB": Writer("png", pillow(a_colour), turned=True),
    "png RGBA": Writer("png", pillow(a_colour_with_alpha), turned=True),
    "png I;16": Writer("png", pillow(a_deep_grey), turned=True),
    "bmp 1": Writer("bmp", pillow(a_bit)),
    "bmp L": Writer("bmp", pillow(a_grey)),
    "bmp P": Writer("bmp", pillow(a_palette)),
    "bmp RGB": Writer("BMP", pillow(a_colour, format="BMP")),
    "bmp RGBA": Writer("bmp", pillow(a_colour_with_alpha)),
    "jpeg L": Writer("jpg", pillow(a_far_grey, quality=100), turned=True),
    "jpeg RGB": Writer("jpeg", pillow(a_far_colour, quality=100, subsampling=0), turned=True),
    "jpeg CMYK": Writer("JPG", pillow(a_print, format="JPEG", quality=100), turned=True),
    "tiff grey": Writer("tif", tiff("grey"), turned=True),
    "tiff white": Writer("tif", tiff("white")),
    "tiff deep": Writer("tiff", tiff("deep"), turned=True),
    "tiff colour": Writer("tif", tiff("colour"), turned=True),
    "tiff deep colour": Writer("tif", tiff("deep colour")),
    "tiff alpha": Writer("tif", tiff("alpha")),
    "tiff cvc": Writer("tif", tiff("cvc"), turned=True),
    "nifti": Writer("nii", nifti),
    "nifti, gzipped": Writer("nii.gz", nifti),
    "dicom MONOCHROME2": Writer("dcm", dicom("MONOCHROME2")),
    "dicom MONOCHROME1": Writer("dcm", dicom("MONOCHROME1")),
    "dicom RGB": Writer("dcm", dicom("RGB")),
}


class Drawn(NamedTuple):
    """An image that is to be written."""

    kind: str
    size: tuple[int, int]  # as stored
    orientation: int = 1
    seed: int = 0

    def write(self, stem: Path) -> np.ndarray:
        """Write it beside others; return its mask, of the picture held upright."""
        writer = WRITERS[self.kind]
        rng = np.random.default_rng(self.seed)
        stored = writer.write(stem.with_name(f"{stem.name}.{writer.suffix}"), rng, self.size, self.orientation)
        mask = Image.fromarray(stored.astype(np.uint8) * np.uint8(255))
        mask.getexif()[0x0112] = self.orientation
        return np.asarray(ImageOps.exif_transpose(mask))


def check_gives_the_input_back(bundle: Path, place: Path, drawn: Sequence[Drawn], *options: str) -> None:
    (place / "in").mkdir(parents=True)
    expected = {f"{number:03}": each.write(place / "in" / f"{number:03}") for number, each in enumerate(drawn)}
    assert run(bundle, place / "in", place / "out", "--outputs", "masks,overlays,probabilities", *options) == 0
    lines = manifest(place / "out")
    assert len(lines) == len(rows(place / "out")) == len(drawn)
    for (key, line), each in zip(lines.items(), drawn, strict=True):
        name = key.split(".")[0]
        mask, wanted = mask_of(place / "out", name), expected[name]
        assert mask.dtype == np.uint8 and mask.shape == wanted.shape == (line["height"], line["width"]), each
        assert np.array_equal(mask, wanted), each
        assert np.array_equal(mask_of(place / "out", name, "probabilities") > 32767, mask > 0), each
        with Image.open(place / "out" / "overlays" / f"{name}.jpg") as overlay:
            assert overlay.size == mask.shape[::-1] and overlay.mode == "RGB", each
        assert line["area_share"] == pytest.approx((wanted > 0).mean(), abs=1e-6), each
        assert sum(found["area_px"] for found in line["objects"]) == (wanted > 0).sum(), each


def test_every_kind_of_file_of_every_shape(bright: Path, tmp_path: Path) -> None:
    drawn = [Drawn(kind, size, seed=index) for index, kind in enumerate(WRITERS) for size in ((1, 1), (1, 6), (9, 7))]
    check_gives_the_input_back(bright, tmp_path, drawn)


def test_every_orientation(bright: Path, tmp_path: Path) -> None:
    turned = [kind for kind, writer in WRITERS.items() if writer.turned]
    assert {WRITERS[kind].suffix.lower() for kind in turned} >= {"png", "jpg", "tif"}
    drawn = [Drawn(kind, (5, 8), orientation) for kind in turned for orientation in range(2, 9)]
    check_gives_the_input_back(bright, tmp_path, drawn)


DRAWN = st.builds(
    lambda kind, size, orientation, seed: Drawn(kind, size, orientation if WRITERS[kind].turned else 1, seed),
    st.sampled_from(sorted(WRITERS)),
    st.tuples(st.integers(1, 70), st.integers(1, 70)) | st.tuples(st.just(1), st.integers(1, 70))
    | st.tuples(st.integers(1, 70), st.just(1)),
    st.integers(1, 8),
    st.integers(0, 2**32 - 1),
)  # fmt: skip


@given(
    drawn=st.lists(DRAWN, min_size=1, max_size=10),
    batch=st.integers(1, 4),
    workers=st.integers(1, 4),
    limit=st.sampled_from([None, 300]),
)
@settings(max_examples=10, deadline=None, derandomize=True, database=None, phases=[Phase.generate])  # runs are long
def test_thresholding_gives_the_input_back(
    drawn: list[Drawn], batch: int, workers: int, limit: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("drawn")
    bundle = brightness_bundle(place / "bundle", **({} if limit is None else {"max_pixels": limit}))
    check_gives_the_input_back(bundle, place, drawn, "--batch-size", str(batch), "--workers", str(workers))
    for line in manifest(place / "out").values():
        assert ("tiled" in line["flags"]) == (limit is not None and line["width"] * line["height"] > limit)


# several classes


def test_several_classes(colours: Path, tmp_path: Path) -> None:
    picture = noise(12, 15)
    picture[:, :5] = (255, 0, 0)
    picture[:6, 8:] = (0, 200, 0)
    write(tmp_path / "in" / "a.png", picture)
    write(tmp_path / "in" / "blue.png", np.full((4, 5, 3), (0, 0, 100), np.uint8))
    assert run(colours, tmp_path / "in", tmp_path / "out", "--outputs", "masks,probabilities") == 0
    order = picture[..., [2, 0, 1]]
    mask = mask_of(tmp_path / "out", "a")
    np.testing.assert_array_equal(mask, order.argmax(axis=-1))
    powers = np.exp(4 * (order / 127.5 - 1))
    probability = powers.max(axis=-1) / powers.sum(axis=-1)  # of the class decided on
    levels = mask_of(tmp_path / "out", "a", "probabilities")
    assert levels.dtype == np.uint16
    np.testing.assert_allclose(levels, probability * 65535, atol=1)
    line = manifest(tmp_path / "out")["a.png"]
    measured = [row for row in rows(tmp_path / "out", "measurements.csv") if row["image"] == "a.png"]
    assert [row["class"] for row in measured] == [found["class"] for found in line["objects"]]
    assert [(found["class_number"], found["class"]) for found in line["objects"]] == sorted(
        (found["class_number"], ["background", "red", "green"][found["class_number"]]) for found in line["objects"]
    )
    for number, name in ((1, "red"), (2, "green")):
        assert sum(int(row["area_px"]) for row in measured if row["class"] == name) == (mask == number).sum() > 0
    assert line["mean_confidence"] == pytest.approx(probability[mask > 0].mean(), abs=1e-4)
    # nothing but background: as sure as it is of it at the least certain pixel
    blue = manifest(tmp_path / "out")["blue.png"]
    surely = np.exp(4 * 100 / 127.5) / (np.exp(4 * 100 / 127.5) + 2)
    assert blue["flags"] == ["nothing_found"] and blue["mean_confidence"] == pytest.approx(surely, abs=1e-4)


def test_two_channels_with_softmax_show_the_foreground(folder: Path, tmp_path: Path) -> None:
    network = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 2, "kernel_size": 1}
    weight = torch.stack([torch.zeros(3, 1, 1), torch.ones(3, 1, 1)])
    weights = {"weight": weight, "bias": torch.zeros(2)}
    bundle = write_bundle(folder / "two", network, weights, **processing(after=(SOFTMAX, INVERT, ARGMAX)))
    picture = noise(9, 9)
    write(tmp_path / "in" / "a.png", picture)
    assert run(bundle, tmp_path / "in", tmp_path / "out", "--outputs", "masks,probabilities") == 0
    probability = 1 / (1 + np.exp(-(picture.sum(axis=-1) / 127.5 - 3)))
    np.testing.assert_array_equal(mask_of(tmp_path / "out", "a"), picture.sum(axis=-1, dtype=int) > 382)
    np.testing.assert_allclose(mask_of(tmp_path / "out", "a", "probabilities"), probability * 65535, atol=1)
    found = manifest(tmp_path / "out")["a.png"]
    assert found["mean_confidence"] == pytest.approx(probability[probability > 0.5].mean(), abs=1e-4)


def test_bundle_whose_output_is_of_another_size_gives_no_mask(folder: Path, tmp_path: Path) -> None:
    """A U-Net that halves a picture of 7 x 9 comes back with 8 x 10, and MONAI's Invertd has nothing to invert."""
    clipping = processing((LOAD, FIRST, {**SCALE, "clip": True}), (SIGMOID, INVERT, HALF, SAVE))
    bundle = write_bundle(folder / "halving", **clipping)
    write(tmp_path / "in" / "a.png", noise(9, 7))
    run(bundle, tmp_path / "in", tmp_path / "out", "--outputs", "masks")
    assert manifest(tmp_path / "out")["a.png"]["status"] == "failed" or mask_of(tmp_path / "out", "a").shape == (9, 7)


# what is written


@pytest.mark.parametrize("outputs", [None, "masks", "overlays", "probabilities,masks", "masks,masks"])
def test_outputs_are_those_that_were_asked_for(bright: Path, tmp_path: Path, outputs: str | None) -> None:
    for name in ("a.png", "deep/er/b.png"):
        write(tmp_path / "in" / name, noise(6, 8))
    assert run(bright, tmp_path / "in", tmp_path / "out", *(["--outputs", outputs] if outputs else [])) == 0
    kinds = {"masks": ".png", "overlays": ".jpg", "probabilities": ".png"}
    wanted = set((outputs or "masks,overlays").split(","))
    written = [f"{kind}/{name}{kinds[kind]}" for kind in wanted for name in ("a", "deep/er/b")]
    assert files(tmp_path / "out") == sorted([*written, *REPORTS])
    for key, line in manifest(tmp_path / "out").items():
        assert {path.split("/")[0] for path in line["outputs"]} == wanted
        for path, sha256 in line["outputs"].items():
            assert path in written and hashlib.sha256((tmp_path / "out" / path).read_bytes()).hexdigest() == sha256
            assert path.split("/", 1)[1].rsplit(".", 1)[0] == key.removesuffix(".png")


def test_lines_of_the_manifest(bright: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "in" / "sub" / "a.png", block(20, 30, (5, 6, 10, 16)))
    (tmp_path / "in" / "bad.png").write_bytes(b"")
    assert run(bright, tmp_path / "in", tmp_path / "out") == 3
    lines, bundle = manifest(tmp_path / "out"), Bundle.open(bright)
    assert list(lines) == ["bad.png", "sub/a.png"]
    good, bad = lines["sub/a.png"], lines["bad.png"]
    for line in (good, bad):
        assert line["bundle"] == "bright"
        assert line["weights_sha256"] == hashlib.sha256((bright / "models" / "model.pt").read_bytes()).hexdigest()
        assert line["settings_sha256"] == bundle.settings_sha256
        assert {"masksup-med", "monai", "torch", "python"} <= line["versions"].keys()
        assert line["versions"]["torch"] == torch.__version__ and 0 <= line["seconds"] < 60
    assert good["input_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert bad["input_sha256"] == hashlib.sha256(b"").hexdigest()
    assert (good["status"], good["error"], good["width"], good["height"]) == ("done", None, 30, 20)
    assert sorted(good["outputs"]) == ["masks/sub/a.png", "overlays/sub/a.jpg"]
    assert good["pixel_size_mm"] is None and good["flags"] == [] and good["area_share"] == round(50 / 600, 6)
    (found,) = good["objects"]
    assert (found["class"], found["area_px"], found["centroid_x"], found["centroid_y"]) == ("bright", 50, 10.5, 7)
    assert (found["box_left"], found["box_top"], found["box_width"], found["box_height"]) == (6, 5, 10, 5)
    assert (bad["status"], bad["outputs"]) == ("failed", {})
    assert bad["error"] == "Cannot read image bad.png: it is empty; copy it again from its source."


def test_nothing_personal_in_the_results(bright: Path, tmp_path: Path) -> None:
    folder = tmp_path / "private place"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for kind in ("MONOCHROME1", "MONOCHROME2", "RGB"):
        dicom(kind)(folder / f"{kind}.dcm", rng, (7, 9))
    whole = (folder / "RGB.dcm").read_bytes()
    (folder / "cut.dcm").write_bytes(whole[:-50])
    (folder / "no.dcm").write_bytes(whole[:200])
    write(folder / "x.png", noise(5, 5))
    (folder / "gone.png").symlink_to(tmp_path / "nowhere")
    assert run(bright, folder, tmp_path / "out", "--outputs", "masks,overlays,probabilities") == 3
    assert {line["status"] for line in manifest(tmp_path / "out").values()} == {"done", "failed"}
    for path in [tmp_path / "out" / name for name in files(tmp_path / "out")]:
        content = path.read_bytes()
        for secret in (SECRET, "SECRET", str(tmp_path), "private place"):
            assert secret.encode() not in content, path


def test_areas_where_the_size_of_pixels_is_known(bright: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    masks = {
        "fine": dicom("MONOCHROME2", PixelSpacing=[0.002, 0.004])(tmp_path / "in" / "fine.dcm", rng, (6, 8)),
        "coarse": dicom("MONOCHROME2", PixelSpacing=[0.5, 0.25])(tmp_path / "in" / "coarse.dcm", rng, (6, 8)),
        "none": dicom("MONOCHROME2")(tmp_path / "in" / "none.dcm", rng, (6, 8)),
    }
    assert run(bright, tmp_path / "in", tmp_path / "out") == 0
    measured, lines = rows(tmp_path / "out", "measurements.csv"), manifest(tmp_path / "out")
    assert [lines[f"{name}.dcm"]["pixel_size_mm"] for name in masks] == [[0.002, 0.004], [0.5, 0.25], None]
    for name, column, area in (("fine", "area_um2", 8), ("coarse", "area_mm2", 0.125), ("none", None, None)):
        for row in measured:
            if row["image"] == f"{name}.dcm":
                given_areas = {key: row[key] for key in ("area_mm2", "area_um2") if row[key]}
                assert given_areas.keys() == ({column} if column else set())
                assert not column or float(row[column]) == pytest.approx(area * int(row["area_px"]), rel=1e-6)


@pytest.mark.parametrize(
    ("picture", "flags"),
    [
        (block(9, 9, (0, 0, 0, 0)), ["nothing_found"]),
        (block(9, 9, (3, 3, 5, 5)), []),
        (block(9, 9, (3, 3, 9, 5)), ["at_edge"]),
        (block(9, 9, (0, 0, 9, 9)), ["at_edge"]),
        (block(9, 13, (3, 3, 5, 5)), ["tiled"]),
        (block(9, 13, (0, 3, 5, 5)), ["at_edge", "tiled"]),
        (block(9, 13, (0, 0, 0, 0)), ["nothing_found", "tiled"]),
    ],
)
def test_flags(folder: Path, tmp_path: Path, picture: np.ndarray, flags: list[str]) -> None:
    bundle = folder / "of 100 pixels"
    if not bundle.exists():
        brightness_bundle(bundle, max_pixels=100)
    write(tmp_path / "in" / "a.png", picture)
    assert run(bundle, tmp_path / "in", tmp_path / "out") == 0
    assert manifest(tmp_path / "out")["a.png"]["flags"] == flags
    assert rows(tmp_path / "out")[0]["flags"] == " ".join(flags)


def test_confidence_and_probabilities_by_hand(soft: Path, tmp_path: Path) -> None:
    pictures = {"bright": block(8, 9, (2, 2, 4, 6), 200, 60), "dark": block(8, 9, (2, 2, 4, 6), 100, 60)}
    for name, picture in pictures.items():
        write(tmp_path / "in" / f"{name}.png", picture)
    write(tmp_path / "in" / "noise.png", noise(8, 9))
    assert run(soft, tmp_path / "in", tmp_path / "out", "--outputs", "probabilities") == 0

    def sure(level: float) -> float:
        return 1 / (1 + np.exp(-(3 * level / 127.5 - 3)))

    lines = manifest(tmp_path / "out")
    assert lines["bright.png"]["mean_confidence"] == pytest.approx(sure(200), abs=6e-5)
    assert lines["bright.png"]["objects"][0]["mean_probability"] == pytest.approx(sure(200), abs=6e-5)
    assert lines["dark.png"]["mean_confidence"] == pytest.approx(1 - sure(100), abs=6e-5)
    assert lines["dark.png"]["objects"] == []
    values = sure(noise(8, 9).sum(axis=-1) / 3)
    assert lines["noise.png"]["mean_confidence"] == pytest.approx(values[values >= 0.5].mean(), abs=6e-5)
    np.testing.assert_allclose(mask_of(tmp_path / "out", "noise", "probabilities"), values * 65535, atol=1)


def test_probability_maps_cut_at_half_are_the_masks(folder: Path, tmp_path: Path) -> None:
    """Of a network whose output is nothing special, resampled."""
    bundle = write_bundle(folder / "unet")
    for seed in range(6):
        write(tmp_path / "in" / f"{seed}.png", noise(40 + seed, 90 - 7 * seed, seed))
    assert run(bundle, tmp_path / "in", tmp_path / "out", "--outputs", "masks,probabilities", "--batch-size", "3") == 0
    predictor = Predictor(Bundle.open(bundle))
    shares = []
    for seed in range(6):
        mask, levels = mask_of(tmp_path / "out", f"{seed}"), mask_of(tmp_path / "out", f"{seed}", "probabilities")
        np.testing.assert_array_equal(levels > 32767, mask == 255)
        alone = predictor(tmp_path / "in" / f"{seed}.png")
        np.testing.assert_allclose(levels, alone.probability * 65535.0, atol=2)
        shares.append((mask > 0).mean())
    assert 0 < np.mean(shares) < 1


def test_overlays_are_the_picture_with_contours(bright: Path, tmp_path: Path) -> None:
    picture = block(60, 80, (20, 30, 40, 50), inside=200, outside=90)
    write(tmp_path / "in" / "a.png", picture)
    assert run(bright, tmp_path / "in", tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "overlays" / "a.jpg") as file:
        overlay = np.asarray(file).astype(int)
    changed = np.abs(overlay - picture).max(axis=-1) > 40
    inside = picture[..., 0] == 200
    edge = inside.copy()
    edge[21:39, 31:49] = False
    assert changed[edge].all() and not changed[~inside].any()


# how it is written: batches, threads, memory


IN_TURN = ("--workers", "1")  # else batches go through the network side by side


def mixed_sizes(folder: Path) -> Path:
    for number, size in enumerate([(9, 8)] * 5 + [(7, 8), (9, 8), (7, 8), (7, 8), (30, 40), (9, 8)]):
        write(folder / f"{number:02}.png", noise(*size, seed=number))
    (folder / "03b.png").write_bytes(b"no picture, in the middle of a batch")
    return folder


def timeless(out: Path) -> dict[str, Any]:
    """All that a run has written, but for the seconds, and the report, which shows them."""
    contents: dict[str, Any] = {name: (out / name).read_bytes() for name in files(out) if name != "report.html"}
    contents["manifest.jsonl"] = [{**line, "seconds": 0} for line in manifest(out).values()]
    return contents


def test_batches_and_workers_change_no_byte(bright: Path, tmp_path: Path) -> None:
    images, results = mixed_sizes(tmp_path / "in"), []
    for batch, workers in (("1", "1"), ("3", "4"), ("8", "2"), ("auto", "3")):
        out = tmp_path / f"out{batch}"
        options = ("--batch-size", batch, "--workers", workers, "--outputs", "masks,overlays,probabilities")
        assert run(bright, images, out, *options) == 3
        results.append(timeless(out))
    assert all(result == results[0] for result in results) and len(results[0]) == 3 + 11 * 3


def test_batches_are_filled_with_neighbours_of_one_size(
    bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = watched(monkeypatch)
    assert run(bright, mixed_sizes(tmp_path / "in"), tmp_path / "out", "--batch-size", "3", *IN_TURN) == 3
    # width and height of 00 to 02, 03, (the bad one,) 04, 05, 06, 07 and 08, 09, 10
    sizes = [(8, 9), (8, 9), (8, 9), (8, 7), (8, 9), (8, 7), (40, 30), (8, 9)]
    assert batches == [[size] * 3 for size in sizes]  # always as many at once


def watched(
    monkeypatch: pytest.MonkeyPatch, fails: Callable[[list[tuple[int, ...]]], Any] = lambda _: None
) -> list[Any]:
    """Note the shapes of each batch; let those fail that are said to."""
    batches: list[Any] = []
    infer = Predictor.infer

    def noting(self: Predictor, images: Sequence[torch.Tensor]) -> torch.Tensor:
        shapes = [tuple(image.shape[1:]) for image in images]
        batches.append(shapes)
        if error := fails(shapes):
            raise error
        return infer(self, images)

    monkeypatch.setattr(Predictor, "infer", noting)
    return batches


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried 9 bytes."
        ),
        MemoryError(),
    ],
    ids=["accelerator", "torch", "Python"],
)
def test_out_of_memory_halves_the_batch_and_goes_on(
    bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    pictures = {f"{number:02}": noise(9, 8, seed=number) for number in range(13)}
    for name, picture in pictures.items():
        write(tmp_path / "in" / f"{name}.png", picture)
    batches = watched(monkeypatch, lambda shapes: error if len(shapes) > 2 else None)
    with caplog.at_level(logging.WARNING, "masksup_med"):
        assert run(bright, tmp_path / "in", tmp_path / "out", "--batch-size", "8", *IN_TURN) == 0
    assert [len(shapes) for shapes in batches] == [8, 4, *[2] * 7]  # no more than once too many
    assert [record.message for record in caplog.records if "memory" in record.message] == [
        "Out of memory: going on with batches of 4.",
        "Out of memory: going on with batches of 2.",
    ]
    for name, picture in pictures.items():
        np.testing.assert_array_equal(mask_of(tmp_path / "out", name) > 0, bright_colours(picture))


def test_image_that_never_fits_is_a_failure_of_its_own(
    bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(7):
        write(tmp_path / "in" / f"{number}.png", noise(9, 8 if number != 3 else 31, seed=number))
    error = torch.OutOfMemoryError("CUDA out of memory.")
    batches = watched(monkeypatch, lambda shapes: error if (31, 9) in shapes else None)
    assert run(bright, tmp_path / "in", tmp_path / "out", "--batch-size", "4", *IN_TURN) == 3
    lines = manifest(tmp_path / "out")
    assert [key for key, line in lines.items() if line["status"] == "failed"] == ["3.png"]
    assert lines["3.png"]["error"] == (
        "Cannot predict 3.png: the memory of cpu does not suffice for its 31 × 9 pixels; give another --device, or "
        "lower max_pixels in the bundle's inference.yaml."
    )
    assert lines["3.png"]["error"] in capsys.readouterr().err
    assert [len(shapes) for shapes in batches if (31, 9) in shapes] == [4, 2, 1]
    assert len(files(tmp_path / "out" / "masks")) == 6


def test_out_of_memory_in_several_threads_at_once(
    bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = {f"{number:02}": noise(9, 31 if number == 20 else 8, seed=number) for number in range(40)}
    for name, picture in pictures.items():
        write(tmp_path / "in" / f"{name}.png", picture)
    error = torch.OutOfMemoryError("CUDA out of memory.")

    def fails(shapes: list[tuple[int, ...]]) -> Exception | None:
        sleep(0.01)  # so that others are at it, too
        return error if len(shapes) > 2 or (31, 9) in shapes else None

    batches = watched(monkeypatch, fails)
    with caplog.at_level(logging.WARNING, "masksup_med"):
        assert run(bright, tmp_path / "in", tmp_path / "out", "--batch-size", "8", "--workers", "4") == 3
    lines = manifest(tmp_path / "out")
    assert len(lines) == 40 and [key for key, line in lines.items() if line["status"] == "failed"] == ["20.png"]
    for name in pictures.keys() - {"20"}:
        np.testing.assert_array_equal(mask_of(tmp_path / "out", name) > 0, bright_colours(pictures[name]))
    sizes = [int(record.message.split()[-1].rstrip(".")) for record in caplog.records if "memory" in record.message]
    assert sizes == sorted(sizes, reverse=True) and set(sizes) <= {4, 2, 1} and sizes[-1] == 1  # never up again
    assert {len(shapes) for shapes in batches[-4:]} == {1}


def test_image_that_the_network_cannot_take_spoils_no_other(
    bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason, and wherever in the batch it is: the others are predicted, in batches as large."""
    pictures = [noise(9, 8, seed=number) for number in range(8)]
    for number, picture in enumerate(pictures):
        write(tmp_path / "in" / f"{number}.png", picture)
    spoilt = torch.from_numpy(pictures[5].transpose(2, 1, 0) / np.float32(127.5) - 1)
    infer = Predictor.infer

    def failing(self: Predictor, images: Sequence[torch.Tensor]) -> torch.Tensor:
        if any(torch.allclose(image, spoilt, atol=1e-4) for image in images):
            raise RuntimeError("NaN in layer 7")
        return infer(self, images)

    monkeypatch.setattr(Predictor, "infer", failing)
    assert run(bright, tmp_path / "in", tmp_path / "out", "--batch-size", "4") == 3
    lines = manifest(tmp_path / "out")
    assert [key for key, line in lines.items() if line["status"] == "failed"] == ["5.png"]
    assert lines["5.png"]["error"].startswith("Cannot predict 5.png: RuntimeError NaN in layer 7;")
    for number in {*range(8)} - {5}:
        np.testing.assert_array_equal(mask_of(tmp_path / "out", f"{number}") > 0, bright_colours(pictures[number]))


def test_failures_after_the_network_are_lines_too(
    bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        write(tmp_path / "in" / f"{number}.png", noise(9, 8 + number, seed=number))
    finish = Predictor.finish

    def failing(self: Predictor, prepared: Any, logits: torch.Tensor) -> Any:
        if prepared.size == (10, 9):
            raise ValueError("no way back")
        return finish(self, prepared, logits)

    monkeypatch.setattr(Predictor, "finish", failing)
    assert run(bright, tmp_path / "in", tmp_path / "out") == 3
    failed = {key: line["error"] for key, line in manifest(tmp_path / "out").items() if line["status"] == "failed"}
    assert failed.keys() == {"2.png"} and failed["2.png"].startswith("Cannot predict 2.png: ValueError no way back;")


# what users see


def test_exit_codes(bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "in" / "good.png", noise(5, 6))
    bad = tmp_path / "in" / "bad.png"
    bad.write_bytes(b"no picture")
    assert run(bright, good, tmp_path / "all") == 0
    assert capsys.readouterr().out.splitlines()[0] == "1 images: 1 predicted"
    assert run(bright, tmp_path / "in", tmp_path / "some") == 3
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "2 images: 1 predicted, 1 failed"
    assert err.splitlines() == ["Failed: " + manifest(tmp_path / "some")["bad.png"]["error"]]
    assert run(bright, bad, tmp_path / "none") == 1
    assert run(bright, tmp_path / "in", tmp_path / "some") == 3  # the good one was done before
    assert "2 images: 0 predicted, 1 done before, 1 failed" in capsys.readouterr().out.splitlines()
    assert files(tmp_path / "none") == REPORTS
    with pytest.raises(SystemExit) as caught:
        run(bright, good, tmp_path / "wrong", "--batch-size", "0")
    assert caught.value.code == 2 and not (tmp_path / "wrong").exists()


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ("nowhere", (), "There is no file or folder"),
        ("empty", (), "no PNG, JPEG, BMP, TIFF, NIfTI or DICOM image"),
        ("in", ("--bundle", "liver"), "liver is not a bundle"),
        ("in", ("--bundle", "blank"), "has no weights at"),
        ("in", ("--device", "toaster"), "There is no device toaster here"),
        ("in", ("--device", "cuda:77"), "There is no device cuda:77 here"),
    ],
)
def test_what_cannot_begin_is_one_sentence_and_leaves_nothing(
    bright: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    inputs: str,
    options: tuple[str, ...],
    message: str,
) -> None:
    write(tmp_path / "in" / "a.png", noise(5, 6))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(blank_copy("polyp_masksup", tmp_path / "blank").parent)
    assert run(bright, tmp_path / inputs, tmp_path / "out", *options) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("Error: ") and message in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_summary_as_json(bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png"):
        write(tmp_path / "in" / name, noise(5, 6))
    (tmp_path / "in" / "bad.tif").write_bytes(b"no picture")
    (tmp_path / "in" / "notes.txt").touch()
    for predicted, done in ((2, 0), (0, 2)):
        assert run(bright, tmp_path / "in", tmp_path / "out", "--json") == 3
        out, err = capsys.readouterr()
        assert json.loads(out) == {
            "images": 3,
            "predicted": predicted,
            "done_before": done,
            "failed": {"bad.tif": manifest(tmp_path / "out")["bad.tif"]["error"]},
            "doubtful": None,
            "notes": ["Runtime torch: nothing else was exported; see `masksup export`."],
            "stopped": "",
            "left_out": {".txt": 1},
            "exit_code": 3,
        }
        assert err == ""


@pytest.mark.parametrize("as_json", [False, True])
def test_dry_run_says_what_would_be_done_and_writes_nothing(
    bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write(tmp_path / "in" / name, noise(5, 6))
    (tmp_path / "in" / "gone.png").symlink_to(tmp_path / "nowhere")
    options = ("--dry-run", *(["--json"] if as_json else []))

    def plan() -> dict[str, str]:
        assert run(bright, tmp_path / "in", tmp_path / "out", *options) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return json.loads(out) if as_json else dict(line.split(": ") for line in out.splitlines())

    gone = "is a link that leads to no file; restore the file, or remove the link"
    assert plan() == {"a.png": "predict", "b.png": "predict", "c.png": "predict", "gone.png": gone}
    assert not (tmp_path / "out").exists()
    assert run(bright, [tmp_path / "in" / "a.png", tmp_path / "in" / "b.png"], tmp_path / "out") == 0
    write(tmp_path / "in" / "b.png", noise(5, 7))
    capsys.readouterr()
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")}
    assert plan() == {"a.png": "done", "b.png": "predict", "c.png": "predict", "gone.png": gone}
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")} == before


def test_dry_run_with_a_file_that_cannot_be_read(
    bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(path: Path) -> str:  # as for a file of another user; tests may be run by root, who reads all
        if Path(path).name == "a.png":
            raise PermissionError(13, "Permission denied", str(path))
        return "0" * 64

    for name in ("a.png", "b.png"):
        write(tmp_path / "in" / name, noise(5, 6))
    monkeypatch.setattr("masksup_med.predict.run.sha256_of", refused)
    assert run(bright, tmp_path / "in", tmp_path / "out", "--dry-run") == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2 and "b.png: predict" in out and err == ""
    assert re.search(r"^a\.png: .*Permission denied", out, re.MULTILINE)


def test_names_with_control_characters_do_not_reach_the_terminal(
    bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a\x1b[31m\n.png").write_bytes(b"no picture")
    assert run(bright, tmp_path / "in", tmp_path / "out") == 1
    assert "\x1b" not in capsys.readouterr().err


# an output folder is somebody's


@pytest.mark.parametrize(
    "name", ["masks/mine.png", "overlays/x.jpg", "probabilities/y.png", "images.csv", "report.html"]
)
def test_results_of_others_are_refused_and_untouched(
    bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    write(tmp_path / "in" / "a.png", noise(5, 6))
    foreign = tmp_path / "out" / name
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody's work")
    assert run(bright, tmp_path / "in", tmp_path / "out") == 1
    err = capsys.readouterr().err
    assert re.fullmatch(r"Error: \S+ is not from masksup predict; name another folder for the results\.\n", err)
    assert files(tmp_path / "out") == [name] and foreign.read_bytes() == b"somebody's work"
    assert not (tmp_path / "out" / ".lock").exists()


def test_other_files_in_the_output_folder_are_left_alone(bright: Path, tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.png", noise(5, 6))
    (tmp_path / "out" / "notes").mkdir(parents=True)
    (tmp_path / "out" / "notes" / "mine.txt").write_text("mine")
    assert run(bright, tmp_path / "in", tmp_path / "out") == 0
    assert (tmp_path / "out" / "notes" / "mine.txt").read_text() == "mine"


def test_second_run_at_the_same_time_is_refused(
    bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in" / "a.png", noise(5, 6))
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"):
        assert run(bright, tmp_path / "in", tmp_path / "out") == 1
    assert capsys.readouterr().err.startswith("Error: Another run is writing to ")
    assert files(tmp_path / "out") == []
    assert run(bright, tmp_path / "in", tmp_path / "out") == 0


def test_output_inside_the_input(bright: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.png", noise(5, 6))
    for _ in range(2):
        assert run(bright, tmp_path, tmp_path / "results") == 0
        assert list(manifest(tmp_path / "results")) == ["a.png"]
    shutil.rmtree(tmp_path / "results")


def test_inputs_are_not_written(bright: Path, tmp_path: Path) -> None:
    folder = mixed_sizes(tmp_path / "in")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    assert run(bright, folder, tmp_path / "out") == 3
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before


def test_names_that_are_alike_never_share_a_result(bright: Path, tmp_path: Path) -> None:
    pictures = {
        name: noise(6, 7, seed) for seed, name in enumerate(["a.png", "a.bmp", "A.bmp", "sub/a.png", "a.png.bmp"])
    }
    for name, picture in pictures.items():
        write(tmp_path / "in" / name, picture)
    assert run(bright, tmp_path / "in", tmp_path / "out") == 0
    lines = manifest(tmp_path / "out")
    assert lines.keys() == pictures.keys()
    masks = {key: next(path for path in line["outputs"] if path.startswith("masks/")) for key, line in lines.items()}
    assert len({mask.casefold() for mask in masks.values()}) == len(pictures)
    assert masks["sub/a.png"] == "masks/sub/a.png"
    for key, picture in pictures.items():
        with Image.open(tmp_path / "out" / masks[key]) as file:
            np.testing.assert_array_equal(np.asarray(file) > 0, bright_colours(picture))


# the same command again


def predicted(bundle: Path, inputs: Path, out: Path, **more: Any) -> Summary:
    return predict_images(Bundle.open(bundle), find_images([inputs], out), out, Settings(**more))


def test_again_does_only_what_is_missing(bright: Path, soft: Path, tmp_path: Path) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    for number in range(4):
        write(images / f"{number}.png", noise(6, 7, number))
    assert predicted(bright, images, out).predicted == 4
    first = timeless(out)
    times = written_at(out)
    again = predicted(bright, images, out)
    assert (again.predicted, again.done_before, again.failed) == (0, 4, {})
    assert timeless(out) == first and written_at(out) == times
    # each of these is noticed, and only these images are done again
    (out / "masks" / "0.png").write_bytes(b"other content")
    (out / "overlays" / "1.jpg").unlink()
    write(images / "2.png", noise(6, 7, 99))
    again = predicted(bright, images, out)
    assert (again.predicted, again.done_before) == (3, 1)
    np.testing.assert_array_equal(mask_of(out, "2") > 0, bright_colours(noise(6, 7, 99)))
    assert {name: each for name, each in timeless(out).items() if "/0" in name or "/1" in name} == {
        name: each for name, each in first.items() if "/0" in name or "/1" in name
    }
    assert predicted(bright, images, out, overwrite=True).predicted == 4
    assert predicted(bright, images, out, outputs=("masks",)).predicted == 0
    assert predicted(bright, images, out, outputs=("probabilities",)).predicted == 4
    assert {path.split("/")[0] for path in files(out)} == {"probabilities", *REPORTS}
    assert predicted(soft, images, out, outputs=("probabilities",)).predicted == 4  # other weights


def written_at(out: Path) -> dict[str, int]:
    return {name: (out / name).stat().st_mtime_ns for name in files(out) if "/" in name}


def test_results_of_images_that_are_gone_stay(bright: Path, tmp_path: Path) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    for number in range(3):
        write(images / f"{number}.png", noise(6, 7, number))
    (images / "bad.png").write_bytes(b"no picture")
    predicted(bright, images, out)
    (images / "0.png").unlink()
    (images / "bad.png").unlink()
    predicted(bright, images, out)
    assert list(manifest(out)) == ["0.png", "1.png", "2.png"]  # what failed and is gone is nobody's concern
    assert len(files(out / "masks")) == 3


def test_results_of_former_runs_keep_their_places(bright: Path, tmp_path: Path) -> None:
    """An image that was not there then, and is called alike, goes elsewhere."""
    pictures = {"one/a.png": noise(6, 7, 0), "two/a.bmp": noise(6, 7, 1)}
    for name, picture in pictures.items():
        write(tmp_path / name, picture)
        predicted(bright, (tmp_path / name).parent, tmp_path / "out")
    lines = manifest(tmp_path / "out")
    for name, picture in pictures.items():
        (mask,) = (path for path in lines[Path(name).name]["outputs"] if path.startswith("masks/"))
        with Image.open(tmp_path / "out" / mask) as file:
            np.testing.assert_array_equal(np.asarray(file) > 0, bright_colours(picture))


def test_image_that_can_no_longer_be_read_loses_its_results(bright: Path, tmp_path: Path) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    for number in range(2):
        write(images / f"{number}.png", noise(6, 7, number))
    predicted(bright, images, out)
    (images / "0.png").write_bytes(b"no picture any more")
    assert predicted(bright, images, out).failed.keys() == {"0.png"}
    assert files(out / "masks") == ["1.png"] and manifest(out)["0.png"]["outputs"] == {}


def test_results_are_those_that_the_manifest_names(bright: Path, tmp_path: Path) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    for number in range(2):
        write(images / f"{number}.png", noise(6, 7, number))
    predicted(bright, images, out)
    (images / "0.png").unlink()
    (images / "0.png").symlink_to("nowhere")
    for _ in range(2):
        predicted(bright, images, out)
        named = {path for line in manifest(out).values() for path in line["outputs"]}
        assert named == {path for path in files(out) if "/" in path}
        (images / "0.png").unlink(missing_ok=True)


# from Python


def test_progress_gets_every_line_and_their_number(bright: Path, tmp_path: Path) -> None:
    images = mixed_sizes(tmp_path / "in")
    seen: list[Any] = []

    def shown(lines: Any, total: int) -> Any:
        for line in lines:
            seen.append((line and line["image"], total))
            yield line

    every = [path.name for path in sorted(images.iterdir())]
    for names in (every, [name if name == "03b.png" else None for name in every]):
        seen.clear()
        inputs = find_images([images], tmp_path / "out")
        predict_images(Bundle.open(bright), inputs, tmp_path / "out", Settings(batch_size=2), shown)
        assert seen == [(name, 12) for name in names]  # in the order of the images, whichever was ready first


def test_three_lines_give_what_the_command_gives(soft: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "in" / "a.png", noise(9, 8))
    assert run(soft, tmp_path / "in", tmp_path / "out", "--outputs", "masks,probabilities") == 0
    predictor = Predictor(Bundle.open(soft))
    prediction = predictor(path)
    np.testing.assert_array_equal(prediction.classes * 255, mask_of(tmp_path / "out", "a"))
    levels = np.rint(prediction.probability.astype(float) * 65535)
    np.testing.assert_array_equal(levels, mask_of(tmp_path / "out", "a", "probabilities"))
