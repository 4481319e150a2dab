"""Fit a bundle's temperature and thresholds on labelled images, say what they are worth, and keep them in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from masksup_med import __version__
from masksup_med.bundle import Bundle, Predictor
from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.quality.figures import BAD, FEWEST, gain, threshold_figures, worth
from masksup_med.evaluate.quality.scores import DROPOUT, ENTROPY, OTHERS, Scored, answer, has_dropout, read_pair, scored
from masksup_med.evaluate.quality.temperature import Calibration, check_place, store_temperature
from masksup_med.evaluate.reports.quality import write_quality_report
from masksup_med.evaluate.results import CONFIDENCE, RESAMPLES
from masksup_med.evaluate.write import QUALITY, REPORT, usable_output, write_json, write_rows
from masksup_med.inferers.views import views
from masksup_med.metrics.doubt import risk_coverage_area
from masksup_med.metrics.statistics import Bootstrap
from masksup_med.outputs.atomic import atomic_paths

__all__ = ["calibrate"]

_SOFT = 8.0  # temperature that another one is fitted from


def calibrate(
    bundle: Bundle,
    cases: Sequence[Case],
    output_dir: str | os.PathLike[str],
    kind: str,
    sensitivity: float = 0.9,
    compare: bool = False,
    device: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Fit a temperature, then thresholds for flags; write both into the bundle when all else is done.

    Writes ``quality.csv``, ``quality.json`` and ``report.html``.

    Args:
        bundle: that is calibrated.
        cases: images and labels that it was not trained on; see
            :func:`~masksup_med.evaluate.predict.labelled_cases`.
        output_dir: where the files go.
        kind: of the views that it shall be asked for; see :data:`~masksup_med.inferers.views.KINDS`.
        sensitivity: share of the bad predictions that flags shall find at least.
        compare: whether to compare its views with all other scores of doubt, too.
        device: such as ``"cpu"``; by default what the bundle chooses.
        seed: of the bootstrap.

    Returns:
        What ``quality.json`` holds.

    Raises:
        SettingError: the bundle has no place for a temperature, there are no such views, or the folder is in use.
        DataError: an image and its label differ in size.
    """
    views(kind, 1)  # is there such a kind?
    folder = usable_output(output_dir, QUALITY)
    check_place(bundle)
    temperature, before, after = _tempered(bundle, cases, device)
    predictor = _with_temperature(bundle, temperature, device)
    others = [*OTHERS, ENTROPY, *([DROPOUT] if has_dropout(predictor) else [])] if compare else []
    progress = tqdm(cases, desc="doubt", unit="image", disable=None)
    rows = [scored(predictor, case, kind, others) for case in progress]
    results = _results(bundle, rows, kind, sensitivity, seed) | {
        "temperature": temperature,
        "ece_before": before.error,
        "ece_after": after.error,
        "reliability_before": before.bins.tolist(),
        "reliability_after": after.bins.tolist(),
    }
    with atomic_paths(folder, "quality.csv", QUALITY, REPORT) as (table, figures, report):
        write_rows(table, [_row(each) for each in rows])
        write_json(figures, results)
        write_quality_report(report, results, rows)
    _store(bundle, results)
    return results


def _tempered(bundle: Bundle, cases: Sequence[Case], device: str | None) -> tuple[float, Calibration, Calibration]:
    """The temperature, and how well probabilities are calibrated without and with it; 1 if that is no better."""
    before, softened = _calibration(bundle, cases, device, 1.0), _calibration(bundle, cases, device, _SOFT)
    temperature = softened.temperature()
    after = _calibration(bundle, cases, device, temperature)
    return (temperature, before, after) if after.error < before.error else (1.0, before, before)


def _calibration(bundle: Bundle, cases: Sequence[Case], device: str | None, temperature: float) -> Calibration:
    predictor, calibration = _with_temperature(bundle, temperature, device), Calibration(temperature)
    for case in tqdm(cases, desc=f"temperature {temperature:g}", unit="image", disable=None):
        picture, label = read_pair(case, len(bundle.classes))
        calibration.add(answer(predictor, picture).numpy().swapaxes(1, 2), label)
    return calibration


def _with_temperature(bundle: Bundle, temperature: float, device: str | None) -> Predictor:
    copy = Bundle(bundle.folder)
    copy.config["temperature"] = temperature
    return Predictor(copy, device)


def _results(bundle: Bundle, rows: Sequence[Scored], kind: str, sensitivity: float, seed: int) -> dict[str, Any]:
    groups = [row.case.group for row in rows]
    bootstrap = Bootstrap(groups, RESAMPLES, seed)
    iou = np.array([row.iou for row in rows])
    bad = int(np.count_nonzero(iou < BAD))
    passes = list(rows[0].averaged_iou)
    doubts = {(name, count): _doubt(rows, name, count) for name, of in rows[0].doubt.items() for count in of}
    averaged = {count: np.array([row.averaged_iou[count] for row in rows]) for count in passes}
    flags = {str(c): threshold_figures(doubts[kind, c], iou, groups, sensitivity) for c in passes if bad >= FEWEST}
    return {
        "bundle": bundle.name,
        "version": __version__,
        "images": len(rows),
        "groups": bootstrap.groups,
        "grouped": bootstrap.groups < len(rows),
        "bad": bad,
        "settings": {
            "views": kind,
            "sensitivity": sensitivity,
            "bad_iou": BAD,
            "resamples": RESAMPLES,
            "confidence": CONFIDENCE,
            "seed": seed,
        },
        "iou": float(iou.mean()),
        "averaged": {str(count): gain(values, iou, bootstrap) for count, values in averaged.items()},
        "thresholds": flags,
        "scores": [
            {"score": name, "passes": count, **worth(doubt, iou, bootstrap)} for (name, count), doubt in doubts.items()
        ],
        "risk_coverage_best": float(risk_coverage_area(1 - iou, 1 - iou)),
        "risk_coverage_chance": float(1 - iou.mean()),
    }


def _doubt(rows: Sequence[Scored], name: str, count: int) -> np.ndarray:
    return np.array([row.doubt[name][count] for row in rows])


def _row(scored: Scored) -> dict[str, Any]:
    own = {"image": scored.case.name, "group": scored.case.group, "iou": scored.iou}
    averaged = {f"iou_averaged_{count}": value for count, value in scored.averaged_iou.items()}
    return own | averaged | {f"{name} {n}": value for name, of in scored.doubt.items() for n, value in of.items()}


def _store(bundle: Bundle, results: dict[str, Any]) -> None:
    """Write what was fitted into the bundle, with what it holds for: these weights and settings, and no others."""
    store_temperature(bundle, results["temperature"])
    calibrated = Bundle(bundle.folder)
    calibrated.note(
        quality={
            "views": results["settings"]["views"],
            "thresholds": {count: figures["threshold"] for count, figures in results["thresholds"].items()},
            "sensitivity": results["settings"]["sensitivity"],
            "bad_iou": BAD,
            "images": results["images"],
            "bad_images": results["bad"],
            "temperature": results["temperature"],
            "ece_before": results["ece_before"],
            "ece_after": results["ece_after"],
            "weights_sha256": calibrated.weights_sha256,
            "settings_sha256": calibrated.settings_sha256,
        }
    )
