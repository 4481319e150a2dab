from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tifffile import TiffWriter, imwrite

from masksup_med.data import slides
from masksup_med.data.slides import Slide, dicom_level, is_tiff_slide
from masksup_med.errors import DataError
from tests.predict.made_slides import blobs, write_dicom_slide, write_tiff_slide

PICTURE = blobs(300, 200, size=12)


def test_regions_at_full_resolution_are_the_pixels(tmp_path: Path) -> None:
    with Slide(write_tiff_slide(tmp_path / "a.tif", PICTURE)) as slide:
        assert slide.size == (300, 200) and slide.mpp == (0.5, 0.5)
        for left, top, right, bottom in [(0, 0, 300, 200), (17, 33, 18, 34), (250, 150, 300, 200), (63, 0, 65, 200)]:
            part = slide.region((left, top, right, bottom), (right - left, bottom - top))
            np.testing.assert_array_equal(part, PICTURE[top:bottom, left:right])


@pytest.mark.parametrize("factor", [0.5, 1.24, 2.0, 3.7, 4.0, 9.0])
def test_regions_at_other_resolutions(tmp_path: Path, factor: float) -> None:
    """From whatever level: as if the picture itself were resampled, and a part of it taken."""
    size = round(300 / factor), round(200 / factor)
    whole = np.asarray(Image.fromarray(PICTURE).resize(size, Image.Resampling.BILINEAR)).astype(int)
    left, right, bottom = size[0] // 4, size[0] * 3 // 4, size[1] // 2
    box = left * 300 / size[0], 0, right * 300 / size[0], bottom * 200 / size[1]
    with Slide(write_tiff_slide(tmp_path / "a.tif", PICTURE)) as slide:
        difference = slide.region(box, (right - left, bottom)) - whole[:bottom, left:right]
    assert np.abs(difference[2:-2, 2:-2]).mean() < 2  # levels were smoothed by another filter


def test_overviews_keep_the_shape(tmp_path: Path) -> None:
    with Slide(write_tiff_slide(tmp_path / "a.tif", PICTURE)) as slide:
        assert slide.overview(30).shape == (20, 30, 3)
        assert slide.overview(1000).shape == (200, 300, 3)


def test_what_is_a_slide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_tiff_slide(write_tiff_slide(tmp_path / "a.tif", PICTURE))
    assert not is_tiff_slide(write_tiff_slide(tmp_path / "b.tif", PICTURE, levels=1))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    assert is_tiff_slide(tmp_path / "b.tif")  # too large to be read at once
    imwrite(tmp_path / "c.tif", PICTURE, photometric="rgb")
    assert not is_tiff_slide(tmp_path / "c.tif")  # and so is this, but it has no tiles
    (tmp_path / "d.tif").write_bytes(b"II*\0" + bytes(50))
    with pytest.raises(DataError, match=r"^Cannot read image .*d\.tif: "):
        is_tiff_slide(tmp_path / "d.tif")


def test_levels_of_dicom(tmp_path: Path) -> None:
    first, second = map(dicom_level, write_dicom_slide(tmp_path, PICTURE))
    assert first is not None and second is not None
    assert first.series == second.series and (first.width, second.width) == (300, 75)


@pytest.mark.parametrize("level", [0, 1])
def test_any_level_opens_the_whole_slide(tmp_path: Path, level: int) -> None:
    with Slide(write_dicom_slide(tmp_path, PICTURE, mpp=0.25)[level]) as slide:
        assert slide.size == (300, 200) and slide.mpp == pytest.approx((0.25, 0.25))
        assert np.abs(slide.region((0, 0, 300, 200), (300, 200)).astype(int) - PICTURE).mean() < 2


def test_slides_of_one_size_are_read_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the whole of it would be in memory for its overview."""
    picture = blobs(900, 500, size=20)
    with Slide(write_tiff_slide(tmp_path / "a.tif", picture, levels=1)) as slide:
        whole = slide.overview(90).astype(int)
        read, sizes = slide._slide.read_region, []
        monkeypatch.setattr(slide._slide, "read_region", lambda *args: sizes.append(args[2]) or read(*args))
        monkeypatch.setattr(slides, "_MOST_PIXELS", 10_000)
        parts = slide.overview(90)
    assert parts.shape == (50, 90, 3) and len(sizes) > 40
    assert max(width * height for width, height in sizes) <= 10_000
    assert np.abs(parts - whole).mean() < 1


@pytest.mark.parametrize(("size", "unit", "mpp"), [(0.25, "µm", 0.25), (250, "nm", 0.25), (0.00025, "mm", 0.25)])
def test_ome_tiff_says_how_large_pixels_are(tmp_path: Path, size: float, unit: str, mpp: float) -> None:
    path = tmp_path / "a.ome.tif"
    about = {"axes": "YXS", **{f"PhysicalSize{axis}": size for axis in "XY"}}
    with TiffWriter(path, ome=True) as tiff:
        metadata = about | {f"PhysicalSize{axis}Unit": unit for axis in "XY"}
        tiff.write(PICTURE, tile=(64, 64), photometric="rgb", subifds=1, metadata=metadata)
        tiff.write(PICTURE[::4, ::4], tile=(64, 64), photometric="rgb", subfiletype=1, metadata=None)
    assert is_tiff_slide(path)
    with Slide(path) as slide:
        assert slide.mpp == pytest.approx((mpp, mpp)) and slide.size == (300, 200)
        np.testing.assert_array_equal(slide.region((0, 0, 300, 200), (300, 200)), PICTURE)


def test_colours_in_several_pages_are_refused(tmp_path: Path) -> None:
    """OpenSlide would show the first, as grey."""
    planes = np.moveaxis(PICTURE, -1, 0)
    with TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        tiff.write(planes, tile=(64, 64), photometric="minisblack", subifds=1, metadata={"axes": "CYX"})
        tiff.write(planes[:, ::4, ::4], tile=(64, 64), photometric="minisblack", subfiletype=1, metadata=None)
    with pytest.raises(DataError, match=r"its colours are not stored side by side; convert it"):
        Slide(tmp_path / "a.ome.tif")
