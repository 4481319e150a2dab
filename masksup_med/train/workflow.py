"""Run a bundle's training in this process, as ``python -m monai.bundle run`` does in one of its own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ignite.handlers import ProgressBar
from monai.bundle import ConfigParser, ConfigWorkflow

from masksup_med.bundle.bundle import without_plugin_advice
from masksup_med.errors import MaskSupError
from masksup_med.networks.weights import read_state

__all__ = ["CHECKPOINT", "fit", "progress", "reports"]

_MONAI = "monai.bundle.workflows"
CHECKPOINT = Path("eval", "checkpoint.pt")


def fit(folder: Path, resume: bool, **settings: Any) -> None:
    """Train a bundle, or go on with it.

    Args:
        folder: of the bundle.
        resume: whether to go on after the last epoch of its checkpoint.
        settings: of the bundle that are to have other values.

    Raises:
        MaskSupError: anything that is wrong with settings or data.
    """
    config = folder / "configs" / "train.yaml"
    done, epochs = progress(folder)
    if resume and done >= epochs:
        return
    bars: dict[str, Any] = {f"{part}#dataset#progress": sys.stderr.isatty() for part in ("train", "validate")}
    with _errors_of_bundles(), without_plugin_advice():
        workflow = ConfigWorkflow(
            config_file=str(config),
            meta_file=str(folder / "configs" / "metadata.json"),
            logging_file=False,
            workflow_type="train",
            resume=resume,
            **bars,
            **settings,
        )
        workflow.initialize()
        trainer = workflow.parser.get_parsed_content("train#trainer")
        ProgressBar(desc="epoch", disable=None).attach(trainer)
        workflow.run()
        workflow.finalize()


def progress(folder: Path) -> tuple[int, int]:
    """How many epochs of a training are done, and how many there are."""
    file, config = folder / CHECKPOINT, ConfigParser.load_config_file(folder / "configs" / "train.yaml")
    return int(read_state(file)["epoch"]) if file.is_file() else 0, int(config["max_epochs"])


@contextmanager
def reports() -> Iterator[None]:
    """Show what the handlers of a training report, a line an epoch, and not what MONAI says of its logging."""
    logger, monai, ignite = (logging.getLogger(name) for name in ("masksup_med", _MONAI, "ignite"))
    handler, nothing = logging.StreamHandler(), logging.NullHandler()
    before = logger.level, logger.propagate, monai.disabled
    logger.addHandler(handler)
    ignite.addHandler(nothing)  # what ends a training is told by who runs it
    logger.setLevel(logging.INFO)
    logger.propagate, monai.disabled = False, True
    try:
        yield
    finally:
        logger.removeHandler(handler)
        ignite.removeHandler(nothing)
        logger.setLevel(before[0])
        logger.propagate, monai.disabled = before[1:]


@contextmanager
def _errors_of_bundles() -> Iterator[None]:
    """Raise a user's error as it is, which MONAI wraps in its own; leave Python's way to show errors as it was."""
    hook = sys.excepthook
    try:
        yield
    except Exception as error:
        if own := MaskSupError.among(error):
            raise own from None
        raise
    finally:
        sys.excepthook = hook
