"""Shape awareness as a number: how well a bundle still finds an object when part of the picture is hidden from it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from masksup_med import __version__
from masksup_med.bundle.predictor import Predictor
from masksup_med.data.decode import read_image
from masksup_med.errors import DataError
from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.hiding import HIDINGS, RATIOS, hide
from masksup_med.evaluate.reading import read_foreground
from masksup_med.evaluate.reports.occlusion import write_occlusion_report
from masksup_med.evaluate.reports.occlusion_pictures import example_pictures
from masksup_med.evaluate.results import CONFIDENCE, RESAMPLES
from masksup_med.evaluate.write import OCCLUSION, REPORT, usable_output, write_json, write_rows
from masksup_med.metrics.occlusion import area_under_occlusion
from masksup_med.metrics.overlap import iou
from masksup_med.metrics.statistics import Bootstrap, interval
from masksup_med.outputs.atomic import atomic_paths

__all__ = ["measure_occlusion"]


def measure_occlusion(
    predictor: Predictor, cases: Sequence[Case], output_dir: str | os.PathLike[str], seed: int = 0
) -> dict[str, Any]:
    """Hide 0 to 90 % of each picture from the network, and measure the IoU with the whole label.

    What is hidden becomes mid-grey in the network's input, in patches of 16 pixels or under scribbles, as in training;
    what is hidden depends on the seed and on the case's name alone. Writes ``occlusion.csv``, ``occlusion.json`` and
    ``report.html``.

    Args:
        predictor: a bundle that tells one foreground from the background.
        cases: images and labels; see :func:`~masksup_med.evaluate.predict.labelled_cases`.
        output_dir: where the files go.
        seed: of what is hidden, and of the bootstrap.

    Returns:
        What ``occlusion.json`` holds: for each kind of hiding the mean IoU at each ratio, and the area under it.
    """
    folder = usable_output(output_dir, OCCLUSION)
    if len(predictor.bundle.classes) > 1:
        raise DataError(f"The bundle {predictor.bundle.name} has several classes; occlusion needs one foreground.")
    progress = tqdm(cases, desc="occlusion", unit="image", disable=None)
    scores = np.stack([_scores(predictor, case, seed) for case in progress])
    bootstrap = Bootstrap([case.group for case in cases], RESAMPLES, seed)
    results = {
        "bundle": predictor.bundle.name,
        "version": __version__,
        "images": len(cases),
        "groups": bootstrap.groups,
        "grouped": bootstrap.groups < len(cases),
        "settings": {"resamples": RESAMPLES, "confidence": CONFIDENCE, "seed": seed},
        "ratios": list(RATIOS),
        "definition": "IoU with the whole label when a share of the network's input is hidden; area: its mean over "
        "hidden shares from 0 to 0.9, by trapezes.",
        "hidings": {kind: _curve(scores[:, number], bootstrap) for number, kind in enumerate(HIDINGS)},
    }
    with atomic_paths(folder, "occlusion.csv", OCCLUSION, REPORT) as (table, curves, report):
        write_rows(table, _rows(cases, scores))
        write_json(curves, results)
        write_occlusion_report(report, results, example_pictures(predictor, cases, seed))
    return results


def _scores(predictor: Predictor, case: Case, seed: int) -> NDArray[np.float64]:
    """IoU by kind of hiding and ratio, shape (hidings, ratios)."""
    prepared, label = predictor.prepare(read_image(str(case.image))), read_foreground(case.label, case.values)

    def score(image: Any) -> float:
        return iou(predictor.finish(prepared, predictor.infer([image])[0]).classes > 0, label)

    return np.array(
        [[score(hide(prepared.image, hiding, ratio, case.name, seed)) for ratio in RATIOS] for hiding in HIDINGS]
    )


def _curve(scores: NDArray[np.float64], bootstrap: Bootstrap) -> dict[str, Any]:
    """Means over the images at each ratio, and the area under them, with intervals; scores of (images, ratios)."""
    means = scores.mean(axis=0)
    resampled = bootstrap.sums(scores) / bootstrap.sums(np.ones((len(scores), 1)))
    bounds = [interval(column) if bootstrap.groups > 1 else None for column in resampled.T]
    area = area_under_occlusion(RATIOS, resampled)
    return {
        "iou": means.tolist(),
        "intervals": bounds,
        "area": float(area_under_occlusion(RATIOS, means)),
        "area_interval": interval(area) if bootstrap.groups > 1 else None,
    }


def _rows(cases: Sequence[Case], scores: NDArray[np.float64]) -> list[dict[str, Any]]:
    return [
        {"image": case.name, "group": case.group, "hiding": kind, "ratio": ratio, "iou": float(value)}
        for case, of_image in zip(cases, scores, strict=True)
        for kind, of_kind in zip(HIDINGS, of_image, strict=True)
        for ratio, value in zip(RATIOS, of_kind, strict=True)
    ]
