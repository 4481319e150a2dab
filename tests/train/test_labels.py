"""Labels as people have them: each kind is understood, and no doubt is decided in silence."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from masksup_med.errors import DataError, MaskSupError, SettingError
from masksup_med.train.labels import decide, look, parse_classes
from tests.train.made import coloured, squares

RED, GREEN, BLACK, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 0), (255, 255, 255)
A_FEW = [squares(1, 2), squares(1, 2, 3)]  # classes, or objects?


def of(labels, classes=(), colours=False):
    """What is decided about labels: of numbers, or of colours."""
    packed = [label.astype(np.uint32) @ [1 << 16, 1 << 8, 1] if colours else label for label in labels]
    return decide([look(f"{number}.png", label, colours) for number, label in enumerate(packed)], colours, classes)


def jpeg(label, seed=0):
    """What JPEG makes of a mask: values near black and near white."""
    noisy = label.astype(int) + np.random.default_rng(seed).integers(-8, 9, label.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def masks(name="foreground"):
    return "mask", (), (name,)


def in_classes(*values, names=None):
    return "values", values, names or tuple(f"class {number}" for number in range(1, len(values)))


NUMBERS = {
    "0 and 255": ([squares(255), squares()], (), masks()),
    "0 and 1": ([squares(1), squares()], (), masks()),
    "0 and something": ([squares(7)] * 2, (), masks()),
    "with a name": ([squares(255)] * 2, ("polyp",), masks("polyp")),
    "noise of JPEG": ([jpeg(squares(255)), jpeg(squares(255), 1)], (), masks()),
    "noise beside none": ([jpeg(squares(255)), squares(255)], (), masks()),
    "noise beside 0 and 1": ([jpeg(squares(255)), squares(1)], (), masks()),
    "many objects": ([squares(*range(1, 10)), squares(1)], (), masks()),
    "a few objects, as is said": (A_FEW, ("cell",), masks("cell")),
    "classes, as is said": (A_FEW, ("1:a", "2:b", "3:c"), in_classes(0, 1, 2, 3, names=("a", "b", "c"))),
    "in the order of the names": (A_FEW, ("3:c", "1:a", "2:b"), in_classes(0, 3, 1, 2, names=("c", "a", "b"))),
    "a class that is in no label": ([squares(1)] * 2, ("1:a", "2:b"), in_classes(0, 1, 2, names=("a", "b"))),
    "one class by its value": ([squares(255)], ("255:a",), in_classes(0, 255, names=("a",))),
    "spread values": ([squares(127, 255)] * 2, (), in_classes(0, 127, 255)),
    "sixteen bits": ([squares(300, 700)], (), in_classes(0, 300, 700)),
    "numbers with gaps": ([squares(1, 5)], (), in_classes(0, 1, 5)),
    "numbers in many pieces": ([squares(1, 2, 1, 2, 1, 2)], (), in_classes(0, 1, 2)),
    "no background": ([np.full((8, 8), 5, np.uint8), np.full((8, 8), 7, np.uint8)], (), in_classes(0, 5, 7)),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers(case):
    labels, classes, wanted = NUMBERS[case]
    assert of(labels, classes)[:3] == wanted


COLOURS = {
    "on black": ([BLACK, RED, GREEN], (), in_classes("000000", "00ff00", "ff0000")),
    "on white": ([WHITE, RED, GREEN], (), in_classes("ffffff", "00ff00", "ff0000")),
    "one on black": ([BLACK, RED, BLACK], (), in_classes("000000", "ff0000")),
    "one with a name": ([BLACK, RED, BLACK], ("polyp",), in_classes("000000", "ff0000", names=("polyp",))),
    "one on white with a name": ([WHITE, RED, WHITE], ("polyp",), in_classes("ffffff", "ff0000", names=("polyp",))),
}


@pytest.mark.parametrize("case", COLOURS)
def test_colours(case):
    colours, classes, wanted = COLOURS[case]
    assert of([coloured(squares(1, 2), colours)] * 2, classes, colours=True)[:3] == wanted


def test_values_of_photographs_are_refused():
    with pytest.raises(DataError, match="200 different values, as photographs"):
        of([np.arange(50, 250, dtype=np.uint8).reshape(10, 20)])
    with pytest.raises(DataError, match=r"0\.png has 2 and 2 more"):
        of([squares(1, 2, 9, 12)], ("1:a",))


@pytest.mark.parametrize("values", [(1, 2, 3, 255), (1, 255), (1, 2, 255)])
def test_255_beside_small_numbers_is_asked_about(values):
    with pytest.raises(SettingError, match="255"):
        of([squares(*values)] * 3)


def test_255_beside_one_class_is_asked_about():
    with pytest.raises(SettingError, match="255"):
        of([squares(1, 255), squares(1)])


@pytest.mark.parametrize("values", [(40, 80, 255), (60, 255)])
def test_255_beside_values_with_gaps_is_a_class(values):
    assert of([squares(*values, side=24)] * 3)[1] == (0, *values)


def test_a_rare_class_between_black_and_white_is_not_lost():
    rare = squares(255)
    rare[60:, 60:] = 127  # 0.4 % of the pixels
    assert of([rare] * 3)[:3] == in_classes(0, 127, 255)


def test_objects_of_which_one_has_a_gap_do_not_become_classes_in_silence():
    try:
        kind, *_ = of([squares(*range(1, 10))] * 9 + [squares(1, 2, 4)])
    except SettingError:
        return  # asked
    assert kind == "mask"


def test_masks_of_two_kinds_do_not_become_classes_in_silence():
    try:
        kind, *_ = of([squares(1)] * 3 + [squares(255)] * 3)
    except SettingError:
        return
    assert kind == "mask"


def test_a_white_background_can_be_named():
    label = coloured(squares(1, 2), [WHITE, RED, GREEN])
    found = of([label], ("#ffffff:background", "#ff0000:a", "#00ff00:b"), colours=True)
    assert found[:3] == in_classes("ffffff", "ff0000", "00ff00", names=("a", "b"))


def test_labels_of_one_colour_are_refused():
    with pytest.raises(DataError):
        of([np.full((8, 8, 3), RED, np.uint8)], colours=True)


@pytest.mark.parametrize(
    ("given", "named", "single"),
    [
        ([], {}, None),
        (["polyp"], {}, "polyp"),
        (["large polyp"], {}, "large polyp"),
        (["1st finding"], {}, "1st finding"),
        (["1:polyp", "2:fold"], {1: "polyp", 2: "fold"}, None),
        (["1:a:b"], {1: "a:b"}, None),
        (["#FF0000:polyp"], {"ff0000": "polyp"}, None),
        (["7"], {7: "class 1"}, None),
        (["1", "2:"], {1: "class 1", 2: "class 2"}, None),
        (["0:nothing", "255:polyp"], {0: "nothing", 255: "polyp"}, None),
    ],
)
def test_parse_classes(given, named, single):
    assert parse_classes(given) == (named, single)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["1:polyp", "fold"], "--classes got fold"),
        (["1:a", "01:b"], "names 01 twice"),
        (["#FF0000:a", "#ff0000:b"], "twice"),
        (["-1:a", "2:b"], "--classes got -1:a"),
    ],
)
def test_classes_that_cannot_be_understood(given, message):
    with pytest.raises(SettingError, match=message):
        parse_classes(given)


def test_classes_without_names_have_their_numbers():
    assert of(A_FEW[:1], ("0", "1", "2")).names == ("class 1", "class 2")


def test_one_name_for_two_classes_is_refused():
    with pytest.raises(SettingError, match="twice"):
        parse_classes(["1:polyp", "2:polyp"])


def test_look_counts_what_is_there():
    assert look("a.png", squares(3, 1), colours=False).counts == {0: 64 * 64 - 512, 1: 256, 3: 256}
    numbered = {(1,): True, (2, 1): True, (1, 3): False, (1, 2, 2, 1, 1): False}  # the last in five pieces
    assert {values: look("a.png", squares(*values), colours=False).numbered for values in numbered} == numbered
    assert not look("a.png", squares(2, 1), colours=True).numbered


def test_classes_with_the_noise_of_jpeg_are_refused():
    with io.BytesIO() as file:
        Image.fromarray(squares(50, 100)).save(file, "JPEG", quality=75)
        label = np.asarray(Image.open(file))
    with pytest.raises(DataError, match="JPEG"):
        of([label] * 3)


SMALL = st.one_of(st.integers(0, 4), st.sampled_from([127, 254, 255]), st.integers(0, 255))
SIDES = st.integers(1, 5)
LABELS = st.lists(arrays(np.uint8, st.tuples(SIDES, SIDES), elements=SMALL), min_size=1, max_size=3)
CLASSES = st.lists(st.sampled_from(["polyp", "0", "1:a", "2:b", "255:c", "#ff0000:d", "#000000:e"]), max_size=3)


@settings(max_examples=100, deadline=None)
@given(LABELS, CLASSES)
def test_any_numbers_have_a_class_or_are_refused_in_a_sentence(labels, classes):
    try:
        found = of(labels, classes)
    except MaskSupError as error:
        assert str(error).endswith(".")  # noqa: PT017
        return
    if found.kind == "values":
        assert set(np.concatenate([label.ravel() for label in labels]).tolist()) <= set(found.values)
        assert len(found.values) == len(set(found.values))
        assert len(found.names) in (1, len(found.values) - 1)  # one name can be for all values


@settings(max_examples=50, deadline=None)
@given(st.lists(arrays(np.uint8, (3, 3, 3), elements=st.sampled_from([0, 255])), min_size=1, max_size=3), CLASSES)
def test_any_colours_have_a_class_or_are_refused_in_a_sentence(labels, classes):
    try:
        found = of(labels, classes, colours=True)
    except MaskSupError as error:
        assert str(error).endswith(".")  # noqa: PT017
        return
    assert found.kind == "values" and len(found.values) == len(found.names) + 1
