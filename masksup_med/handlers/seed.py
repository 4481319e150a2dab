"""Random numbers that depend on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ignite.engine import Events
from monai.engines import Workflow
from monai.transforms import Randomizable
from monai.utils import set_determinism

__all__ = ["EpochSeed"]


class EpochSeed:
    """Seed all random numbers anew at the start of every epoch, from the seed and the epoch's number.

    Training that is interrupted and resumed at an epoch therefore goes on exactly as if undisturbed, whatever the
    number of loader workers (whose seeds torch draws from its global random state each epoch).

    Args:
        seed: seed of the whole training.
        transforms: everything that is random in this process: of single images, of batches.
    """

    def __init__(self, seed: int, transforms: Sequence[Any]) -> None:
        self.seed = seed
        self.transforms = transforms

    def attach(self, engine: Workflow) -> None:
        """Seed at the start of each of this trainer's epochs."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Workflow) -> None:
        """Seed the epoch that starts."""
        seed = (self.seed * 100_003 + engine.state.epoch + engine.state.rank * 10_000_019) % 2**32
        set_determinism(seed)
        for transform in self.transforms:
            if isinstance(transform, Randomizable):
                transform.set_random_state(seed)
