"""What suits a data set: image size, batch, loss, learning rate, length, each by a stated rule."""

from __future__ import annotations

import math
import os
import shutil
from typing import Any, NamedTuple

from masksup_med.train.survey import Survey

__all__ = ["PRESETS", "Choice", "Preset", "Wishes", "choose"]

_BATCH, _LEARNING_RATE = 8, 0.001
_LEAST_OBJECT = 12  # pixels that a typical object has at least where whole images are shrunk
_GOOD_OBJECT = 48  # pixels of a typical object in patches
_MULTIPLE = 32  # of the network's input
_LEAST_SIDE = 64
_RARE = 0.2  # share of the pixels
_NARROW = 128  # levels: intensities that use fewer are stretched
_MASKED_VIEW = 0.3  # its weight: the most that costs nothing on whole images, docs/reports/experiments.md
_HUNDRED = 100  # images for training; more deserve more steps
_WORTH_COMPILING = 4000  # steps; compiling takes a minute or two


class Preset(NamedTuple):
    """How much time is to be spent."""

    side: int  # of a square as large as what the network sees
    steps: int  # of the optimiser, for a hundred images
    validations: int  # at most


PRESETS = {"fast": Preset(128, 2000, 25), "balanced": Preset(256, 6000, 50), "best": Preset(352, 20000, 100)}


class Wishes(NamedTuple):
    """What a user has asked for."""

    preset: str = "fast"
    paradigm: str | None = None  # MaskSup, the masked view with the weight below
    network: str = "residual_unet"
    epochs: int | None = None
    seed: int = 0


class Choice(NamedTuple):
    """One choice, what it is because of, and the settings that it makes."""

    name: str
    value: str
    why: str
    settings: dict[str, Any]


def choose(survey: Survey, training: int, wishes: Wishes) -> tuple[str, list[Choice]]:
    """Choose the settings of a training.

    Args:
        survey: of the data.
        training: how many images there are to train on.
        wishes: of the user.

    Returns:
        The bundle to start from, and the choices.
    """
    preset = PRESETS[wishes.preset]
    base, size = _input(survey, preset)
    batch = _batch(training)
    steps_per_epoch = math.ceil(training / batch)
    length = _length(preset, training, steps_per_epoch, wishes.epochs)
    epochs = length.settings["max_epochs"]
    choices = [
        size,
        _intensity(survey),
        Choice(
            "batch",
            f"{batch} images",
            f"of {training} to train on, which makes {steps_per_epoch} steps an epoch",
            {"batch_size": batch},
        ),
        _loss(survey),
        Choice(
            "learning rate",
            f"{_rate(batch):g}",
            f"{_LEARNING_RATE} for batches of {_BATCH}, by the root of their size; falls to 0 along a cosine",
            {"learning_rate": _rate(batch)},
        ),
        length,
        Choice(
            "validation",
            f"every {_interval(epochs, preset)} epochs" if _interval(epochs, preset) > 1 else "every epoch",
            "the weights with the best mean IoU are kept",
            {"val_interval": _interval(epochs, preset)},
        ),
        _hiding(size.settings, wishes.paradigm),
        _compiling(steps_per_epoch * epochs),
    ]
    return base, choices


def _input(survey: Survey, preset: Preset) -> tuple[str, Choice]:
    """Whole images, or patches of them, and how large."""
    width, height = survey.size
    shrunk = min(1.0, preset.side / math.sqrt(width * height))
    seen = survey.diameter * shrunk
    objects = f"a typical object is {survey.diameter:.0f} pixels across, in {width} × {height}"
    if seen >= _LEAST_OBJECT:
        size = [_multiple(side * shrunk, side) for side in (width, height)]
        still = f", and still {seen:.0f}; about {preset.side}² pixels by the preset" if shrunk < 1 else ""
        why = f"{objects}{still}, in the images' proportions"
        settings: dict[str, Any] = {"image_size": size, "training_size": "@image_size"}
        return "polyp_masksup", Choice("input", f"whole images at {size[0]} × {size[1]}", why, settings)
    scale = round(min(1.0, _GOOD_OBJECT / survey.diameter), 3)
    side = _multiple(preset.side, min(width, height) * scale)
    why = f"{objects}, and would have {seen:.0f} in images shrunk to about {preset.side}²"
    settings = {"pixel_scale": scale, "patch_size": [side, side]}
    return "gland_masksup", Choice("input", f"patches of {side} × {side} at {scale:g} of full size", why, settings)


def _multiple(side: float, most: float) -> int:
    """The nearest side that the network takes, which is no longer than the image's, unless that is very short."""
    return max(_LEAST_SIDE, _MULTIPLE * min(math.floor(side / _MULTIPLE + 0.5), math.floor(most / _MULTIPLE)))


def _batch(training: int) -> int:
    """Eight, or fewer so that there are four batches, and none of one image, which batch norm cannot be given."""
    most = max(2, min(_BATCH, training // 4))
    sizes = (*range(most, 1, -1), *range(most + 1, training + 1))
    return next((size for size in sizes if training % size != 1), 1)


def _rate(batch: int) -> float:
    return float(f"{_LEARNING_RATE * math.sqrt(batch / _BATCH):.3g}")


def _intensity(survey: Survey) -> Choice:
    low, high = survey.percentiles(0.005, 0.995)
    if high - low >= _NARROW:
        return Choice("intensities", "0 to 255", f"99 % of them lie between {low} and {high}", {})
    high = max(high, low + 1)
    window = {"scale_intensity#a_min": low, "scale_intensity#a_max": high}
    return Choice(
        "intensities", f"{low} to {high}", "where 99 % of them lie, stretched to the network's -1 to 1", window
    )


def _loss(survey: Survey) -> Choice:
    names = survey.drawn.names
    rarest = min(range(len(names)), key=lambda number: survey.shares[number + 1])
    share = survey.shares[rarest + 1]
    why = f"{names[rarest]} covers {share:.2%} of the pixels{', which Dice makes up for' if share < _RARE else ''}"
    kind = "Dice and cross-entropy, by softmax" if len(names) > 1 else "Dice and cross-entropy, by sigmoid"
    return Choice("loss", kind, why, {})


def _length(preset: Preset, training: int, steps_per_epoch: int, epochs: int | None) -> Choice:
    if epochs is not None:
        return Choice("length", f"{epochs} epochs", "as --epochs says", {"max_epochs": epochs})
    steps = round(preset.steps * math.sqrt(max(training, _HUNDRED) / _HUNDRED))
    epochs = math.ceil(steps / steps_per_epoch)
    interval = math.ceil(epochs / preset.validations)
    epochs = interval * math.ceil(epochs / interval)
    more = f", more for {training} by the root" if training > _HUNDRED else ""
    why = f"{steps} steps of the optimiser: {preset.steps} by the preset for {_HUNDRED} images{more}"
    return Choice("length", f"{epochs} epochs", why, {"max_epochs": epochs})


def _interval(epochs: int, preset: Preset) -> int:
    """Every how many epochs is validated: if there is one, a divisor, so that the last one is, too."""
    least = math.ceil(epochs / preset.validations)
    return next((number for number in range(least, 2 * least) if epochs % number == 0), least)


def _hiding(settings: dict[str, Any], paradigm: str | None) -> Choice:
    side = min(settings.get("image_size") or settings["patch_size"])
    patch = 16 if side >= 128 else 8
    if paradigm in ("baseline", "mae"):
        return Choice("hiding", "none", "as --paradigm says", {})
    weight = {"context_weight": _MASKED_VIEW} if paradigm is None else {}
    return Choice(
        "hiding",
        f"25–35 % in patches of {patch} pixels",
        f"of {side} on the shorter side",
        {"hiding#ratio": "medium", "hiding#patch_size": patch, **weight},
    )


def _compiling(steps: int) -> Choice:
    import torch

    if steps < _WORTH_COMPILING:
        return Choice("compiling", "no", "too short a training for it", {})
    if torch.cuda.is_available():
        return Choice("compiling", "no", "tried on CPUs only; train.yaml has the setting", {})
    compiler = next(filter(shutil.which, (os.environ.get("CXX", "g++"), "clang++")), None)
    if compiler is None:
        return Choice("compiling", "no", "there is no C++ compiler, such as g++", {})
    return Choice("compiling", "yes", f"{steps} steps are worth the minute that it takes {compiler}", {"compile": True})
