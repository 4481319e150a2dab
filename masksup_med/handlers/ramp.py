"""How much the masked view weighs, from the first epoch to the last."""

from __future__ import annotations

from collections.abc import Sequence

from ignite.engine import Events
from monai.engines import Workflow

from masksup_med.errors import SettingError
from masksup_med.losses import MaskSupLoss

__all__ = ["ContextRamp"]


class ContextRamp:
    """Multiply the weights of context and similarity by a factor that changes evenly from epoch to epoch.

    The factor depends on the epoch's number alone, so that a training that is resumed goes on as if undisturbed.

    Args:
        loss: whose weights to change; those that it has now are multiplied.
        factors: of the first and of the last epoch: (0, 1) warms up, (1, 0) down, (1, 1) leaves the weights alone.

    Raises:
        SettingError: there are not two factors, or one is negative.
    """

    def __init__(self, loss: MaskSupLoss, factors: Sequence[float] = (1, 1)) -> None:
        if len(factors) != 2 or min(factors) < 0:
            raise SettingError(f"The ramp of the context is {list(factors)}; give two factors from 0, as in [0, 1].")
        self.loss = loss
        self.first, self.last = factors
        self._weights = loss.context_weight, loss.similarity_weight

    def attach(self, engine: Workflow) -> None:
        """Set the weights at the start of each of this trainer's epochs."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Workflow) -> None:
        """Set the weights of the epoch that starts."""
        done = (engine.state.epoch - 1) / max(engine.state.max_epochs - 1, 1)
        factor = self.first + (self.last - self.first) * done
        self.loss.context_weight, self.loss.similarity_weight = (factor * weight for weight in self._weights)
