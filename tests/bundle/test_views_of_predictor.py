"""A predictor that looks at pictures in several views, with networks of which it is clear what they answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from masksup_med.bundle import Bundle, Predictor
from masksup_med.bundle.linear import LinearProcessing
from masksup_med.bundle.processing import MonaiProcessing, Prediction
from masksup_med.inferers.views import View, views
from masksup_med.metrics.disagreement import disagreement
from tests.bundle.bundles import (
    FIRST,
    LOAD,
    SCALE,
    brightness_bundle,
    colours_bundle,
    processing,
    resized,
    write_bundle,
)
from tests.bundle.shifted import MOVES, box, moved, shifted_bundle

pytestmark = pytest.mark.filterwarnings("ignore")
SLIDING = {"_target_": "SlidingWindowInferer", "roi_size": [32, 24], "overlap": 0.5, "mode": "gaussian"}
ALL = views("symmetries", 7)
BOX = box(20, 10, 12, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("views")


@pytest.fixture(scope="module")
def shifted(folder: Path) -> Path:
    return shifted_bundle(folder / "shifted")


@pytest.fixture(scope="module")
def unet(folder: Path) -> Path:
    """Takes pictures at 48 × 64 pixels; nobody knows what it answers, or that it would answer views alike."""
    return write_bundle(folder / "unet", **processing(before=(LOAD, FIRST, resized(48, 64), SCALE)))


def predicted(bundle: Path, picture: np.ndarray, seen: list[View] = ALL, average: bool = False) -> Prediction:
    return Predictor(Bundle.open(bundle), views=seen, average=average)(picture)


def picture_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def number(prediction: Prediction) -> float:
    assert prediction.distance is not None and prediction.foreground is not None
    return disagreement(prediction.distance, prediction.foreground, prediction.distance.size)


@pytest.mark.parametrize("size", [(30, 30), (31, 44)], ids=str)
def test_a_network_that_looks_at_single_pixels_agrees_with_itself(tmp_path: Path, size: tuple[int, int]) -> None:
    bundle, picture = brightness_bundle(tmp_path / "bright", gain=1), picture_of(*size)
    plain, mean = predicted(bundle, picture, []), predicted(bundle, picture, average=True)
    np.testing.assert_allclose(mean.probability, plain.probability, atol=1e-6)
    sure = np.abs(plain.probability - 0.5) > 1e-5
    np.testing.assert_array_equal(mean.classes[sure], plain.classes[sure])
    assert number(mean) < 1e-6 and plain.distance is None and plain.foreground is None
    np.testing.assert_allclose(mean.foreground, plain.probability, atol=1e-6)


@pytest.mark.parametrize("count", range(1, 8))
def test_disagreement_is_what_can_be_computed_by_hand(shifted: Path, count: int) -> None:
    found = predicted(shifted, BOX, views("symmetries", count))
    plain, others = moved(BOX, 1, 0), np.stack([moved(BOX, *move) for move in MOVES[:count]])
    np.testing.assert_array_equal(found.classes, plain)
    np.testing.assert_allclose(found.distance, np.abs(others - plain).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.foreground, (plain + others.mean(axis=0)) / 2, atol=1e-6)
    assert found.distance.flags.c_contiguous and found.foreground.flags.c_contiguous


def test_disagreement_of_a_box_and_its_mirror_image(shifted: Path) -> None:
    found = predicted(shifted, BOX, views("symmetries", 1))  # two columns of 12 are not shared
    assert disagreement(found.distance, found.foreground) == pytest.approx(2 / 12, abs=1e-6)
    assert number(found) == pytest.approx(4 * 8 / (2 * 12 * 8 + 1e-4 * BOX[..., 0].size), abs=1e-6)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_the_mean_is_of_the_image_as_it_is_and_all_views(shifted: Path, count: int) -> None:
    mean = predicted(shifted, BOX, views("symmetries", count), average=True)
    expected = np.mean([moved(BOX, *move) for move in [(1, 0), *MOVES[:count]]], axis=0)
    np.testing.assert_allclose(mean.probability, expected, atol=1e-6)
    plain = predicted(shifted, BOX, views("symmetries", count))
    np.testing.assert_array_equal(mean.distance, plain.distance)
    np.testing.assert_array_equal(mean.foreground, plain.foreground)


@pytest.mark.parametrize("size", [(48, 64), (64, 64), (37, 90), (1, 1)], ids=str)
@pytest.mark.parametrize("kind", ["symmetries", "hidden:0.3", "symmetries+hidden:0.1"])
def test_looking_on_changes_no_bit_of_what_is_found(unet: Path, kind: str, size: tuple[int, int]) -> None:
    plain, looked = predicted(unet, picture_of(*size), []), predicted(unet, picture_of(*size), views(kind, 7))
    np.testing.assert_array_equal(looked.probability, plain.probability)
    np.testing.assert_array_equal(looked.classes, plain.classes)
    assert looked.distance.max() > 0 and looked.distance.shape == size


@pytest.mark.parametrize("kind", ["symmetries", "symmetries+hidden:0.3"])
def test_answers_are_those_to_each_view_by_itself(unet: Path, kind: str) -> None:
    seen, plain = views(kind, 7), Predictor(Bundle.open(unet))
    images = [plain.prepare(picture_of(40, 50, seed)).image for seed in range(3)]
    assert images[0].shape == (3, 48, 64)  # so that turned views are of another size
    together = Predictor(Bundle.open(unet), views=seen).infer(images)
    assert together.shape == (3, 8, 1, 48, 64)
    for image, answers in zip(images, together, strict=True):
        for view, answer in zip([View(), *seen], answers, strict=True):
            alone = view.undo(plain.infer([view.apply(image)])[0, 0])
            torch.testing.assert_close(answer, alone, rtol=0, atol=1e-4)


def test_images_of_a_batch_get_what_they_get_alone(shifted: Path) -> None:
    predictor = Predictor(Bundle.open(shifted), views=ALL)
    pictures = [box(5 + 10 * number, 4 + 3 * number, 6 + number, 9) for number in range(4)]
    prepared = [predictor.prepare(picture) for picture in pictures]
    logits = predictor.infer([each.image for each in prepared])
    for picture, each, answers in zip(pictures, prepared, logits, strict=True):
        for one, other in zip(predictor.finish(each, answers), predictor(picture), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_windows_that_slide_see_the_same(shifted: Path, tmp_path: Path) -> None:
    whole = predicted(shifted, BOX)
    slid = predicted(shifted_bundle(tmp_path / "slides", inferer=SLIDING), BOX)
    assert number(slid) == pytest.approx(number(whole), abs=0.02)  # at the edges of windows nothing moves in
    np.testing.assert_array_equal(slid.classes, whole.classes)


def test_tiles_are_blended_with_their_views(shifted: Path, tmp_path: Path) -> None:
    predictor = Predictor(Bundle.open(shifted_bundle(tmp_path / "tiled", max_pixels=30**2)), views=ALL)
    assert predictor.needs_tiles(BOX)
    tiled, whole = predictor(BOX), predicted(shifted, BOX)
    np.testing.assert_array_equal(tiled.classes, whole.classes)
    assert tiled.distance.shape == (40, 60) and number(tiled) == pytest.approx(number(whole), abs=0.03)


def test_tiles_are_found_as_without_views(unet: Path, tmp_path: Path) -> None:
    bundle = write_bundle(
        tmp_path / "tiled", max_pixels=30**2, **processing(before=(LOAD, FIRST, resized(48, 64), SCALE))
    )
    plain, looked = predicted(bundle, picture_of(50, 70), []), predicted(bundle, picture_of(50, 70))
    np.testing.assert_array_equal(looked.probability, plain.probability)


def test_several_classes(folder: Path) -> None:
    bundle, picture = colours_bundle(folder / "colours"), picture_of(30, 44)
    plain, looked = predicted(bundle, picture, []), predicted(bundle, picture)
    np.testing.assert_array_equal(looked.classes, plain.classes)
    assert set(np.unique(looked.classes)) == {0, 1, 2} and number(looked) < 1e-6
    powers = np.exp(4 * (picture / 127.5 - 1))
    np.testing.assert_allclose(looked.foreground, 1 - powers[..., 2] / powers.sum(axis=-1), atol=1e-5)


def test_several_classes_that_views_tell_apart_differently(tmp_path: Path) -> None:
    """A white neighbour to the left makes class 1, one to the right class 2: at the box's ends, a flip swaps them."""
    weight = torch.zeros(3, 3, 3, 3)
    weight[1, :, 0, 1], weight[2, :, 2, 1] = 20, 20
    network = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 3, "kernel_size": 3, "padding": 1}
    weights = {"weight": weight, "bias": torch.tensor([0.0, -20, -20.5])}
    config = Bundle.open(colours_bundle(tmp_path / "colours")).config
    steps = {key: config.get(key) for key in ("preprocessing", "postprocessing")}
    bundle = write_bundle(tmp_path / "two", network, weights, ("left", "right"), **steps)
    predictor = Predictor(Bundle.open(bundle), views=views("symmetries", 1))
    found = predictor(BOX)
    p = predictor.infer([predictor.prepare(BOX).image])[0].softmax(1).double().numpy()
    np.testing.assert_allclose(found.distance.T, 0.5 * np.abs(p[1] - p[0]).sum(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.foreground.T, 1 - p[:, 0].mean(axis=0), atol=1e-5)
    assert 0 < number(found) < 1


@pytest.mark.parametrize("average", [False, True])
def test_views_go_through_monais_transforms_as_through_the_fast_ones(tmp_path: Path, average: bool) -> None:
    fast, slow = (
        write_bundle(tmp_path / name, **processing(before=(LOAD, FIRST, resized(48, 64), {**SCALE, **more})))
        for name, more in {"fast": {}, "slow": {"clip": False}}.items()
    )
    predictors = [Predictor(Bundle.open(bundle), views=ALL, average=average) for bundle in (fast, slow)]
    kinds = [type(predictor._processing) for predictor in predictors]
    assert kinds == [LinearProcessing, MonaiProcessing]
    one, other = (predictor(picture_of(50, 33)) for predictor in predictors)
    for ours, theirs in zip(one[1:], other[1:], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_hidden_parts_are_found_missing(tmp_path: Path) -> None:
    """What is hidden is mid-grey, which a network of single pixels does not find."""
    bundle, white = brightness_bundle(tmp_path / "bright"), np.full((64, 64, 3), 255, np.uint8)
    found = predicted(bundle, white, views("hidden:0.25", 1))
    assert (found.distance > 0.4).mean() == 0.25 and set(found.distance.round(3).flat) == {0, 0.5}
