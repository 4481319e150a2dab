"""Labels in every format that annotators' programs write."""

from __future__ import annotations

import itk
import nibabel
import numpy as np
import pytest
from PIL import Image

from masksup_med.errors import DataError, MissingDataError
from masksup_med.label.annotations import read_annotation

CLASSES = np.zeros((5, 7), np.uint8)
CLASSES[1:3, 2:6] = 1
CLASSES[4, 6] = 2
NAMES = {1: "polyp", 2: "tool"}
ONE = {1: "polyp"}

XML = """<?xml version="1.0"?><ASAP_Annotations><Annotations>{}</Annotations></ASAP_Annotations>"""
SQUARE = """<Annotation Name="a" Type="Polygon" PartOfGroup="{}"><Coordinates>
<Coordinate Order="2" X="3" Y="4"/><Coordinate Order="0" X="1" Y="1"/><Coordinate Order="1" X="3" Y="1"/>
<Coordinate Order="3" X="1" Y="4"/></Coordinates></Annotation>"""


def write_png(path, classes=CLASSES):
    Image.fromarray(classes).save(path)


def write_nifti(path, classes=CLASSES):
    nibabel.save(nibabel.Nifti1Image(classes.T[..., np.newaxis], np.diag([-1, -1, 1, 1])), path)


def write_itk(path, classes=CLASSES):
    itk.imwrite(itk.image_from_array(classes[np.newaxis]), str(path))


WRITERS = {"label.png": write_png, "label.nii.gz": write_nifti, "label.nii": write_nifti, "label.nrrd": write_itk}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_pixels(name, tmp_path):
    WRITERS[name](tmp_path / name)
    classes = read_annotation(tmp_path / name, (7, 5), NAMES)
    assert classes.dtype == np.uint8
    assert np.array_equal(classes, CLASSES)


def test_what_itk_writes_as_nifti_too(tmp_path):
    write_itk(tmp_path / "label.nii.gz")
    assert np.array_equal(read_annotation(tmp_path / "label.nii.gz", (7, 5), NAMES), CLASSES)


def test_anything_is_the_one_class(tmp_path):
    write_png(tmp_path / "label.png", CLASSES * np.uint8(120))
    assert np.array_equal(read_annotation(tmp_path / "label.png", (7, 5), ONE), CLASSES > 0)


def test_polygons_are_filled_in_the_order_of_their_points(tmp_path):
    (tmp_path / "label.xml").write_text(XML.format(SQUARE.format("tool")))
    classes = read_annotation(tmp_path / "label.xml", (7, 5), NAMES)
    assert np.argwhere(classes == 2).tolist() == [[y, x] for y in (1, 2, 3) for x in (1, 2)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (XML.format(SQUARE.format("nerve")), "'nerve'; classes are polyp, tool"),
        ("<ASAP", "no XML of ASAP"),
        (XML.format('<Annotation PartOfGroup="tool"><Coordinate Order="0" X="1"/></Annotation>'), "no XML of ASAP"),
    ],
)
def test_xml_that_cannot_be_used_is_told_in_words(content, words, tmp_path):
    (tmp_path / "label.xml").write_text(content)
    with pytest.raises(DataError, match=words):
        read_annotation(tmp_path / "label.xml", (7, 5), NAMES)


def test_labels_of_another_size_or_class_or_kind_are_refused(tmp_path):
    write_png(tmp_path / "label.png")
    with pytest.raises(DataError, match="7 × 5 pixels, its image 5 × 7"):
        read_annotation(tmp_path / "label.png", (5, 7), NAMES)
    write_png(tmp_path / "label.png", CLASSES * np.uint8(3))
    with pytest.raises(DataError, match="value 3; classes are 0 background, 1 polyp, 2 tool"):
        read_annotation(tmp_path / "label.png", (7, 5), NAMES)
    (tmp_path / "label.nrrd").write_bytes(b"NRRD0004\nnonsense")
    with pytest.raises(DataError, match="cannot be read"):
        read_annotation(tmp_path / "label.nrrd", (7, 5), NAMES)
    write_itk(tmp_path / "several.nrrd", np.stack([CLASSES, CLASSES]))
    with pytest.raises(DataError, match="several slices"):
        read_annotation(tmp_path / "several.nrrd", (7, 5), NAMES)
    with pytest.raises(MissingDataError):
        read_annotation(tmp_path / "absent.png", (7, 5), NAMES)
