"""Brier score and calibration error against scikit-learn, bins against a loop and by hand."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from masksup_med.metrics.calibration import BINS, brier, expected_calibration_error, reliability_bins


def image(kind, seed=0, shape=(23, 31)):
    """Probabilities, none of them on an edge between bins, and a label that they fit badly."""
    rng = np.random.default_rng(seed)
    probability = rng.random(shape)
    if kind == "8 bits":
        values = [value for value in range(256) if value % 17 or value in (0, 255)]
        probability = rng.choice(values, shape) / 255
    elif kind == "only 0 and 1":
        probability = probability.round()
    elif kind == "few bins":
        probability = rng.choice([0.01, 0.45, 0.9], shape)
    elif kind == "32 bits":
        probability = probability.astype(np.float32)
    return probability, rng.random(shape) < probability**2


KINDS = ["64 bits", "32 bits", "8 bits", "only 0 and 1", "few bins"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("foreground", ["some", "none", "all"])
def test_like_scikit_learn(kind, foreground):
    probability, label = image(kind)
    if foreground != "some":
        label[:] = foreground == "all"
    flat = label.ravel().astype(int), probability.ravel()
    assert brier(probability, label) == pytest.approx(brier_score_loss(*flat, pos_label=1), rel=1e-6, abs=1e-12)
    frequency, confidence = calibration_curve(*flat, strategy="uniform", n_bins=BINS, pos_label=1)
    pixels = np.histogram(probability, BINS, (0, 1))[0]
    expected = np.abs(frequency - confidence) @ pixels[pixels > 0] / pixels.sum()
    bins = reliability_bins(probability, label)
    assert expected_calibration_error(bins) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    np.testing.assert_array_equal(bins[:, 0], pixels)


@pytest.mark.parametrize("kind", KINDS)
def test_bins_like_a_loop(kind):
    probability, label = image(kind, shape=(1, 300))
    expected = np.zeros((15, 3))
    for p, y in zip(probability[0].tolist(), label[0].tolist(), strict=True):
        number = next(k for k in range(15) if p < (k + 1) / 15 or k == 14)
        expected[number] += 1, p, y
    np.testing.assert_allclose(reliability_bins(probability, label), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bin_holds_its_lower_edge_and_the_last_both(dtype):
    for edges in (np.arange(0, 256, 17, dtype) / dtype(255), (np.arange(16) / 15).astype(dtype)):
        pixels = reliability_bins(edges[None], np.zeros((1, 16), bool))[:, 0]
        np.testing.assert_array_equal(pixels, [1] * 14 + [2])


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("prevalence", [0, 3, 1600])
def test_one_probability_everywhere(value, prevalence):
    probability, label = np.full((40, 40), value), np.arange(1600).reshape(40, 40) < prevalence
    distance = abs(value - prevalence / 1600)
    assert expected_calibration_error(reliability_bins(probability, label)) == pytest.approx(distance, abs=1e-12)
    expected = (prevalence * (1 - value) ** 2 + (1600 - prevalence) * value**2) / 1600
    assert brier(probability, label) == pytest.approx(expected, abs=1e-12)


def test_bins_of_several_images_add_up():
    images = [image("64 bits", seed) for seed in range(3)]
    added = sum(reliability_bins(*each) for each in images)
    probability, label = (np.concatenate(parts) for parts in zip(*images, strict=True))
    np.testing.assert_allclose(added, reliability_bins(probability, label), rtol=1e-12)
    of_images = np.stack([reliability_bins(*each) for each in images])
    one_by_one = [expected_calibration_error(each) for each in of_images]
    np.testing.assert_allclose(expected_calibration_error(of_images), one_by_one, rtol=1e-12)
    assert expected_calibration_error(of_images).shape == (3,)
    assert expected_calibration_error(of_images[None, :2]).shape == (1, 2)
