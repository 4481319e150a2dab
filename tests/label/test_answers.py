"""Outlines that leave holes empty, whatever the format, drawn again to the pixel."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.draw import polygon2mask

from masksup_med.label.annotations import read_annotation
from masksup_med.label.answers import asap, cvat, dsa, found_in, joined

NAMES = {1: "gland", 2: "vessel"}


def blobs(seed: int) -> NDArray[np.uint8]:
    """Two classes in regions of all shapes, many with holes, some with islands in these."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(2, 60, 70)), (0, 1.5, 1.5))
    return np.where(noise[0] > -0.15, np.where(noise[1] > 0.2, 2, 1), 0).astype(np.uint8)


def ring() -> NDArray[np.uint8]:
    """A square with a hole."""
    classes = np.zeros((9, 9), np.uint8)
    classes[1:8, 1:8] = 1
    classes[3:6, 3:6] = 0
    return classes


def drawn(contours: list[list[list[float]]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    for contour in contours:
        mask |= polygon2mask(shape, np.array(contour)[:, ::-1] - 0.5)
    return mask


@pytest.mark.parametrize("seed", range(8))
def test_contours_drawn_again_give_the_mask(seed):
    classes = blobs(seed)
    (answer,) = cvat(found_in(classes, NAMES))
    for number, name in NAMES.items():
        elements = [each for each in answer["annotation"]["elements"] if each["label"] == name]
        contours = [contour for element in elements for contour in element["contours"]]
        assert np.array_equal(drawn(contours, classes.shape), classes == number)


@pytest.mark.parametrize("seed", range(8))
def test_there_are_holes_among_them(seed):
    assert max(len(each.rings) for each in found_in(blobs(seed), NAMES)) > 6
    assert len(joined(found_in(ring(), NAMES)[0].rings)) > 8


@pytest.mark.parametrize("seed", range(4))
def test_asap_is_read_back_as_it_was(seed, tmp_path):
    classes = blobs(seed)
    (tmp_path / "label.xml").write_text(asap(found_in(classes, NAMES)), encoding="utf-8")
    assert np.array_equal(read_annotation(tmp_path / "label.xml", (70, 60), NAMES), classes)


def test_asap_has_what_qupath_looks_for():
    root = ElementTree.fromstring(asap(found_in(ring(), NAMES)).encode())
    annotation = root.find("Annotations/Annotation")
    assert root.tag == "ASAP_Annotations"
    assert annotation is not None
    assert annotation.attrib["PartOfGroup"] == "gland"
    assert [each.attrib["Order"] for each in annotation.iter("Coordinate")][:3] == ["0", "1", "2"]
    assert [each.attrib["Name"] for each in root.iter("Group")] == ["gland"]


def test_the_digital_slide_archive_gets_holes_as_such():
    answer = dsa(found_in(ring(), NAMES), "a name")
    (element,) = answer["elements"]
    assert answer["name"] == "a name"
    assert element["type"] == "polyline"
    assert len(element["holes"]) == 1
    outer, hole = (np.array(each)[:, :2] for each in (element["points"], element["holes"][0]))
    assert np.array_equal(drawn([outer.tolist()], (9, 9)) & ~drawn([hole.tolist()], (9, 9)), ring() == 1)


def test_a_region_lies_where_it_was_cut_out():
    corner = found_in(ring(), NAMES, (100, 50))[0].rings[0].min(axis=0)
    assert corner.tolist() == [101, 51]


def test_nothing_found_is_an_answer_too(tmp_path):
    (tmp_path / "label.xml").write_text(asap([]), encoding="utf-8")
    assert not read_annotation(tmp_path / "label.xml", (4, 3), NAMES).any()
    assert cvat([])[0]["annotation"]["elements"] == dsa([], "x")["elements"] == []
