"""The model card says what was done and how well it went."""

import json

import numpy as np
import pytest
from PIL import Image

from masksup_med.train.card import _montage, _spread


def card_of(made):
    return (made.bundle / "docs" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["masks", "classes"])
def test_its_figures_are_those_of_the_evaluation(kind, trained):
    made = trained(kind)
    card, results = card_of(made), json.loads((made.bundle / "eval" / "validation" / "metrics.json").read_text())
    for metric in results["metrics"].values():
        value = "undefined" if metric["value"] is None else f"{metric['value']:.4f}"
        assert f"| {metric['title']} | {value}" in card
    passport = json.loads((made.bundle / "models" / "model.json").read_text())
    assert f"Weights: epoch {passport['epoch']}, SHA-256 `" in card
    assert json.loads((made.bundle / "configs" / "metadata.json").read_text())["weights_sha256"] in card


def test_it_tells_of_data_and_choices(trained):
    card = card_of(trained("classes"))
    begun = json.loads((trained("classes").bundle / "eval" / "begun.json").read_text())
    assert "| images | 8 | 2 |" in card and "| left | " in card and "outlines left, right in images" in card
    for choice in begun["choices"]:
        assert f"| {choice['name']} | {choice['value']} | {choice['why']} |" in card
    assert "masksup predict IMAGES -o OUT --bundle my_bundle" in card
    assert "None" not in card and "nan" not in card and "{{" not in card


def test_its_pictures_are_there(trained):
    docs = trained("masks").bundle / "docs"
    for name in ("curve.png", "samples.jpg"):
        assert f"]({name})" in (docs / "README.md").read_text()
        with Image.open(docs / name) as picture:
            assert picture.convert("L").getextrema() != (255, 255)


def test_its_tables_are_whole(trained):
    rows = [line for line in card_of(trained("masks")).splitlines() if line.startswith("|")]
    assert rows and all(row.endswith("|") for row in rows) and {row.count("|") for row in rows} <= {4, 5}


def test_one_is_not_many(trained):
    assert "1 labels are" not in card_of(trained("masks"))


def test_samples_are_spread_from_the_worst_to_the_best():
    assert _spread(range(3)) == [0, 1, 2]
    assert _spread(range(100)) == [0, 20, 40, 59, 79, 99]


def test_a_montage_has_room_for_all():
    sheet = _montage([np.full((50, width, 3), 9, np.uint8) for width in (50, 100, 25, 50)])
    assert sheet.shape == (400, 1200, 3) and (sheet[:200, :200] == 9).all() and (sheet[200:, :200] == 9).all()
    assert _montage([np.zeros((2000, 1000, 3), np.uint8)]).shape == (200, 100, 3)
