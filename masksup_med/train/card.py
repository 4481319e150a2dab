"""The model card: what a bundle was made from, how good it is, and what it looks like at work."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mlflow import MlflowClient
from monai.utils import path_to_sqlite_uri
from numpy.typing import NDArray
from PIL import Image

from masksup_med.bundle.bundle import Bundle
from masksup_med.data.decode import read_image
from masksup_med.evaluate.cases import Case
from masksup_med.evaluate.figures import Settings
from masksup_med.evaluate.tasks import TASKS
from masksup_med.evaluate.write import PER_IMAGE
from masksup_med.handlers.mlflow_runs import silence_mlflow
from masksup_med.handlers.provenance import read_passport
from masksup_med.outputs.atomic import atomic_path
from masksup_med.outputs.overlay import draw_overlay, write_picture
from masksup_med.outputs.plots import plot_style

__all__ = ["write_card"]

_SAMPLES, _COLUMNS, _HEIGHT = 6, 3, 200
_CURVE, _PICTURES = "curve.png", "samples.jpg"


def write_card(bundle: Bundle, begun: Mapping[str, Any], results: Mapping[str, Any], cases: Sequence[Case]) -> None:
    """Write ``docs/README.md`` of a bundle, with its curve and sample pictures.

    Args:
        bundle: a trained one.
        begun: what was found in the data and chosen; see :func:`masksup_med.train.run.begin`.
        results: of its evaluation on the validation images.
        cases: that were evaluated.
    """
    docs, passport = bundle.folder / "docs", read_passport(bundle.weights) or {}
    history = _history(bundle.folder, passport.get("run_id"))
    if history:
        _draw_curve(docs / _CURVE, history, passport["epoch"])
    ordered = _by_quality(bundle.folder, results, cases)
    write_picture(docs / _PICTURES, _montage([_overlay(case, results) for case in _spread(ordered)]))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.get_template("card.md").render(
        name=bundle.name,
        metadata=bundle.metadata,
        begun=begun,
        results=results,
        passport=passport,
        curve=_CURVE if history else None,
        pictures=_PICTURES,
    )
    with atomic_path(docs / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _history(folder: Path, run_id: str | None) -> dict[str, list[tuple[int, float]]]:
    """Loss and validation by epoch, as the tracked run has them; empty if it is gone."""
    if run_id is None:
        return {}
    silence_mlflow()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or path_to_sqlite_uri(folder.absolute() / "eval" / "mlruns.db")
    client = MlflowClient(uri)
    found = {name: client.get_metric_history(run_id, name) for name in ("train_loss", "val_mean_iou")}
    return {name: sorted({(point.step, point.value) for point in points}) for name, points in found.items()}


def _draw_curve(path: Path, history: Mapping[str, Sequence[tuple[int, float]]], best: int) -> None:
    with plot_style():
        figure = Figure((6, 2.4), layout="constrained", facecolor="white")
        panels = figure.subplots(1, 2)
        for panel, (name, points), title in zip(panels, history.items(), ("loss", "mean IoU"), strict=True):
            panel.plot(*zip(*points, strict=True), color="#0072b2")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.set(title=f"{title} ({'training' if name == 'train_loss' else 'validation'})", xlabel="epoch")
        panels[1].axvline(best, color="#d55e00", linewidth=1, linestyle="--")
        with atomic_path(path) as temporary:
            figure.savefig(temporary, metadata={"Software": None})


def _by_quality(folder: Path, results: Mapping[str, Any], cases: Sequence[Case]) -> list[Case]:
    """The cases from the worst to the best prediction."""
    key = TASKS[results["task"]][results["protocol"]].key
    with open(folder / "eval" / "validation" / PER_IMAGE, encoding="utf-8", newline="") as file:
        values = {row["image"]: float(row[key] or 0) for row in csv.DictReader(file)}
    return sorted(cases, key=lambda case: values[case.name])


def _spread(cases: Sequence[Case]) -> list[Case]:
    """Some of them, evenly from the first to the last."""
    return [cases[round(place)] for place in np.linspace(0, len(cases) - 1, min(_SAMPLES, len(cases)))]


def _overlay(case: Case, results: Mapping[str, Any]) -> NDArray[np.uint8]:
    assert case.image is not None
    classes = {int(number): name for number, name in results["settings"]["classes"].items()}
    pred, label = TASKS[results["task"]][results["protocol"]].show(case, Settings(classes=classes))
    return draw_overlay(read_image(case.image), pred, label)


def _montage(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures of one height, in rows."""
    small = [
        Image.fromarray(each).resize((round(each.shape[1] * _HEIGHT / each.shape[0]), _HEIGHT)) for each in pictures
    ]
    width = max(each.width for each in small)
    rows = -(-len(small) // _COLUMNS)
    sheet = Image.new("RGB", (width * min(_COLUMNS, len(small)), _HEIGHT * rows), "white")
    for number, each in enumerate(small):
        sheet.paste(each, (width * (number % _COLUMNS), _HEIGHT * (number // _COLUMNS)))
    return np.asarray(sheet)
