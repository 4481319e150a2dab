"""A bundle that predicts image by image, with its own processing from ``inference.yaml``."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.transforms import AsDiscreted, SaveImaged
from numpy.typing import NDArray
from yaml import YAMLError

from masksup_med.bundle.location import find_bundle
from masksup_med.errors import DataError, MaskSupError, MissingDataError, SettingError
from masksup_med.handlers.checkpoint import load_weights
from masksup_med.handlers.overlays import class_map

__all__ = ["Prediction", "Predictor"]

_NEEDED = ("device", "network", "ckpt_path", "preprocessing", "postprocessing", "inferer")


class Prediction(NamedTuple):
    """What a bundle says about an image, at the image's own size."""

    classes: NDArray[np.int64]  # (H, W), 0 for background
    probability: NDArray[np.float32] | None  # of the foreground, (H, W); None where there are several classes


class Predictor:
    """Predict as ``python -m monai.bundle run`` would, without writing files.

    Args:
        bundle: a bundle's folder, or the name of one that comes with the package.
        device: such as ``"cpu"`` or ``"cuda:0"``; by default what the bundle chooses.

    Raises:
        MissingDataError: there is no such bundle, or it has no weights.
        CheckpointError: its weights cannot be read, or do not fit its network.
        DataError: its ``inference.yaml`` cannot be read, or lacks what prediction needs.
        SettingError: there is no such device.

    Example::

        predictor = Predictor("my_polyps")
        image = predictor.prepare("frame.png")
        predictor.finish(image, predictor.infer(image["image"])).classes.shape  # (H, W)
    """

    def __init__(self, bundle: str | os.PathLike[str], device: str | None = None) -> None:
        folder = find_bundle(bundle)
        self.name = folder.resolve().name
        parser = _read_config(folder)
        if device is not None:
            parser["device"] = _device(device)
        self.device = torch.device(parser.get_parsed_content("device"))
        self.network: torch.nn.Module = parser.get_parsed_content("network").eval()
        weights = parser.get_parsed_content("ckpt_path")
        if not os.path.isfile(weights):
            raise MissingDataError(f"The bundle {folder} has no weights at {weights}; train it first.")
        load_weights(weights, self.network)
        with _without_plugin_advice():
            self._preprocessing = parser.get_parsed_content("preprocessing")
        self._postprocessing = parser.get_parsed_content("postprocessing").transforms
        self._inferer = parser.get_parsed_content("inferer")

    def prepare(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Read and process an image file: ``image`` is the network's input, (C, …), with what can undo the rest.

        Raises:
            MissingDataError: there is no such file.
            DataError: it cannot be read.
        """
        try:
            return self._preprocessing({"image": str(path)})
        except RuntimeError as error:  # MONAI wraps what its transforms raise
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, MaskSupError):
                cause = cause.__cause__
            if cause is None:
                raise
            raise cause from None

    @torch.inference_mode()
    def infer(self, image: torch.Tensor) -> torch.Tensor:
        """Run the network on an image of shape (C, …); logits of shape (classes, …) come back on the CPU."""
        return self._inferer(image[None].to(self.device), self.network)[0].float().cpu()

    def finish(self, prepared: dict[str, Any], logits: torch.Tensor) -> Prediction:
        """Bring logits back to the image's own size, and decide.

        Args:
            prepared: the image, from :meth:`prepare`.
            logits: from :meth:`infer`.
        """
        data, probability = {**prepared, "pred": logits}, None
        for transform in self._postprocessing:
            if isinstance(transform, AsDiscreted) and len(data["pred"]) == 1:
                probability = data["pred"][0].numpy().T.clip(0, 1)
            if not isinstance(transform, SaveImaged):
                data = transform(data)
        return Prediction(class_map(data["pred"]), probability)


def _read_config(folder: Path) -> ConfigParser:
    parser, file = ConfigParser(), folder / "configs" / "inference.yaml"
    try:
        parser.read_config(str(file))
    except (OSError, ValueError, YAMLError) as error:
        raise DataError(f"{file} cannot be read ({' '.join(str(error).split())}); repair the bundle.") from error
    if absent := [key for key in _NEEDED if key not in parser]:
        raise DataError(f"{file} has no {' and no '.join(absent)}; a bundle's inference needs all of them.")
    parser["bundle_root"] = str(folder)
    return parser


@contextmanager
def _without_plugin_advice() -> Iterator[None]:
    """Keep MONAI's LoadImage from telling users twice that it lacks a plugin for DICOM on GPUs."""
    logger = logging.getLogger("monai.data.nvimgcodec_pydicom_plugin")
    disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "NvImgCodec")
            yield
    finally:
        logger.disabled = disabled


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingError(f"There is no device {name} here; give cpu, or cuda:0 where there is a GPU.") from error
    return device
