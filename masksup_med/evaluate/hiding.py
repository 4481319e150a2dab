"""What is hidden from a network in the occlusion test: the same for every network with an input of the same size."""

from __future__ import annotations

from typing import Any

import numpy as np

from masksup_med.transforms import RandMask, RandPatchMask, RandScribbleMask

__all__ = ["HIDINGS", "RATIOS", "hide"]

RATIOS = tuple(step / 10 for step in range(10))
HIDINGS: dict[str, type[RandMask]] = {"patch": RandPatchMask, "scribble": RandScribbleMask}


def hide(image: Any, hiding: str, ratio: float, name: str, seed: int) -> Any:
    """Make a share of a network's input mid-grey; which part depends on all but the image.

    Args:
        image: shape (C, ...), scaled to -1...1; it is left as it is.
        hiding: one of :data:`HIDINGS`.
        ratio: the share; 0 hides nothing.
        name: of the case.
        seed: another one hides other parts.
    """
    if not ratio:
        return image
    entropy = [seed, round(ratio * 100), *hiding.encode(), *name.encode(errors="surrogateescape")]
    transform = HIDINGS[hiding](ratio=ratio)
    transform.set_random_state(state=np.random.RandomState(np.random.SeedSequence(entropy).generate_state(4)))
    return transform(image)[0]
