"""The fast processing of bundles gives what MONAI's transforms give, and leaves to MONAI what it does not know."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import floor
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.networks.layers import GaussianFilter
from PIL import Image
from torch.nn.functional import interpolate

from masksup_med.bundle import Bundle, Predictor, bundle_names, find_bundle
from masksup_med.bundle.linear import LinearProcessing
from masksup_med.bundle.processing import MonaiProcessing, Prepared, shown_probability
from masksup_med.bundle.resampling import resample
from masksup_med.errors import DataError
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
    Step,
    compose,
    parsed,
    processing,
    resized,
    stock_masks,
    write_bundle,
    zoomed,
)

pytestmark = pytest.mark.filterwarnings("ignore")

SIDES = st.one_of(st.integers(1, 5), st.integers(1, 90))
SEEDS = st.integers(0, 2**32 - 1)
THRESHOLD = {**HALF, "threshold": 0.3}
VARIANTS = {
    "not resampled": [],
    "smaller": [resized(24, 32)],
    "smaller, aliased": [resized(24, 32, anti_aliasing=False)],
    "much smaller": [resized(5, 3)],
    "larger": [resized(96, 128)],
    "larger, aliased": [resized(101, 99, anti_aliasing=False)],
    "wider and lower": [resized(91, 8)],
    "to a point, aliased": [resized(1, 1, anti_aliasing=False)],
    "Zoomd 0.5": [zoomed(0.5)],
    "Zoomd 0.37": [zoomed(0.37)],
    "Zoomd 1.0": [zoomed(1.0)],
    "Zoomd 1.7": [zoomed(1.7)],
}
SCALINGS = {
    "0 to 1": {"b_min": 0, "b_max": 1},
    "a window": {"a_min": 40, "a_max": 215, "b_min": -2.5, "b_max": 0.5},
    "upside down": {"b_min": 1.0, "b_max": -1.0},
    "as it was": {"b_min": 0, "b_max": 255},
}


def picture_of(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def check_equal(config: ConfigParser, picture: np.ndarray, seed: int, classes: int = 1) -> None:
    """The whole way through both processings: the same input, probabilities and classes."""
    ours, theirs = LinearProcessing.of(config), MonaiProcessing(config)
    assert ours is not None
    prepared, expected = ours.prepare(picture), theirs.prepare(picture)
    assert prepared.image.shape == expected.image.shape and prepared.image.dtype == torch.float32
    span = abs(float(ours.scale)) * 255  # 2 for a network that takes -1 to 1
    torch.testing.assert_close(prepared.image, expected.image, rtol=0, atol=tolerance(span, *picture.shape[:2]))

    logits = torch.randn(classes, *prepared.image.shape[1:], generator=torch.Generator().manual_seed(seed)) * 2
    mapped, reference = ours.probabilities(prepared, logits), theirs.probabilities(expected, logits)
    assert mapped.shape == (classes, picture.shape[1], picture.shape[0])
    torch.testing.assert_close(mapped, reference, rtol=0, atol=1e-5)

    found, wanted = ours.decide(mapped), theirs.decide(reference)
    assert found.classes.dtype == wanted.classes.dtype == np.uint8
    assert found.probability.dtype == wanted.probability.dtype == np.float32
    assert found.classes.shape == found.probability.shape == picture.shape[:2]
    np.testing.assert_allclose(found.probability, wanted.probability, rtol=0, atol=1e-5)
    assert not ((found.classes != wanted.classes) & ~undecided(reference, ours.threshold)).any()
    # and where both decide on the same probabilities, there is no excuse
    np.testing.assert_array_equal(ours.decide(reference).classes, wanted.classes)


def tolerance(span: float, *sides: int) -> float:
    """5e-6 of -1 to 1, and what the rounding of places in the picture may do to neighbours as unlike as can be."""
    return span * (2.5e-6 + float(np.spacing(np.float32(max(sides)))))


def undecided(probabilities: torch.Tensor, threshold: float | None) -> np.ndarray:
    """Where rounding may decide, shape (H, W)."""
    if threshold is None:
        first, second = probabilities.topk(2, dim=0).values
        return ((first - second) < 1e-5).numpy().T
    return ((probabilities[0] - threshold).abs() < 1e-5).numpy().T


@pytest.mark.parametrize("name", bundle_names())
@pytest.mark.parametrize("size", [(288, 384), (529, 622), (1, 1), (400, 90)], ids=str)
def test_shipped_bundles_as_monai(name: str, size: tuple[int, int]) -> None:
    config = ConfigParser()
    config.read_config(str(find_bundle(name) / "configs" / "inference.yaml"))
    if name == "gland_masksup" and size == (1, 1):  # MONAI cannot halve one pixel
        assert LinearProcessing.of(config).prepare(picture_of(*size, seed=0)).image.shape == (3, 1, 1)
    else:
        check_equal(config, picture_of(*size, seed=0), seed=0)


@pytest.mark.parametrize("variant", VARIANTS)
@given(height=SIDES, width=SIDES, seed=SEEDS)
@settings(max_examples=12, deadline=None, derandomize=True, database=None)
def test_resampling_as_monai(variant: str, height: int, width: int, seed: int) -> None:
    for step in VARIANTS[variant]:
        assume(step["_target_"] != "Zoomd" or floor(min(height, width) * step["zoom"]) >= 1)
    config = parsed(processing(before=(LOAD, FIRST, *VARIANTS[variant], SCALE)))
    check_equal(config, picture_of(height, width, seed), seed)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(
    ("classes", "decision"),
    [(1, (SIGMOID, INVERT, HALF)), (1, (SIGMOID, INVERT, THRESHOLD)), (3, (SOFTMAX, INVERT, ARGMAX))],
    ids=["half", "0.3", "three classes"],
)
@given(height=SIDES, width=SIDES, seed=SEEDS)
@settings(max_examples=6, deadline=None, derandomize=True, database=None)
def test_scaling_and_decision_as_monai(
    scaling: str, classes: int, decision: tuple[Step, ...], height: int, width: int, seed: int
) -> None:
    before = (LOAD, FIRST, resized(37, 21), {**SCALE, **SCALINGS[scaling]})
    check_equal(parsed(processing(before, decision)), picture_of(height, width, seed), seed, classes)


def test_values_that_are_references_are_followed() -> None:
    before = (LOAD, FIRST, {**resized(0, 0), "spatial_size": "@size"}, {**SCALE, "b_min": "@low", "b_max": "$@low + 2"})
    after = (SIGMOID, INVERT, {**HALF, "threshold": "@cut"})
    config = parsed({**processing(before, after), "size": [12, 20], "low": -3, "cut": 0.4})
    assert LinearProcessing.of(config).prepare(picture_of(9, 9, 0)).image.shape == (3, 12, 20)
    check_equal(config, picture_of(30, 17, 0), 0)


def test_threshold_counts_as_found_and_ties_go_to_the_lower_class() -> None:
    half = LinearProcessing.of(parsed(processing()))
    assert half.decide(torch.tensor([[[0.5, 0.49999997]]])).classes.tolist() == [[1], [0]]
    most = LinearProcessing.of(parsed(processing(after=(SOFTMAX, INVERT, ARGMAX))))
    assert most.decide(torch.tensor([[[0.4]], [[0.4]], [[0.2]]])).classes.tolist() == [[0]]


def test_shown_probability_is_of_the_foreground_or_of_the_class_decided_on() -> None:
    maps = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(shown_probability(maps[:1]), maps[0].numpy().T)
    np.testing.assert_array_equal(shown_probability(maps[:2]), maps[1].numpy().T)
    np.testing.assert_array_equal(shown_probability(maps), np.maximum.reduce(maps.numpy()).T)
    assert shown_probability(torch.tensor([[[-1e-7, 1.0000001]]])).tolist() == [[0], [1]]


@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES, smooth=st.booleans(), seed=SEEDS)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_resample_as_torch(height: int, width: int, new_height: int, new_width: int, smooth: bool, seed: int) -> None:
    assume(not smooth or (min(new_height, new_width) > 1 or max(height, width) < 3))  # see the next but one
    picture, size = picture_of(height, width, seed), (new_width, new_height)
    resampled = resample(picture, size, smooth)
    assert resampled.dtype == np.float32 and resampled.flags.c_contiguous
    np.testing.assert_allclose(resampled, by_torch(picture, size, smooth), rtol=0, atol=tolerance(255, height, width))


def by_torch(picture: np.ndarray, size: tuple[int, int], smooth: bool) -> np.ndarray:
    """Gaussian and bilinear interpolation as they are in MONAI and torch, on an array (H, W, C)."""
    image = torch.from_numpy(picture.transpose(2, 1, 0).astype(np.float32))[None]
    if smooth and any(new < old for new, old in zip(size, image.shape[2:], strict=True)):
        sigma = [max(0.0, (old / new - 1) / 2) for new, old in zip(size, image.shape[2:], strict=True)]
        image = GaussianFilter(2, sigma)(image)
    return interpolate(image, size, mode="bilinear", align_corners=False)[0].numpy()


def test_resample_as_torch_to_the_last_digits() -> None:
    rng, worst = np.random.default_rng(0), 0.0
    for _ in range(20):
        height, width, *size = rng.integers(1, 700, 4).tolist()
        picture = picture_of(height, width, 0)
        difference = resample(picture, (size[0], size[1]), False) - by_torch(picture, (size[0], size[1]), False)
        worst = max(worst, float(np.abs(difference).max()))
    assert worst / 127.5 <= 5e-6


@pytest.mark.parametrize("size", [(1, 1), (7, 1), (1, 7)], ids=str)
def test_resample_to_a_point_as_torch(size: tuple[int, int]) -> None:
    picture = picture_of(9, 8, 0)
    np.testing.assert_allclose(resample(picture, size, True), by_torch(picture, size, True), rtol=0, atol=1e-3)


def test_resample_to_the_same_size_changes_nothing() -> None:
    picture = picture_of(40, 30, 0)
    for anti_aliasing in (True, False):
        np.testing.assert_array_equal(resample(picture, (30, 40), anti_aliasing), picture.transpose(2, 1, 0))


def test_resample_takes_views() -> None:
    picture = picture_of(40, 30, 0)
    cut = picture[3:33:2, ::-1]
    np.testing.assert_array_equal(resample(cut, (9, 8), True), resample(np.ascontiguousarray(cut), (9, 8), True))


KNOWN = (LOAD, FIRST, resized(16, 12), SCALE)
LARGEST = {"_target_": "KeepLargestConnectedComponentd", "keys": "pred"}
FLIP = {"_target_": "Flipd", "keys": "image", "spatial_axis": 0}
UNKNOWN_BEFORE: dict[str, tuple[Step, ...]] = {
    "clip": (*KNOWN[:3], {**SCALE, "clip": True}),
    "clip, though it is off": (*KNOWN[:3], {**SCALE, "clip": False}),
    "dtype": (*KNOWN[:3], {**SCALE, "dtype": "$np.float64"}),
    "no range": (*KNOWN[:3], {key: SCALE[key] for key in ("_target_", "keys", "a_min", "a_max")}),
    "scaling of another key": (*KNOWN[:3], {**SCALE, "keys": ["image"]}),
    "mode area": (LOAD, FIRST, {**resized(16, 12), "mode": "area"}, SCALE),
    "mode bicubic": (LOAD, FIRST, {**resized(16, 12), "mode": "bicubic"}, SCALE),
    "align_corners": (LOAD, FIRST, {**resized(16, 12), "align_corners": True}, SCALE),
    "own sigma": (LOAD, FIRST, {**resized(16, 12), "anti_aliasing_sigma": 1.0}, SCALE),
    "longest side": (LOAD, FIRST, {**resized(16, 12), "spatial_size": 16, "size_mode": "longest"}, SCALE),
    "one side": (LOAD, FIRST, {**resized(16, 12), "spatial_size": [16, -1]}, SCALE),
    "one number": (LOAD, FIRST, {**resized(16, 12), "spatial_size": 16}, SCALE),
    "keep_size": (LOAD, FIRST, {**zoomed(0.5), "keep_size": True}, SCALE),
    "keep_size by default": (LOAD, FIRST, {k: v for k, v in zoomed(0.5).items() if k != "keep_size"}, SCALE),
    "zoom of each side": (LOAD, FIRST, {**zoomed(0.5), "zoom": [0.5, 0.7]}, SCALE),
    "zoom in another mode": (LOAD, FIRST, {**zoomed(0.5), "mode": "area"}, SCALE),
    "zoom with align_corners": (LOAD, FIRST, {**zoomed(0.5), "align_corners": True}, SCALE),
    "channel_dim": (LOAD, {**FIRST, "channel_dim": -1}, SCALE),
    "no channels first": (LOAD, SCALE),
    "no scaling": (LOAD, FIRST, resized(16, 12)),
    "scaling first": (LOAD, FIRST, SCALE, resized(16, 12)),
    "twice resampled": (LOAD, FIRST, resized(16, 12), zoomed(0.5), SCALE),
    "a flip before": (LOAD, FIRST, FLIP, SCALE),
    "a flip at the end": (LOAD, FIRST, SCALE, FLIP),
    "another transform": (LOAD, FIRST, {"_target_": "NormalizeIntensityd", "keys": "image"}),
    "nothing loaded": (FIRST, SCALE),
}
UNKNOWN_AFTER: dict[str, tuple[Step, ...]] = {
    "the largest, after the decision": (SIGMOID, INVERT, HALF, LARGEST),
    "the largest, before": (SIGMOID, INVERT, LARGEST, HALF),
    "not inverted": (SIGMOID, HALF),
    "decided before it is inverted": (SIGMOID, HALF, INVERT),
    "inverted first": (INVERT, SIGMOID, HALF),
    "to the nearest": (SIGMOID, {**INVERT, "nearest_interp": True}, HALF),
    "to the nearest by default": (SIGMOID, {k: v for k, v in INVERT.items() if k != "nearest_interp"}, HALF),
    "changed while inverted": (SIGMOID, {**INVERT, "post_func": "$lambda x: x * 2"}, HALF),
    "no activation": (INVERT, HALF),
    "both activations": ({**SIGMOID, "softmax": True}, INVERT, HALF),
    "softmax with a threshold": (SOFTMAX, INVERT, HALF),
    "sigmoid with argmax": (SIGMOID, INVERT, ARGMAX),
    "one-hot": (SOFTMAX, INVERT, {**ARGMAX, "to_onehot": 3}),
    "rounded": (SIGMOID, INVERT, {"_target_": "AsDiscreted", "keys": "pred", "rounding": "torchrounding"}),
    "argmax and threshold": (SOFTMAX, INVERT, {**ARGMAX, "threshold": 0.5}),
    "threshold and one-hot": (SIGMOID, INVERT, {**HALF, "to_onehot": 2}),
    "another key": (SIGMOID, {**INVERT, "keys": "label"}, HALF),
}


@pytest.mark.parametrize("name", UNKNOWN_BEFORE)
def test_unknown_preprocessing_is_left_to_monai(name: str) -> None:
    assert LinearProcessing.of(parsed(processing(before=KNOWN))) is not None
    assert LinearProcessing.of(parsed(processing(before=UNKNOWN_BEFORE[name]))) is None


@pytest.mark.parametrize("name", UNKNOWN_AFTER)
def test_unknown_postprocessing_is_left_to_monai(name: str) -> None:
    keeping = (SAVE, {"_target_": "CastToTyped", "keys": "pred"}, {"_target_": "SqueezeDimd", "keys": "pred"})
    assert LinearProcessing.of(parsed(processing(after=(SIGMOID, INVERT, HALF, *keeping)))) is not None
    assert LinearProcessing.of(parsed(processing(after=UNKNOWN_AFTER[name]))) is None


@pytest.mark.parametrize("key", ["preprocessing", "postprocessing"])
@pytest.mark.parametrize(
    "change",
    [
        lambda steps: {**steps, "map_items": False},
        lambda steps: {**steps, "lazy": True},
        lambda steps: steps["transforms"],
    ],
    ids=["map_items", "lazy", "no Compose"],
)
def test_unknown_compositions_are_left_to_monai(key: str, change: Any) -> None:
    config = processing(before=KNOWN)
    assert LinearProcessing.of(parsed({**config, key: change(config[key])})) is None


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(
            {"before": (*KNOWN[:3], {**SCALE, "b_min": None, "b_max": None})},
        ),
        pytest.param(
            {"before": (*KNOWN[:3], {**SCALE, "a_max": 0})},
        ),
        pytest.param(
            {"before": (LOAD, FIRST, {**resized(16, 12), "spatial_size": [16, None]}, SCALE)},
        ),
        pytest.param(
            {"after": (SIGMOID, INVERT, {**HALF, "threshold": None})},
        ),
    ],
    ids=["b_min None", "a_min equals a_max", "spatial_size None", "threshold None"],
)
def test_values_without_meaning_here_are_left_to_monai(steps: dict[str, Any]) -> None:
    assert LinearProcessing.of(parsed(processing(**{"before": KNOWN, **steps}))) is None


def test_several_classes_with_a_sigmoid_each_as_monai() -> None:
    config = parsed(processing(before=KNOWN))
    ours, theirs = LinearProcessing.of(config) or MonaiProcessing(config), MonaiProcessing(config)
    maps = torch.rand(2, 9, 7, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(ours.decide(maps).classes, theirs.decide(maps).classes)


PAD = {"_target_": "DivisiblePadd", "keys": "image", "k": 16}
LEFT_TO_MONAI: dict[str, dict[str, Any]] = {
    "clip": processing(
        (LOAD, FIRST, resized(64, 64), {**SCALE, "a_max": 200, "clip": True}),
        (SIGMOID, INVERT, HALF, SAVE),
    ),
    "area and the largest": processing(
        (LOAD, FIRST, {**resized(48, 64), "mode": "area", "anti_aliasing": False}, SCALE),
        (SIGMOID, INVERT, HALF, LARGEST, SAVE),
    ),
    "padded and flipped": processing((LOAD, FIRST, FLIP, PAD, SCALE), (SIGMOID, INVERT, HALF, SAVE)),
}


@pytest.mark.parametrize("name", LEFT_TO_MONAI)
def test_predictor_works_through_monai_then(name: str, tmp_path: Path) -> None:
    bundle, images = write_bundle(tmp_path / "bundle", **LEFT_TO_MONAI[name]), tmp_path / "images"
    images.mkdir()
    pictures = {"a": picture_of(40, 50, 0), "b": picture_of(70, 33, 1), "c": smooth_picture(90, 61)}
    for stem, picture in pictures.items():
        Image.fromarray(picture).save(images / f"{stem}.png")
    predictor = Predictor(Bundle.open(bundle))
    assert isinstance(predictor._processing, MonaiProcessing)
    stock = stock_masks(bundle, images, tmp_path / "masks")
    assert len(stock) == 3 and len(np.unique(stock["c"])) == 2
    for stem, picture in pictures.items():
        np.testing.assert_array_equal(predictor(picture).classes * np.uint8(255), stock[stem])
    with ThreadPoolExecutor(8) as threads:  # Invertd changes the transforms while it inverts
        several = list(threads.map(predictor, [*pictures.values()] * 8))
    for prediction, stem in zip(several, [*pictures] * 8, strict=True):
        np.testing.assert_array_equal(prediction.classes * np.uint8(255), stock[stem])


def test_one_thread_at_a_time_inverts() -> None:
    """Invertd sets what it finds in the transforms, and sets it back at its end: two at once would mix that up."""
    processing_of = MonaiProcessing(parsed(processing(before=KNOWN)))
    prepared = processing_of.prepare(picture_of(9, 8, 0))
    inside, most = [], []

    def watching(data: Any) -> Any:
        inside.append(1)
        most.append(len(inside))
        sleep(0.002)
        inside.pop()
        return data

    processing_of._after = (watching, *processing_of._after)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: processing_of.probabilities(prepared, torch.zeros(1, 16, 12)), range(24)))
    assert len(most) == 24 and max(most) == 1


def smooth_picture(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.dstack([rows * 2, columns * 3, (rows + columns) % 256]).astype(np.uint8)


def test_bundle_without_a_decision_or_a_start_is_refused() -> None:
    with pytest.raises(DataError, match="does not begin with LoadImaged"):
        MonaiProcessing(parsed(processing(before=(FIRST, SCALE))))
    with pytest.raises(DataError, match="has no AsDiscreted"):
        MonaiProcessing(parsed(processing(after=(SIGMOID, INVERT))))


def test_prepared_holds_no_memory_of_monai() -> None:
    prepared = MonaiProcessing(parsed(processing(before=KNOWN))).prepare(picture_of(9, 8, 0))
    assert isinstance(prepared, Prepared) and type(prepared.image) is torch.Tensor


def test_reading_a_config_builds_no_transform() -> None:
    """Not those that are kept out of the way: their values may be files and folders that are not there."""
    steps = (SIGMOID, INVERT, HALF, {**SAVE, "output_dir": "@nowhere"})
    config = parsed({"preprocessing": compose(*KNOWN), "postprocessing": compose(*steps)})
    assert LinearProcessing.of(config) is not None


def test_shown_probability_leaves_what_it_is_given() -> None:
    probabilities = torch.full((1, 5, 1), 1.0000002)
    assert shown_probability(probabilities).tolist() == [[1.0] * 5]
    assert (probabilities > 1).all()
