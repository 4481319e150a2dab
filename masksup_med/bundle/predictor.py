"""A bundle that predicts picture by picture."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from monai.inferers import SimpleInferer
from numpy.typing import NDArray

from masksup_med.bundle.bundle import Bundle
from masksup_med.bundle.linear import LinearProcessing
from masksup_med.bundle.processing import MonaiProcessing, Prediction, Prepared, Processing
from masksup_med.bundle.tiles import blend
from masksup_med.data.decode import read_image
from masksup_med.errors import DataError, SettingError
from masksup_med.handlers.checkpoint import load_weights

__all__ = ["Predictor"]


class Predictor:
    """Predict what ``python -m monai.bundle run`` would write, without files.

    Args:
        bundle: an open bundle.
        device: such as ``"cpu"`` or ``"cuda:0"``; by default, and for ``"auto"``, what the bundle chooses.

    Raises:
        CheckpointError: its weights cannot be read, or do not fit its network.
        DataError: its processing cannot be followed.
        SettingError: there is no such device.

    Example::

        predictor = Predictor(Bundle.open("my_polyps"))
        predictor("frame.png").classes  # (H, W), 0 for background
    """

    def __init__(self, bundle: Bundle, device: str | None = None) -> None:
        self.bundle = bundle
        if device not in (None, "auto"):
            bundle.config["device"] = _device(device)
        self.device = torch.device(bundle.made("device"))
        self.network: torch.nn.Module = bundle.made("network").eval()
        load_weights(bundle.weights, self.network)
        self._inferer = bundle.made("inferer")
        self._amp = "amp" in bundle.config and bool(bundle.made("amp"))
        with bundle.followed("preprocessing or postprocessing"):
            self._processing: Processing = LinearProcessing.of(bundle.config) or MonaiProcessing(bundle.config)

    def __call__(self, image: str | os.PathLike[str] | NDArray[np.uint8]) -> Prediction:
        """Predict a file, or a picture of shape (H, W, 3), uint8; one above the bundle's limit in tiles.

        Raises:
            MissingDataError: there is no such file.
            DataError: it cannot be read, or the bundle does not come back to its size.
        """
        picture = image if isinstance(image, np.ndarray) else read_image(image)
        if self.needs_tiles(picture):
            return self.decide(blend(picture, self.bundle.max_pixels, self.probabilities_of))
        return self.decide(self.probabilities_of(picture))

    @property
    def takes_whole_pictures(self) -> bool:
        """Whether the network sees a picture at once; other inferers slide over it, in batches of their own."""
        return isinstance(self._inferer, SimpleInferer)

    def needs_tiles(self, picture: NDArray[np.uint8]) -> bool:
        """Whether a picture has more pixels than the bundle takes at once."""
        return picture.shape[0] * picture.shape[1] > self.bundle.max_pixels

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        """Process a picture of shape (H, W, 3) for the network."""
        return self._processing.prepare(picture)

    @torch.inference_mode()
    def infer(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Run the network on inputs of one shape (C, …); logits of shape (images, classes, …) come back on the CPU."""
        batch = torch.stack(list(images)).to(self.device)
        with torch.autocast(self.device.type, enabled=self._amp):
            return self._inferer(batch, self.network).float().cpu()

    def finish(self, prepared: Prepared, logits: torch.Tensor) -> Prediction:
        """Bring a picture's logits, shape (classes, …), back to its own size, and decide.

        Raises:
            DataError: they do not come back to it.
        """
        return self.decide(self._probabilities(prepared, logits))

    def decide(self, probabilities: torch.Tensor) -> Prediction:
        """Decide what is at each pixel, from probabilities of shape (classes, W, H)."""
        return self._processing.decide(probabilities)

    def probabilities_of(self, picture: NDArray[np.uint8]) -> torch.Tensor:
        """Predict a picture of shape (H, W, 3) at once; probabilities of shape (classes, W, H)."""
        prepared = self.prepare(picture)
        return self._probabilities(prepared, self.infer([prepared.image])[0])

    def _probabilities(self, prepared: Prepared, logits: torch.Tensor) -> torch.Tensor:
        probabilities = self._processing.probabilities(prepared, logits)
        if (size := tuple(probabilities.shape[1:])) != prepared.size:
            sizes = " into one of ".join(" × ".join(map(str, each)) for each in (prepared.size, size))
            name = self.bundle.name
            raise DataError(f"The bundle {name} turns a picture of {sizes} pixels; repair its inference.yaml.")
        return probabilities


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingError(f"There is no device {name} here; give cpu, or cuda:0 where there is a GPU.") from error
    return device
