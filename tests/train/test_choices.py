"""Each rule, on both sides of where it turns."""

import numpy as np
import pytest
import yaml

from masksup_med.bundle import find_bundle
from masksup_med.train.choices import PRESETS, Wishes, choose
from masksup_med.train.labels import Drawn
from masksup_med.train.survey import Picture, Survey


def found(size=(640, 480), diameter=100.0, names=("polyp",), shares=(0.9, 0.1), levels=(0, 255)):
    histogram = np.zeros((3, 256), np.int64)
    histogram[:, levels[0] : levels[1] + 1] = 1000
    picture = Picture(size, histogram, False, "", np.zeros(1024, np.float32))
    return Survey([picture], Drawn("mask", (), names, ""), shares, np.array([[True, True]]), diameter)


def chosen(survey=None, training=80, **wishes):
    base, choices = choose(survey or found(), training, Wishes(**wishes))
    settings = {key: value for choice in choices for key, value in choice.settings.items()}
    assert all(choice.name and choice.value and choice.why for choice in choices)
    return base, settings


@pytest.mark.parametrize(
    ("size", "preset", "expected"),
    [
        ((640, 480), "fast", [160, 96]),
        ((480, 640), "fast", [96, 160]),
        ((512, 512), "fast", [128, 128]),
        ((512, 512), "balanced", [256, 256]),
        ((512, 512), "best", [352, 352]),
        ((100, 100), "best", [96, 96]),  # never enlarged
        ((40, 50), "fast", [64, 64]),
        ((4000, 400), "fast", [416, 64]),
    ],
)
def test_input(size, preset, expected):
    base, settings = chosen(found(size, diameter=size[0] / 3), preset=preset)
    assert base == "polyp_masksup" and settings["image_size"] == expected
    assert all(side % 32 == 0 for side in expected)


def test_small_objects_are_seen_in_patches():
    whole, small = found((1024, 1024), diameter=97), found((1024, 1024), diameter=95)
    assert chosen(whole)[0] == "polyp_masksup"
    base, settings = chosen(small)
    assert base == "gland_masksup"
    assert settings["pixel_scale"] == pytest.approx(48 / 95, abs=1e-3) and settings["patch_size"] == [128, 128]
    assert chosen(found((1024, 1024), diameter=20))[1]["pixel_scale"] == 1.0
    assert chosen(found((2000, 150), diameter=9), preset="best")[1]["patch_size"] == [128, 128]


@pytest.mark.parametrize(
    ("levels", "window"), [((0, 255), None), ((10, 138), None), ((10, 137), (10, 137)), ((7, 7), (7, 8))]
)
def test_intensities(levels, window):
    settings = chosen(found(levels=levels))[1]
    assert (settings.get("scale_intensity#a_min"), settings.get("scale_intensity#a_max")) == (window or (None, None))


@pytest.mark.parametrize(
    ("training", "batch"), [(1, 1), (2, 2), (3, 3), (5, 3), (8, 2), (9, 3), (31, 7), (32, 8), (33, 7), (5000, 8)]
)
def test_batch_and_learning_rate(training, batch):
    settings = chosen(training=training)[1]
    assert settings["batch_size"] == batch
    assert settings["learning_rate"] == pytest.approx(0.001 * np.sqrt(batch / 8), rel=2e-3)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("training", [1, 9, 68, 1170, 30_000])
def test_length(training, preset):
    settings = chosen(training=training, preset=preset)[1]
    steps = -(-training // settings["batch_size"])
    wanted = PRESETS[preset]
    validations = settings["max_epochs"] / settings["val_interval"]
    assert validations == round(validations) <= wanted.validations  # the last epoch is validated, too
    least = wanted.steps * max(1, training / 100) ** 0.5
    assert steps * settings["max_epochs"] >= least - 1
    assert steps * (settings["max_epochs"] - settings["val_interval"]) < least


@pytest.mark.parametrize(
    ("epochs", "interval"), [(1, 1), (2, 1), (25, 1), (26, 2), (100, 4), (101, 5), (165, 11), (49, 2)]
)
def test_epochs_in_place_of_steps(epochs, interval):
    settings = chosen(epochs=epochs)[1]
    assert (settings["max_epochs"], settings["val_interval"]) == (epochs, interval)


@pytest.mark.parametrize(("size", "patch"), [((512, 512), 16), ((640, 480), 8)])
def test_hiding(size, patch):
    assert chosen(found(size))[1]["hiding#patch_size"] == patch
    assert "hiding#patch_size" not in chosen(found(size), paradigm="baseline")[1]


@pytest.mark.parametrize(("compiler", "preset", "epochs", "compiled"), [
    ("/usr/bin/g++", "balanced", None, True), (None, "balanced", None, False), ("/usr/bin/g++", "fast", None, False),
    ("/usr/bin/g++", "balanced", 3, False),
])  # fmt: skip
def test_compiling(compiler, preset, epochs, compiled, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: compiler)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert chosen(preset=preset, epochs=epochs)[1].get("compile", False) is compiled


@pytest.mark.parametrize("diameter", [300, 5])
def test_settings_are_those_of_the_base(diameter):
    base, settings = chosen(found((1000, 1000), diameter, levels=(0, 90)))
    config = yaml.safe_load((find_bundle(base) / "configs" / "train.yaml").read_text())
    for key in settings:
        node = config
        for part in key.split("#"):
            node = node[part]


def test_the_loss_is_told_by_the_rarest_class():
    seen = found(names=("large", "small"), shares=(0.5, 0.4, 0.1))
    (loss,) = (choice for choice in choose(seen, 10, Wishes())[1] if choice.name == "loss")
    assert loss.value == "Dice and cross-entropy, by softmax"
    assert loss.why == "small covers 10.00% of the pixels, which Dice makes up for"
    often = found(shares=(0.8, 0.2))
    assert any(choice.why == "polyp covers 20.00% of the pixels" for choice in choose(often, 10, Wishes())[1])


def test_patches_are_no_larger_than_the_images():
    assert max(chosen(found((512, 112), 3), preset="balanced")[1]["patch_size"]) <= 112


def test_sides_are_rounded_alike():
    sides = [chosen(found((side, side), 40))[1]["image_size"][0] - side for side in (80, 112)]
    assert sides[0] == sides[1]
