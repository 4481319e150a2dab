"""A temperature changes how sure a bundle is, and what it finds at edges only."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from masksup_med.bundle import Bundle, Predictor
from masksup_med.bundle.linear import LinearProcessing
from masksup_med.bundle.processing import MonaiProcessing
from masksup_med.errors import MaskSupError, SettingError
from masksup_med.transforms import TemperatureScaling, TemperatureScalingd
from tests.bundle.bundles import (
    ARGMAX,
    FIRST,
    HALF,
    INVERT,
    LOAD,
    SCALE,
    SIGMOID,
    SOFTMAX,
    Step,
    blank_copy,
    brightness_bundle,
    parsed,
    processing,
    resized,
)

pytestmark = pytest.mark.filterwarnings("ignore")
WRONG = [0, 0.0, -1, math.nan, math.inf, "1.0", None]


def scaled(temperature: Any) -> Step:
    return {"_target_": "masksup_med.transforms.TemperatureScalingd", "keys": "pred", "temperature": temperature}


def soft(folder: Path, temperature: Any) -> Path:
    """The logit is (R + G + B) / 127.5 - 3, divided by the temperature."""
    return brightness_bundle(
        folder,
        gain=1,
        temperature=temperature,
        **processing((LOAD, FIRST, resized(24, 32), SCALE), (scaled("@temperature"), SIGMOID, INVERT, HALF)),
    )


def picture_of(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_logits_are_divided(kind: Any) -> None:
    logits = kind(np.array([[-3.0, 0.0, 1.5]], np.float32))
    divided = TemperatureScaling(2)(logits)
    assert type(divided) is type(logits) and divided.dtype == logits.dtype
    assert divided.tolist() == [[-1.5, 0, 0.75]] and logits.tolist() == [[-3, 0, 1.5]]


def test_only_the_logits_of_a_dictionary_are_divided() -> None:
    data = {"pred": torch.tensor([4.0]), "image": torch.tensor([4.0])}
    assert TemperatureScalingd("pred", 4)(data) == {"pred": 1, "image": 4} and data["pred"] == 4
    assert TemperatureScalingd(["pred", "other"], 4, allow_missing_keys=True)(data)["pred"] == 1
    with pytest.raises(KeyError):
        TemperatureScalingd("other", 4)(data)


@pytest.mark.parametrize("temperature", WRONG, ids=str)
def test_what_is_no_temperature_is_refused(temperature: Any) -> None:
    with pytest.raises(SettingError, match=f"temperature is {temperature}; give a number above 0, 1 to leave"):
        TemperatureScaling(temperature)


@pytest.mark.parametrize(
    "temperature",
    WRONG,
    ids=str,
)
def test_bundles_with_what_is_no_temperature_are_refused_in_one_sentence(tmp_path: Path, temperature: Any) -> None:
    bundle = Bundle.open(soft(tmp_path / "bundle", temperature))
    with pytest.raises(MaskSupError, match=r"[Tt]emperature") as caught:
        Predictor(bundle)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_the_sentence_is_that_of_the_transform(tmp_path: Path) -> None:
    with pytest.raises(MaskSupError, match="temperature is 0; give a number above 0"):
        Predictor(Bundle.open(soft(tmp_path / "bundle", 0)))


@pytest.mark.parametrize("temperature", [0.3, 1, 1.0, 2.5, 17])
@pytest.mark.parametrize(
    ("classes", "decision"), [(1, (SIGMOID, INVERT, HALF)), (3, (SOFTMAX, INVERT, ARGMAX))], ids=["one", "three"]
)
def test_fast_processing_as_monai(temperature: float, classes: int, decision: tuple[Step, ...]) -> None:
    before, after = (LOAD, FIRST, resized(37, 21), SCALE), (scaled("@temperature"), *decision)
    config, picture = parsed({**processing(before, after), "temperature": temperature}), picture_of(30, 44)
    ours, theirs = LinearProcessing.of(config), MonaiProcessing(config)
    assert ours is not None and ours.temperature == temperature
    logits = 4 * torch.randn(classes, 37, 21, generator=torch.Generator().manual_seed(0))
    mapped = ours.probabilities(ours.prepare(picture), logits)
    reference = theirs.probabilities(theirs.prepare(picture), logits)
    torch.testing.assert_close(mapped, reference, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(ours.decide(reference).classes, theirs.decide(reference).classes)


@pytest.mark.parametrize(
    "steps",
    [
        (scaled(2), scaled(2), SIGMOID, INVERT, HALF),
        (SIGMOID, scaled(2), INVERT, HALF),
        ({**scaled(2), "keys": ["pred"]}, SIGMOID, INVERT, HALF),
        ({**scaled(2), "allow_missing_keys": True}, SIGMOID, INVERT, HALF),
        ({**scaled(2), "temperature": True}, SIGMOID, INVERT, HALF),
    ],
)
def test_a_temperature_that_stands_elsewhere_is_left_to_monai(steps: tuple[Step, ...]) -> None:
    assert LinearProcessing.of(parsed(processing(after=steps))) is None


def test_a_temperature_changes_how_sure_a_bundle_is_and_what_it_finds_at_edges_only(tmp_path: Path) -> None:
    """Probabilities are resampled after the temperature, so that edges between pixels of the network may move."""
    size = 96, 128  # four pixels for each of the network
    picture = np.kron(picture_of(6, 8), np.ones((16, 16, 1), np.uint8))
    assert picture.shape[:2] == size
    plain, less, more = (
        Predictor(Bundle.open(soft(tmp_path / str(value), value)))(picture) for value in (1.0, 3.0, 0.2)
    )
    for other in (less, more):
        differ = plain.classes != other.classes
        assert differ.mean() < 0.03
        inner = np.zeros(size, bool)
        inner[5::16, 5::16] = inner[10::16, 10::16] = True  # away from the edges of what is of one colour
        assert not differ[inner].any()
    sure = [np.abs(each.probability - 0.5).mean() for each in (less, plain, more)]
    assert sure == sorted(sure) and sure[0] < sure[2] / 2


def test_without_resampling_nothing_that_is_found_changes(tmp_path: Path) -> None:
    found = []
    for value in (0.2, 1.0, 3.0):
        after = (scaled("@temperature"), SIGMOID, INVERT, HALF)
        bundle = brightness_bundle(tmp_path / str(value), gain=1, temperature=value, **processing(after=after))
        found.append(Predictor(Bundle.open(bundle))(picture_of(40, 50)).classes)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


@pytest.mark.parametrize("name", ["polyp_masksup", "gland_masksup"])
def test_bundles_that_come_with_the_package_leave_the_network_as_it_is(name: str, tmp_path: Path) -> None:
    file = blank_copy(name, tmp_path / name) / "configs" / "inference.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert config["temperature"] == 1 and config["postprocessing"]["transforms"][0] == scaled("@temperature")
