"""What a data set looks like, against what is counted another way."""

import threading
import time

import numpy as np
import pytest
from scipy import ndimage

from masksup_med.errors import DataError, SettingError
from masksup_med.train import survey as module
from masksup_med.train.survey import survey
from tests.train.made import coloured, data_set, items_of, noise, squares, surveyed, write

RED, GREEN, BLACK, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 0), (255, 255, 255)


def surveyed_labels(tmp_path, labels, classes=()):
    return survey(items_of(data_set(tmp_path, labels)), classes)


def random_labels(values, count=4, size=(48, 60)):
    """Blobs of some values."""
    found = []
    for seed in range(count):
        smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), 3)
        edges = np.quantile(smooth, np.linspace(0.5, 1, len(values) + 1)[:-1])
        found.append(np.array([0, *values], np.uint8)[np.digitize(smooth, edges)])
    return found


def diameters(labels):
    """Of connected areas of one value each, touching at corners or sides."""
    areas = []
    for label in labels:
        for value in np.unique(label[label > 0]):
            pieces, count = ndimage.label(label == value, np.ones((3, 3)))
            areas += ndimage.sum_labels(np.ones_like(pieces), pieces, range(1, count + 1)).tolist()
    return 2 * np.sqrt(np.array(areas) / np.pi)


@pytest.mark.parametrize("values", [(255,), (127, 255), (3, 9, 20)])
def test_shares_presence_and_diameters(values, tmp_path):
    labels = [*random_labels(values), np.zeros((48, 60), np.uint8)]
    seen = surveyed_labels(tmp_path, labels)
    stack = np.stack(labels)
    classes = (0, *values)
    assert seen.shares == pytest.approx([np.mean(stack == value) for value in classes])
    assert seen.present.tolist() == [[bool((label == value).any()) for value in classes] for label in labels]
    assert seen.empty == 1
    assert seen.diameter == pytest.approx(np.median(diameters(labels)))


def test_colours_are_counted_as_numbers_are(tmp_path):
    labels = random_labels((1, 2))
    plain = surveyed_labels(tmp_path / "a", labels, ("1:a", "2:b"))
    seen = surveyed_labels(tmp_path / "b", [coloured(label, [BLACK, GREEN, RED]) for label in labels])
    assert (seen.shares, seen.diameter) == (plain.shares, plain.diameter)
    np.testing.assert_array_equal(seen.present, plain.present)
    assert seen.drawn.values == ("000000", "00ff00", "ff0000")


def test_objects_on_white_are_as_large_as_on_black(tmp_path):
    sizes = [
        surveyed_labels(tmp_path / name, [coloured(squares(1), [background, RED])] * 3).diameter
        for name, background in (("a", BLACK), ("b", WHITE))
    ]
    assert sizes[0] == sizes[1]


def test_one_coloured_label_makes_all_coloured(tmp_path):
    grey = squares(255)
    seen = surveyed_labels(tmp_path, [grey, coloured(squares(1), [BLACK, RED])])
    assert seen.drawn.values == ("000000", "ff0000", "ffffff")
    assert seen.shares == pytest.approx([1 - 256 / 4096, 128 / 4096, 128 / 4096])


def test_noise_of_jpeg_counts_as_what_it_was(tmp_path):
    images, labels = data_set(tmp_path, [squares(255)] * 3)
    for path in sorted(labels.iterdir()):
        write(path.with_suffix(".jpg"), squares(255), quality=75)
        path.unlink()
    items = [{"image": str(path), "label": str(labels / f"{path.stem}.jpg")} for path in sorted(images.iterdir())]
    seen = survey(items)
    assert seen.drawn.kind == "mask" and seen.shares[1] == pytest.approx(256 / 4096, rel=0.05)
    assert seen.diameter == pytest.approx(np.sqrt(4 * 256 / np.pi), rel=0.05)


def test_intensities_and_sizes(tmp_path):
    sizes = [(64, 64), (64, 96), (80, 128)]
    folders = data_set(tmp_path, [squares(1, size=size) for size in sizes])
    seen = survey(items_of(folders))
    pixels = np.concatenate([noise(number, size).reshape(-1, 3) for number, size in enumerate(sizes)])
    mean, deviation = seen.mean_and_deviation
    np.testing.assert_allclose(mean, pixels.mean(axis=0))
    np.testing.assert_allclose(deviation, pixels.std(axis=0))
    np.testing.assert_allclose(seen.percentiles(0.005, 0.5, 0.995), np.quantile(pixels, (0.005, 0.5, 0.995)), atol=1)
    assert seen.size == (96, 64) and seen.sizes == ((64, 64), (128, 80)) and not seen.grey
    assert [picture.size for picture in seen.pictures] == [size[::-1] for size in sizes]


def test_grey_images(tmp_path):
    images, labels = data_set(tmp_path, [squares(1)] * 3)
    for number, path in enumerate(sorted(images.iterdir())):
        write(path, noise(number)[..., 0])
    seen = survey(items_of((images, labels)))
    assert seen.grey
    np.testing.assert_array_equal(seen.histogram[0], seen.histogram[2])
    write(images / "00.png", noise(0))
    assert not survey(items_of((images, labels))).grey


def test_images_of_one_value_have_no_deviation():
    mean, deviation = surveyed(levels=(77, 77)).mean_and_deviation
    np.testing.assert_allclose(mean, 77)
    np.testing.assert_allclose(deviation, 0, atol=1e-6)


def test_threads_give_what_a_loop_does(tmp_path, monkeypatch):
    items = items_of(data_set(tmp_path, random_labels((255,), count=12)))
    side_by_side = survey(items)
    monkeypatch.setattr(module, "_all", lambda function, items, what: [function(item) for item in items])
    in_a_row = survey(items)
    np.testing.assert_array_equal(side_by_side.present, in_a_row.present)
    assert side_by_side[1:3] == in_a_row[1:3] and side_by_side.diameter == in_a_row.diameter
    for one, other in zip(side_by_side.pictures, in_a_row.pictures, strict=True):
        assert (one.size, one.grey, one.digest) == (other.size, other.grey, other.digest)
        np.testing.assert_array_equal(one.thumbnail, other.thumbnail)
        np.testing.assert_array_equal(one.histogram, other.histogram)


def spoilt(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_an_unreadable_image_is_named(tmp_path):
    items = items_of(data_set(tmp_path, [squares(1)] * 4))
    spoilt(tmp_path / "images" / "02.png")
    with pytest.raises(DataError, match=r"images/02\.png") as caught:
        survey(items)
    assert "first of" not in str(caught.value)


def test_it_is_told_how_many_cannot_be_read(tmp_path):
    items = items_of(data_set(tmp_path, [squares(1)] * 4))
    for number in (1, 3):
        spoilt(tmp_path / "labels" / f"{number:02}.png")
    with pytest.raises(DataError, match=r"labels/0[13]\.png.* \(This is the first of 2 among 4 images\.\)$"):
        survey(items)


def test_the_first_of_the_list_is_named_whichever_thread_is_faster(monkeypatch):
    failed = threading.Event()

    def look(item):
        if item["image"] == "a":
            failed.wait(5)
            time.sleep(0.02)
        else:
            failed.set()
        raise DataError(f"Image {item['image']} is broken.")

    monkeypatch.setattr(module.os, "cpu_count", lambda: 2)
    with pytest.raises(DataError, match="Image a is broken"):
        module._all(look, [{"image": "a"}, {"image": "b"}], "look")


def test_labels_that_show_nothing_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"All 3 labels are empty, such as .*00\.png"):
        surveyed_labels(tmp_path, [squares()] * 3)


def test_doubts_about_labels_come_through(tmp_path):
    with pytest.raises(SettingError, match="which may be classes or numbered objects"):
        surveyed_labels(tmp_path, [squares(1, 2)] * 3)
