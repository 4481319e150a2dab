"""A colonoscopy-like frame: a relief of folds and polyps, lit from the camera, on mucosa of uneven colour.

Lengths are in short sides of the frame, so a frame looks the same at every size.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from masksup_med.data._drawing import ellipse, grid, recorded, smooth_noise, somewhere, warp

__all__ = ["draw_colon"]

_MUCOSA = np.reshape([0.80, 0.46, 0.38], (3, 1, 1))  # RGB under white light
_BLOOD = np.reshape([0.25, 1.00, 0.85], (3, 1, 1))  # what blood takes of red, green and blue, as an exponent
_POLYP_COUNTS = (0.07, 0.73, 0.14, 0.06)  # chance of 0, 1, 2, 3


def draw_colon(size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a frame.

    Returns:
        The frame, ``(H, W, 3)`` uint8, and where its polyps are, ``(H, W)`` bool.
    """
    points = grid(size)
    view = _field_of_view(points, rng)
    lumen = points[:, -1, -1] * rng.uniform(-0.75, 0.75, 2)
    polyps, bumps = _polyps(points, view, lumen, rng)
    relief = bumps + _folds(points, lumen, rng) * (1 - 0.8 * polyps) + 0.02 * smooth_noise(size, 0.25, rng)
    relief = ndimage.gaussian_filter(relief, 0.01 * min(size)) * min(size)
    blood = _blood(points, polyps, rng)
    light = _light(relief, rng) * _depth(points, lumen, polyps, rng)
    frame = _MUCOSA * np.exp(-_BLOOD * blood) * light + _bubbles(points, rng) + _highlights(relief, rng)
    return _camera(frame, view, rng), polyps & view


# The scene.


def _field_of_view(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return where the endoscope shows anything: all of the frame, an octagon, or a disc cut above and below."""
    y, x = np.abs(points)
    half_height, half_width = y.max() - 0.01, x.max() - 0.01
    kind = rng.choice(["full", "octagon", "disc"], p=[0.4, 0.3, 0.3])
    if kind == "full":
        return np.ones(y.shape, dtype=bool)
    within = (y < half_height) & (x < half_width)
    if kind == "octagon":
        return within & (x + y < half_height + half_width - rng.uniform(0.12, 0.3))
    return within & (np.hypot(y, x) < rng.uniform(0.52, 0.62))


def _polyps(
    points: np.ndarray, view: np.ndarray, lumen: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return where polyps are, ``(H, W)`` bool, and how far they stand out, ``(H, W)``."""
    inside, relief = np.zeros(view.shape, dtype=bool), np.zeros(view.shape)
    frame_area = view.size / min(view.shape) ** 2
    count = rng.choice(4, p=_POLYP_COUNTS)
    for _ in range(count):
        # Even in diameter rather than in area, or nearly all would be small.
        share = rng.uniform(np.sqrt(0.02), np.sqrt(0.25 / count)) ** 2
        radius = np.sqrt(share * frame_area / np.pi)
        centre = _free_place(points, view & ~inside, lumen, rng)
        outline = _outline(points, centre, radius, rng)
        inside |= outline < 1
        dome = np.clip(1 - outline**2, 0, None) ** rng.uniform(0.45, 0.65)
        relief = np.maximum(relief, rng.uniform(0.45, 0.75) * radius * dome)
    return inside, relief


def _outline(points: np.ndarray, centre: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    lobed = warp(points, 0.15 * radius, 0.9 * radius, rng)
    return ellipse(lobed, centre, radius, np.exp(rng.uniform(0, 0.25)), rng.uniform(0, np.pi))


def _free_place(points: np.ndarray, free: np.ndarray, lumen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a point of ``free``, away from the lumen, where a polyp would lie in the dark."""
    central = (np.abs(points) < 0.85 * points[:, -1:, -1:]).all(axis=0)
    return somewhere(points, free & central & (ellipse(points, lumen, 1, 1, 0) > 0.25), rng)


def _folds(points: np.ndarray, lumen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return ``(H, W)``: ridges that run around the lumen, each for a part of the way."""
    y, x = warp(points, 0.05, 0.35, rng) - lumen[:, None, None]
    out = np.sqrt(y**2 + x**2) + 1e-6
    relief = np.zeros(out.shape)
    for distance in np.arange(rng.uniform(0.1, 0.2), 1.3, rng.uniform(0.14, 0.3)):
        width = rng.uniform(0.025, 0.04) * (0.6 + distance)
        middle = rng.uniform(0, 2 * np.pi)
        towards = (y * np.sin(middle) + x * np.cos(middle)) / out
        part = np.clip(2 * (towards - rng.uniform(-1, 0.6)), 0, 1)
        relief += rng.uniform(0.3, 0.8) * width * part * np.exp(-(((out - distance) / width) ** 2))
    return relief


def _blood(points: np.ndarray, polyps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return how much blood shows, ``(H, W)``; polyps differ from the rest in texture, not on average."""
    size = polyps.shape
    reach = points[:, -1, -1]
    flat = [_outline(points, reach * rng.uniform(-1, 1, 2), radius, rng) < 1 for radius in (0.1, 0.2)]
    patches = sum(rng.uniform(-0.12, 0.12) * part for part in (polyps, *flat))
    even = ndimage.gaussian_filter(patches, 0.01 * min(size))
    even += 0.09 * smooth_noise(size, 0.3, rng) + 0.04 * smooth_noise(size, 0.05, rng)
    pits = 0.10 * smooth_noise(size, 0.021, rng)
    return even + np.where(polyps, pits, 0.35 * _vessels(size, rng))


def _vessels(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return thin branching lines, ``(H, W)`` in 0…1: random walks, of which later ones start on earlier ones."""
    short, steps = min(size), 2 * min(size)
    canvas = np.zeros(size)
    starts = rng.uniform(0, 1, (4, 2)) * size
    for strength in (1.0, 0.7, 0.5):
        heading = rng.uniform(0, 2 * np.pi, (len(starts), 1))
        heading = heading + np.cumsum(rng.normal(0, 1.2 / np.sqrt(short), (len(starts), steps)), axis=1)
        paths = starts[:, None] + 0.5 * np.cumsum(np.stack([np.sin(heading), np.cos(heading)], axis=-1), axis=1)
        paths = paths[:, : int(steps * strength)].reshape(-1, 2)
        y, x = np.round(paths).astype(int).T
        seen = (y >= 0) & (y < size[0]) & (x >= 0) & (x < size[1])
        canvas[y[seen], x[seen]] = np.maximum(canvas[y[seen], x[seen]], strength)
        starts = paths[rng.integers(len(paths), size=2 * len(starts))]
    return np.clip(2 * ndimage.gaussian_filter(canvas, 0.005 * short), 0, 1)


# The light and the camera.


def _light(relief: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the light ``(H, W)`` on a relief in pixels: less on slopes turned away, and less in hollows."""
    angle, slant = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.6)
    slope_y, slope_x = np.gradient(relief)
    facing = (1 - slant * (np.sin(angle) * slope_y + np.cos(angle) * slope_x)) / np.sqrt(
        (1 + slant**2) * (1 + slope_y**2 + slope_x**2)
    )
    spread = 0.04 * min(relief.shape)
    hollow = np.clip(ndimage.gaussian_filter(relief, spread) - relief, 0, None) / spread
    near = 1 + relief / min(relief.shape)
    return near * (0.3 + 0.8 * np.clip(facing, 0, None)) * np.exp(-1.2 * hollow)


def _depth(points: np.ndarray, lumen: np.ndarray, polyps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the light ``(H, W)`` that distance leaves: least in the lumen, and less towards the corners."""
    away = ellipse(warp(points, 0.03, 0.2, rng), lumen, 1, np.exp(rng.uniform(-0.2, 0.2)), 0)
    reach = rng.uniform(0.12, 0.25)
    deep = np.exp(-((away / reach) ** 2)) * (1 - 0.8 * polyps)
    corners = np.exp(-rng.uniform(0.2, 0.8) * np.square(points).sum(axis=0))
    return (1 - 0.85 * deep) * corners


def _highlights(relief: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return where the wet surface mirrors the lamp, ``(H, W)`` in 0…1: small blobs on what faces the camera."""
    size = relief.shape
    slope = np.hypot(*np.gradient(relief))
    wet = smooth_noise(size, 0.02, rng) + 0.8 * smooth_noise(size, 0.1, rng) - 2.5 * slope
    return np.clip(3 * (wet - rng.uniform(2.4, 3.2)), 0, 1)


def _bubbles(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the light ``(H, W)`` on the rims of bubbles that swim together, and the glint on each."""
    place = points[:, -1, -1] * rng.uniform(-0.9, 0.9, 2)
    out = np.full(points.shape[1:], np.inf)
    for _ in range(rng.choice([0, 0, 3, 9])):
        centre = place + rng.normal(0, 0.08, 2)
        out = np.minimum(out, ellipse(points, centre, rng.uniform(0.008, 0.03), 1, 0))
    return 0.18 * np.exp(-(((out - 0.9) / 0.25) ** 2)) + 0.25 * np.exp(-(((out - 0.2) / 0.2) ** 2))


def _camera(frame: np.ndarray, view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the frame ``(3, H, W)`` as one of many endoscopes records it: ``(H, W, 3)`` uint8."""
    grey = frame.mean(axis=0)
    exposure = rng.uniform(0.36, 0.5) / grey[view].mean()
    cast = np.exp(rng.normal(0, 0.04, (3, 1, 1)))
    frame = grey + rng.uniform(0.75, 1.15) * (frame - grey)
    return recorded(exposure * cast * frame * view, rng.uniform(0.002, 0.005), rng.uniform(0.008, 0.025), rng)
