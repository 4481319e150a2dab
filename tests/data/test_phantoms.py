from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from masksup_med.data.phantoms import TASKS, gland_phantom, polyp_phantom, write_phantoms
from masksup_med.errors import SettingError

SIZES = [(64, 64), (72, 101), (130, 66)]


def draw_many(task, count, size, seed=0):
    return [TASKS[task](size, np.random.default_rng([seed, index])) for index in range(count)]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", SIZES)
def test_shapes_and_types(task, size):
    image, label = TASKS[task](size, np.random.default_rng(3))
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8
    assert label.shape == size
    assert label.dtype == {"polyp": np.uint8, "gland": np.uint16}[task]
    assert image.std() > 10


@pytest.mark.parametrize("task", TASKS)
def test_one_state_of_the_generator_gives_one_image(task):
    once, again, other = (TASKS[task]((64, 80), np.random.default_rng(seed)) for seed in (5, 5, 6))
    for drawn, repeated in zip(once, again, strict=True):
        np.testing.assert_array_equal(drawn, repeated)
    assert (once[0] != other[0]).any()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [(63, 80), (80, 10), (96,), (64, 64, 3)])
def test_size_that_cannot_be_drawn(task, size, tmp_path):
    for draw in (lambda: TASKS[task](size, np.random.default_rng(0)), lambda: write_phantoms(task, tmp_path, 1, size)):
        with pytest.raises(SettingError, match=r"size is \(.*64 or more"):
            draw()
    assert not list(tmp_path.iterdir())


def test_polyps_are_of_many_sizes_and_some_frames_have_none():
    masks = [mask for _, mask in draw_many("polyp", 150, (64, 80))]
    assert {value for mask in masks for value in np.unique(mask)} == {0, 255}
    shares = np.array([(mask > 0).mean() for mask in masks])
    assert 0.02 < (shares == 0).mean() < 0.14
    found = shares[shares > 0]
    assert found.min() < 0.03
    assert 0.15 < found.max() < 0.35
    assert 0.06 < np.median(found) < 0.14


def test_polyps_show_by_their_rim():
    """The dark rim of a bump, and not a step in colour, is what marks a polyp."""
    inside, rim, around = [], [], []
    for image, mask in draw_many("polyp", 40, (96, 120)):
        out = ndimage.distance_transform_edt(mask == 0)
        grey = image.mean(axis=-1)
        if mask.any():
            inside.append(grey[mask > 0].mean())
            rim.append(grey[(out > 0) & (out < 3)].mean())
            around.append(grey[(out > 8) & (out < 14)].mean())
    assert np.mean(rim) < np.mean(around) - 5
    assert np.mean(rim) < np.mean(inside) - 5


def test_every_gland_is_one_piece_with_a_number_of_its_own():
    for _, glands in draw_many("gland", 30, (64, 80)):
        count = glands.max()
        assert 4 <= count <= 15
        assert set(np.unique(glands)) == set(range(count + 1))
        assert all(ndimage.label(glands == number)[1] == 1 for number in range(1, count + 1))


def test_some_glands_touch_and_some_are_cut_by_the_border():
    fields = [glands for _, glands in draw_many("gland", 20, (64, 80))]
    touching = [(g[:, 1:] != g[:, :-1]) & (g[:, 1:] > 0) & (g[:, :-1] > 0) for g in fields]
    cut = [g[0].any() or g[-1].any() or g[:, 0].any() or g[:, -1].any() for g in fields]
    assert np.mean([t.any() for t in touching]) > 0.5
    assert np.mean(cut) > 0.5


def test_glands_have_a_dark_band_and_most_a_paler_lumen():
    bands, lumens, stroma = [], [], []
    for image, glands in draw_many("gland", 12, (128, 160)):
        grey, deep = image.mean(axis=-1), ndimage.distance_transform_edt(glands > 0)
        bands.append(grey[(deep > 1) & (deep < 5)].mean())
        lumens.append(grey[deep > 10].mean())
        stroma.append(grey[glands == 0].mean())
    assert np.mean(bands) < np.mean(stroma) - 8
    assert np.mean(lumens) > np.mean(bands) + 20


@pytest.mark.parametrize(("task", "limit"), [("polyp", 0.35), ("gland", 0.6)])
def test_colour_alone_does_not_find_the_targets(task, limit):
    """Bayes' rule on a 16³ colour histogram, at the threshold that suits the held-out images best."""

    def codes_and_targets(seed, count):
        drawn = draw_many(task, count, (80, 100), seed)
        images, labels = (np.stack(arrays) for arrays in zip(*drawn, strict=True))
        return (images // 16).astype(int) @ [256, 16, 1], labels > 0

    codes, targets = codes_and_targets(seed=1, count=60)
    seen = np.bincount(codes.ravel(), minlength=4096)
    posterior = np.bincount(codes.ravel(), weights=targets.ravel(), minlength=4096) / np.maximum(seen, 1)

    codes, targets = codes_and_targets(seed=2, count=30)
    predictions = (posterior[codes] > threshold for threshold in np.linspace(0.02, 0.9, 45))
    ious = [(targets & found).sum() / (targets | found).sum() for found in predictions]
    assert max(ious) < limit


@pytest.mark.parametrize("task", TASKS)
def test_files_hold_what_was_drawn_and_nothing_else_is_left(task, tmp_path):
    write_phantoms(task, tmp_path, 3, size=(64, 80), seed=7)
    names = [f"phantom_000{index}.png" for index in range(3)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "labels"]
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == names
    assert sorted(p.name for p in (tmp_path / "labels").iterdir()) == names
    for name, (image, label) in zip(names, draw_many(task, 3, (64, 80), seed=7), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "images" / name)), image)
        with Image.open(tmp_path / "labels" / name) as written:
            assert written.mode == "L"
            np.testing.assert_array_equal(np.asarray(written), label)


def test_first_images_do_not_depend_on_count_but_on_seed(tmp_path):
    for folder, count, seed in (("few", 1, 0), ("more", 2, 0), ("other", 1, 1)):
        write_phantoms("polyp", tmp_path / folder, count, size=(64, 64), seed=seed)
    few, more, other = (
        (tmp_path / folder / "images" / "phantom_0000.png").read_bytes() for folder in ("few", "more", "other")
    )
    assert few == more
    assert few != other


def test_phantoms_of_an_earlier_run_are_replaced_and_other_files_stay(tmp_path):
    write_phantoms("polyp", tmp_path, 3, size=(64, 64))
    (tmp_path / "images" / "mine.png").write_bytes(b"kept")
    write_phantoms("gland", tmp_path, 2, size=(64, 80))
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == [
        "mine.png",
        "phantom_0000.png",
        "phantom_0001.png",
    ]
    assert Image.open(tmp_path / "labels" / "phantom_0001.png").size == (80, 64)
    assert len(list((tmp_path / "labels").iterdir())) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "liver"}, r"task is 'liver'; give one of polyp, gland\."),
        ({"count": 0}, r"count is 0; .* 1 or more\."),
        ({"seed": -1}, r"seed is -1; .* 0 or more\."),
    ],
)
def test_setting_that_cannot_be_used(settings, message, tmp_path):
    with pytest.raises(SettingError, match=message):
        write_phantoms(**{"task": "polyp", "folder": tmp_path / "new", "count": 1} | settings)
    assert not (tmp_path / "new").exists()


def test_tasks_name_the_drawing_functions():
    assert dict(TASKS) == {"polyp": polyp_phantom, "gland": gland_phantom}
