"""Predictions as grey pictures: masks, and maps of probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["mask_picture", "probability_picture"]


def mask_picture(classes: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Turn class numbers (H, W) into grey levels: themselves with a scale of 1, black and white with 255."""
    return classes * np.uint8(scale)


def probability_picture(probability: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Turn probabilities (H, W) into 16-bit grey levels: 0 is black, 1 is 65535, and half is above 32767."""
    return np.rint(probability * np.float64(65535)).astype(np.uint16)
