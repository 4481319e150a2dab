"""What both kinds of phantom are drawn with. Lengths are in short sides of the image."""

from __future__ import annotations

import functools

import numpy as np
from scipy import ndimage, sparse

__all__ = ["ellipse", "grid", "recorded", "smooth_noise", "somewhere", "warp"]


def grid(size: tuple[int, int]) -> np.ndarray:
    """Return where the pixels lie, ``(2, H, W)``: y and x in short sides from the centre of the image."""
    axes = ((np.arange(length) - (length - 1) / 2) / min(size) for length in size)
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def smooth_noise(size: tuple[int, int], cell: float, rng: np.random.Generator) -> np.ndarray:
    """Return a random field ``(H, W)`` of mean 0 and variance 1 whose bumps are about ``cell`` short sides wide.

    As filtering white noise with a Gaussian, but drawn on a grid of that spacing: quicker by far for wide bumps.
    """
    rows, columns = (_bumps(length, cell * min(size)) for length in size)
    return (columns @ (rows @ rng.standard_normal((rows.shape[1], columns.shape[1]))).T).T


@functools.lru_cache(maxsize=64)
def _bumps(length: int, step: float) -> sparse.csr_array:
    """Return the weights ``(length, knots)`` of Gaussian bumps ``step`` pixels apart; squared, they add up to 1.

    Sparse, because dense products start as many threads as there are cores, whatever else runs on them.
    """
    knots = np.arange(-2 * step, length + 2 * step, step)
    weights = np.exp(-0.5 * ((np.arange(length)[:, None] - knots) / (0.7 * step)) ** 2)
    weights[weights < 0.001] = 0
    return sparse.csr_array(weights / np.linalg.norm(weights, axis=1, keepdims=True))


def warp(points: np.ndarray, amount: float, cell: float, rng: np.random.Generator) -> np.ndarray:
    """Push the points ``(2, H, W)`` about by some ``amount``, so that what is drawn on them is irregular."""
    push = amount * np.stack([smooth_noise(points.shape[1:], cell, rng) for _ in range(2)])
    return points + push.astype(points.dtype)


def ellipse(points: np.ndarray, centre: np.ndarray, radius: float, stretch: float, angle: float) -> np.ndarray:
    """Return ``(H, W)``: 0 at the centre, 1 on an ellipse that is as large as a disc of that radius, and so on."""
    # Coefficients of the points' own type: float64 ones would make the arrays double, and twice as slow.
    cos, sin, long, short = np.cos(angle), np.sin(angle), radius * stretch, radius / stretch
    turned = np.array([[sin / long, cos / long], [cos / short, -sin / short]], dtype=points.dtype)
    y, x = points - centre.astype(points.dtype)[:, None, None]
    along, across = turned[:, 0, None, None] * y + turned[:, 1, None, None] * x
    return np.sqrt(along * along + across * across)


def somewhere(points: np.ndarray, allowed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one of the points ``(2, H, W)`` where ``allowed`` is true."""
    return points.reshape(2, -1)[:, rng.choice(np.flatnonzero(allowed))]


def recorded(light: np.ndarray, blur: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Return light ``(3, H, W)`` in 0…1 as an image ``(H, W, 3)`` uint8, with blur in short sides and noise."""
    sigma = blur * min(light.shape[1:])
    grain = rng.standard_normal(light.shape, dtype=np.float32)
    light = ndimage.gaussian_filter(light, (0, sigma, sigma)) + noise * grain
    return np.ascontiguousarray(np.moveaxis(np.round(255 * np.clip(light, 0, 1)).astype(np.uint8), 0, -1))
