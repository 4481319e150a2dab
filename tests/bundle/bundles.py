"""Bundles for tests: small ones with weights that nobody has trained, and ones of which it is clear what they find."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image

from masksup_med.bundle import copy_bundle, find_bundle
from masksup_med.bundle.edit import with_settings
from masksup_med.bundle.location import overlay

Step = dict[str, Any]  # a transform as a bundle writes it: its name under _target_, and its parameters

LOAD = {"_target_": "LoadImaged", "keys": "image", "reader": "$masksup_med.data.ImageFileReader()"}
FIRST = {"_target_": "EnsureChannelFirstd", "keys": "image"}
SCALE = {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 255, "b_min": -1, "b_max": 1}
SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
INVERT = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "image",
    "nearest_interp": False,
}
HALF = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
SMALL_UNET = overlay("network", "residual_unet")  # which answers something also with weights that nobody has trained
_SHIPPED: Any = yaml.safe_load((find_bundle("polyp_masksup") / "configs" / "inference.yaml").read_text())
SAVE: Step = next(step for step in _SHIPPED["postprocessing"]["transforms"] if step["_target_"] == "SaveImaged")
TINY_UNET = {
    "_target_": "UNet",
    "spatial_dims": 2,
    "in_channels": 3,
    "out_channels": 1,
    "channels": [4, 8],
    "strides": [2],
    "norm": "instance",
}


def resized(width: int, height: int, anti_aliasing: bool = True) -> Step:
    size = {"spatial_size": [width, height], "mode": "bilinear", "anti_aliasing": anti_aliasing}
    return {"_target_": "Resized", "keys": "image", **size}


def zoomed(factor: float) -> Step:
    return {"_target_": "Zoomd", "keys": "image", "zoom": factor, "mode": "bilinear", "keep_size": False}


def compose(*steps: Step) -> Step:
    return {"_target_": "Compose", "transforms": list(steps)}


def processing(before: Sequence[Step] = (LOAD, FIRST, SCALE), after: Sequence[Step] = (SIGMOID, INVERT, HALF)) -> Step:
    """The two keys of a bundle's config that say what happens to a picture."""
    return {"preprocessing": compose(*before), "postprocessing": compose(*after)}


def parsed(config: Step) -> ConfigParser:
    """The config of a bundle that need not be whole."""
    return ConfigParser({"imports": ["$import masksup_med"], **config})


def blank_copy(name: str, folder: Path, **settings: Any) -> Path:
    """Copy a shipped bundle as it was before its training: no weights, nothing found out about them; other settings."""
    copy_bundle(name, folder)
    for file in (folder / "models").iterdir():
        file.unlink()
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    found_out = ("weights_sha256", "quality")
    metadata = {key: value for key, value in metadata.items() if key not in found_out} | {"eval_metrics": {}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    file = folder / "configs" / "inference.yaml"
    text = with_settings(file.read_text(encoding="utf-8"), {"temperature": 1.0, **settings})
    file.write_text(text, encoding="utf-8")
    return folder


def write_bundle(
    folder: Path, network: Step | None = None, weights: Any = None, classes: Sequence[str] = ("polyp",), **settings: Any
) -> Path:
    """Write polyp_masksup with other settings into a folder, and weights, which are random if none are given."""
    file = blank_copy("polyp_masksup", folder) / "configs" / "inference.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    config.pop("max_pixels", None)
    config |= {"device": "cpu", "image_size": [64, 64], "network_def": network or TINY_UNET, **settings}
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    names = {str(number): name for number, name in enumerate(("background", *classes))}
    metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = names
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    if weights is None:
        torch.manual_seed(0)
        weights = ConfigParser(config["network_def"]).get_parsed_content("").state_dict()
    torch.save(weights, folder / "models" / "model.pt")
    return folder


def brightness_bundle(folder: Path, gain: float = 20, **settings: Any) -> Path:
    """A bundle that finds where a picture is above half of its range: where R + G + B > 382.

    The probability is that of the logit gain · ((R + G + B) / 127.5 - 3).
    """
    network = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 1}
    weights = {"weight": torch.full((1, 3, 1, 1), float(gain)), "bias": torch.zeros(1)}
    return write_bundle(
        folder, network, weights, classes=("bright",), **{**processing(after=(SIGMOID, INVERT, HALF, SAVE)), **settings}
    )


def colours_bundle(folder: Path, **settings: Any) -> Path:
    """A bundle of three classes that finds which of blue (background), red (1) and green (2) is the strongest.

    The logits are 4 · (B, R, G) / 127.5 - 4.
    """
    network = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 3, "kernel_size": 1}
    picked = torch.eye(3)[[2, 0, 1]].reshape(3, 3, 1, 1)
    weights = {"weight": 4 * picked, "bias": torch.zeros(3)}
    plain = {key: value for key, value in SAVE.items() if key != "scale"}
    steps = processing(after=(SOFTMAX, INVERT, ARGMAX, plain))
    return write_bundle(folder, network, weights, classes=("red", "green"), **{**steps, **settings})


def stock_masks(bundle: Path, images: Path, output: Path) -> dict[str, np.ndarray]:
    """What ``python -m monai.bundle run`` writes for a folder of images, by name."""
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.yaml"),
        workflow_type="infer",
        logging_file=False,
        dataset_dir=str(images),
        output_dir=str(output),
        device="cpu",
    )
    workflow.initialize()
    workflow.run()
    return {path.stem: np.asarray(Image.open(path)) for path in sorted(output.rglob("*.png"))}
