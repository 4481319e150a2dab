"""Pairs of masks, prediction and label, that the tests of this folder share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes, gaussian_filter


def noise(shape, density, seed):
    """Two masks of unrelated pixels, of which each is foreground with this probability."""
    return np.random.default_rng(seed).random((2, *shape)) < density


def blobs(shape, shared, seed):
    """Two masks of smooth objects, some with holes, some at the border; the more shared, the more alike."""
    common, *own = gaussian_filter(np.random.default_rng(seed).normal(size=(3, *shape)), (0, 3, 3))
    masks = np.stack([shared * common + (1 - shared) * each for each in own])
    return masks > np.quantile(masks, 0.6)


def drawn(shape, pred, label):
    """Two masks, given by the indices of their foreground."""
    masks = np.zeros((2, *shape), bool)
    for mask, places in zip(masks, (pred, label), strict=True):
        for place in places:
            mask[place] = True
    return masks


def _pairs():
    shape = 21, 34
    empty, full = np.zeros(shape, bool), np.ones(shape, bool)
    whole = np.s_[4:15, 6:20]
    many = drawn((40, 60), [np.s_[::2, ::4]], [np.s_[::2, 1::4]])  # 300 pixels each, side by side
    half = many[1].copy()
    half[20:] = many[0][20:]  # the lower 150 in the same places
    holed = blobs((40, 52), 0.8, seed=6)[0]
    yield "both empty", (empty, empty)
    yield "both full", (full, full)
    yield "empty prediction", (empty, noise(shape, 0.3, seed=0)[0])
    yield "empty label", (noise(shape, 0.3, seed=1)[0], empty)
    yield "full prediction", (full, noise(shape, 0.3, seed=2)[0])
    yield "full label", (noise(shape, 0.3, seed=3)[0], full)
    yield "full for nothing", (full, empty)
    yield "nothing for full", (empty, full)
    yield "same pixel", drawn(shape, [(3, 5)], [(3, 5)])
    yield "pixels in opposite corners", drawn(shape, [(0, 0)], [(-1, -1)])
    yield "pixel of an object", drawn(shape, [(6, 8)], [whole])
    yield "objects at the border", drawn(shape, [np.s_[:7, :9], np.s_[15:, 20:]], [np.s_[:9, 1:9], np.s_[14:, 22:]])
    yield "frame along the border", (~drawn(shape, [np.s_[2:-2, 2:-2]], [])[0], ~drawn(shape, [whole], [])[0])
    yield "objects that touch", drawn(shape, [np.s_[2:8, 2:8], np.s_[8:14, 8:14]], [np.s_[2:8, 3:8], np.s_[8:14, 8:15]])
    yield "one for two", drawn(shape, [np.s_[2:8, 2:14]], [np.s_[2:8, 2:7], np.s_[2:8, 9:14]])
    yield "two for one", drawn(shape, [np.s_[2:8, 2:7], np.s_[2:8, 9:14]], [np.s_[2:8, 2:14]])
    yield "holes against none", (holed, binary_fill_holes(holed))
    yield "300 objects beside 300", many
    yield "300 objects, half of them found", np.stack([many[0], half])
    yield "more pixels than 16 bits count", (np.ones((270, 260), bool), ~np.eye(270, 260, dtype=bool))
    yield "one pixel in all", (np.ones((1, 1), bool), np.ones((1, 1), bool))
    for shape in ((1, 40), (40, 1), (23, 37)):
        for density in (0.05, 0.5, 0.95):
            yield f"noise {shape} {density}", noise(shape, density, seed=4)
    for shared in (0.5, 0.8, 0.95):
        yield f"blobs {shared}", blobs((64, 90), shared, seed=5)


PAIRS = {name: tuple(pair) for name, pair in _pairs()}

each_pair = pytest.mark.parametrize(("pred", "label"), PAIRS.values(), ids=PAIRS)
