"""Pairing of predictions with labels."""

import numpy as np
import pytest

from masksup_med.errors import DataError, MissingDataError
from masksup_med.evaluate.cases import check_sizes, list_cases
from tests.evaluate.masks import LABELS, PREDS, square, write


def test_pairs_by_name_whatever_the_suffix(tmp_path):
    labels = write(tmp_path / "labels", {name.replace(".png", ".bmp"): mask for name, mask in LABELS.items()})
    preds = write(tmp_path / "preds", PREDS)
    images = write(tmp_path / "images", {"a.jpg": square(0, 0, 5)})
    cases = list_cases(preds, labels, images)
    assert [case.name for case in cases] == ["a", "b", "d", "deep/c"] == [case.group for case in cases]
    assert [case.pred is None for case in cases] == [False, False, True, False]
    assert [case.image is None for case in cases] == [False, True, True, True]
    check_sizes(cases)


def test_groups_from_a_table(tmp_path):
    labels, preds = write(tmp_path / "labels", LABELS), write(tmp_path / "preds", PREDS)
    table = tmp_path / "groups.csv"
    table.write_text("Name, Patient ID\na.png,1\nb,1\nd,2\ndeep\\c.png,3\n")
    assert [case.group for case in list_cases(preds, labels, groups=table)] == ["1", "1", "2", "3"]
    table.write_text("image,group\na,1\n")
    with pytest.raises(DataError, match=r"groups\.csv has no entry for 3 of 4 images"):
        list_cases(preds, labels, groups=table)
    with pytest.raises(MissingDataError, match=r"There is no file .*none\.csv"):
        list_cases(preds, labels, groups=tmp_path / "none.csv")


def test_extra_predictions_are_an_error(tmp_path):
    labels = write(tmp_path / "labels", {"a.png": LABELS["a.png"]})
    preds = write(tmp_path / "preds", PREDS)
    with pytest.raises(DataError, match=r"2 predictions in .*preds have no label in .*labels \(b, deep/c\)"):
        list_cases(preds, labels)


def test_nothing_in_common_is_not_all_missing(tmp_path):
    labels, preds = write(tmp_path / "labels", {"a_mask.png": LABELS["a.png"]}), write(tmp_path / "preds", PREDS)
    with pytest.raises(MissingDataError, match=r"No prediction .* \(a here, a_mask there\)"):
        list_cases(preds, labels)


def test_images_of_other_names(tmp_path):
    labels, preds = write(tmp_path / "labels", LABELS), write(tmp_path / "preds", PREDS)
    images = write(tmp_path / "images", {"x.png": square(0, 0, 5)})
    with pytest.raises(MissingDataError, match=r"No image in .*images .* \(x here, a there\)"):
        list_cases(preds, labels, images)


@pytest.mark.parametrize("empty", [True, False])
def test_folders_without_files(tmp_path, empty):
    labels = write(tmp_path / "labels", LABELS)
    if empty:
        (tmp_path / "preds").mkdir()
    with pytest.raises(MissingDataError, match=r"preds (holds no|; give)" if empty else "There is no folder"):
        list_cases(tmp_path / "preds", labels)


def test_sizes_must_agree(tmp_path):
    labels = write(tmp_path / "labels", LABELS)
    preds = write(tmp_path / "preds", {**PREDS, "b.png": np.zeros((40, 40), np.uint8)})
    cases = list_cases(preds, labels)
    with pytest.raises(DataError, match=r"Prediction .*b\.png has 40 × 40 pixels, its label .*b\.png 50 × 40"):
        check_sizes(cases)
    check_sizes(cases, allowed=(40, 40))
