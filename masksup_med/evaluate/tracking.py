"""The results of an evaluation, logged into an MLflow run that was named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from masksup_med.errors import MissingDataError, SettingError
from masksup_med.evaluate.write import METRICS, PER_IMAGE, REPORT
from masksup_med.handlers.mlflow_runs import silence_mlflow

__all__ = ["RunLog", "find_run"]


class RunLog:
    """An MLflow run that takes results; its status stays as it is."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client = client
        self._run_id = run_id

    def log(self, results: dict[str, Any], output_dir: str | os.PathLike[str]) -> None:
        """Log every figure with its interval as ``<task>/<protocol>/<figure>``, and the three files."""
        prefix = f"{results['task']}/{results['protocol']}"
        for name, metric in results["metrics"].items():
            values = {"": metric["value"], **dict(zip(("_low", "_high"), metric["interval"] or (), strict=False))}
            for suffix, value in values.items():
                if value is not None:
                    self._client.log_metric(self._run_id, f"{prefix}/{name}{suffix}", value)
        for file in (METRICS, PER_IMAGE, REPORT):
            self._client.log_artifact(self._run_id, str(Path(output_dir) / file), f"evaluation/{prefix}")


def find_run(run_id: str, tracking_uri: str | None) -> RunLog:
    """Find a run before an evaluation starts, so that a wrong name does not cost one.

    Raises:
        SettingError: it is not said in which store.
        MissingDataError: there is no such run in it, or no such store.
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise SettingError(
            f"In which store is the run {run_id}? Give --tracking-uri, as in sqlite:///runs/1/mlruns.db, or set "
            "MLFLOW_TRACKING_URI."
        )
    file = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:") and not file.is_file():  # MLflow would make a new one
        raise MissingDataError(f"There is no MLflow store {file}; correct --tracking-uri.")
    silence_mlflow()
    try:
        client = MlflowClient(uri)
        if client.get_run(run_id).info.lifecycle_stage != "active":
            raise MissingDataError(f"The MLflow run {run_id} was deleted; restore it or name another one.")
    except MlflowException as error:
        raise MissingDataError(f"The MLflow store {uri} has no run {run_id}; see its runs with `mlflow ui`.") from error
    return RunLog(client, run_id)
