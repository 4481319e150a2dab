"""Fixtures for all tests."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from masksup_med.telemetry import silence

silence()

# Other imports stand in the fixtures: the process that only hands out tests to others waits for none of them.


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tests run in as many processes as there are cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets: ``MASKSUP_DATA``, or ``../shared/data`` beside the repository."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MASKSUP_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}")
    return folder


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that gives a folder of ten small phantoms of a task, in ``images/`` and ``labels/``."""
    from masksup_med.data.phantoms import write_phantoms

    folder = tmp_path_factory.mktemp("phantoms")

    @functools.cache
    def make(task: str) -> Path:
        write_phantoms(task, folder / task, count=10, size=(64, 80))
        return folder / task

    return make


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store without a run, ``mlruns.db``, for copies: to make one takes a second."""
    from mlflow import MlflowClient

    from masksup_med.handlers.mlflow_runs import silence_mlflow

    silence_mlflow()
    file = tmp_path_factory.mktemp("store") / "mlruns.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file
