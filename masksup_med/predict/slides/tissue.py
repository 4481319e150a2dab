"""Where there is tissue on a slide, so that glass need not be predicted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter
from skimage.color import rgb2hsv
from skimage.filters import threshold_otsu

__all__ = ["tissue_in"]

# Otsu's threshold would part pale tissue from dark where there is no glass, and noise from noise where there is
# nothing else. Glass on scanned slides has a saturation below the first; what is above the second is stained.
_SATURATION = (0.04, 0.15)
_DARK = 0.6  # of full brightness: ink, folds and dark grounds


def tissue_in(overview: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find tissue: what is coloured, by Otsu's threshold of the saturation between two bounds, or dark.

    Args:
        overview: a small picture of the slide, shape (h, w, 3).

    Returns:
        Array of shape (h, w), a pixel wider than the tissue on all sides.
    """
    smooth = gaussian_filter(overview.astype(np.float32), (1, 1, 0)) / 255  # a camera's noise is coloured
    _, saturation, brightness = np.moveaxis(rgb2hsv(smooth), -1, 0)
    least = np.clip(threshold_otsu(saturation), *_SATURATION)
    return binary_dilation((saturation > least) | (brightness < _DARK), np.ones((3, 3)))
