"""Logits divided by one number, so that the probabilities made from them can be taken at their word."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends

from masksup_med.errors import SettingError

__all__ = ["TemperatureScaling", "TemperatureScalingD", "TemperatureScalingDict", "TemperatureScalingd"]


class TemperatureScaling(Transform):
    """Divide logits by a temperature (Guo et al., "On calibration of modern neural networks", ICML 2017).

    Above 1 it makes a network less sure, below 1 surer; what is most probable stays so. ``masksup calibrate`` finds it.

    Args:
        temperature: a number above 0.

    Raises:
        SettingError: it is no such number.
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012 (MONAI's way to declare it)

    def __init__(self, temperature: float) -> None:
        if not isinstance(temperature, (int, float)) or not 0 < temperature < float("inf"):
            raise SettingError(f"temperature is {temperature}; give a number above 0, 1 to leave the network as it is.")
        self.temperature = temperature

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """Return the logits divided, of the same shape (classes, …)."""
        return img / self.temperature


class TemperatureScalingd(MapTransform):
    """Dictionary version of :class:`TemperatureScaling`."""

    backend = TemperatureScaling.backend

    def __init__(self, keys: KeysCollection, temperature: float, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.scaling = TemperatureScaling(temperature)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Return ``data`` with its logits divided."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.scaling(d[key])
        return d


TemperatureScalingD = TemperatureScalingDict = TemperatureScalingd
