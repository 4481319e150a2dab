"""What the numbers in files mean."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from masksup_med.errors import DataError
from masksup_med.evaluate.reading import (
    holds_numbers,
    read_classes,
    read_foreground,
    read_numbers,
    read_objects,
    read_probability,
)
from tests.evaluate.masks import square


@pytest.fixture
def save(tmp_path):
    def save(name, values):
        Image.fromarray(np.asarray(values)).save(tmp_path / name)
        return tmp_path / name

    return save


def test_binary_predictions(save):
    mask, numbers = save("mask.png", square(5, 5, 10)), save("numbers.png", square(5, 5, 10) // 255)
    timid = save("timid.png", square(5, 5, 10) // 255)  # a map that gives 1/255 at most
    sure = save("sure.png", square(5, 5, 10) // 2)
    Image.fromarray(np.maximum(square(5, 5, 10), square(0, 0, 9) // 3)).save(sure)
    assert holds_numbers([numbers]) and not holds_numbers([mask]) and not holds_numbers([timid, sure])
    with pytest.raises(DataError, match=r"two ways, .*numbers\.png with 0 and 1, .*mask\.png with 0 and white"):
        holds_numbers([numbers, mask])
    assert read_probability(numbers, numbers=True).max() == 1
    assert read_probability(timid, numbers=False).max() == 1 / 255
    assert holds_numbers([]) and holds_numbers([save("black.png", np.zeros((4, 4), np.uint8))])


def test_maps_of_8_and_16_bits(save):
    eight, sixteen = np.uint8([[0, 127, 128, 255]]), np.uint16([[0, 32767, 32768, 65535]])
    for name, values in (("8.png", eight), ("16.png", sixteen)):
        probability = read_probability(save(name, values), numbers=False)
        assert probability.tolist() == (values / values.max()).tolist()
        assert (probability > 0.5).tolist() == [[False, False, True, True]]


def test_classes_are_no_masks(save):
    with pytest.raises(DataError, match=r"largest value in the predictions is 3, in .*many\.png"):
        holds_numbers([save("one.png", np.uint8([[0, 1]])), save("many.png", np.uint8([[0, 1, 2, 3]]))])


def test_objects(save):
    two = square(5, 5, 10) + square(20, 20, 10)
    assert np.unique(read_objects(save("mask.png", two))).tolist() == [0, 1, 2]
    assert np.unique(read_objects(save("numbers.png", two // 255))).tolist() == [0, 1, 2]
    corner = square(5, 5, 10) + square(15, 15, 10)
    assert read_objects(save("corner.png", corner)).max() == 1  # 8-connected
    torn = (two // 255).astype(np.uint16) * 700
    torn[0, 0] = 300
    assert np.unique(read_objects(save("labels.png", torn))).tolist() == [0, 300, 700]  # one object in two pieces
    assert read_objects(save("black.png", np.zeros((5, 5), np.uint8))).max() == 0
    many = (two // 255).astype(np.uint8)
    many[20:, 20:] *= 250
    assert np.unique(read_objects(save("few.png", many))).tolist() == [0, 1, 250]  # no noise of black and white


def test_noisy_black_and_white_is_a_mask(tmp_path):
    Image.fromarray(square(8, 8, 16, (64, 64)) + square(40, 40, 16, (64, 64))).save(tmp_path / "m.jpg", quality=90)
    assert read_objects(tmp_path / "m.jpg").max() == 2


@pytest.mark.parametrize(("white", "kind"), [(255, np.uint8), (65535, np.uint16)])
@pytest.mark.parametrize("width", [3, 30])
def test_maps_are_no_objects(save, white, kind, width):
    down, right = np.mgrid[:150, :200]
    one_smooth_disc = 1 / (1 + np.exp((np.hypot(down - 75, right - 100) - 40) / width))
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(150, 200)), width)
    many = (noise - noise.min()) / np.ptp(noise)
    for name, probability in (("disc.png", one_smooth_disc), ("many.png", many)):
        with pytest.raises(DataError, match=f"{name} is neither a mask nor a map of objects"):
            read_objects(save(name, (probability * white).astype(kind)))


def test_classes(save):
    label, pred = save("label.png", np.uint8([[1, 2, 0, 255]])), save("pred.png", np.uint8([[2, 2, 7, 9]]))
    guess, truth = read_classes(pred, label, [1, 2])  # what is predicted where the label is void does not matter
    assert guess.tolist() == [[2, 2, 7, 9]] and truth.tolist() == [[1, 2, 0, 255]]
    assert read_classes(None, label, [1, 2])[0].tolist() == [[-1] * 4]
    with pytest.raises(DataError, match=r"label\.png has the value 2, which is none of the 1 classes"):
        read_classes(pred, label, [1])
    with pytest.raises(DataError, match=r"strange\.png has the value 3"):
        read_classes(save("strange.png", np.uint8([[3, 1, 1, 1]])), label, [1, 2])


def test_labels_whose_values_stand_for_classes(save):
    label, pred = save("label.png", np.uint8([[10, 30, 20]])), save("pred.png", np.uint8([[0, 2, 2]]))
    assert read_numbers(label).tolist() == [[10, 30, 20]]
    assert read_numbers(label, [10, 20, 30]).tolist() == [[0, 2, 1]]
    assert read_foreground(label, [10, 20, 30]).tolist() == [[False, True, True]]
    guess, truth = read_classes(pred, label, [0, 1, 2], [10, 20, 30])
    assert guess.tolist() == [[0, 2, 2]] and truth.tolist() == [[0, 2, 1]]
    colours = save("colours.png", np.uint8([[[0, 0, 0], [255, 0, 0]]]))
    assert read_foreground(colours, ["000000", "ff0000"]).tolist() == [[False, True]]
    with pytest.raises(DataError, match=r"label\.png has the value 20 at 1 pixels"):
        read_numbers(label, [10, 30])
