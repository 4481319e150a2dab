"""The most common processing of bundles without MONAI's machinery: the same result, many times faster.

How many times, `tests/benchmarks/predict.py` says. The bundle remains the only description: what its transforms would
do is read from them, and one that is not known to the last parameter is left to MONAI.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from masksup_med.bundle.processing import Prediction, Prepared, shown_probability
from masksup_med.bundle.resampling import resample

__all__ = ["LinearProcessing"]

_Step = tuple[str, dict[str, Any]]  # name of a transform, and its parameters
_KEEPING = {"SaveImaged", "CastToTyped", "SqueezeDimd"}  # how a mask is kept, not what it is


class LinearProcessing(NamedTuple):
    """Resampling and scaling before the network; sigmoid or softmax, resampling and a decision after it."""

    size: tuple[int, int] | None  # width and height to resample to
    zoom: float | None  # or the factor to resample by
    anti_aliasing: bool
    scale: float
    shift: float
    temperature: float
    threshold: float | None  # None for the class with the greatest probability

    @classmethod
    def of(cls, config: ConfigParser) -> LinearProcessing | None:
        """Read a bundle's transforms; None if there is one that this class does not do exactly."""
        before, after = _before(_steps(config, "preprocessing")), _after(_steps(config, "postprocessing"))
        return None if before is None or after is None else cls(**before, **after)

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        """See :class:`~masksup_med.bundle.processing.Processing`."""
        height, width = picture.shape[:2]
        image = resample(picture, self._network_size(width, height), self.anti_aliasing)
        image *= np.float32(self.scale)
        image += np.float32(self.shift)
        return Prepared(torch.from_numpy(image), (width, height))

    def probabilities(self, prepared: Prepared, logits: torch.Tensor) -> torch.Tensor:
        """See :class:`~masksup_med.bundle.processing.Processing`."""
        logits = logits / self.temperature
        probabilities = logits.softmax(0) if self.threshold is None else logits.sigmoid()
        return interpolate(probabilities[None], prepared.size, mode="bilinear")[0]

    def decide(self, probabilities: torch.Tensor) -> Prediction:
        """See :class:`~masksup_med.bundle.processing.Processing`."""
        chosen = probabilities if self.threshold is None else (probabilities >= self.threshold).to(torch.uint8)
        chosen = chosen[0] if len(chosen) == 1 else chosen.argmax(0)
        classes = np.ascontiguousarray(chosen.numpy().T.astype(np.uint8))
        return Prediction(classes, shown_probability(probabilities))

    def _network_size(self, width: int, height: int) -> tuple[int, int]:
        if self.zoom is not None:
            return max(1, math.floor(width * self.zoom)), max(1, math.floor(height * self.zoom))
        return self.size or (width, height)


def _before(steps: list[_Step]) -> dict[str, Any] | None:
    """The fields of LinearProcessing that preprocessing decides; None if it is not of this kind."""
    match steps:
        case [("LoadImaged", _), ("EnsureChannelFirstd", {"keys": "image", **more}), *others, scaling] if not more:
            scaled, resampled = _scaled(*scaling), _resampled(others)
            return None if scaled is None or resampled is None else {**scaled, **resampled}
    return None


def _scaled(name: str, values: dict[str, Any]) -> dict[str, Any] | None:
    ends: list[Any] = [values.get(end) for end in ("a_min", "a_max", "b_min", "b_max")]
    if name != "ScaleIntensityRanged" or len(values) != 5 or values.get("keys") != "image" or not _numbers(ends):
        return None
    a_min, a_max, b_min, b_max = ends
    if a_min == a_max:
        return None
    scale = (b_max - b_min) / (a_max - a_min)
    return {"scale": scale, "shift": b_min - a_min * scale}


def _resampled(steps: list[_Step]) -> dict[str, Any] | None:
    none = {"size": None, "zoom": None, "anti_aliasing": False}
    match steps:
        case []:
            return none
        case [("Resized", {"spatial_size": [width, height], "anti_aliasing": bool(smooth), **more})] if (
            more == {"keys": "image", "mode": "bilinear"} and _numbers([width, height]) and min(width, height) > 0
        ):
            return {**none, "size": (width, height), "anti_aliasing": smooth}
        case [("Zoomd", {"zoom": float(zoom), **more})] if (
            more == {"keys": "image", "mode": "bilinear", "keep_size": False} and zoom > 0
        ):
            return {**none, "zoom": zoom}
    return None


def _after(steps: list[_Step]) -> dict[str, Any] | None:
    """The fields of LinearProcessing that postprocessing decides; None if it is not of this kind."""
    temperature: Any = 1
    match steps:
        case [("masksup_med.transforms.TemperatureScalingd", {"keys": "pred", "temperature": divisor, **more}), *after]:
            temperature, steps = divisor, after if not more and _numbers([divisor]) and 0 < divisor < math.inf else []
    match steps:
        case [
            ("Activationsd", activation),
            ("Invertd", {"keys": "pred", "orig_keys": "image", "nearest_interp": False, "transform": _, **more}),
            ("AsDiscreted", decision),
            *keeping,
        ] if not more and {name for name, _ in keeping} <= _KEEPING:
            if decision == {"keys": "pred", "argmax": True} and activation == {"keys": "pred", "softmax": True}:
                return {"temperature": temperature, "threshold": None}
            threshold = decision.get("threshold")
            known = decision.keys() == {"keys", "threshold"} and activation == {"keys": "pred", "sigmoid": True}
            if known and _numbers([threshold]):
                return {"temperature": temperature, "threshold": threshold}
    return None


def _numbers(values: list[Any]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _steps(config: ConfigParser, key: str) -> list[_Step]:
    """Name and parameters of each transform, with what their values refer to; empty if there is more to it."""
    composed = config.get(key)
    if not isinstance(composed, dict) or composed.keys() != {"_target_", "transforms"}:
        return []
    return [_step(config, step, f"{key}#transforms#{number}") for number, step in enumerate(composed["transforms"])]


def _step(config: ConfigParser, step: Any, place: str) -> _Step:
    if isinstance(step, str) and step.startswith("@"):  # the name of a setting that is the transform
        place = step[1:]
        step = config.get(place)
    if not isinstance(step, dict):  # an expression
        return "", {}
    name = step.get("_target_", "")
    if name in ("LoadImaged", "Invertd", *_KEEPING):  # their values are objects, and not asked for
        return name, {key: value for key, value in step.items() if key != "_target_"}
    return name, {key: config.get_parsed_content(f"{place}#{key}") for key in step if key != "_target_"}
