from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masksup_med.errors import DataError
from masksup_med.outputs.overlay import CLASS_COLOURS, LABEL_COLOUR, draw_overlay, write_picture


def square(size=40, first=10, last=30):
    mask = np.zeros((size, size + 8), bool)
    mask[first:last, first:last] = True
    return mask


def grey(mask):
    return np.full((*mask.shape, 3), 90, np.uint8)


def drawn(picture, colour):
    return (picture == np.array(colour)).all(axis=-1)


def test_contour_is_the_inner_edge_of_the_region():
    mask = square()
    inside = square(first=11, last=29)
    picture = draw_overlay(grey(mask), mask)
    np.testing.assert_array_equal(drawn(picture, CLASS_COLOURS[0]), mask & ~inside)
    assert (picture[inside | ~mask] == 90).all()


def test_image_is_not_changed():
    mask = square()
    image = grey(mask)
    draw_overlay(image, mask, mask)
    assert (image == 90).all()


@pytest.mark.parametrize(("size", "width"), [(40, 1), (352, 2), (1000, 5)])
def test_line_width_follows_the_size(size, width):
    mask = square(size, size // 4, size // 2)
    row = drawn(draw_overlay(grey(mask), mask), CLASS_COLOURS[0])[size * 3 // 8]
    assert row.sum() == 2 * width


def test_region_that_fills_the_picture_has_a_contour():
    mask = np.ones((20, 30), bool)
    edge = drawn(draw_overlay(grey(mask), mask), CLASS_COLOURS[0])
    assert edge[0].all()
    assert edge[:, -1].all()
    assert not edge[1:-1, 1:-1].any()


def test_label_lies_below_in_its_own_colour():
    pred, label = square(), square(first=10, last=36)
    picture = draw_overlay(grey(pred), pred, label)
    assert drawn(picture, CLASS_COLOURS[0])[10, 10]  # where both run, the prediction is seen
    assert drawn(picture, LABEL_COLOUR)[35, 35]


def test_classes_have_distinct_colours_that_repeat():
    classes = np.repeat(np.arange(8), 10)[None].repeat(20, axis=0)
    picture = draw_overlay(grey(classes), classes)
    seen = [tuple(picture[0, 10 * number].tolist()) for number in range(1, 8)]
    assert seen == [*CLASS_COLOURS, CLASS_COLOURS[0]]
    assert len({*CLASS_COLOURS, LABEL_COLOUR}) == 7


def test_empty_masks_draw_nothing():
    empty = np.zeros((10, 12), int)
    assert (draw_overlay(grey(empty), empty, empty) == 90).all()


def test_other_size_is_refused():
    with pytest.raises(DataError, match=r"\(5, 4\).*\(4, 5, 3\)"):
        draw_overlay(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), bool))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_picture_is_written_whole(tmp_path, suffix):
    picture = grey(square())
    path = tmp_path / f"a{suffix}"
    path.write_text("old")
    write_picture(path, picture)
    with Image.open(path) as file:
        assert np.abs(np.asarray(file).astype(int) - 90).max() <= 1
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_text("old")

    def break_off(self, content):
        with open(self, "wb") as file:
            file.write(content[:20])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", break_off)
    with pytest.raises(OSError, match="disk full"):
        write_picture(path, grey(square()))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_overlays_longer_than_a_jpeg_can_be_are_reduced(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.jpg", np.zeros((4, 70_000, 3), np.uint8))
    with Image.open(tmp_path / "a.jpg") as file:
        assert file.size == (65_500, 4)
