"""A bundle that predicts picture by picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby

import numpy as np
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer
from monai.utils import ensure_tuple_rep
from numpy.typing import NDArray

from masksup_med.bundle.bundle import Bundle
from masksup_med.bundle.linear import LinearProcessing
from masksup_med.bundle.processing import MonaiProcessing, Prediction, Prepared, Processing
from masksup_med.bundle.tiles import blend
from masksup_med.data.decode import read_image
from masksup_med.errors import DataError, SettingError
from masksup_med.handlers.noted import check_noted
from masksup_med.inferers.disagreement import MAPS, compared
from masksup_med.inferers.runtimes import open_runtime
from masksup_med.inferers.views import View
from masksup_med.networks.weights import load_weights

__all__ = ["Predictor"]


class Predictor:
    """Predict what ``python -m monai.bundle run`` would write, without files.

    Args:
        bundle: an open bundle.
        device: such as ``"cpu"`` or ``"cuda:0"``; by default, and for ``"auto"``, what the bundle chooses.
        views: in which the network sees each picture, beside the picture as it is; predictions then say how far the
            answers are apart.
        average: whether the mean of all answers decides what is found, instead of the one to the picture as it is.
        runtime: what runs the network, one of :data:`~masksup_med.inferers.runtimes.RUNTIMES`; others than torch run
            what ``masksup export`` has made of it.

    Raises:
        CheckpointError: its weights cannot be read, do not fit its network, or are not those that it notes.
        DataError: its processing cannot be followed.
        MissingDataError: there is no exported network for the runtime.
        SettingError: there is no such device, or the runtime is not installed.

    Example::

        predictor = Predictor(Bundle.open("my_polyps"))
        predictor("frame.png").classes  # (H, W), 0 for background
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str | None = None,
        views: Sequence[View] = (),
        average: bool = False,
        runtime: str = "torch",
    ) -> None:
        self.bundle = bundle
        self.views, self._average = views, average
        if device not in (None, "auto"):
            bundle.config["device"] = _device(device)
        self.device = torch.device(bundle.made("device"))
        self.network: torch.nn.Module = bundle.made("network").eval()
        check_noted(bundle.weights)
        load_weights(bundle.weights, self.network)
        self._inferer = bundle.made("inferer")
        self.runtime = open_runtime(bundle, runtime, self.network, self.device)
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
            return self.decide(blend(picture, self.bundle.max_pixels, self.maps_of))
        return self.decide(self.maps_of(picture))

    @property
    def takes_whole_pictures(self) -> bool:
        """Whether the network sees a picture at once; other inferers slide over it, in batches of their own."""
        return isinstance(self._inferer, SimpleInferer)

    @property
    def network_size(self) -> tuple[int, int]:
        """Width and height of what the network usually sees: windows, or pictures."""
        if isinstance(self._inferer, SlidingWindowInferer):
            width, height = ensure_tuple_rep(self._inferer.roi_size, 2)
        else:
            width, height = self.prepare(np.zeros((480, 640, 3), np.uint8)).image.shape[1:]
        return int(width), int(height)

    @cached_property
    def takes_turned(self) -> bool:
        """Whether the network also takes pictures whose width and height are swapped."""
        width, height = self.network_size
        try:
            self._run([torch.zeros(3, height, width)])
        except Exception:  # of whatever kind a network raises
            return width == height
        return True

    def needs_tiles(self, picture: NDArray[np.uint8]) -> bool:
        """Whether a picture has more pixels than the bundle takes at once."""
        return picture.shape[0] * picture.shape[1] > self.bundle.max_pixels

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        """Process a picture of shape (H, W, 3) for the network."""
        return self._processing.prepare(picture)

    @torch.inference_mode()
    def infer(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        """Run the network on inputs of one shape (C, …), and on their views.

        Returns:
            Logits on the CPU, shape (images, 1 + views, classes, …), those of the image as it is first.
        """
        plain = self._run(images)  # apart, because the last digits of a result depend on what else is in a batch
        shown = [view.apply(image) for view in self.views for image in images]
        batches = [list(batch) for _, batch in groupby(shown, lambda image: image.shape)]
        answers = iter([answer for batch in batches for answer in self._run(batch)])
        others = [torch.stack([view.undo(next(answers)) for _ in images]) for view in self.views]
        return torch.stack([plain, *others], dim=1)

    def probabilities(self, prepared: Prepared, logits: torch.Tensor) -> torch.Tensor:
        """Turn logits of one view, shape (classes, …), into probabilities at the picture's size, (classes, W, H).

        Raises:
            DataError: they do not come back to it.
        """
        probabilities = self._processing.probabilities(prepared, logits)
        if (size := tuple(probabilities.shape[1:])) != prepared.size:
            sizes = " into one of ".join(" × ".join(map(str, each)) for each in (prepared.size, size))
            name = self.bundle.name
            raise DataError(f"The bundle {name} turns a picture of {sizes} pixels; repair its inference.yaml.")
        return probabilities

    def finish(self, prepared: Prepared, logits: torch.Tensor) -> Prediction:
        """Bring a picture's logits, shape (1 + views, classes, …), back to its own size, and decide.

        Raises:
            DataError: they do not come back to it.
        """
        return self.decide(self._maps(prepared, logits))

    def decide(self, maps: torch.Tensor) -> Prediction:
        """Decide what is at each pixel, from what :meth:`maps_of` gives."""
        if not self.views:
            return self._processing.decide(maps)
        distance, foreground = (np.ascontiguousarray(each.numpy().T) for each in maps[-MAPS:])
        return self._processing.decide(maps[:-MAPS])._replace(distance=distance, foreground=foreground)

    def maps_of(self, picture: NDArray[np.uint8]) -> torch.Tensor:
        """Predict a picture of shape (H, W, 3) at once.

        Returns:
            Probabilities of shape (classes, W, H), with views followed by two maps that
            :func:`~masksup_med.inferers.disagreement.compared` describes.
        """
        prepared = self.prepare(picture)
        return self._maps(prepared, self.infer([prepared.image])[0])

    def _run(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        return self._inferer(torch.stack(list(images)).to(self.device), self.runtime).cpu()

    def _maps(self, prepared: Prepared, logits: torch.Tensor) -> torch.Tensor:
        plain = self.probabilities(prepared, logits[0])
        if not self.views:
            return plain
        return compared(plain, (self.probabilities(prepared, each) for each in logits[1:]), self._average)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingError(f"There is no device {name} here; give cpu, or cuda:0 where there is a GPU.") from error
    return device
