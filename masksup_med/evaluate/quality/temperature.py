"""The temperature with which a bundle's probabilities can be taken at their word, fitted on labelled images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from masksup_med.bundle.bundle import Bundle
from masksup_med.bundle.edit import with_settings
from masksup_med.errors import DataError, SettingError
from masksup_med.metrics.calibration import expected_calibration_error, reliability_bins
from masksup_med.outputs.atomic import atomic_path

__all__ = ["Calibration", "check_place", "store_temperature"]

_PIXELS = 4096  # of an image; more of them tell little more
_RANGE = (0.05, 20.0)
_LEAST = 1e-6  # probability, so that its logarithm is finite
_FILE = Path("configs", "inference.yaml")


class _Pixels(NamedTuple):
    """Some pixels of an image."""

    log_probability: NDArray[np.float64]  # of each class, (pixels, classes)
    label: NDArray[np.intp]  # class numbers, (pixels,)


class Calibration:
    """How often what is given some probability is true, gathered image by image.

    Args:
        temperature: that the probabilities were made with. A high one serves best to find another: those of a network
            that is very sure of all are too near 0 and 1 to tell them apart.
        seed: of which pixels are looked at to fit a temperature.
    """

    def __init__(self, temperature: float = 1, seed: int = 0) -> None:
        self._made_with = temperature
        self._random = np.random.default_rng(seed)
        self._pixels: list[_Pixels] = []
        self.bins = reliability_bins(np.zeros((0, 0)), np.zeros((0, 0), bool))

    def add(self, probability: NDArray[np.float32], label: NDArray[np.uint8]) -> None:
        """Take in an image: probabilities of shape (classes, H, W), one class being the foreground; labels (H, W)."""
        single = len(probability) == 1
        known = label < max(2, len(probability))  # void has the label 255
        foreground = probability[0] if single else 1 - probability[0]
        self.bins = self.bins + reliability_bins(np.clip(foreground[known], 0, 1), label[known] > 0)
        chosen = self._random.choice(label.size, min(_PIXELS, label.size), replace=False)
        seen = probability.reshape(len(probability), -1)[:, chosen].T.astype(np.float64)
        seen = np.concatenate([1 - seen, seen], axis=1) if single else seen
        numbers = (label > 0 if single else label).ravel()[chosen].astype(np.intp)
        at = known.ravel()[chosen]
        self._pixels.append(_Pixels(np.log(np.clip(seen, _LEAST, 1))[at], numbers[at]))

    @property
    def error(self) -> float:
        """Expected calibration error of the foreground's probability."""
        return float(expected_calibration_error(self.bins))

    def temperature(self) -> float:
        """The temperature that makes the labels most probable, to three digits (Guo et al., ICML 2017, section 4.2).

        Raises:
            DataError: no pixel of the labels has a class.
        """
        if not self.bins.any():
            raise DataError("No pixel of the labels has a class that the bundle knows; give labelled images.")
        values, labels = (np.concatenate(parts) for parts in zip(*self._pixels, strict=True))

        def loss(log_temperature: float) -> float:
            log_probability = log_softmax(values / np.exp(log_temperature), axis=1)
            return -float(log_probability[np.arange(len(labels)), labels].mean())

        bounds = np.log(_RANGE) - np.log(self._made_with)
        found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
        return float(f"{self._made_with * np.exp(found.x):.3g}")


def store_temperature(bundle: Bundle, temperature: float) -> None:
    """Write a temperature into a bundle's ``inference.yaml``, whose comments stay."""
    file = bundle.folder / _FILE
    text = with_settings(file.read_text(encoding="utf-8"), {"temperature": temperature})
    with atomic_path(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_place(bundle: Bundle) -> None:
    """Raise :class:`SettingError` if there is no place for a temperature in a bundle, before anything costs time."""
    file = bundle.folder / _FILE
    text = file.read_text(encoding="utf-8")
    if not all(os.access(place, os.W_OK) for place in (file, file.parent)):
        raise SettingError(
            f"{file} cannot be written; copy the bundle to a folder of yours with `masksup bundle copy`."
        )
    there = isinstance(bundle.config.get("temperature"), int | float)
    if not there or "TemperatureScalingd" not in text or "@temperature" not in text:
        raise SettingError(
            f"{file} has no temperature; add `temperature: 1.0`, and masksup_med.transforms.TemperatureScalingd as the "
            "first step of postprocessing, as in the bundles that come with masksup-med."
        )
