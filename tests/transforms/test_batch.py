"""Batches are moved as SciPy moves single images; intensities change within their bounds."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from masksup_med.transforms import RandBatchAffined, RandBatchGammad, RandBatchIntensityd


def batch(count=4, size=(40, 60), seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(count, 3, *size, generator=generator)
    return {"image": image, "label": (image[:, :1] > 0.6).float()}


def moved(image, angle, zoom, mirror, shift, size):
    """One image, its middle ``size``, turned, mirrored and scaled about its centre; rows and columns in pixels."""
    rows, columns = np.meshgrid(*(np.arange(side) - (side - 1) / 2 for side in size), indexing="ij")
    x, y = mirror[0] * columns / zoom, mirror[1] * rows / zoom
    source_x = np.cos(angle) * x - np.sin(angle) * y + shift[0] * image.shape[1] + (image.shape[1] - 1) / 2
    source_y = np.sin(angle) * x + np.cos(angle) * y + shift[1] * image.shape[0] + (image.shape[0] - 1) / 2
    return map_coordinates(image, [source_y, source_x], order=1, mode="reflect")


@pytest.mark.parametrize("size", [(40, 60), (32, 32), (24, 50)])
def test_as_scipy_does(size):
    """Read the random numbers back from the matrices, and do the same by coordinates in pixels."""
    data = batch()
    transform = RandBatchAffined(
        "image", rotate_range=3, scale_range=0.3, translate_range=0.1, flip_prob=0.5, spatial_size=size
    )
    result = transform.set_random_state(3)(data)["image"]
    assert result.shape == (4, 3, *size)
    matrices = transform.set_random_state(3)._matrices(4, (40, 60), size).astype(float)
    for image, matrix, found in zip(data["image"].numpy(), matrices, result.numpy(), strict=True):
        pixels = matrix[:, :2] * np.array([[60], [40]]) / np.array([size[::-1]])  # between pixels
        zoom = 1 / np.sqrt(abs(np.linalg.det(pixels)))
        turn = pixels * zoom
        np.testing.assert_allclose(turn @ turn.T, np.eye(2), atol=1e-6)  # nothing is sheared
        flip = np.sign(np.linalg.det(turn))
        angle = np.arctan2(turn[1, 0], turn[0, 0])
        expected = moved(image[0], angle, zoom, (1, flip), matrix[:, 2] / 2, size)
        np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_nothing_random_changes_nothing():
    data = batch()
    result = RandBatchAffined(["image", "label"], prob=0, rotate_range=3, scale_range=0.5, translate_range=0.5)(data)
    torch.testing.assert_close(result["image"], data["image"], atol=1e-5, rtol=0)
    torch.testing.assert_close(result["label"], data["label"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("seed", "axes"), [(0, None), (1, None), (2, None), (5, None)])
def test_flips_are_those_of_torch(seed, axes):
    data = batch(count=8)
    result = RandBatchAffined("image", prob=0, flip_prob=0.5).set_random_state(seed)(data)["image"]
    kinds = [(), (1,), (2,), (1, 2)]
    found = [
        [axes for axes in kinds if torch.allclose(after, before.flip(axes) if axes else before, atol=1e-5)]
        for before, after in zip(data["image"], result, strict=True)
    ]
    assert all(len(each) == 1 for each in found)
    assert len({each[0] for each in found}) > 1


def test_label_and_image_move_together():
    data = batch()
    data["image"] = data["label"].expand(-1, 3, -1, -1).clone()
    transform = RandBatchAffined(["image", "label"], ["nearest", "nearest"], 1, 3, 0.2, 0.1, 0.5)
    result = transform.set_random_state(0)(data)
    assert set(result["label"].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(result["image"][:, :1], result["label"])
    assert not torch.equal(result["label"], data["label"])


def test_bytes_come_in_and_numbers_go_out():
    data = {"image": torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)}
    assert RandBatchAffined("image", rotate_range=1)(data)["image"].dtype == torch.float32
    assert data["image"].dtype == torch.uint8


@pytest.mark.parametrize(
    "transform",
    [
        RandBatchAffined("image", rotate_range=1, translate_range=0.1, flip_prob=0.5),
        RandBatchIntensityd("image", factors=0.2, offsets=0.1),
        RandBatchGammad("image", gamma=2),
    ],
)
def test_the_seed_decides_and_images_differ(transform):
    data = {"image": batch(count=1)["image"].expand(3, -1, -1, -1)}
    first, again = (transform.set_random_state(4)(data)["image"] for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, transform(data)["image"])
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("size", [(8, 9), (5, 6, 7)])
def test_intensities_keep_their_bounds(size):
    ones = {"image": torch.ones(200, 3, *size)}
    result = RandBatchIntensityd("image", prob=0.5, factors=0.2, offsets=0.3).set_random_state(0)(ones)["image"]
    levels = result.flatten(2)
    assert torch.equal(levels.amin(2), levels.amax(2))  # a number for each channel
    levels = levels[..., 0]
    assert 0.5 <= levels.min() < 0.6 and 1.4 < levels.max() <= 1.5
    untouched = (levels == 1).all(1).float().mean()
    assert 0.15 < untouched < 0.35  # neither scaled nor shifted: a quarter


def test_intensities_stay_without_chance():
    data = batch()
    assert torch.equal(RandBatchIntensityd("image", prob=0, factors=0.5, offsets=1)(data)["image"], data["image"])


@pytest.mark.parametrize("size", [(8, 9), (5, 6, 7)])
def test_gamma_keeps_black_and_white_and_its_bounds(size):
    greys = torch.full((300, 3, *size), -0.5)  # a quarter of white
    greys[..., 0], greys[..., 1] = -1.0, 1.0
    result = RandBatchGammad("image", prob=0.75, gamma=2).set_random_state(0)({"image": greys})["image"]
    assert torch.equal(result[..., :2], greys[..., :2])
    powers = (torch.log((result[..., 2:] + 1) / 2) / np.log(0.25)).flatten(2)
    torch.testing.assert_close(powers.amin(2), powers.amax(2))  # a power for each channel
    powers = powers[..., 0]
    assert 0.5 <= powers.min() < 0.52 and 1.95 < powers.max() <= 2
    changed = powers[(powers - 1).abs().amax(1) > 1e-6]
    assert 0.7 < len(changed) / 300 < 0.8
    assert torch.log2(changed).mean().abs() < 0.05  # as many brighter as darker


def test_gamma_takes_what_is_out_of_bounds():
    image = {"image": torch.tensor([-1.5, 1.5]).reshape(1, 1, 1, 2)}
    assert RandBatchGammad("image", gamma=2)(image)["image"].flatten().tolist() == [-1, 1]


class Given:
    """A random state that gives what is wanted of uniform numbers, as shares of their range, and no chance."""

    def __init__(self, *shares):
        self.shares = list(shares)

    def rand(self, *shape):
        return np.full(shape, 0.5)

    def uniform(self, low, high, shape):
        return np.broadcast_to(low + (high - low) * np.asarray(self.shares.pop(0)), shape)


def affine(data, angle=0.5, zoom=0.5, shift=0.5, **settings):
    """Move a batch with given draws, as shares of their ranges: a half is no change."""
    transform = RandBatchAffined(list(data), "nearest", **settings)
    transform.R = Given(angle, zoom, shift)
    return transform(data)


@pytest.mark.parametrize(("share", "turns"), [(1.0, 1), (0.0, -1)])
def test_a_quarter_turn_is_that_of_torch(share, turns):
    data = batch(size=(32, 32))
    result = affine(data, angle=share, rotate_range=np.pi / 2)
    for key, images in data.items():
        assert torch.equal(result[key], torch.rot90(images, turns, (2, 3))), key


def test_a_half_turn_of_what_is_not_square():
    data = batch(size=(30, 44))
    result = affine(data, angle=1.0, rotate_range=np.pi)
    assert torch.equal(result["image"], data["image"].flip(2, 3))


@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, 1), (-1, 1)])
def test_shifts_are_shares_of_each_side(down, right):
    """Horizontal ones of the width, vertical ones of the height: 12 of 60 and 8 of 40 pixels."""
    data = batch(size=(40, 60))
    shift = np.array([(right + 1) / 2, (down + 1) / 2])
    found = affine(data, shift=shift, translate_range=0.2)["image"][:, :, 8:-8, 12:-12]
    expected = torch.roll(data["image"], (-8 * down, -12 * right), (2, 3))[:, :, 8:-8, 12:-12]
    assert torch.equal(found, expected)


@pytest.mark.parametrize(("share", "factor"), [(1.0, 2.0), (0.0, 0.5)])
def test_the_ends_of_the_scale_range(share, factor):
    """A square of 16 pixels is shown with 32, and with 8."""
    image = torch.zeros(1, 1, 48, 64)
    image[..., 16:32, 24:40] = 1
    shown = affine({"image": image}, zoom=share, scale_range=1.0)["image"]
    shown = shown[..., 4:44, 16:48]  # further out, it is mirrored
    assert shown.sum() == (16 * factor) ** 2
    assert shown[0, 0].any(0).sum() == shown[0, 0].any(1).sum() == 16 * factor


def test_scales_stay_in_their_range():
    transform = RandBatchAffined("image", scale_range=0.25, rotate_range=3).set_random_state(0)
    matrices = transform._matrices(2000, (40, 60), (40, 60))
    zoom = np.abs(np.linalg.det(matrices[:, :, :2])) ** -0.5  # sides of equal share: the determinant is that of pixels
    assert 0.8 - 1e-5 <= zoom.min() < 0.805 and 1.245 < zoom.max() <= 1.25 + 1e-5
    assert (zoom > 1).mean() == pytest.approx(0.5, abs=0.05)


def test_chance_is_that_of_each_image():
    transform = RandBatchAffined("image", prob=0.3, translate_range=0.1).set_random_state(0)
    still = (transform._matrices(2000, (8, 8), (8, 8)) == np.eye(2, 3)).all((1, 2)).mean()
    assert still == pytest.approx(0.7, abs=0.04)


@pytest.mark.parametrize("size", [(17, 23), (352, 352)])
def test_labels_are_the_same_bit_by_bit_where_nothing_moves(size):
    data = {"label": (torch.arange(2 * size[0] * size[1]) % 7).reshape(2, 1, *size).to(torch.uint8)}
    assert torch.equal(RandBatchAffined("label", "nearest", prob=0)(data)["label"], data["label"].float())
    tight = tuple(side - 4 for side in size)
    middle = RandBatchAffined("label", "nearest", prob=0, spatial_size=tight)(data)["label"]
    assert torch.equal(middle, data["label"][..., 2:-2, 2:-2].float())


def test_class_numbers_stay_class_numbers():
    label = torch.randint(0, 5, (4, 1, 33, 21), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    transform = RandBatchAffined("label", "nearest", rotate_range=3, scale_range=0.2, flip_prob=0.5)
    assert set(transform.set_random_state(0)({"label": label})["label"].unique().tolist()) == {0, 1, 2, 3, 4}


def test_what_is_not_named_stays():
    data = {**batch(), "name": ["a", "b", "c", "d"]}
    result = RandBatchAffined("image", rotate_range=1)(data)
    assert result["label"] is data["label"] and result["name"] is data["name"]
    assert data["image"] is not result["image"]
