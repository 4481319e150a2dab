"""An H&E-like field of tissue: two stains laid on glands, stroma and nuclei, and the light that they let through.

Lengths are in short sides of the field, so a field looks the same at every size.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.segmentation import find_boundaries

from masksup_med.data._polyp_phantom import ellipse, grid, smooth_noise, warp

__all__ = ["draw_tissue"]

# How much haematoxylin and eosin absorb of red, green and blue: A. C. Ruifrok and D. A. Johnston,
# "Quantification of histochemical staining by color deconvolution", 2001, as in skimage.color.rgb_from_hed.
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
_NUCLEUS = 0.011  # half the width of a nucleus


def draw_tissue(size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a field.

    Returns:
        The field, ``(H, W, 3)`` uint8, and its glands, ``(H, W)`` integers: 1…n, and 0 for the rest.
    """
    grade = rng.uniform(0, 1)  # 0: round glands with a wide lumen, 1: malignant ones, ragged and filled
    points = grid(size)
    glands, radii = _glands(points, grade, rng)
    border = _border_distance(glands)
    lumen = _lumens(glands, border, radii, grade, rng)
    holes = _holes(points, glands, border, rng)
    haematoxylin, eosin = _ground(glands, lumen, border, rng)
    nuclei = _nuclei(glands, lumen, border, holes, rng)
    open_ = np.maximum(holes, 0)
    ...
