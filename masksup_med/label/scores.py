"""How far a model's views of each image are apart, kept in a file, and computed again only for what has changed.

It is the disagreement that ``masksup predict --quality`` tells, of three views.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from masksup_med.bundle.bundle import Bundle
from masksup_med.bundle.predictor import Predictor
from masksup_med.bundle.quality import quality_of
from masksup_med.errors import MaskSupError
from masksup_med.inferers.views import views
from masksup_med.metrics.disagreement import disagreement
from masksup_med.outputs.atomic import atomic_path

__all__ = ["Scores", "disagreement_of", "viewing"]

logger = logging.getLogger("masksup_med")

_VIEWS = 3


class Scores:
    """The disagreement about each image.

    Args:
        folder: of the working copy, where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / "scores.json"

    def known(self, images: Mapping[str, Path]) -> dict[str, float]:
        """Those of images, by name, that hold: of the weights and the files as they are now."""
        kept = json.loads(self._file.read_text(encoding="utf-8")) if self._file.is_file() else {}
        if kept.get("weights") != _stamp(self._folder / "models" / "model.pt"):
            return {}
        scores = kept["images"]
        return {
            name: scores[name]["disagreement"]
            for name, path in images.items()
            if name in scores and path.is_file() and scores[name]["file"] == _stamp(path)
        }

    def update(self, images: Mapping[str, Path], device: str | None = None) -> dict[str, float]:
        """Compute what is missing, and keep what there is of these images.

        An image that cannot be read gets none; a line in the log says why.
        """
        known, weights = self.known(images), _stamp(self._folder / "models" / "model.pt")
        missing = {name: path for name, path in images.items() if name not in known}
        if not missing:
            return known
        logger.info("Disagreement about %d images is computed, of %d it is known.", len(missing), len(known))
        predictor = viewing(Bundle(self._folder), device)
        stamps = {name: _stamp(path) for name, path in images.items()}
        for name, path in missing.items():
            try:
                known[name] = disagreement_of(predictor, path)
            except MaskSupError as error:
                logger.warning("%s", error)
        kept = {name: {"file": stamps[name], "disagreement": score} for name, score in known.items()}
        with atomic_path(self._file) as temporary:
            temporary.write_text(json.dumps({"weights": weights, "images": kept}, indent=1), encoding="utf-8")
        return known


def viewing(bundle: Bundle, device: str | None = None) -> Predictor:
    """A predictor that also looks at the views whose disagreement is the score."""
    return Predictor(bundle, device, views(quality_of(bundle).kind, _VIEWS))


def disagreement_of(predictor: Predictor, image: Path) -> float:
    """How far the views of an image are apart, 0 to 1.

    Raises:
        DataError: the image cannot be read.
    """
    prediction = predictor(image)
    assert prediction.distance is not None
    assert prediction.foreground is not None
    return disagreement(prediction.distance, prediction.foreground, prediction.distance.size)


def _stamp(path: Path) -> list[int]:
    """What changes when a file does."""
    state = os.stat(path)
    return [state.st_mtime_ns, state.st_size]
