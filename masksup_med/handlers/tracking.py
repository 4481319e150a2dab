"""Tracking of training and evaluation in MLflow: one run for every start, and none left open."""

from __future__ import annotations

import functools
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import ignite.distributed as idist
import yaml
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.handlers import MLFlowHandler
from monai.utils import path_to_sqlite_uri

from masksup_med.errors import SettingError
from masksup_med.handlers import mlflow_runs, provenance
from masksup_med.handlers.overlays import write_overlays

__all__ = ["MLflowTracker"]

logger = logging.getLogger("masksup_med")

_PARAMS_PER_BATCH, _PARAM_LENGTH = 100, 6000  # MLflow's own limits


class MLflowTracker(MLFlowHandler):
    """Record a training with its validations, or an evaluation, as one MLflow run.

    For a training, attach one tracker to the trainer and to its validator, in both lists of handlers after the
    handlers that load and save checkpoints. For an evaluation, attach it to the evaluator. The run starts and
    ends with the trainer or evaluator: FINISHED if that completed, FAILED however else it ended. A run that
    was killed is set FAILED by the next start on the same machine (not on Windows). Only rank 0 tracks.

    Recorded are the settings, the data list, package versions, the metrics and learning rate of every epoch,
    overlays of the best epoch, and the weights with their passport (see :mod:`masksup_med.handlers.provenance`).

    Differences from its base class: a run never joins another; nothing is logged per iteration; the store is
    opened by the first start, so a configuration can be parsed without one.

    Args:
        output_dir: folder of the default store, ``mlruns.db`` with its artifacts in ``mlruns``.
        kind: what is tracked.
        bundle_name: name of the bundle, recorded as a tag and part of the default ``run_name``.
        experiment_name: name of the MLflow experiment.
        run_name: name of the run; ``<bundle_name>_<kind>_<yyyymmdd_hhmmss>`` by default.
        tracking_uri: another store. The environment variable ``MLFLOW_TRACKING_URI`` overrules it.
        settings: the effective settings, nested.
        datalist: the data, each list by its name.
        weights: file of the weights that are trained or evaluated.
        overlays: how many of the first images of a validation are drawn.
        tags: of the run, beside its own.

    Raises:
        SettingError: there is no such ``kind``.
    """

    cur_run: Any  # MONAI declares both as None
    experiment: Any

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        kind: Literal["train", "pretrain", "evaluate"] = "train",
        bundle_name: str = "masksup",
        experiment_name: str = "masksup",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        settings: dict[str, Any] | None = None,
        datalist: dict[str, list[dict[str, Any]]] | None = None,
        weights: str | os.PathLike[str] | None = None,
        overlays: int = 4,
        tags: dict[str, str] | None = None,
    ) -> None:
        if kind not in ("train", "pretrain", "evaluate"):
            raise SettingError(f"kind of tracking must be 'train', 'pretrain' or 'evaluate', got {kind!r}.")
        # MONAI's constructor would create the database here, which takes seconds: see _connect.
        self.output_dir = Path(output_dir).absolute()
        self.kind = kind
        self.bundle_name = bundle_name
        self.experiment_name = experiment_name
        self.run_name = run_name
        self.tracking_uri = tracking_uri
        self.settings = settings
        self.datalist = datalist
        self.weights = None if weights is None else Path(weights)
        self.overlays = overlays
        self.tags = tags or {}
        self.cur_run = None
        self._resume_run_id: str | None = None
        self._run_id: str | None = None
        self._best: dict[str, Any] | None = None
        self._samples: list[dict[str, Any]] = []

    @property
    def run_id(self) -> str | None:
        """The run of the last start; None before the first one."""
        return self._run_id

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the tracker."""
        return {"run_id": self._run_id}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the next start continue the run that the checkpoint is from."""
        self._resume_run_id = state_dict["run_id"]

    def attach(self, engine: Engine) -> None:
        """Track an engine.

        Args:
            engine: the trainer or its validator; for an evaluation the evaluator.
        """
        if idist.get_rank() != 0 or engine.has_event_handler(self.epoch_completed, Events.EPOCH_COMPLETED):
            return
        if self.kind == "evaluate" or not isinstance(engine, Evaluator):
            engine.add_event_handler(Events.STARTED, self.start)
            engine.add_event_handler(Events.EPOCH_STARTED, self._log_learning_rate)
            # Not EXCEPTION_RAISED: MONAI's StatsHandler raises there again, and no later handler is called.
            engine.run = self._guarded(engine)  # type: ignore[method-assign]
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        if isinstance(engine, Evaluator):
            engine.add_event_handler(Events.EPOCH_STARTED, self._samples.clear)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._validated)

    def start(self, engine: Engine) -> None:
        """Open the run and record what it is made from."""
        self._connect()
        self._set_experiment()
        mlflow_runs.fail_killed_runs(self.client, self.experiment.experiment_id)
        self._open_run()
        self._log_inputs()
        self._best = None
        self._weights_before = _stamp(self.weights)

    def epoch_completed(self, engine: Engine) -> None:
        """Log the scalar metrics of an epoch; a validator counts epochs as its trainer does."""
        metrics = {
            provenance.tracking_key(name): float(value)
            for name, value in engine.state.metrics.items()
            if isinstance(value, (int, float)) or getattr(value, "ndim", None) == 0
        }
        if self.cur_run and metrics:
            self._log_metrics(metrics, step=engine.state.epoch)

    def _guarded(self, engine: Engine) -> Callable[..., Any]:
        run = engine.run

        @functools.wraps(run)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                state = run(*args, **kwargs)
                if self.cur_run and engine.last_event_name == Events.COMPLETED:
                    self._finish(engine)
                return state
            finally:
                self._end("FAILED")

        return guarded

    def _finish(self, engine: Engine) -> None:
        if self.kind != "evaluate" and self.weights is not None:
            self._write_passport(self._best or {"epoch": engine.state.epoch, "metric": {}})
            passport = provenance.read_passport(self.weights)
            if passport and passport["run_id"] == self._run_id:
                self.client.log_artifact(self._run_id, str(self.weights), "model")
                self.client.set_tag(self._run_id, "weights_sha256", passport["weights_sha256"])
        self._end("FINISHED")

    def _end(self, status: str) -> None:
        if self.cur_run is None:
            return
        self.run_finish_status = status
        try:
            self.close()
        except Exception as error:  # the error that ended the run matters more
            logger.warning("MLflow run %s could not be set %s: %s", self._run_id, status, error)
            self.cur_run = None

    def _connect(self) -> None:
        mlflow_runs.silence_mlflow()
        uri, artifacts = self.tracking_uri, None
        if not (uri or os.environ.get("MLFLOW_TRACKING_URI")):
            self.output_dir.mkdir(parents=True, exist_ok=True)
            uri = path_to_sqlite_uri(self.output_dir / "mlruns.db")
            # MONAI derives this from the URI, and so quotes spaces and umlauts twice.
            artifacts = (self.output_dir / "mlruns").as_uri()
        super().__init__(
            tracking_uri=uri,
            experiment_name=self.experiment_name,
            run_name=self.run_name,
            artifact_location=artifacts,
        )

    def _open_run(self) -> None:
        tags = self._tags()
        resumed, self._resume_run_id = self._resume_run_id, None
        self.cur_run = mlflow_runs.continue_run(self.client, resumed, tags) if resumed else None
        if self.cur_run is None:
            name = self.run_name or f"{self.bundle_name}_{self.kind}_{time.strftime('%Y%m%d_%H%M%S')}"
            self.cur_run = self.client.create_run(self.experiment.experiment_id, run_name=name, tags=tags)
        self._run_id = self.cur_run.info.run_id
        mlflow_runs.announce(self.client, self._run_id, self.experiment_name)

    def _tags(self) -> dict[str, str]:
        versions = provenance.package_versions()
        tags = {
            **self.tags,
            "kind": self.kind,
            "bundle": self.bundle_name,
            **mlflow_runs.process_tags(),
            **provenance.origin(),
            **{name: versions[name] for name in ("masksup-med", "monai", "torch")},
        }
        if self.kind == "evaluate" and self.weights is not None and self.weights.is_file():
            passport = provenance.read_passport(self.weights) or {}
            tags["trained_by_run"] = str(passport.get("run_id", "unknown"))
            tags["weights_sha256"] = provenance.sha256_of(self.weights)
        return tags

    def _log_inputs(self) -> None:
        packages = "".join(f"{name}=={version}\n" for name, version in provenance.package_versions().items())
        self.client.log_text(self._run_id, packages, "packages.txt")
        if self.settings is not None:
            settings = provenance.portable(self.settings)
            config = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
            self.client.log_text(self._run_id, config, "config.yaml")
            self._log_params(provenance.flatten(settings))
        if self.datalist is not None:
            from masksup_med.data import datalist_digest

            datalist = json.dumps(provenance.relative_paths(self.datalist), indent=1)
            self.client.log_text(self._run_id, datalist, "datalist.json")
            counts = {f"datalist/{name}": len(items) for name, items in self.datalist.items()}
            self._log_params({"datalist_sha256": datalist_digest(self.datalist), **counts})

    def _log_params(self, params: dict[str, Any]) -> None:
        self._delete_exist_param_in_dict(params)  # those of a continued run stay as they are
        items = [(key, str(value)[:_PARAM_LENGTH]) for key, value in params.items()]
        for first in range(0, len(items), _PARAMS_PER_BATCH):
            super()._log_params(dict(items[first : first + _PARAMS_PER_BATCH]))

    def _log_learning_rate(self, engine: Engine) -> None:
        groups = engine.optimizer.param_groups if hasattr(engine, "optimizer") else []
        rates = {f"lr_group_{i}" if i else "lr": float(group["lr"]) for i, group in enumerate(groups)}
        if self.cur_run and rates:
            self._log_metrics(rates, step=engine.state.epoch)

    def _collect(self, engine: Evaluator) -> None:
        self._samples.extend(engine.state.output[: self.overlays - len(self._samples)])

    def _validated(self, engine: Evaluator) -> None:
        state = engine.state
        is_best = state.best_metric_epoch == state.epoch
        if self.cur_run is None or not (is_best or self.kind == "evaluate"):
            return
        self._log_overlays()
        if self.kind == "train":
            metric = {state.key_metric_name: float(state.best_metric)}
            self._best = {"epoch": state.epoch, "metric": metric}
            self._write_passport(self._best)

    def _write_passport(self, best: dict[str, Any]) -> None:
        # Weights that no handler has written since the start are not this run's.
        if self.weights is not None and _stamp(self.weights) not in (None, self._weights_before):
            provenance.write_passport(self.weights, run_id=str(self._run_id), experiment=self.experiment_name, **best)

    def _log_overlays(self) -> None:
        try:
            with tempfile.TemporaryDirectory() as folder:
                write_overlays(self._samples, Path(folder))
                self.client.log_artifacts(self._run_id, folder, "overlays")
        except Exception as error:  # a picture is not worth a training
            logger.warning("Overlays were not drawn: %s: %s", type(error).__name__, error)


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None or not path.is_file():
        return None
    return (status := path.stat()).st_mtime_ns, status.st_size, status.st_ino
