"""An H&E-like field of tissue: two stains laid on glands, stroma and nuclei, and the light that they let through.

Lengths are in short sides of the field, so a field looks the same at every size.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.measure import label as connected
from skimage.segmentation import find_boundaries

from masksup_med.data._drawing import ellipse, grid, recorded, smooth_noise, somewhere, warp

__all__ = ["draw_tissue"]

# How much haematoxylin and eosin absorb of red, green and blue: the stain vectors that QuPath starts from.
_STAINS = np.array([[0.65, 0.70, 0.29], [0.22, 0.80, 0.56]])
_NUCLEUS = 0.012  # half the mean width of a nucleus


def draw_tissue(size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a field.

    Returns:
        The field, ``(H, W, 3)`` uint8, and its glands, ``(H, W)`` integers: 1…n, and 0 for the rest.
    """
    points = grid(size)
    grade = rng.uniform(0, 1)  # 0: smooth glands with a wide lumen; 1: malignant ones, ragged and filled
    glands = _glands(points, grade, rng)
    edge = ndimage.distance_transform_edt(~find_boundaries(glands, mode="inner")) / min(size)
    lumen = _lumens(glands, edge, grade, rng)
    ragged = warp(points, 0.03, 0.1, rng)
    gaps = _gaps(points, ragged, glands, edge, rng)
    nuclei = _nuclei(ragged, glands, edge, np.maximum(lumen, gaps), rng)
    stains = _ground(glands, edge, lumen, rng)
    stains[0] = np.maximum(stains[0], nuclei)
    return _microscope(stains * (1 - gaps), rng), glands


# Where everything lies.


def _glands(points: np.ndarray, grade: float, rng: np.random.Generator) -> np.ndarray:
    """Return the glands ``(H, W)``: 1…n, each in one piece, some side by side, and 0 elsewhere."""
    height, width = 2 * points[:, -1, -1]
    count = rng.integers(5, 16)
    typical = np.sqrt(0.42 * height * width / (count * np.pi))
    radii = typical * rng.uniform(0.7, 1.3, count)
    ragged = warp(warp(points, 0.12 * typical, typical, rng), (0.02 + 0.08 * grade) * typical, 0.3 * typical, rng)
    nearest, glands = np.ones(points.shape[1:]), np.zeros(points.shape[1:], dtype=int)
    for index, centre in enumerate(_places(radii, height, width, rng)):
        out = ellipse(ragged, centre, radii[index], np.exp(rng.uniform(0, 0.4)), rng.uniform(0, np.pi))
        glands[out < nearest] = index + 1
        nearest = np.minimum(nearest, out)
    return _numbered(glands)


def _places(radii: np.ndarray, height: float, width: float, rng: np.random.Generator) -> np.ndarray:
    """Return a centre for each radius, ``(n, 2)``: of many tries, the one that leaves about the wished-for gap."""
    reach = np.array([height, width]) / 2
    places = rng.uniform(-reach, reach, (1, 2))
    for taken in range(1, len(radii)):
        tries = rng.uniform(-reach, reach, (60, 2))
        apart = np.linalg.norm(tries[:, None] - places, axis=-1) - radii[taken] - radii[:taken]
        wished = rng.choice([-0.15, 0.5]) * radii[taken]
        best = np.abs(np.min(apart, axis=1) - wished).argmin()
        places = np.vstack([places, tries[best]])
    return places


def _numbered(glands: np.ndarray) -> np.ndarray:
    """Keep the largest piece of each gland, and number those anew that are worth seeing."""
    pieces = connected(glands, connectivity=1)
    sizes, owner = np.bincount(pieces.ravel()), np.zeros(pieces.max() + 1, dtype=int)
    owner[pieces.ravel()] = glands.ravel()
    largest = [np.where(owner == gland, sizes, 0).argmax() for gland in range(1, glands.max() + 1)]
    kept = [piece for piece in largest if sizes[piece] > 0.004 * glands.size]
    numbers = np.zeros(len(sizes), dtype=int)
    numbers[kept] = np.arange(1, len(kept) + 1)
    return numbers[pieces]


def _lumens(glands: np.ndarray, edge: np.ndarray, grade: float, rng: np.random.Generator) -> np.ndarray:
    """Return how open the glands are, ``(H, W)`` in 0…1: the inside of each but a band, or nothing of it."""
    count = glands.max() + 1
    deepest = ndimage.maximum(edge, glands, np.arange(count))
    band = np.maximum(deepest * (rng.uniform(0.3, 0.55, count) + 0.1 * grade), 2.5 * _NUCLEUS)
    band[rng.random(count) < 0.05 + 0.35 * grade] = np.inf
    uneven = 0.01 * smooth_noise(glands.shape, 0.04, rng)
    return np.where(glands > 0, np.clip((edge + uneven - band[glands]) / 0.01, 0, 1), 0)


def _gaps(
    points: np.ndarray, ragged: np.ndarray, glands: np.ndarray, edge: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return where the glass shows, ``(H, W)`` in 0…1: round fat vacuoles and ragged tears, between glands only."""
    stroma = (glands == 0) & (edge > 0.015)
    vacuoles, tears = [(points, 0.05, 1.0)] * rng.integers(0, 7), [(ragged, 0.07, 1.6)] * rng.integers(0, 4)
    out = np.full(glands.shape, np.inf)
    for plane, radius, stretch in vacuoles + tears:
        centre, radius = somewhere(points, stroma, rng), radius * rng.uniform(0.5, 1.3)
        out = np.minimum(out, ellipse(plane, centre, radius, stretch, rng.uniform(0, np.pi)))
    return np.where(stroma, np.clip(8 * (1 - out), 0, 1), 0)


# What lies there.


def _ground(glands: np.ndarray, edge: np.ndarray, lumen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return haematoxylin and eosin ``(2, H, W)`` without the nuclei: fibres around glands, cells, lumens."""
    size = glands.shape
    uneven = smooth_noise(size, 0.15, rng)
    along = (edge + 0.03 * uneven) / 0.035 + 0.35 * smooth_noise(size, 0.05, rng)
    fibres = np.sin(2 * np.pi * along) * np.clip(0.6 + 0.5 * smooth_noise(size, 0.1, rng), 0, 1)
    stroma = np.stack([0.10 + 0.03 * uneven, 0.42 + 0.10 * fibres + 0.06 * uneven])
    count = glands.max() + 1
    cells = np.stack([rng.uniform(0.10, 0.26, count), rng.uniform(0.30, 0.50, count)])[:, glands]
    cells = cells + 0.04 * smooth_noise(size, 0.03, rng)
    mucus = np.stack([np.full(count, 0.03), rng.choice([0.03, 0.10, 0.35], count)])[:, glands]
    inside = cells + lumen * (mucus - cells)
    return np.where(glands > 0, inside, stroma)


def _nuclei(
    ragged: np.ndarray, glands: np.ndarray, edge: np.ndarray, empty: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the haematoxylin of the nuclei ``(H, W)``: upright in glands, along fibres outside, round in clusters."""
    slope_y, slope_x = np.gradient(ndimage.gaussian_filter(edge, 0.01 * min(edge.shape)))
    upright = np.arctan2(slope_y, slope_x)
    gland, solid = glands > 0, empty < 0.1
    crowd = _clusters(ragged, gland, rng)
    canvas = np.zeros(edge.shape)
    for where, spacing, long, angle in (
        (gland & (edge > 0.7 * _NUCLEUS), 0.026, 1.5, upright),
        (~gland & ~crowd, 0.07, 1.9, upright + np.pi / 2),
        (~gland & crowd, 0.024, 1.0, upright),
    ):
        _stamp(canvas, _scattered(where & solid, spacing, rng), long, angle, rng)
    return canvas


def _clusters(ragged: np.ndarray, gland: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return where lymphocytes crowd, ``(H, W)`` bool: as dark as a filled gland, but without its cells."""
    crowd = np.zeros(gland.shape, dtype=bool)
    for _ in range(rng.integers(0, 4)):
        crowd |= ellipse(ragged, somewhere(ragged, ~gland, rng), rng.uniform(0.05, 0.12), 1.3, 0) < 1
    return crowd


def _scattered(where: np.ndarray, spacing: float, rng: np.random.Generator) -> np.ndarray:
    """Return points ``(n, 2)`` of ``where``, at random but not closer than ``spacing``: the peaks of white noise."""
    noise = rng.random(where.shape)
    window = max(3, 2 * round(spacing * min(where.shape) / 2) + 1)
    return np.argwhere((ndimage.maximum_filter(noise, window) == noise) & where)


def _stamp(canvas: np.ndarray, at: np.ndarray, long: float, angle: np.ndarray, rng: np.random.Generator) -> None:
    """Draw a dark ellipse on ``canvas`` at each of the points ``(n, 2)``, ``long`` times as long as wide."""
    half = _NUCLEUS * min(canvas.shape) * rng.uniform(0.8, 1.15, (len(at), 1, 1))
    reach = int(np.ceil(1.3 * _NUCLEUS * long * min(canvas.shape))) + 1
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    turn = angle[tuple(at.T)][:, None, None] + rng.normal(0, 0.25, half.shape)
    along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    out = np.sqrt((along / long) ** 2 + across**2) - half
    dark = rng.uniform(0.6, 1.1, half.shape) * np.clip(0.5 - out, 0, 1)
    y, x = at[:, 0, None, None] + dy, at[:, 1, None, None] + dx
    seen = (y >= 0) & (y < canvas.shape[0]) & (x >= 0) & (x < canvas.shape[1])
    np.maximum.at(canvas, (y[seen], x[seen]), dark[seen])


def _microscope(stains: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the light ``(H, W, 3)`` uint8 that haematoxylin and eosin ``(2, H, W)`` let through.

    Each stain absorbs its share of what is left (Beer and Lambert), in the hue and strength of one of many labs.
    """
    hue = _STAINS * np.exp(rng.normal(0, 0.1, _STAINS.shape)) * np.exp(rng.normal(0.1, 0.15, (2, 1)))
    haematoxylin, eosin = hue[:, :, None, None] * stains[:, None]
    lamp = rng.uniform(0.9, 0.98) * rng.uniform(0.97, 1, (3, 1, 1))
    return recorded(lamp * np.exp(-haematoxylin - eosin), rng.uniform(0.002, 0.004), 0.012, rng)
