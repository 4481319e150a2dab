"""A bundle that predicts small pictures in milliseconds, with weights that nobody has trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from tests.bundle.bundles import SMALL_UNET, blank_copy

__all__ = ["changed_bundle", "new_weights", "untrained_bundle"]


def untrained_bundle(folder: Path) -> Path:
    """Copy the bundle of polyps, for pictures of 64 x 64, with tiles above 10,000 pixels; it takes slides, too."""
    blank_copy("polyp_masksup", folder, **SMALL_UNET, image_size=[64, 64], max_pixels=10_000, mpp=0.5)
    new_weights(folder, 0)
    return folder


def changed_bundle(bundle: Path, folder: Path, old: str, new: str) -> Path:
    """Copy a bundle, with another text in its inference.yaml."""
    shutil.copytree(bundle, folder)
    config = folder / "configs" / "inference.yaml"
    text = config.read_text()
    assert text.count(old) == 1
    config.write_text(text.replace(old, new))
    return folder


def new_weights(folder: Path, seed: int) -> None:
    """Write random weights."""
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "inference.yaml"))
    torch.manual_seed(seed)
    network = parser.get_parsed_content("network_def")
    torch.save(network.state_dict(), folder / "models" / "model.pt")
