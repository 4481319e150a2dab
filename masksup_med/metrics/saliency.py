"""The measures of polyp papers, which come from salient object detection: one image at a time.

PraNet (Fan et al., "PraNet: Parallel reverse attention network for polyp segmentation", MICCAI 2020,
arXiv:2006.11392) scores probability maps with its script ``eval/main.m``, and most polyp papers since report what
that prints. Two of its habits surprise whoever comes from another field:

- Its "mean Dice" is not the Dice of a mask. It is the mean over 256 thresholds, down to 0, where everything is
  foreground; of two maps with the same mask at 0.5 the softer one scores lower.
- It stretches every map to 0..1 first, which turns a confident negative, all probabilities near 0.01, into
  foreground. Here every map is evaluated twice: as it is, and (``_min_max``) stretched.

Throughout, ``pred`` is a map of probabilities 0..1, shape ``(H, W)``, float64, and ``label`` the truth, shape
``(H, W)``, bool; all else raises DataError. Results equal those of ``py_sod_metrics`` 1.6.2 where that has any.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, distance_transform_edt

from masksup_med.errors import DataError

__all__ = [
    "e_measure_curve",
    "mean_absolute_error",
    "min_max",
    "overlap_curves",
    "s_measure",
    "saliency_measures",
    "weighted_f",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]
Mask = NDArray[np.bool_]

_EPS = float(np.spacing(1))  # Matlab's eps, which the published codes add to denominators
_GAUSSIAN = np.exp(-(np.arange(-3, 4) ** 2) / 50)  # 7 pixels, sigma 5; the square kernel is its outer product
_GAUSSIAN /= _GAUSSIAN.sum()


def saliency_measures(pred: Floats, label: Mask) -> dict[str, float | Floats]:
    """All measures of one image, of its map as it is and stretched to 0..1; both of shape ``(H, W)``.

    Returns:
        ``mean_dice`` and ``mean_iou`` (means of :func:`overlap_curves`), ``weighted_f``, ``s_measure``, ``e_curve``
        of shape ``(256,)`` and ``mae``; then the same with suffix ``_min_max``. The figures of a set are means over
        its images; its "max E" is the highest value of the mean curve, not the mean of the highest values.

    Example::

        >>> pred = np.array([[0.01, 0.02], [0.01, 0.01]])  # sure that there is nothing, as is right
        >>> measures = saliency_measures(pred, np.zeros((2, 2), bool))
        >>> measures["mae"], measures["mae_min_max"]
        (0.0125, 0.25)
    """
    truth = _Truth(label)
    once = _Pair(pred, truth).measures()
    stretched = min_max(pred)
    again = once if stretched is pred else _Pair(stretched, truth).measures()
    return once | {f"{name}_min_max": value for name, value in again.items()}


def min_max(pred: Floats) -> Floats:
    """Stretch a map of shape ``(H, W)`` to 0..1; one that is constant, or spans 0..1 already, is returned itself."""
    low, high = pred.min(), pred.max()
    return pred if low == high or (low, high) == (0, 1) else (pred - low) / (high - low)


def overlap_curves(pred: Floats, label: Mask) -> tuple[Floats, Floats]:
    """Dice and IoU of the map cut at 255/255, 254/255, ... 0 (Fan et al., MICCAI 2020: "mean Dice", "mean IoU").

    The map is quantised to ``floor(255 * pred)``, and a pixel is foreground from the threshold on. Both curves are
    of shape ``(256,)``, each value in 0..1, and 0 where neither map nor label has foreground.
    """
    return _Pair(pred, _Truth(label)).overlaps()


def e_measure_curve(pred: Floats, label: Mask) -> Floats:
    """Enhanced-alignment measure (Fan et al., IJCAI 2018) at the thresholds of :func:`overlap_curves`, ``(256,)``.

    Binary map and label are compared pixel by pixel after subtracting their means; with an empty or full label it is
    the share of right pixels. Range 0..1 but for the published divisor ``H*W - 1``: a perfect map scores a little
    over 1, and one pixel alone 0 or 1/eps.
    """
    return _Pair(pred, _Truth(label)).alignments()


def s_measure(pred: Floats, label: Mask) -> float:
    """Structure measure with alpha 0.5 (Fan et al., ICCV 2017), 0..1, of two maps of shape ``(H, W)``.

    The mean of an object score (level and evenness inside and outside the label) and a region score (structural
    similarity in the four quarters around the label's centroid). Where the centroid is in the last row or column, two
    quarters have no pixels: they weigh nothing here, while the published codes return NaN.
    """
    return _Pair(pred, _Truth(label)).structure()


def weighted_f(pred: Floats, label: Mask) -> float:
    """Weighted F-measure with beta 1 (Margolin et al., CVPR 2014), 0..1, of two maps of shape ``(H, W)``.

    Missed pixels count less beside found ones; false ones count up to double, the farther from the label the more.
    An empty label scores 0.
    """
    return _Pair(pred, _Truth(label)).weighted_f()


def mean_absolute_error(pred: Floats, label: Mask) -> float:
    """Mean of ``|pred - label|`` (Perazzi et al., CVPR 2012), 0..1, of two maps of shape ``(H, W)``."""
    return _Pair(pred, _Truth(label)).error()


class _Truth:
    """A label and what the measures need to know of it, found once for all maps."""

    def __init__(self, mask: Mask) -> None:
        self.mask, self.size, self.count = mask, mask.size, int(np.count_nonzero(mask))

    @cached_property
    def quarters(self) -> list[tuple[slice, slice]]:
        """Those of the four parts around the centroid that have pixels."""
        counts = [np.count_nonzero(self.mask, axis=1 - axis) for axis in (0, 1)]
        ends = [round(np.arange(len(count)) @ count / self.count) + 1 for count in counts]
        rows, columns = ((slice(0, end), slice(end, None)) for end in ends)
        return [(r, c) for r in rows for c in columns if self.mask[r, c].size]

    @cached_property
    def surroundings(self) -> tuple[Floats, tuple[slice, ...], Integers]:
        """What a false pixel weighs, ``(H, W)``; the label's box and 3 pixels more; its nearest label pixels' index."""
        # distances from the indices: the transform's own take twice as long
        rows, columns = distance_transform_edt(~self.mask, return_distances=False, return_indices=True)
        y, x = np.ogrid[: self.mask.shape[0], : self.mask.shape[1]]
        squared = (rows - y.astype(np.int32)) ** 2 + (columns - x.astype(np.int32)) ** 2
        weights = 2 - np.exp(np.log(0.5) / 5 * np.sqrt(squared))
        weights[self.mask] = 0
        spans = [np.flatnonzero(self.mask.any(axis=1 - axis)) for axis in (0, 1)]
        window = tuple(slice(max(0, span[0] - 3), span[-1] + 4) for span in spans)
        return weights, window, rows[window].astype(np.intp) * self.mask.shape[1] + columns[window]


class _Pair:
    """A map and its label, with each measure as a method."""

    def __init__(self, pred: Floats, truth: _Truth) -> None:
        self.pred, self.truth = pred, truth
        self._check()
        self.inside, self.outside = pred[truth.mask], pred[~truth.mask]

    def _check(self) -> None:
        pred, mask = self.pred, self.truth.mask
        fits = pred.dtype == np.float64 and mask.dtype == bool and pred.ndim == 2 and pred.shape == mask.shape
        if not (fits and pred.size):
            given = f"{pred.dtype} {pred.shape} and {mask.dtype} {mask.shape}"
            raise DataError(f"Map and label are {given}; give a float64 map and a bool label of one shape (H, W).")
        if not (pred.min() >= 0 and pred.max() <= 1):
            raise DataError(f"The map's values are {pred.min()}..{pred.max()}; give probabilities between 0 and 1.")

    def measures(self) -> dict[str, float | Floats]:
        dice, iou = self.overlaps()
        return {
            "mean_dice": float(dice.mean()),
            "mean_iou": float(iou.mean()),
            "weighted_f": self.weighted_f(),
            "s_measure": self.structure(),
            "e_curve": self.alignments(),
            "mae": self.error(),
        }

    @cached_property
    def counts(self) -> tuple[Integers, Integers]:
        """Foreground pixels inside and outside the label at thresholds 255, 254, ... 0."""
        levels = [(values * 255).astype(np.intp) for values in (self.inside, self.outside)]
        hits, false = (np.bincount(level, minlength=256)[::-1].cumsum() for level in levels)
        return hits, false

    def overlaps(self) -> tuple[Floats, Floats]:
        hits, false = self.counts
        union = self.truth.count + false
        return 2 * hits / np.maximum(union + hits, 1), hits / np.maximum(union, 1)

    def alignments(self) -> Floats:
        (hits, false), size, count = self.counts, self.truth.size, self.truth.count
        if count in (0, size):
            return (hits if count else size - false) / (size - 1 + _EPS)
        p, t = (hits + false) / size, count / size
        pixels = np.stack([hits, false, count - hits, size - count - false])
        pred, label = np.stack([1 - p, 1 - p, -p, -p]), np.array([[1 - t], [-t], [1 - t], [-t]])
        aligned = 2 * pred * label / (pred**2 + label**2 + _EPS)
        return np.sum(pixels * (aligned + 1) ** 2 / 4, axis=0) / (size - 1)

    def structure(self) -> float:
        pred, mask, share = self.pred, self.truth.mask, self.truth.count / self.truth.size
        if share in (0, 1):
            return float(pred.mean() if share else 1 - pred.mean())
        objects = share * _evenness(self.inside) + (1 - share) * _evenness(1 - self.outside)
        regions = sum(mask[part].size / mask.size * _similarity(pred[part], mask[part]) for part in self.truth.quarters)
        return max(0.0, (objects + regions) / 2)

    def weighted_f(self) -> float:
        truth = self.truth
        if truth.count == 0:
            return 0.0
        weights, window, nearest = truth.surroundings
        missed = 1 - self.pred.ravel()[nearest]  # continued outwards, so that smoothing keeps the label's edge
        smooth = convolve1d(convolve1d(missed, _GAUSSIAN, axis=0, mode="constant"), _GAUSSIAN, axis=1, mode="constant")
        hits = truth.count - np.minimum(missed, smooth)[truth.mask[window]].sum()
        recall, precision = hits / truth.count, hits / (hits + np.vdot(self.pred, weights) + _EPS)
        return float(2 * recall * precision / (recall + precision + _EPS))

    def error(self) -> float:
        return float(((1 - self.inside).sum() + self.outside.sum()) / self.truth.size)


def _evenness(values: Floats) -> float:
    mean, spread = values.mean(), values.std(ddof=1) if values.size > 1 else 0
    return float(2 * mean / (mean**2 + 1 + spread + _EPS))


def _similarity(pred: Floats, mask: Mask) -> float:
    x, y = pred.mean(), np.count_nonzero(mask) / mask.size
    off = pred - x
    if y in (0, 1):  # 1 if the map is constant too: by rounding, as in the published codes, for a mean can be off
        return float((x**2 + y**2) * np.sum(off**2) == 0)
    variances = np.vdot(off, off) + mask.size * y * (1 - y)
    return float(4 * x * y * off[mask].sum() / ((x**2 + y**2) * variances + _EPS * (mask.size - 1)))
