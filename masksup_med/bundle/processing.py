"""What a bundle does to a picture before the network, and to the network's output after it."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor, PILReader
from monai.transforms import AsDiscreted, Compose, LoadImaged, SaveImaged
from numpy.typing import NDArray
from PIL import Image

from masksup_med.errors import DataError
from masksup_med.handlers.overlays import class_map

__all__ = ["MonaiProcessing", "Prediction", "Prepared", "Processing", "shown_probability"]


class Prepared(NamedTuple):
    """A picture as the network takes it."""

    image: torch.Tensor  # (C, …)
    size: tuple[int, int]  # of the picture, width and height
    source: Any = None  # what else leads back to it


class Prediction(NamedTuple):
    """What a bundle says about a picture, at the picture's own size."""

    classes: NDArray[np.uint8]  # (H, W), 0 for background
    probability: NDArray[np.float32]  # (H, W), of the foreground; with several classes, of the one decided on
    distance: NDArray[np.float32] | None = None  # (H, W), how far views of it are apart, where there are several
    foreground: NDArray[np.float32] | None = None  # (H, W), how much foreground they see


class Processing(Protocol):
    """From a picture to the network's input, and from its output to a prediction; used by several threads at once."""

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        """Process a picture of shape (H, W, 3)."""
        ...

    def probabilities(self, prepared: Prepared, logits: torch.Tensor) -> torch.Tensor:
        """Turn logits of shape (classes, …) into probabilities at the picture's own size, shape (classes, W, H)."""
        ...

    def decide(self, probabilities: torch.Tensor) -> Prediction:
        """Decide what is at each pixel."""
        ...


class MonaiProcessing:
    """A bundle's own transforms, whatever they are, but for those that load and save.

    Args:
        config: of the bundle.

    Raises:
        DataError: the transforms do not begin with ``LoadImaged``, or there is no ``AsDiscreted`` after the network.
    """

    def __init__(self, config: ConfigParser) -> None:
        self._before: Compose = config.get_parsed_content("preprocessing")
        after = config.get_parsed_content("postprocessing").transforms
        self._lock = threading.Lock()  # Invertd changes the transforms while it inverts them
        if not isinstance(self._before.transforms[0], LoadImaged):
            raise DataError("The bundle's preprocessing does not begin with LoadImaged; repair its inference.yaml.")
        decision = next((number for number, step in enumerate(after) if isinstance(step, AsDiscreted)), None)
        if decision is None:
            raise DataError("The bundle's postprocessing has no AsDiscreted, which decides; repair its inference.yaml.")
        self._after, self._deciding = after[:decision], after[decision:]

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        """See :class:`Processing`."""
        array, meta = PILReader().get_data([Image.fromarray(picture)])
        loaded = MetaTensor.ensure_torch_and_prune_meta(array.astype(np.float32), meta)
        image = self._before({"image": loaded}, start=1)["image"]
        return Prepared(image.as_tensor(), picture.shape[1::-1], image)

    def probabilities(self, prepared: Prepared, logits: torch.Tensor) -> torch.Tensor:
        """See :class:`Processing`."""
        data: dict[str, Any] = {"image": prepared.source, "pred": logits}
        with self._lock:
            for transform in self._after:
                data = transform(data)
        return torch.as_tensor(data["pred"])

    def decide(self, probabilities: torch.Tensor) -> Prediction:
        """See :class:`Processing`."""
        data: dict[str, Any] = {"pred": MetaTensor(probabilities)}
        for transform in self._deciding:
            if not isinstance(transform, SaveImaged):
                data = transform(data)
        return Prediction(class_map(data["pred"]).astype(np.uint8), shown_probability(probabilities))


def shown_probability(probabilities: torch.Tensor) -> NDArray[np.float32]:
    """The one map that a prediction shows: from (classes, W, H) to (H, W)."""
    shown = probabilities[-1] if len(probabilities) <= 2 else probabilities.amax(0)
    return np.ascontiguousarray(shown.clamp(0, 1).numpy().T)
