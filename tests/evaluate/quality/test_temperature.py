"""Temperatures that are known are found again, and stored in a bundle without a word of it lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, softmax

from masksup_med.bundle import Bundle, copy_bundle
from masksup_med.errors import SettingError
from masksup_med.evaluate.quality.temperature import Calibration, check_place, store_temperature
from tests.bundle.bundles import blank_copy, write_bundle

SIZE = 100, 120


def sample(classes: int, seed: int, spread: float = 2) -> tuple[np.ndarray, np.ndarray]:
    """Logits that can be believed, shape (classes, H, W), and labels that were drawn from them."""
    random = np.random.default_rng(seed)
    logits = spread * random.normal(size=(classes, *SIZE))
    if classes == 1:
        return logits, (random.random(SIZE) < expit(logits[0])).astype(np.uint8)
    sums = softmax(logits, axis=0).cumsum(axis=0)
    return logits, (random.random(SIZE) > sums[:-1]).sum(axis=0).astype(np.uint8)


def calibration(classes: int, factor: float, by: float = 1, images: int = 5) -> Calibration:
    """Of a network whose logits are too large by a factor, and are divided by a temperature."""
    gathered = Calibration()
    for seed in range(images):
        logits, label = sample(classes, seed)
        said = logits * factor / by
        gathered.add((expit(said) if classes == 1 else softmax(said, axis=0)).astype(np.float32), label)
    return gathered


@pytest.mark.parametrize("factor", [0.5, 1, 2, 3])
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_a_known_temperature_is_found_again(classes: int, factor: float) -> None:
    assert calibration(classes, factor).temperature() == pytest.approx(factor, rel=0.05)


@pytest.mark.parametrize("classes", [1, 4])
def test_with_it_probabilities_can_be_believed(classes: int) -> None:
    before = calibration(classes, 2)
    after = calibration(classes, 2, by=before.temperature())
    assert before.error > 0.05 and after.error < before.error / 4
    assert after.temperature() == pytest.approx(1, rel=0.02)


def test_the_same_images_give_the_same_temperature_to_three_digits() -> None:
    first, second = (calibration(1, 2).temperature() for _ in range(2))
    assert first == second == float(f"{first:.3g}")


def test_each_image_has_as_much_weight_as_any_other_but_smaller_ones() -> None:
    gathered = Calibration()
    for size in ((10, 10), (300, 300), (500, 500)):
        gathered.add(np.full((1, *size), 0.5, np.float32), np.zeros(size, np.uint8))
    assert [len(each.label) for each in gathered._pixels] == [100, 4096, 4096]
    assert gathered.bins[:, 0].sum() == 100 + 300**2 + 500**2  # the error is of all pixels


def with_void(error: bool) -> float:
    logits, label = sample(3, 0)
    probability, gathered = softmax(2 * logits, axis=0).astype(np.float32), Calibration()
    label[:50] = 255
    if error:
        probability[1, :50], probability[[0, 2], :50] = 1, 0
    gathered.add(probability, label)
    return gathered.temperature()


def test_void_takes_no_part_in_the_temperature() -> None:
    assert with_void(error=True) == with_void(error=False) == pytest.approx(2, rel=0.1)


def test_void_takes_no_part_in_the_calibration_error() -> None:
    probability, label = np.zeros((3, 10, 10), np.float32), np.zeros((10, 10), np.uint8)
    probability[0], label[:5] = 1, 255  # all of it is rightly background, or nobody knows
    gathered = Calibration()
    gathered.add(probability, label)
    assert gathered.error == 0


def test_probabilities_of_0_and_1_are_no_obstacle() -> None:
    right, wrong = Calibration(), Calibration()
    label = (np.arange(400).reshape(20, 20) % 3 == 0).astype(np.uint8)
    right.add(label[None].astype(np.float32), label)
    wrong.add(1 - label[None].astype(np.float32), label)
    assert 0.05 <= right.temperature() < 0.5 and 10 < wrong.temperature() <= 20
    assert right.error == 0 and 0 < wrong.error <= 1


def test_a_little_above_1_as_resampling_makes_it_is_1() -> None:
    gathered = Calibration()
    gathered.add(np.full((1, 4, 4), 1.0000001, np.float32), np.ones((4, 4), np.uint8))
    gathered.add(np.full((1, 4, 4), -1e-7, np.float32), np.zeros((4, 4), np.uint8))
    assert gathered.error == 0 and np.isfinite(gathered.temperature())


# in the bundle


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    folder = blank_copy("polyp_masksup", tmp_path / "polyp")
    (folder / "models" / "model.pt").write_bytes(b"some")
    return folder


def inference(folder: Path) -> Path:
    return folder / "configs" / "inference.yaml"


def test_only_the_number_changes(shipped: Path) -> None:
    before = inference(shipped).read_text(encoding="utf-8")
    store_temperature(Bundle.open(shipped), 1.83)
    after = inference(shipped).read_text(encoding="utf-8")
    assert after == before.replace("temperature: 1.0  #", "temperature: 1.83  #") != before
    assert Bundle.open(shipped).config["temperature"] == 1.83
    store_temperature(Bundle.open(shipped), 1.0)
    assert inference(shipped).read_text(encoding="utf-8") == before
    assert sorted(path.name for path in inference(shipped).parent.glob(".*")) == []


@pytest.mark.parametrize("temperature", [0.05, 0.0512, 20.0, 1e-5, 12.3])
def test_what_is_written_is_read_as_a_number(shipped: Path, temperature: float) -> None:
    store_temperature(Bundle.open(shipped), temperature)
    assert float(Bundle.open(shipped).config["temperature"]) == temperature


@pytest.mark.parametrize("name", ["polyp_masksup", "gland_masksup"])
def test_bundles_that_come_with_the_package_have_a_place(tmp_path: Path, name: str) -> None:
    folder = copy_bundle(name, tmp_path / name)
    (folder / "models" / "model.pt").write_bytes(b"some")
    check_place(Bundle.open(folder))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\ntemperature: 1.0", "\n# temperature: 1.0"),
        ("\ntemperature: 1.0", "\n"),
        ("\ntemperature: 1.0", "\ntemperature:"),
        ("TemperatureScalingd", "Identityd"),
    ],
)
def test_bundles_without_a_place_are_refused(shipped: Path, old: str, new: str) -> None:
    text = inference(shipped).read_text(encoding="utf-8")
    assert old in text
    inference(shipped).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(SettingError, match=r"inference\.yaml has no temperature; add `temperature: 1\.0`"):
        check_place(Bundle.open(shipped))


def test_a_temperature_that_is_a_reference_elsewhere_stays(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "own", temperature=1.0)
    text = inference(folder).read_text(encoding="utf-8")
    assert "'@temperature'" in text
    store_temperature(Bundle.open(folder), 2.5)
    assert inference(folder).read_text(encoding="utf-8") == text.replace("\ntemperature: 1.0", "\ntemperature: 2.5")
