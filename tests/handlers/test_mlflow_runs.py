import logging
import os
import shutil
import time

import pytest
from mlflow import MlflowClient
from mlflow.telemetry import get_telemetry_client

from masksup_med.handlers import mlflow_runs
from masksup_med.handlers.mlflow_runs import announce, continue_run, fail_killed_runs, process_tags


@pytest.fixture(scope="module")
def client(empty_store, tmp_path_factory):
    return MlflowClient(f"sqlite:///{shutil.copy(empty_store, tmp_path_factory.mktemp('store'))}")


@pytest.fixture
def experiment(client, request):
    return client.create_experiment(request.node.name)


def gone_pid():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


@pytest.mark.parametrize(
    ("pid", "other", "status"),
    [
        (gone_pid, {}, "FAILED"),
        (gone_pid, {"masksup.host": "elsewhere"}, "RUNNING"),
        (os.getppid, {}, "RUNNING"),
        (lambda: 1, {}, "RUNNING"),  # alive, and another user's where tests do not run as root
        (os.getpid, {}, "RUNNING"),
    ],
)
def test_only_runs_of_dead_processes_of_this_machine_fail(client, experiment, pid, other, status):
    tags = {**process_tags(), "masksup.pid": str(pid()), **other}
    run_id = client.create_run(experiment, tags=tags).info.run_id
    fail_killed_runs(client, experiment)
    assert client.get_run(run_id).info.status == status


def test_own_number_of_a_former_process_is_dead(client, experiment):
    an_hour_ago = int(time.time() - 3600) * 1000
    run_id = client.create_run(experiment, start_time=an_hour_ago, tags=process_tags()).info.run_id
    fail_killed_runs(client, experiment)
    assert client.get_run(run_id).info.status == "FAILED"


def test_runs_of_others_and_of_remote_stores_are_left_alone(client, experiment, monkeypatch):
    run_id = client.create_run(experiment).info.run_id
    fail_killed_runs(client, experiment)
    assert client.get_run(run_id).info.status == "RUNNING"

    class Remote:
        tracking_uri = "https://tracking.example"

    fail_killed_runs(Remote(), experiment)


def test_host_name_is_not_stored(monkeypatch):
    monkeypatch.setattr(mlflow_runs.socket, "gethostname", lambda: "annas-laptop")
    assert "anna" not in str(process_tags())


def test_run_is_continued(client, experiment):
    run_id = client.create_run(experiment).info.run_id
    client.set_terminated(run_id, "FAILED")
    run = continue_run(client, run_id, {"masksup.pid": "7"})
    assert (run.info.run_id, run.info.status, run.data.tags["masksup.pid"]) == (run_id, "RUNNING", "7")


def test_unknown_run_is_not_continued(client, caplog):
    with caplog.at_level(logging.WARNING, "masksup_med"):
        assert continue_run(client, "0" * 32, {}) is None
    assert "cannot be continued" in caplog.text


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("sqlite:////out/mlruns.db", "see it with: mlflow ui --backend-store-uri sqlite:////out/mlruns.db"),
        ("https://me:secret@tracking.example", "in https://***@tracking.example (experiment e)"),
    ],
)
def test_announcement(caplog, uri, text):
    class Client:
        tracking_uri = uri

    with caplog.at_level(logging.INFO, "masksup_med"):
        announce(Client(), "abc", "e")
    assert text in caplog.text
    assert "secret" not in caplog.text


def test_telemetry_is_off(client):
    assert get_telemetry_client() is None
