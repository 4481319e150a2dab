"""The tracked runs of a grid: one MLflow run as parent, below it one for each training."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from monai.utils import path_to_sqlite_uri

from masksup_med.experiments.grid import Grid
from masksup_med.handlers.mlflow_runs import continue_run, process_tags, silence_mlflow

__all__ = ["Finished", "Store", "Training"]

_FIGURES = "figures.csv"
_GRID = "masksup.grid"
_MEASURED = "masksup.measured"
_PRETRAINED_BY = "masksup.pretrained_by"


class Training(NamedTuple):
    """Which training of a grid a run is."""

    part: str  # name of the data
    cell: str
    baseline: str  # name of the cell that it is compared with, empty for baselines
    seed: int
    settings: str  # a digest of these, and of the data

    @property
    def tags(self) -> dict[str, str]:
        """Tags of its run."""
        return {f"masksup.{key}": str(value) for key, value in self._asdict().items()}


class Finished(NamedTuple):
    """A training that was measured."""

    training: Training
    rows: dict[str, dict[str, str]]  # figures by image
    params: dict[str, str]
    tags: dict[str, str]
    minutes: float  # of the training, and of what came before it
    pretraining: tuple[int, int] = (0, 0)  # epochs without labels, and of how many images


class Store:
    """Where the runs of a grid are.

    Args:
        folder: of the grid's trainings; the store is there unless MLFLOW_TRACKING_URI names another.
        grid: the runs of which.
    """

    def __init__(self, folder: Path, grid: Grid) -> None:
        silence_mlflow()
        folder.mkdir(parents=True, exist_ok=True)
        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or path_to_sqlite_uri(folder / "mlruns.db")
        self.experiment = grid.name
        self._client = MlflowClient(self.uri)
        artifacts = None if "MLFLOW_TRACKING_URI" in os.environ else (folder / "mlruns").as_uri()
        found = self._client.get_experiment_by_name(self.experiment)
        self._experiment_id = (
            found.experiment_id if found else self._client.create_experiment(self.experiment, artifacts)
        )
        self._grid = grid
        self._parent = self._find_parent()

    def _find_parent(self) -> str:
        """The grid's own run, which is continued if there is one."""
        tags = {_GRID: self._grid.name, **process_tags()}
        found = self._client.search_runs([self._experiment_id], f"tags.`{_GRID}` = '{self._grid.name}'", max_results=1)
        run = continue_run(self._client, found[0].info.run_id, tags) if found else None
        run = run or self._client.create_run(self._experiment_id, run_name=self._grid.name, tags=tags)
        return run.info.run_id

    def end(self, status: str) -> None:
        """Set the grid's own run FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self._parent, status)

    def tracking(self, training: Training) -> dict[str, Any]:
        """Settings with which a bundle tracks a training here."""
        name = f"{training.part}: {training.cell}, seed {training.seed}"
        return {
            "tracking_uri": self.uri,
            "experiment_name": self.experiment,
            "tracker#run_name": name,
            "tracker#tags": {MLFLOW_PARENT_RUN_ID: self._parent, **training.tags},
        }

    def keep(self, run_ids: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        """Log what a trained bundle has reached; from here on the training is finished.

        Args:
            run_ids: of the training, the last, and of the pre-training before it, if there was one.
            rows: figures of each image.
        """
        *before, run_id = run_ids
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, _FIGURES)
            with open(file, "w", newline="", encoding="utf-8") as opened:
                writer = csv.DictWriter(opened, fieldnames=list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            self._client.log_artifact(run_id, str(file))
        for each in before:
            self._client.set_tag(run_id, _PRETRAINED_BY, each)
        self._client.set_tag(run_id, _MEASURED, "yes")

    def measured(self) -> set[Training]:
        """Which trainings were measured."""
        return {_training(run) for run in self._measured_runs()}

    def finished(self) -> list[Finished]:
        """All trainings that were measured, each once, the last time."""
        return list({_training(run): self._finished(run) for run in self._measured_runs()}.values())

    def _measured_runs(self) -> list[Run]:
        own = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self._parent}' and tags.`{_MEASURED}` = 'yes'"
        return self._client.search_runs([self._experiment_id], own, max_results=10_000, order_by=["start_time ASC"])

    def _finished(self, run: Run) -> Finished:
        with tempfile.TemporaryDirectory() as folder:
            file = self._client.download_artifacts(run.info.run_id, _FIGURES, folder)
            with open(file, newline="", encoding="utf-8") as opened:
                rows = {row["image"]: row for row in csv.DictReader(opened)}
        training, tags = _training(run), run.data.tags
        finished = Finished(training, dict(sorted(rows.items())), run.data.params, tags, _minutes(run))
        if _PRETRAINED_BY not in tags:
            return finished
        before = self._client.get_run(tags[_PRETRAINED_BY])
        epochs = max(each.step for each in self._client.get_metric_history(before.info.run_id, "train_loss"))
        images = int(before.data.params["datalist/training"])
        return finished._replace(minutes=finished.minutes + _minutes(before), pretraining=(epochs, images))


def _minutes(run: Run) -> float:
    return (run.info.end_time - run.info.start_time) / 60_000


def _training(run: Run) -> Training:
    part, cell, baseline, seed, settings = (run.data.tags[f"masksup.{key}"] for key in Training._fields)
    return Training(part, cell, baseline, int(seed), settings)
