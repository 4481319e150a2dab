"""Fine-tuning as MONAI Label starts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.tasks.train import TrainTask

from masksup_med.errors import SettingError
from masksup_med.label.fine_tune import fine_tune
from masksup_med.label.studies import Studies
from masksup_med.label.workspace import Workspace

__all__ = ["FineTuning"]

_EPOCHS = 40


class FineTuning(TrainTask):
    """Fine-tune on the labels that there are.

    Args:
        workspace: the working copy.
        device: such as ``cpu``.
    """

    def __init__(self, workspace: Workspace, device: str) -> None:
        super().__init__("Fine-tune with MaskSup on what is labelled; worse weights are not taken")
        self._workspace, self._device = workspace, device

    def config(self) -> dict[str, Any]:
        """What clients may set."""
        return {"max_epochs": _EPOCHS}

    def stats(self) -> dict[str, Any]:
        """What came of the last training, as clients show it."""
        outcome = self._workspace.last_outcome()
        return {} if outcome is None else {"best_metric": max(outcome["before"], outcome["after"]), **outcome}

    def __call__(self, request: Mapping[str, Any], datastore: Studies) -> dict[str, Any]:
        """Train."""
        epochs = request.get("max_epochs", _EPOCHS)
        if not isinstance(epochs, int) or epochs < 1:
            raise SettingError(f"max_epochs is {epochs!r}; give a number from 1.")
        return fine_tune(self._workspace, datastore.labelled(), epochs, self._device)._asdict()
