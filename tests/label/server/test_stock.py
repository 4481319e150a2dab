"""MONAI Label's own app for bundles: ours serve and learn there as they are."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from monailabel.client import MONAILabelClient
from PIL import Image

from tests.label.server.conftest import MODEL, ended, free_port, mean_dice, running, untrained

LABELLED = [f"phantom_{number:04d}" for number in range(10)]
HELD_OUT = [f"phantom_{number:04d}" for number in range(10, 16)]


def test_the_bundle_predicts_and_learns(phantoms, tmp_path):
    shutil.copytree(Path(sys.prefix) / "monailabel" / "sample-apps" / "monaibundle", tmp_path / "app")
    untrained(tmp_path / "app" / "model" / MODEL)
    shutil.copytree(phantoms / "images", tmp_path / "studies")
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "monailabel.main", "start_server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--app", str(tmp_path / "app"), "--studies", str(tmp_path / "studies")]
    for key, value in {"models": MODEL, "zoo_source": "local", "sam2": "false"}.items():
        command += ["--conf", key, value]
    with running(command, url, tmp_path / "log", {"PYTHONPATH": ""}):
        client = MONAILabelClient(url, str(tmp_path))  # not where the server, too, puts its files and removes them
        assert list(client.info()["models"]) == [MODEL]
        mask = np.asarray(Image.open(client.infer(MODEL, "phantom_0000", {"device": "cpu"})[0]))
        assert mask.shape == np.asarray(Image.open(phantoms / "images" / "phantom_0000.png")).shape[:2]
        assert set(np.unique(mask)) <= {0, 1}
        before = mean_dice(client, phantoms / "labels", HELD_OUT)
        for name in LABELLED:
            client.save_label(name, str(phantoms / "labels" / f"{name}.png"), params={})
        client.train_start(MODEL, {"max_epochs": 100, "device": "cpu", "val_split": 0.2})
        task = ended(url, "train")
        assert task["status"] == "DONE", task["details"]
        assert mean_dice(client, phantoms / "labels", HELD_OUT) > before + 0.2
