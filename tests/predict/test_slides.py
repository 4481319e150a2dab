"""`masksup predict` on slides, with a network of which it is clear what it finds, in many small tiles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import shapely
from PIL import Image
from scipy.ndimage import find_objects
from skimage.measure import label
from tifffile import TiffFile

from masksup_med.bundle import Bundle, Predictor
from masksup_med.cli import main
from masksup_med.metrics.objects import objects_of
from masksup_med.predict.discovery import find_images
from masksup_med.predict.model import Settings
from masksup_med.predict.run import predict_images
from masksup_med.predict.slides import job as slides_job
from masksup_med.predict.slides import objects as slides_objects
from masksup_med.predict.slides.grid import Box, grid_of
from masksup_med.predict.slides.objects import ObjectFinder
from masksup_med.predict.slides.probabilities import Assembled, TileStore
from masksup_med.predict.slides.tissue import tissue_in
from tests.bundle.bundles import brightness_bundle, colours_bundle
from tests.predict.made_slides import blobs, write_dicom_slide, write_tiff_slide

pytestmark = pytest.mark.filterwarnings("ignore")
MPP, SIDE = 0.5, 96
OUTPUTS = "masks,overlays,polygons"


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finds where R + G + B > 382, in tiles of 96 x 96 pixels."""
    return brightness_bundle(tmp_path_factory.mktemp("slides") / "bright", mpp=MPP, max_pixels=SIDE**2)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colours_bundle(tmp_path_factory.mktemp("slides") / "colours", mpp=MPP, max_pixels=SIDE**2)


def run(bundle: Path, inputs: Path, out: Path, *options: str) -> int:
    return main(["predict", str(inputs), "-o", str(out), "--bundle", str(bundle), "--outputs", OUTPUTS, *options])


def line_of(out: Path) -> dict[str, Any]:
    (text,) = (out / "manifest.jsonl").read_text().splitlines()
    return json.loads(text)


def mask_of(out: Path, name: str = "slide") -> np.ndarray:
    with TiffFile(out / "masks" / f"{name}.ome.tif") as tiff:
        return tiff.asarray()


def files(out: Path) -> dict[str, bytes]:
    """All that a run leaves, but the times in the manifest."""
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    lines = [json.loads(text) | {"seconds": 0} for text in found.pop("manifest.jsonl").splitlines()]
    return found | {"manifest.jsonl": json.dumps(lines).encode()}


def brightness(picture: np.ndarray) -> np.ndarray:
    return (picture.sum(axis=-1, dtype=int) > 382).astype(np.uint8)


@pytest.mark.parametrize(("width", "height"), [(300, 250), (97, 33), (40, 500), (64, 64)])
def test_thresholding_gives_the_slide_back(bright: Path, tmp_path: Path, width: int, height: int) -> None:
    picture = blobs(width, height)
    write_tiff_slide(tmp_path / "in" / "slide.tif", picture, MPP)
    assert run(bright, tmp_path / "in", tmp_path / "out") == 0
    np.testing.assert_array_equal(mask_of(tmp_path / "out"), brightness(picture))
    line = line_of(tmp_path / "out")
    assert (line["width"], line["height"]) == (width, height) and line["tissue_share"] == 1
    assert line["pixel_size_mm"] == [MPP / 1000] * 2 and "tiled" in line["flags"]
    assert line["area_share"] == pytest.approx(brightness(picture).mean(), abs=1e-6)
    assert not (tmp_path / "out" / ".slides").exists()


def test_objects_and_polygons_are_those_of_the_whole_picture(bright: Path, tmp_path: Path) -> None:
    picture = blobs(400, 700, size=9)  # more rows than a band has
    write_tiff_slide(tmp_path / "in" / "slide.tif", picture, MPP)
    run(bright, tmp_path / "in", tmp_path / "out")
    whole = Predictor(Bundle.open(bright))(picture)
    objects = {tuple(each)[:-2]: each.mean_probability for each in objects_of(whole.classes, whole.probability)}
    found = {
        tuple(list(each.values())[1:-1]): each["mean_probability"] for each in line_of(tmp_path / "out")["objects"]
    }
    assert found.keys() == objects.keys() and len(found) > 20
    assert all(found[key] == pytest.approx(objects[key], abs=2e-4) for key in found)
    features = json.loads((tmp_path / "out" / "polygons" / "slide.geojson").read_text())["features"]
    polygons = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    assert all(polygon.is_valid for polygon in polygons) and any(polygon.interiors for polygon in polygons)
    y, x = np.mgrid[:700, :400] + 0.5
    inside = np.logical_or.reduce([shapely.contains_xy(polygon, x, y) for polygon in polygons])
    np.testing.assert_array_equal(inside, brightness(picture) > 0)
    assert features[0]["properties"]["classification"]["name"] == "bright"
    assert "Area µm^2" in features[0]["properties"]["measurements"]


def test_several_classes(colours: Path, tmp_path: Path) -> None:
    fields = np.stack([blobs(200, 150, seed)[..., 0] for seed in range(3)], axis=-1)
    write_tiff_slide(tmp_path / "in" / "slide.tif", fields, MPP)
    assert run(colours, tmp_path / "in", tmp_path / "out") == 0
    expected = Predictor(Bundle.open(colours))(fields).classes
    assert (mask_of(tmp_path / "out") != expected).mean() < 1e-3  # ties, after probabilities were stored in 16 bits
    assert {each["class"] for each in line_of(tmp_path / "out")["objects"]} == {"red", "green"}


@pytest.mark.parametrize("mpp", [0.25, 1.0, 0.3])
def test_slides_are_read_at_the_resolution_of_the_bundle(bright: Path, tmp_path: Path, mpp: float) -> None:
    picture = blobs(300, 260, size=12)
    write_tiff_slide(tmp_path / "in" / "slide.tif", picture, mpp)
    seen: list[tuple[int, ...]] = []
    predictor = slides_job.grid_of
    slides_job.grid_of = lambda *args: seen.append((grid := predictor(*args)).size) or grid
    try:
        assert run(bright, tmp_path / "in", tmp_path / "out") == 0
    finally:
        slides_job.grid_of = predictor
    assert seen == [(round(300 * mpp / MPP), round(260 * mpp / MPP))]
    mask, expected = mask_of(tmp_path / "out") > 0, brightness(picture) > 0
    assert (mask & expected).sum() / (mask | expected).sum() > 0.93


def test_dicom_slides_are_one_image_of_several_files(bright: Path, tmp_path: Path) -> None:
    picture = blobs(200, 150)
    write_dicom_slide(tmp_path / "in" / "study", picture, MPP)
    found = find_images([tmp_path / "in"], tmp_path / "out")
    assert [image.key for image in found.images] == ["study/level0"] and sum(found.left_out.values()) == 1
    assert run(bright, tmp_path / "in", tmp_path / "out") == 0
    mask, expected = mask_of(tmp_path / "out", "study/level0") > 0, brightness(picture) > 0
    assert (mask & expected).sum() / (mask | expected).sum() > 0.95
    assert line_of(tmp_path / "out")["pixel_size_mm"] == [MPP / 1000] * 2
    assert not any(b"SECRET" in content for content in files(tmp_path / "out").values())


def test_glass_is_skipped(bright: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    glass = np.clip(rng.normal(243, 1.5, (400, 600, 3)), 0, 255).astype(np.uint8)
    write_tiff_slide(tmp_path / "glass" / "slide.tif", glass, MPP)
    assert run(bright, tmp_path / "glass", tmp_path / "out") == 0
    line = line_of(tmp_path / "out")
    assert line["tissue_share"] == 0 and line["objects"] == [] and "nothing_found" in line["flags"]
    assert not mask_of(tmp_path / "out").any() and line["mean_confidence"] == 1
    half = glass.copy()
    half[:, :200] = blobs(200, 400)
    write_tiff_slide(tmp_path / "half" / "slide.tif", half, MPP)
    assert run(bright, tmp_path / "half", tmp_path / "out2") == 0
    assert 0.3 < line_of(tmp_path / "out2")["tissue_share"] < 0.6
    np.testing.assert_array_equal(mask_of(tmp_path / "out2")[:, :200], brightness(half)[:, :200])
    assert not mask_of(tmp_path / "out2")[:, 320:].any()


def test_tissue() -> None:
    glass = np.full((50, 60, 3), 244, np.uint8)
    assert not tissue_in(glass).any()
    glass[10:20, 30:40] = (230, 200, 220)  # pale
    glass[30:32, 5:7] = (20, 20, 20)  # ink
    found = tissue_in(glass)
    assert found[9:21, 29:41].all() and found[29:33, 4:8].all() and found.sum() < 300
    assert tissue_in(blobs(60, 50)).all()


class Stopped(Exception):
    """What ends a run in the middle of a slide."""


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_run_goes_on_with_the_next_tile(
    bright: Path, tmp_path: Path, stop: BaseException | type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiff_slide(tmp_path / "in" / "slide.tif", blobs(400, 300), MPP)
    assert run(bright, tmp_path / "in", tmp_path / "undisturbed", "--workers", "1") == 0
    put, stored = TileStore.put, []

    def put_some(store: TileStore, number: int, *args: Any) -> None:
        if len(stored) == 7:
            raise stop
        put(store, number, *args)
        stored.append(number)

    monkeypatch.setattr(TileStore, "put", put_some)
    inputs, bundle = find_images([tmp_path / "in"], tmp_path / "out"), Bundle.open(bright)
    settings = Settings(tuple(OUTPUTS.split(",")), workers=1)
    if isinstance(stop, OSError):
        assert predict_images(bundle, inputs, tmp_path / "out", settings).stopped
    else:
        with pytest.raises(KeyboardInterrupt, match="0 of 1 images are done"):
            predict_images(bundle, inputs, tmp_path / "out", settings)
    first = list(stored)
    monkeypatch.setattr(
        TileStore, "put", lambda store, number, *args: stored.append(number) or put(store, number, *args)
    )
    assert predict_images(bundle, inputs, tmp_path / "out", settings).predicted == 1
    assert len(first) == 7 and not set(first) & set(stored[7:]) and len(stored) == len(set(stored)) > 14
    ours, theirs = files(tmp_path / "out"), files(tmp_path / "undisturbed")
    assert ours.keys() == theirs.keys()
    assert all(ours[name] == theirs[name] for name in ours)
    assert predict_images(bundle, inputs, tmp_path / "out", settings).done_before == 1


def test_tiles_of_another_model_are_not_taken(bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiff_slide(tmp_path / "in" / "slide.tif", picture := blobs(300, 200), MPP)
    with monkeypatch.context() as patch:
        patch.setattr(slides_job, "write_results", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(bright, tmp_path / "in", tmp_path / "out") == 130
    darker = brightness_bundle(tmp_path / "darker", gain=-20, mpp=MPP, max_pixels=SIDE**2)
    assert run(darker, tmp_path / "in", tmp_path / "out") == 0
    assert (mask_of(tmp_path / "out") != brightness(picture)).mean() > 0.99
    assert not (tmp_path / "out" / ".slides").exists()


def refused(bundle: Path, inputs: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(bundle, inputs, out) == 1
    capsys.readouterr()
    error = line_of(out)["error"]
    assert str(inputs) not in error and "\n" not in error and error.endswith(".")
    return error


def test_what_cannot_be_predicted_says_why(bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = blobs(100, 100)
    write_tiff_slide(tmp_path / "unknown" / "slide.tif", picture, None)
    assert "does not say how many µm" in refused(bright, tmp_path / "unknown", tmp_path / "1", capsys)
    write_tiff_slide(tmp_path / "printer" / "slide.tif", picture, 352.8)
    assert "352.8 µm" in refused(bright, tmp_path / "printer", tmp_path / "2", capsys)
    write_tiff_slide(tmp_path / "good" / "slide.tif", picture, MPP)
    without = brightness_bundle(tmp_path / "without")
    assert "has no mpp; add it" in refused(without, tmp_path / "good", tmp_path / "3", capsys)
    wrong = brightness_bundle(tmp_path / "wrong", mpp=-1)
    assert "is -1; give the µm" in refused(wrong, tmp_path / "good", tmp_path / "4", capsys)
    content = write_tiff_slide(tmp_path / "cut" / "slide.tif", picture, MPP).read_bytes()
    for number, keep in enumerate((0.3, 0.7)):
        (tmp_path / "cut" / "slide.tif").write_bytes(content[: int(len(content) * keep)])
        refused(bright, tmp_path / "cut", tmp_path / f"cut{number}", capsys)


def test_openslide_is_named_where_it_is_missing(
    bright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiff_slide(tmp_path / "in" / "slide.tif", blobs(100, 100), MPP)
    monkeypatch.setitem(__import__("sys").modules, "openslide", None)
    assert 'pip install "masksup-med[slides]"' in refused(bright, tmp_path / "in", tmp_path / "out", capsys)


def test_overlay_is_the_slide_with_contours(bright: Path, tmp_path: Path) -> None:
    picture = np.full((300, 5000, 3), (90, 40, 90), np.uint8)
    picture[100:200, 1000:2000] = 250
    write_tiff_slide(tmp_path / "in" / "slide.tif", picture, MPP)
    run(bright, tmp_path / "in", tmp_path / "out")
    with Image.open(tmp_path / "out" / "overlays" / "slide.jpg") as overlay:
        assert overlay.size == (2048, 123)
        changed = (
            np.abs(np.asarray(overlay).astype(int) - np.asarray(Image.fromarray(picture).resize((2048, 123)))) > 60
        )
    rows, columns = np.nonzero(changed.any(axis=-1))
    assert (rows.min(), rows.max()) == pytest.approx((41, 82), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((410, 819), abs=3)


def bands(classes: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    for top in range(0, len(classes), rows):
        yield classes[top : top + rows]


@pytest.mark.parametrize("seed", range(12))
def test_objects_across_bands_are_those_of_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, (rng.integers(1, 40), rng.integers(1, 40))).astype(np.uint8)
    finder = ObjectFinder()
    for band in bands(classes, int(rng.integers(1, 9))):
        finder.add(band)
    expected = []
    for number in (1, 2):
        for y, x in find_objects(label(classes == number, connectivity=2)):
            expected.append((number, Box(x.start, y.start, x.stop, y.stop)))
    assert sorted(finder.boxes()) == sorted(expected)
    assert [number for number, _ in finder.boxes()] == sorted(number for number, _ in expected)


def test_no_objects_at_all() -> None:
    finder = ObjectFinder()
    assert finder.boxes() == []
    finder.add(np.zeros((3, 4), np.uint8))
    assert finder.boxes() == []


def test_large_objects_are_measured_in_less_detail(
    bright: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = np.full((300, 400, 3), (90, 40, 90), np.uint8)
    y, x = np.mgrid[:300, :400]
    picture[(y - 150) ** 2 + (x - 200) ** 2 < 120**2] = (250, 190, 250)
    write_tiff_slide(tmp_path / "in" / "slide.tif", picture, MPP)
    monkeypatch.setattr(slides_objects, "_MOST_PIXELS", 6000)  # every fourth pixel of the disk's 57,600
    assert run(bright, tmp_path / "in", tmp_path / "out") == 0
    (found,) = line_of(tmp_path / "out")["objects"]
    assert found["area_px"] == pytest.approx(int(brightness(picture).sum()), rel=0.02)
    assert (found["centroid_x"], found["centroid_y"]) == pytest.approx((200, 150), abs=1)
    assert found["box_width"] == 239 and found["solidity"] > 0.97
    (feature,) = json.loads((tmp_path / "out" / "polygons" / "slide.geojson").read_text())["features"]
    assert shapely.geometry.shape(feature["geometry"]).area == pytest.approx(int(brightness(picture).sum()), rel=0.05)


def test_parts_are_the_same_however_they_are_asked_for(bright: Path, tmp_path: Path) -> None:
    predictor, size = Predictor(Bundle.open(bright)), (301, 207)
    grid = grid_of(size, (0.4, 0.4), MPP, SIDE**2)
    store = TileStore(tmp_path)
    rng = np.random.default_rng(0)
    predicted = [number for number in range(len(grid.tiles)) if number % 3]
    for number in predicted:
        tile = grid.tiles[number]
        import torch

        store.put(number, torch.from_numpy(rng.random((1, tile.right - tile.left, tile.bottom - tile.top), np.float32)))
    assembled = Assembled(grid, predicted, store, predictor, size)
    whole = assembled.predict(Box(0, 0, *size))
    part = assembled.predict(Box(50, 30, 240, 151))
    np.testing.assert_array_equal(part.classes, whole.classes[30:151, 50:240])
    np.testing.assert_array_equal(part.probability, whole.probability[30:151, 50:240])
    coarse = assembled.predict(Box(50, 30, 240, 151), 7)
    np.testing.assert_array_equal(coarse.classes, whole.classes[30:151:7, 50:240:7])


def test_masks_open_in_openslide_at_all_levels(bright: Path, tmp_path: Path) -> None:
    write_tiff_slide(tmp_path / "in" / "slide.tif", picture := blobs(1500, 1100, size=20), MPP)
    big = brightness_bundle(tmp_path / "big", mpp=MPP)
    assert run(big, tmp_path / "in", tmp_path / "out") == 0
    with TiffFile(tmp_path / "out" / "masks" / "slide.ome.tif") as tiff:
        assert tiff.is_ome and [level.shape for level in tiff.series[0].levels] == [(1100, 1500), (275, 375)]
        np.testing.assert_array_equal(tiff.asarray(), brightness(picture))
        small = tiff.series[0].levels[1].asarray()
        np.testing.assert_array_equal(small, brightness(picture)[2::4, 2::4])
        assert f'PhysicalSizeX="{MPP}"' in tiff.ome_metadata
    assert openslide.OpenSlide(tmp_path / "in" / "slide.tif").level_count == 2
