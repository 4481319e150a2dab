"""The working copy of a bundle beside the studies: what annotators fine-tune, while the bundle itself stays.

In the studies' folder::

    masksup/my_polyps/                     the working copy, a whole bundle
    masksup/my_polyps/models/model.pt      what serves
    masksup/my_polyps/models/before_3.pt   what served before the third training that was accepted
    masksup/my_polyps/eval/training_3/     that training: its images, its log, its weights
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from masksup_med.bundle.bundle import Bundle
from masksup_med.errors import MissingDataError, SettingError
from masksup_med.handlers.noted import forget_noted
from masksup_med.outputs.atomic import atomic_folder, atomic_path

__all__ = ["FOLDER", "OUTCOME", "Workspace"]

FOLDER = "masksup"  # in that of the studies
OUTCOME = "outcome.json"  # in that of a training
_BEFORE = re.compile(r"before_(\d+)\.pt")
_TRAINING = re.compile(r"training_(\d+)")


class Workspace:
    """A working copy.

    Args:
        folder: of it.

    Raises:
        MissingDataError: there is none.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise MissingDataError(f"There is no working copy {folder}; start `masksup label` with the bundle first.")
        self.folder = folder
        self.weights = folder / "models" / "model.pt"

    @classmethod
    def of(cls, studies: Path, bundle: Bundle) -> Workspace:
        """The working copy of a bundle for the studies in a folder, which is made if there is none."""
        folder = studies / FOLDER / bundle.name
        if not folder.exists():
            with atomic_folder(folder) as whole:
                ignored = shutil.ignore_patterns("eval", "*.onnx", "*.xml", "*.bin", "*.ts")
                shutil.copytree(bundle.folder, whole, dirs_exist_ok=True, ignore=ignored)
                (whole / "models").mkdir(exist_ok=True)
                shutil.copyfile(bundle.weights, whole / "models" / "model.pt")
        return cls(folder)

    @classmethod
    def all_in(cls, studies: Path) -> list[Workspace]:
        """The working copies for the studies in a folder."""
        return [cls(each.parents[1]) for each in sorted(studies.glob(f"{FOLDER}/*/configs/metadata.json"))]

    def new_training(self) -> Path:
        """An empty folder for a training."""
        folder = self.folder / "eval" / f"training_{1 + max(self._numbers('eval', _TRAINING), default=0)}"
        folder.mkdir(parents=True)
        return folder

    def last_outcome(self) -> dict[str, Any] | None:
        """What the last training that ended said of itself; None if there is none."""
        for number in sorted(self._numbers("eval", _TRAINING), reverse=True):
            file = self.folder / "eval" / f"training_{number}" / OUTCOME
            if file.is_file():
                return dict(json.loads(file.read_text(encoding="utf-8")))
        return None

    def accept(self, weights: Path) -> None:
        """Have weights serve from now on, and keep those that served before."""
        number = 1 + max(self._numbers("models", _BEFORE), default=0)
        shutil.copyfile(self.weights, self.weights.with_name(f"before_{number}.pt"))
        forget_noted(self.weights)
        with atomic_path(self.weights) as temporary:
            shutil.copyfile(weights, temporary)

    def undo(self) -> int:
        """Have the weights serve again that served before the last training that was accepted.

        Returns:
            How many more can be undone.

        Raises:
            SettingError: none was accepted, or all are undone.
        """
        numbers = sorted(self._numbers("models", _BEFORE))
        if not numbers:
            raise SettingError(f"{self.folder.name} has the weights that it came with; there is nothing to undo.")
        forget_noted(self.weights)
        os.replace(self.weights.with_name(f"before_{numbers.pop()}.pt"), self.weights)
        return len(numbers)

    def _numbers(self, folder: str, name: re.Pattern[str]) -> list[int]:
        matches = [name.fullmatch(each.name) for each in (self.folder / folder).glob("*")]
        return [int(match[1]) for match in matches if match]
