"""Which image to label next."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy

from masksup_med.label.scores import Scores
from masksup_med.label.studies import Studies

__all__ = ["MostDisagreement", "RandomImage", "Score"]

_DAY = 24 * 60 * 60  # after which an image that was handed out, and not labelled, comes first again


class Score(ScoringMethod):
    """Compute the disagreement about all images without a label.

    Args:
        scores: where it is kept.
        device: that computes.
    """

    def __init__(self, scores: Scores, device: str) -> None:
        super().__init__("How far the model's views of an image are apart")
        self._scores, self._device = scores, device

    def __call__(self, request: Mapping[str, Any], datastore: Studies) -> dict[str, Any]:
        """Compute what is missing."""
        return {"scored": len(self._scores.update(datastore.unlabelled(), self._device))}


class MostDisagreement(Strategy):
    """Choose the image about which the model's views disagree most; by chance as long as that is not known of any.

    Args:
        scores: the disagreement.
    """

    def __init__(self, scores: Scores) -> None:
        super().__init__("The image about which the model's views disagree most")
        self._scores = scores

    def __call__(self, request: Mapping[str, Any], datastore: Studies) -> dict[str, Any] | None:
        """Choose."""
        waiting = _waiting(datastore)
        known = self._scores.known({name: path for name, path in datastore.unlabelled().items() if name in waiting})
        if not known:
            return _by_chance(waiting)
        chosen = max(known, key=lambda name: known[name])
        return {"id": chosen, "disagreement": round(known[chosen], 4)}


class RandomImage(Strategy):
    """Choose an image by chance."""

    def __init__(self) -> None:
        super().__init__("An image by chance")

    def __call__(self, request: Mapping[str, Any], datastore: Studies) -> dict[str, Any] | None:
        """Choose."""
        return _by_chance(_waiting(datastore))


def _by_chance(names: list[str]) -> dict[str, Any] | None:
    return {"id": random.choice(names)} if names else None


def _waiting(studies: Studies) -> list[str]:
    """Images without a label; of these, if there are any, those that nobody was given today."""
    names = list(studies.unlabelled())
    limit = time.time() - _DAY
    fresh = [
        name
        for name in names
        if all(each.get("ts", 0) < limit for each in studies.get_image_info(name).get("strategy", {}).values())
    ]
    return fresh or names
