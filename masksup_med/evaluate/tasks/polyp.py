"""Polyps in colonoscopy frames: masks and maps of probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.figures import Figure, Measured, Protocol, Settings, Sums, divide, mean_of
from masksup_med.evaluate.tasks.masks import (
    BOUNDARY_FIGURES,
    CALIBRATION_FIGURES,
    OVERLAP_FIGURES,
    mask_measures,
    object_share,
    paper_protocol,
    probability_measures,
    read_map,
    read_masks,
    read_pair,
)
from masksup_med.metrics.lesion import count_lesions, objects_of
from masksup_med.metrics.saliency import saliency_measures

__all__ = ["PROTOCOLS"]

_STRATA = (0.05, 0.15)  # about thirds of CVC-ClinicDB and Kvasir-SEG

_LESION_FIGURES = (
    Figure(
        "lesion_f1",
        "Lesion F1",
        "2·found / (lesions + predicted objects) over the whole set; found: by an object with an IoU above 0.5.",
        lambda sums: divide(
            2 * sums["lesions_found"], sums["lesions"] + sums["lesions_found"] + sums["false_positive_lesions"]
        ),
    ),
    Figure(
        "lesion_sensitivity",
        "Lesion sensitivity",
        "Share of the set's lesions that were found.",
        lambda sums: divide(sums["lesions_found"], sums["lesions"]),
    ),
    mean_of(
        "false_positive_lesions",
        "False positives per image",
        "Predicted objects that find no lesion, mean over the images.",
        lower_is_better=True,
    ),
)


def _measure(case: Case, settings: Settings) -> Measured:
    probability, label = read_pair(case, settings)
    pred = probability > 0.5
    measures = {
        **mask_measures(pred, label, settings),
        **count_lesions(objects_of(pred), objects_of(label)),
        **probability_measures(case, probability, label),
    }
    return Measured(measures, not label.any(), not pred.any(), object_share(label))


def _measure_as_pranet(case: Case, settings: Settings) -> Measured:
    pred, label = read_pair(case, settings)
    return Measured(
        saliency_measures(read_map(case, pred), label), not label.any(), not (pred > 0.5).any(), object_share(label)
    )


def _pranet_figures(suffix: str, how: str) -> tuple[Figure, ...]:
    """The six figures, of maps as they are or scaled."""

    def mean(column: str, title: str, definition: str, lower_is_better: bool = False) -> Figure:
        return mean_of(column + suffix, f"{title}, {how}", definition, lower_is_better=lower_is_better)

    def max_e(sums: Sums) -> NDArray[np.float64]:
        return sums[f"e_curve{suffix}"].max(-1) / sums["images"]

    return (
        mean("mean_dice", "Mean Dice", "Dice, mean over 256 thresholds from 1 to 0 and over the images."),
        mean("mean_iou", "Mean IoU", "IoU, mean over 256 thresholds from 1 to 0 and over the images."),
        mean("weighted_f", "Weighted F", "Weighted F-measure (Margolin 2014), mean over the images."),
        mean("s_measure", "S-measure", "Structure measure (Fan 2017), mean over the images."),
        Figure(
            f"max_e{suffix}",
            f"Max E-measure, {how}",
            "Enhanced-alignment measure (Fan 2018): the highest of 256 thresholds after the mean over the images.",
            max_e,
        ),
        mean("mae", "MAE", "Mean absolute difference of map and label, mean over the images.", lower_is_better=True),
    )


PROTOCOLS = {
    "native": Protocol(
        "Masks at the label's own size, maps cut at half.",
        _measure,
        read_masks,
        (*OVERLAP_FIGURES, *BOUNDARY_FIGURES, *_LESION_FIGURES, *CALIBRATION_FIGURES),
        key="dice",
        strata=_STRATA,
    ),
    "paper": paper_protocol(read_pair, read_masks),
    "pranet": Protocol(
        "PraNet's evaluation: maps at the label's own size, cut at 256 thresholds; once as they are, and once, as "
        "PraNet does, each scaled from its least to its greatest value.",
        _measure_as_pranet,
        read_masks,
        (*_pranet_figures("", "unscaled"), *_pranet_figures("_min_max", "min-max")),
        key="mean_dice",
        strata=_STRATA,
    ),
}
