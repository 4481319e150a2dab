"""A label server as its users start it, on a folder of phantoms; run by ``make test-label``, where monailabel is."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import requests
import torch
from monai.bundle import ConfigParser
from PIL import Image

from masksup_med.bundle.edit import with_settings
from masksup_med.data.phantoms import write_phantoms
from masksup_med.metrics.overlap import dice
from tests.bundle.bundles import blank_copy

collect_ignore_glob = ["*"] if find_spec("monailabel") is None else []

MODEL = "my_polyps"
_UNET = {
    "_target_": "UNet",
    "spatial_dims": 2,
    "in_channels": 3,
    "out_channels": 1,
    "channels": [8, 16, 32],
    "strides": [2, 2],
    "num_res_units": 1,
    "norm": "instance",
}


class Server(NamedTuple):
    """A server that answers."""

    url: str
    studies: Path
    truth: Path  # folder of the images' masks
    process: subprocess.Popen[bytes]


def untrained(folder: Path) -> Path:
    """The shipped polyp bundle, made small, with weights that know nothing."""
    blank_copy("polyp_masksup", folder)
    both = {"image_size": [64, 64], "network_def": _UNET}
    training = {
        "training_size": "@image_size",
        "batch_size": 4,
        "learning_rate": 0.01,
        "hiding#patch_size": 8,
        "hiding#ratio": "medium",
        "context_weight": 0.3,  # with the released bundle's 1, so small a network learns nothing of eight images
        "val_interval": 5,
    }
    for name, settings in (("train", both | training), ("inference", both)):
        file = folder / "configs" / f"{name}.yaml"
        file.write_text(with_settings(file.read_text(encoding="utf-8"), settings), encoding="utf-8")
    torch.manual_seed(0)
    torch.save(ConfigParser(_UNET).get_parsed_content("").state_dict(), folder / "models" / "model.pt")
    return folder


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(command: list[str], url: str, log: Path, environment: dict[str, str] | None = None) -> Iterator[Any]:
    """A server's process, from its first answer on; it and all that it has started are gone afterwards."""
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    try:
        deadline = time.monotonic() + 300
        while not _answers(url):
            alive = process.poll() is None and time.monotonic() < deadline
            assert alive, f"the server ended or hangs: {log.read_text(errors='replace')[-3000:]}"
            time.sleep(0.25)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _answers(url: str) -> bool:
    try:
        requests.get(f"{url}/info/", timeout=60)
    except requests.ConnectionError:
        return False
    return True


def masksup() -> str:
    """The command, of the environment that this one lies over."""
    return str(Path(sys.prefix).parent / "bin" / "masksup")


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen small phantoms."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms("polyp", folder, count=16, size=(64, 80))
    return folder


@pytest.fixture(scope="module")
def server(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``masksup label``, with a bundle that has learnt nothing yet."""
    folder = tmp_path_factory.mktemp("label")
    studies = folder / "studies"
    shutil.copytree(phantoms / "images", studies)
    bundle, port = untrained(folder / MODEL), free_port()
    url = f"http://127.0.0.1:{port}"
    command = [masksup(), "label", "--studies", str(studies), "--bundle", str(bundle), "--port", str(port)]
    with running(command, url, folder / "server.log") as process:
        yield Server(url, studies, phantoms / "labels", process)


def asked(method: str, url: str, **content: Any) -> requests.Response:
    """A request's answer, which comes soon."""
    return requests.request(method, url, timeout=30, **content)


def ended(url: str, task: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """What a background task says when it is no longer under way."""
    for _ in range(600):
        response = asked("get", f"{url}/{task}/", headers=headers)
        if response.status_code == 200 and response.json()["status"] not in ("SUBMITTED", "RUNNING"):
            return dict(response.json())
        time.sleep(0.25)
    raise AssertionError(f"{task} does not end")


def mean_dice(client: Any, truth: Path, names: list[str]) -> float:
    """Of the server's masks."""
    found = [np.asarray(Image.open(client.infer(MODEL, name, {})[0])) for name in names]
    return float(
        np.mean(
            [
                dice(mask > 0, np.asarray(Image.open(truth / f"{name}.png")) > 0)
                for mask, name in zip(found, names, strict=True)
            ]
        )
    )
