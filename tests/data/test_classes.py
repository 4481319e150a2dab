"""Which value or colour of a label stands for which class."""

import numpy as np
import pytest
from PIL import Image

from masksup_med.data.classes import as_number, packed_colours, read_class_label, shown
from masksup_med.errors import DataError, MissingDataError

NUMBERS = np.array([[0, 127, 255], [255, 0, 127]], np.uint8)
CLASSES = np.array([[0, 1, 2], [2, 0, 1]])
COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 7]], np.uint8)[CLASSES]


def written(path, pixels, mode=None):
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path)
    return path


@pytest.mark.parametrize("mode", [None, "RGB", "LA"])
def test_numbers(tmp_path, mode):
    found = read_class_label(written(tmp_path / "a.png", NUMBERS, mode), [0, 127, 255])
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, CLASSES)
    np.testing.assert_array_equal(read_class_label(tmp_path / "a.png", [255, 0, 127]), (CLASSES + 1) % 3)


def test_numbers_of_sixteen_bits(tmp_path):
    np.testing.assert_array_equal(
        read_class_label(written(tmp_path / "a.png", (NUMBERS * np.uint16(4)).astype(np.uint16)), [0, 508, 1020]),
        CLASSES,
    )


@pytest.mark.parametrize("mode", [None, "RGBA"])
def test_colours(tmp_path, mode):
    values = ["000000", "ff0000", "008007"]
    np.testing.assert_array_equal(read_class_label(written(tmp_path / "a.png", COLOURS, mode), values), CLASSES)


def test_a_palette_gives_its_colours_or_its_numbers(tmp_path):
    image = Image.fromarray(CLASSES.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 128, 7])
    image.save(tmp_path / "a.png")
    for values in (["000000", "ff0000", "008007"], [0, 1, 2]):
        np.testing.assert_array_equal(read_class_label(tmp_path / "a.png", values), CLASSES)


def test_grey_files_among_coloured_ones(tmp_path):
    grey = written(tmp_path / "a.png", np.array([[0, 255]], np.uint8))
    np.testing.assert_array_equal(read_class_label(grey, ["ff0000", "000000", "ffffff"]), [[1, 2]])
    assert packed_colours(grey).tolist() == [[0, 0xFFFFFF]]


@pytest.mark.parametrize(
    ("pixels", "values", "said"),
    [
        (NUMBERS, [0, 127], "a.png has the value 255 at 2 pixels, which stands for no class; known are 0, 127"),
        (NUMBERS, [0, 1], "the value 127 at 4 pixels"),
        (COLOURS, ["000000", "ff0000"], "the colour #008007 at 2 pixels, which stands for no class; known are #000000"),
    ],
)
def test_what_is_not_known_is_refused(tmp_path, pixels, values, said):
    with pytest.raises(DataError, match=said):
        read_class_label(written(tmp_path / "a.png", pixels), values)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(MissingDataError):
        read_class_label(tmp_path / "none.png", ["000000", "ffffff"])
    Image.fromarray(np.dstack([COLOURS, np.full((2, 3), 9, np.uint8)])).save(tmp_path / "clear.png")
    with pytest.raises(DataError, match="transparent"):
        packed_colours(tmp_path / "clear.png")
    with pytest.raises(DataError, match="16 bits"):
        packed_colours(written(tmp_path / "deep.png", NUMBERS.astype(np.uint16)))


def test_values_as_people_see_them():
    assert [as_number(value) for value in (7, "ff0001")] == [7, 0xFF0001]
    assert [shown(value) for value in (7, "ff0001")] == ["7", "#ff0001"]


def test_one_bit_is_black_and_white(tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 255, 0]], np.uint8)).convert("1").save(file)
    for values in ([0, 255], ["000000", "ffffff"]):
        assert read_class_label(file, values).tolist() == [[0, 1, 0]]


def test_many_pixels_as_a_table_says(tmp_path):
    """Against a look-up of each pixel."""
    values = np.random.default_rng(0).permutation(65536)[:256].tolist()
    pixels = np.random.default_rng(1).choice(np.array(values, np.uint16), (40, 30))
    found = read_class_label(written(tmp_path / "a.png", pixels), values)
    np.testing.assert_array_equal(found, np.vectorize(values.index)(pixels))


def test_more_classes_than_a_byte_holds(tmp_path):
    pixels = np.arange(300, dtype=np.uint16)[None]
    np.testing.assert_array_equal(read_class_label(written(tmp_path / "a.png", pixels), range(300)), pixels)


def test_a_colour_file_is_no_file_of_numbers(tmp_path):
    with pytest.raises(DataError, match="colour channels differ"):
        read_class_label(written(tmp_path / "a.png", COLOURS), [0, 1, 2])
