"""A bundle whose views disagree by what can be computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.bundle.bundles import HALF, INVERT, SAVE, SIGMOID, processing, write_bundle

TEMPERATURE = {"_target_": "masksup_med.transforms.TemperatureScalingd", "keys": "pred", "temperature": "@temperature"}
NETWORK = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 3, "padding": 1}


def shifted_weights(gain: float = 20) -> dict[str, torch.Tensor]:
    """Of a network that finds, at each pixel, whether its left neighbour is white: what is white, a column further."""
    weight = torch.zeros(1, 3, 3, 3)
    weight[:, :, 0, 1] = gain
    return {"weight": weight, "bias": torch.full((1,), -float(gain))}


def shifted_bundle(folder: Path, **settings: Any) -> Path:
    """Finds what is white a column too far to the right; its views, a column or row to wherever they turn that."""
    steps = processing(after=(TEMPERATURE, SIGMOID, INVERT, HALF, SAVE))
    return write_bundle(folder, NETWORK, shifted_weights(), classes=("white",), **{**steps, **settings})


def box(left: int, top: int, width: int, height: int, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    """A picture of some height and width that is black but for a white box."""
    picture = np.zeros((*size, 3), np.uint8)
    picture[top : top + height, left : left + width] = 255
    return picture


def moved(picture: np.ndarray, across: int, down: int) -> np.ndarray:
    """What is found in a picture, moved: 1 where it is, shape (H, W)."""
    return np.roll(picture[..., 0] > 127, (down, across), (0, 1)).astype(np.float32)


#: Where the seven symmetries move what is white, columns and rows; the picture as it is moves it by (1, 0).
MOVES = [(-1, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (0, 1), (0, -1)]
