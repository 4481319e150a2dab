"""Disagreement is computed once for each image and each weights, and is that of ``masksup predict --quality``."""

from __future__ import annotations

import csv
import os

import numpy as np
import pytest
from PIL import Image

from masksup_med.bundle.bundle import Bundle
from masksup_med.cli import main
from masksup_med.label import scores
from masksup_med.label.scores import Scores
from tests.bundle.bundles import write_bundle


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 255, (40, 50, 3), np.uint8)
        Image.fromarray(picture).save(folder / f"{number}.png")
    return {path.stem: path for path in sorted(folder.glob("*.png"))}


@pytest.fixture
def folder(tmp_path):
    return write_bundle(tmp_path / "my_polyps")


@pytest.fixture
def looked_at(monkeypatch):
    """The images that are looked at, in their order."""
    seen: list[str] = []
    real = scores.disagreement_of
    monkeypatch.setattr(
        scores, "disagreement_of", lambda predictor, path: seen.append(path.stem) or real(predictor, path)
    )
    return seen


def test_it_is_what_predict_tells(images, folder, tmp_path):
    found = Scores(folder).update(images)
    main(["predict", str(tmp_path / "images"), "-o", str(tmp_path / "out"), "--bundle", str(folder), "--quality", "3"])
    with open(tmp_path / "out" / "images.csv", newline="", encoding="utf-8") as file:
        told = {row["image"].removesuffix(".png"): float(row["disagreement"]) for row in csv.DictReader(file)}
    assert found == pytest.approx(told, abs=1e-4)
    assert len(set(told.values())) > 1


def test_only_what_has_changed_is_looked_at_again(images, folder, looked_at):
    first = Scores(folder).update(images)
    assert looked_at == ["0", "1", "2"]
    assert Scores(folder).update(images) == Scores(folder).known(images) == first
    assert looked_at == ["0", "1", "2"]
    Image.open(images["2"]).rotate(90).save(images["1"])
    assert Scores(folder).known(images).keys() == {"0", "2"}
    Scores(folder).update(images)
    assert looked_at == ["0", "1", "2", "1"]


def test_other_weights_are_another_matter(images, folder, looked_at):
    Scores(folder).update(images)
    weights = Bundle(folder).weights
    os.utime(weights, ns=(1, 1))
    assert Scores(folder).known(images) == {}
    Scores(folder).update(images)
    assert looked_at == ["0", "1", "2"] * 2


def test_an_image_that_cannot_be_read_has_none(images, folder):
    images["1"].write_bytes(b"no picture")
    assert Scores(folder).update(images).keys() == {"0", "2"}
