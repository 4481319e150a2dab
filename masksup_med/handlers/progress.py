"""One line per epoch: losses, validation metrics, time."""

from __future__ import annotations

import logging
import time
from typing import Any

from ignite.engine import Events
from monai.engines import Workflow

__all__ = ["Progress"]

logger = logging.getLogger("masksup_med")


class Progress:
    """Log a line after each epoch of a trainer: loss terms, validation, the best so far, and the time left.

    Args:
        validator: evaluator whose metrics to show beside the trainer's; it must have run by then.
    """

    def __init__(self, validator: Any = None) -> None:
        self.validator = validator

    def attach(self, engine: Workflow) -> None:
        """Report on this trainer; attach after the handler that validates."""
        if engine.state.rank == 0:
            engine.add_event_handler(Events.STARTED, self.start)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def start(self, engine: Workflow) -> None:
        """Start the clock."""
        self._started = time.monotonic()
        self._first_epoch = engine.state.epoch

    def __call__(self, engine: Workflow) -> None:
        """Log the epoch that has just ended."""
        state = engine.state
        parts = [f"epoch {state.epoch}/{state.max_epochs}", *_shown(state.metrics)]
        if self.validator is not None and self.validator.state.epoch == state.epoch:
            best = self.validator.state
            parts += [*_shown(best.metrics), f"(best {best.best_metric:.4f}, epoch {best.best_metric_epoch})"]
        spent = time.monotonic() - self._started
        left = spent / (state.epoch - self._first_epoch) * (state.max_epochs - state.epoch)
        logger.info("%s  %s left", "  ".join(parts), _duration(left))


def _shown(metrics: dict[str, Any]) -> list[str]:
    return [f"{name} {float(value):.4f}" for name, value in metrics.items()]


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
