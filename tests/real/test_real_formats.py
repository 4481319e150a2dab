"""`masksup predict` on real clinical files, from the file to what a viewer opens."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import shapely
from PIL import Image
from pydicom import dcmread
from tifffile import TiffFile

from masksup_med.cli import main
from masksup_med.data import read_image
from masksup_med.data.slides import Slide
from tests.bundle.bundles import brightness_bundle

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]
OUTPUTS = "masks,overlays,polygons,dicom-seg"


def test_endoscopy_in_jpeg_2000(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "dicom" / "endoscopy_secondary_capture_j2k.dcm"
    bundle, out = brightness_bundle(tmp_path / "bundle"), tmp_path / "out"
    codes = {"1": {"category": ["49755003", "SCT", "Morphologically Abnormal Structure"], "type": ["1", "99X", "Y"]}}
    metadata = bundle / "configs" / "metadata.json"
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"dicom_segments": codes}))
    arguments = ["predict", str(source), "-o", str(out), "--bundle", str(bundle), "--outputs", OUTPUTS]
    assert main(arguments) == 0
    expected = read_image(source).sum(axis=-1, dtype=int) > 382
    assert 0.01 < expected.mean() < 0.99
    np.testing.assert_array_equal(np.asarray(Image.open(out / "masks" / f"{source.stem}.png")) > 0, expected)
    segmentation, original = out / "dicom-seg" / source.name, dcmread(source, stop_before_pixels=True)
    read = hd.seg.segread(segmentation)
    np.testing.assert_array_equal(read.pixel_array.squeeze() > 0, expected)
    assert read.StudyInstanceUID == original.StudyInstanceUID and read.PatientName == original.PatientName
    assert main([*arguments, "--deidentify"]) == 0
    read = dcmread(segmentation)
    assert read.PatientName == "" and str(original.PatientName).encode() not in segmentation.read_bytes()
    np.testing.assert_array_equal(read.pixel_array.squeeze() > 0, expected)


def test_slide_region(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "wsi" / "cmu-1-small-region.svs"
    bundle, out = brightness_bundle(tmp_path / "bundle", mpp=0.62, max_pixels=512**2), tmp_path / "out"
    assert main(["predict", str(source), "-o", str(out), "--bundle", str(bundle), "--outputs", OUTPUTS]) == 0
    line = json.loads((out / "manifest.jsonl").read_text())
    assert (line["width"], line["height"]) == (2220, 2967) and line["pixel_size_mm"] == [0.000499] * 2
    assert line["tissue_share"] > 0.9
    with Slide(source) as slide:
        expected = slide.region((0, 0, 2220, 2967), (2220, 2967)).sum(axis=-1, dtype=int) > 382
    with TiffFile(out / "masks" / "cmu-1-small-region.ome.tif") as tiff:
        assert [level.shape for level in tiff.series[0].levels] == [(2967, 2220), (742, 555)]
        mask = tiff.asarray() > 0
    assert (mask == expected).mean() > 0.9  # it was seen at four fifths of its size
    features = json.loads((out / "polygons" / "cmu-1-small-region.geojson").read_text())["features"]
    polygons = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    assert len(polygons) == len(line["objects"]) and all(polygon.is_valid for polygon in polygons)
    rows, columns = np.random.default_rng(0).integers(0, mask.shape, (500, 2)).T
    inside = [
        any(polygon.contains(shapely.Point(x + 0.5, y + 0.5)) for polygon in polygons)
        for y, x in zip(rows, columns, strict=True)
    ]
    np.testing.assert_array_equal(inside, mask[rows, columns])
