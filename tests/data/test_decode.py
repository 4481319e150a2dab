from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from masksup_med.data import image_size, pixel_size, read_image, read_label
from masksup_med.errors import DataError, MissingDataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (7, 9), np.uint8)
RGB = RNG.integers(0, 256, (7, 9, 3), np.uint8)
RGBA = RNG.integers(0, 256, (7, 9, 4), np.uint8)
GREY16 = RNG.integers(0, 65536, (7, 9), np.uint16)
RGB16 = RNG.integers(0, 65536, (7, 9, 3), np.uint16)
BITS = GREY > 127


def as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey] * 3, axis=-1)


def eight_bits(array: np.ndarray) -> np.ndarray:
    return np.rint(array / 257).astype(np.uint8)


def pillow_file(path: Path, array: np.ndarray, **options: Any) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def tiff_file(path: Path, array: np.ndarray, **options: Any) -> Path:
    tifffile.imwrite(path, array, **options)
    return path


def palette_image(indices: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices, "P") if indices.dtype == np.uint8 else Image.fromarray(indices)
    image.putpalette(list(RNG.permutation(256).astype(int)) * 3)
    return image


@pytest.mark.parametrize("suffix", ["png", "bmp"])
@pytest.mark.parametrize(
    ("array", "expected"), [(RGB, RGB), (GREY, as_rgb(GREY)), (BITS, as_rgb(BITS * np.uint8(255)))], ids=str
)
def test_image_png_bmp(tmp_path: Path, suffix: str, array: np.ndarray, expected: np.ndarray) -> None:
    image = read_image(pillow_file(tmp_path / f"a.{suffix}", array))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, expected)


def test_image_drops_alpha_and_keeps_the_stored_colours(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(pillow_file(tmp_path / "a.png", RGBA)), RGBA[..., :3])
    grey_alpha = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(GREY.T.reshape(7, 9).copy())])
    grey_alpha.save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), as_rgb(GREY))


def test_image_looks_up_palette(tmp_path: Path) -> None:
    palette = palette_image(GREY)
    for name, options in {"a.png": {}, "b.bmp": {}, "c.png": {"transparency": b"\x00\x80"}}.items():
        palette.save(tmp_path / name, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(read_image(tmp_path / name), np.asarray(palette.convert("RGB")))


def test_image_converts_jpeg_colour_spaces(tmp_path: Path) -> None:
    smooth = Image.fromarray(RGB).resize((64, 48))
    for mode in ("RGB", "L", "CMYK"):
        smooth.convert(mode).save(tmp_path / f"{mode}.jpg")
        expected = np.asarray(Image.open(tmp_path / f"{mode}.jpg").convert("RGB"))
        np.testing.assert_array_equal(read_image(tmp_path / f"{mode}.jpg"), expected)


def test_image_scales_16_bits(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(pillow_file(tmp_path / "a.png", GREY16)), as_rgb(eight_bits(GREY16)))
    np.testing.assert_array_equal(read_image(tiff_file(tmp_path / "a.tif", GREY16)), as_rgb(eight_bits(GREY16)))
    colour = read_image(tiff_file(tmp_path / "b.tif", RGB16, photometric="rgb"))
    np.testing.assert_array_equal(colour, eight_bits(RGB16))


def png_16_bit_colour(path: Path) -> Path:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", RGB16.shape[1], RGB16.shape[0], 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in RGB16)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks))
    return path


def test_16_bit_colour_png(tmp_path: Path) -> None:
    path = png_16_bit_colour(tmp_path / "a.png")
    assert np.abs(read_image(path).astype(int) - eight_bits(RGB16)).max() <= 1
    with pytest.raises(DataError, match=r"a\.png.*16-bit colours"):
        read_label(path)


@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_of_three_samples_is_colour(
    tmp_path: Path, photometric: str, planar: str, compression: str | None
) -> None:
    stored = RGB if planar == "contig" else np.moveaxis(RGB, -1, 0)
    path = tmp_path / "a.tif"
    tiff_file(path, stored, photometric=photometric, planarconfig=planar, compression=compression, rowsperstrip=2)
    np.testing.assert_array_equal(read_image(path), RGB)
    assert image_size(path) == (9, 7)


def test_tiff_like_those_of_cvc_clinicdb(tmp_path: Path) -> None:
    """Theirs declare no extra samples, as if colour were a kind of grey."""
    path = tiff_file(tmp_path / "a.tif", RGB, photometric="rgb", metadata=None, rowsperstrip=2)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.first.tags["PhotometricInterpretation"].overwrite(1)
    with tifffile.TiffFile(path) as tiff:
        assert (tiff.pages.first.photometric, tiff.pages.first.extrasamples) == (1, ())
    np.testing.assert_array_equal(read_image(path), RGB)


def test_tiff_kinds(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(tiff_file(tmp_path / "a.TIFF", GREY)), as_rgb(GREY))
    alpha = tiff_file(tmp_path / "b.tif", RGBA, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_image(alpha), RGBA[..., :3])
    white = tiff_file(tmp_path / "c.tif", GREY, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(white), as_rgb(255 - GREY))
    white16 = tiff_file(tmp_path / "d.tif", GREY16, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(white16), as_rgb(eight_bits(65535 - GREY16)))
    bits = tiff_file(tmp_path / "e.tif", BITS, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(bits), as_rgb(~BITS * np.uint8(255)))


@pytest.mark.parametrize("shift", [0, 8], ids=["colours of 8 bits", "colours of 16 bits"])
def test_tiff_palette(tmp_path: Path, shift: int) -> None:
    colours = RNG.integers(0, 256, (3, 256)).astype(np.uint16)
    path = tiff_file(tmp_path / "a.tif", GREY, photometric="palette", colormap=colours << shift)
    np.testing.assert_array_equal(read_image(path), np.moveaxis(colours[:, GREY], 0, -1))
    np.testing.assert_array_equal(read_label(path), GREY)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_orientation(tmp_path: Path, suffix: str, orientation: int) -> None:
    path, exif = tmp_path / f"a.{suffix}", Image.Exif()
    exif[0x0112] = orientation
    if suffix == "tif":
        tiff_file(path, RGB, photometric="rgb", extratags=[(0x0112, "H", 1, orientation, True)])
        stored = Image.fromarray(RGB)
        stored.getexif()[0x0112] = orientation
    else:
        stored = Image.open(pillow_file(path, RGB, exif=exif))
    expected = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(read_image(path), expected)
    assert image_size(path) == expected.shape[1::-1]


def test_orientation_turns_labels_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = pillow_file(tmp_path / "a.png", GREY, exif=exif)
    np.testing.assert_array_equal(read_label(path), np.rot90(GREY, -1))


def test_unreadable_exif_turns_nothing(tmp_path: Path) -> None:
    path = pillow_file(tmp_path / "a.png", RGB, exif=b"Exif\0\0this is not EXIF")
    np.testing.assert_array_equal(read_image(path), RGB)


def test_label_values_stay(tmp_path: Path) -> None:
    for name, array in {"a.png": GREY, "b.png": GREY16, "c.bmp": GREY}.items():
        np.testing.assert_array_equal(read_label(pillow_file(tmp_path / name, array)), array)
    for name, array in {"a.tif": GREY, "b.tif": GREY16}.items():
        label = read_label(tiff_file(tmp_path / name, array))
        assert label.dtype == array.dtype
        np.testing.assert_array_equal(label, array)


def test_label_palette_gives_indices(tmp_path: Path) -> None:
    palette_image(GREY % 5).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), GREY % 5)


def test_label_of_one_bit_is_0_and_255(tmp_path: Path) -> None:
    for path in (pillow_file(tmp_path / "a.png", BITS), tiff_file(tmp_path / "a.tif", BITS, photometric="minisblack")):
        label = read_label(path)
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(label, np.where(BITS, 255, 0))


def test_label_of_equal_channels_is_one(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_label(pillow_file(tmp_path / "a.png", as_rgb(GREY))), GREY)
    opaque = np.dstack([as_rgb(GREY), np.full_like(GREY, 255)])
    np.testing.assert_array_equal(read_label(pillow_file(tmp_path / "b.png", opaque)), GREY)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (RGB, "colour channels differ"),
        (np.dstack([as_rgb(GREY), GREY]), "transparent"),
        (np.dstack([GREY, GREY]), "transparent"),
    ],
    ids=["RGB", "RGBA", "LA"],
)
def test_label_refuses(tmp_path: Path, array: np.ndarray, reason: str) -> None:
    with pytest.raises(DataError, match=rf"Cannot read label .*mask\.png: .*{reason}"):
        read_label(pillow_file(tmp_path / "mask.png", array))


def test_label_refuses_min_is_white(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.tif.*0 is white"):
        read_label(tiff_file(tmp_path / "a.tif", GREY, photometric="miniswhite"))


@pytest.mark.parametrize(
    ("array", "options", "reason"),
    [
        (np.stack([GREY, GREY]), {"photometric": "minisblack"}, "2 pages"),
        (np.dstack([GREY, GREY]), {"photometric": "minisblack", "planarconfig": "contig"}, "2 samples"),
        (RGBA, {"photometric": "separated"}, "SEPARATED"),
        (GREY.astype(np.float32), {}, "32-bit samples of type float32"),
        (GREY.astype(np.int16), {}, "16-bit samples of type int16"),
        (GREY.astype(np.uint32), {}, "32-bit"),
        (np.stack([GREY] * 16), {"volumetric": True, "photometric": "minisblack", "tile": (16, 16, 16)}, "."),
    ],
    ids=["pages", "samples", "CMYK", "float", "signed", "32 bits", "volume"],
)
@pytest.mark.parametrize("read", [read_image, read_label, image_size])
def test_refuses_other_tiffs(tmp_path: Path, read: Any, array: np.ndarray, options: dict, reason: str) -> None:
    with pytest.raises(DataError, match=rf"a\.tif: .*{reason}"):
        read(tiff_file(tmp_path / "a.tif", array, **options))


def test_compressions_without_a_decoder_name_the_remedy(tmp_path: Path) -> None:
    path = pillow_file(tmp_path / "a.tif", RGB, compression="tiff_lzw")
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        with pytest.raises(DataError, match=r"a\.tif.*requires the 'imagecodecs' package"):
            read_image(path)
    else:
        np.testing.assert_array_equal(read_image(path), RGB)


@pytest.mark.parametrize("read", [read_image, read_label, image_size, pixel_size])
def test_missing_file(tmp_path: Path, read: Any) -> None:
    with pytest.raises(MissingDataError, match=r"There is no .*nothing\.png"):
        read(tmp_path / "nothing.png")


@pytest.mark.parametrize("read", [read_image, read_label, image_size, pixel_size])
@pytest.mark.parametrize("content", [b"", b"hello, I am text", b"GIF89a" + bytes(30), b"II*\0", b"\x89PNG\r\n\x1a\n"])
def test_not_an_image(tmp_path: Path, read: Any, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"^Cannot read (image|label) .*a\.png: [^\n]+; [^\n]+\.$"):
        read(path)


def test_pixel_size_is_not_taken_from_the_resolution_for_printers(tmp_path: Path) -> None:
    assert pixel_size(pillow_file(tmp_path / "a.png", RGB, dpi=(300, 300))) is None
    assert pixel_size(tiff_file(tmp_path / "a.tif", RGB, resolution=(300, 300))) is None


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(DataError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    tiff_file(tmp_path / "a.tif", RGB, photometric="rgb").rename(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)
    pillow_file(tmp_path / "b.png", RGB).rename(tmp_path / "b.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif"), RGB)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "strips.tif", "zlib.tif"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_truncated(tmp_path: Path, name: str, keep: float) -> None:
    array = RNG.integers(0, 256, (64, 64, 3), np.uint8)
    if name.endswith("tif"):
        compression = "zlib" if name.startswith("zlib") else None
        path = tiff_file(tmp_path / name, array, rowsperstrip=8 if "strips" in name else None, compression=compression)
    else:
        path = pillow_file(tmp_path / name, array)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=name):
        read_image(path)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_absent_strips_are_not_taken_for_black(tmp_path: Path, compression: str | None) -> None:
    path = tiff_file(tmp_path / "a.tif", GREY, rowsperstrip=1, compression=compression, metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.first.tags["ImageLength"].overwrite(9)
    with pytest.raises(DataError, match=r"a\.tif: it is cut short"):
        read_image(path)


@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["png", "jpg", "bmp", "tif"]))
def test_damage_raises_nothing_but_data_errors(tmp_path_factory: Any, seed: int, kind: str) -> None:
    rng, path = np.random.default_rng(seed), tmp_path_factory.mktemp("damage") / f"a.{kind}"
    (tiff_file if kind == "tif" else pillow_file)(path, RGB)
    content = bytearray(path.read_bytes())
    for position in rng.integers(0, len(content), 5):
        content[position] = rng.integers(256)
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = read_image(path)
    except DataError:
        return
    assert image.ndim == 3


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("limit", [40, 10], ids=["Pillow warns", "Pillow raises"])
def test_size_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: int) -> None:
    path = (tiff_file if name.endswith("tif") else pillow_file)(tmp_path / name, RGB)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for read in (read_image, read_label, image_size):
            with pytest.raises(DataError, match=rf"{name}.*MAX_IMAGE_PIXELS"):
                read(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read_image(path).shape == RGB.shape


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_no_file_stays_open(tmp_path: Path) -> None:
    good = [pillow_file(tmp_path / "a.png", RGB), tiff_file(tmp_path / "a.tif", RGB)]
    bad = [pillow_file(tmp_path / "b.png", RGB), tiff_file(tmp_path / "b.tif", np.stack([GREY] * 2))]
    bad[0].write_bytes(bad[0].read_bytes()[:60])
    before = len(os.listdir("/proc/self/fd"))
    kept = [read_image(path) for path in good] + [image_size(path) for path in good]
    for path in bad:
        with pytest.raises(DataError):
            read_image(path)
    assert len(os.listdir("/proc/self/fd")) == before
    assert kept


def test_needs_no_torch_and_loads_decoders_late() -> None:
    code = "import sys, masksup_med.data; sys.exit(bool({'torch', 'monai', 'pydicom', 'nibabel'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.real
def test_cvc_clinicdb_tiffs_equal_their_png_copies(real_data: Path) -> None:
    folder = real_data / "cvc_clinicdb"
    frames = sorted((folder / "original" / "images").iterdir())
    assert len(frames) == 24
    for frame in frames:
        copy = folder / "png" / "images" / f"{frame.stem}.png"
        np.testing.assert_array_equal(read_image(frame), np.asarray(Image.open(copy)))
        mask = read_label(folder / "original" / "masks" / frame.name)
        np.testing.assert_array_equal(mask > 127, read_label(folder / "png" / "masks" / copy.name) > 127)


@pytest.mark.real
def test_colour_jpeg_masks_of_kvasir_seg_are_grey(real_data: Path) -> None:
    for path in sorted((real_data / "kvasir_seg" / "original_resolution" / "masks").iterdir()):
        assert read_label(path).shape == np.asarray(Image.open(path)).shape[:2]
