"""Runs in an MLflow store: whose they are, whether their process still lives, and how one is continued."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
import time

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.telemetry import set_telemetry_client

__all__ = ["announce", "continue_run", "fail_killed_runs", "process_tags", "silence_mlflow"]

logger = logging.getLogger("masksup_med")

_HOST, _PID = "masksup.host", "masksup.pid"
_LOADED = time.time()


def silence_mlflow() -> None:
    """Switch off MLflow's telemetry and bars, unless the environment asks for them, and the noise of a new database."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("DO_NOT_TRACK", os.environ["MLFLOW_DISABLE_TELEMETRY"])
    set_telemetry_client()  # MONAI has imported mlflow long before; this makes it read the environment again
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)


def process_tags() -> dict[str, str]:
    """Tags that tell which process a run belongs to; of the machine's name only a hash is kept."""
    return {_HOST: hashlib.sha256(socket.gethostname().encode()).hexdigest()[:12], _PID: str(os.getpid())}


def fail_killed_runs(client: MlflowClient, experiment_id: str) -> None:
    """Set FAILED what is RUNNING in a local store although its process on this machine is gone."""
    if not client.tracking_uri.startswith("sqlite:"):
        return
    ours = f"attributes.status = 'RUNNING' and tags.`{_HOST}` = '{process_tags()[_HOST]}'"
    for run in client.search_runs([experiment_id], ours):
        if not _is_alive(int(run.data.tags[_PID]), run.info.start_time / 1000):
            client.set_terminated(run.info.run_id, "FAILED")


def continue_run(client: MlflowClient, run_id: str, tags: dict[str, str]) -> Run | None:
    """Set a run RUNNING again, with the tags of the process that continues it; None if it cannot be found."""
    try:
        client.update_run(run_id, status="RUNNING")
        for key, value in tags.items():
            client.set_tag(run_id, key, value)
        return client.get_run(run_id)
    except MlflowException as error:
        logger.warning("MLflow run %s cannot be continued, a new one is started: %s", run_id, error)
        return None


def announce(client: MlflowClient, run_id: str, experiment_name: str) -> None:
    """Log where the run can be seen."""
    uri = re.sub(r"//[^/@]+@", "//***@", client.tracking_uri)  # it may hold a password
    is_server = uri.startswith("http")
    hint = "" if is_server else f"; see it with: mlflow ui --backend-store-uri {uri}"
    logger.info("MLflow run %s in %s (experiment %s)%s", run_id, uri, experiment_name, hint)


def _is_alive(pid: int, since: float) -> bool:
    """Whether process ``pid``, that started a run at ``since`` (seconds), may still be at it."""
    if pid == os.getpid():  # numbers come round again, soonest in containers
        return since >= _LOADED
    if os.name != "posix":  # on Windows os.kill ends the process that it asks for
        return True
    try:
        os.kill(pid, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True
