"""Run a bundle's training in this process, as ``python -m monai.bundle run`` does in one of its own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ignite.handlers import ProgressBar
from monai.bundle import ConfigParser, ConfigWorkflow

from masksup_med.bundle.bundle import without_plugin_advice
from masksup_med.errors import MaskSupError
from masksup_med.networks.weights import read_state

__all__ = ["PRETRAINING", "TRAINING", "Stage", "fit", "progress", "reports", "stages"]

_MONAI = "monai.bundle.workflows"


class Stage(NamedTuple):
    """What a bundle's training does first or last."""

    part: str  # of the configs
    configs: tuple[str, ...]  # files that it runs
    checkpoint: Path
    epochs: str  # the setting that says how many
    weights: Path


PRETRAINING = Stage(
    "pretrain",
    ("train.yaml", "pretrain.yaml"),
    Path("eval", "pretraining.pt"),
    "pretraining_epochs",
    Path("models", "pretrained.pt"),
)
TRAINING = Stage("train", ("train.yaml",), Path("eval", "checkpoint.pt"), "max_epochs", Path("models", "model.pt"))


def fit(folder: Path, resume: bool, **settings: Any) -> None:
    """Train a bundle, or go on with it; first without labels, if it is to start from what that gives.

    Args:
        folder: of the bundle.
        resume: whether to go on after the last epoch of its checkpoint.
        settings: of the bundle that are to have other values.

    Raises:
        MaskSupError: anything that is wrong with settings or data.
    """
    for stage in stages(folder):
        done, epochs = progress(folder, stage)
        if not resume or done < epochs or not (folder / stage.weights).is_file():
            _run(folder, stage, resume, settings)


def stages(folder: Path) -> tuple[Stage, ...]:
    """What the training of a bundle consists of."""
    initial = ConfigParser.load_config_file(folder / "configs" / "train.yaml").get("initial_weights")
    from_pretraining = initial is not None and PRETRAINING.weights.as_posix() in initial
    return (PRETRAINING, TRAINING) if from_pretraining else (TRAINING,)


def progress(folder: Path, stage: Stage = TRAINING) -> tuple[int, int]:
    """How many epochs of a training are done, and how many there are."""
    file, parser = folder / stage.checkpoint, ConfigParser()
    parser.read_config([str(folder / "configs" / name) for name in stage.configs])
    epochs = int(parser.get_parsed_content(stage.epochs))
    return int(read_state(file)["epoch"]) if file.is_file() else 0, epochs


def _run(folder: Path, stage: Stage, resume: bool, settings: dict[str, Any]) -> None:
    parts = ("train", "validate") if stage is TRAINING else (stage.part,)
    bars: dict[str, Any] = {f"{part}#dataset#progress": sys.stderr.isatty() for part in parts}
    with _errors_of_bundles(), without_plugin_advice():
        workflow = ConfigWorkflow(
            config_file=[str(folder / "configs" / name) for name in stage.configs],
            meta_file=str(folder / "configs" / "metadata.json"),
            logging_file=False,
            workflow_type="train",
            resume=resume,
            **bars,
            **settings,
        )
        workflow.initialize()
        trainer = workflow.parser.get_parsed_content(f"{stage.part}#trainer")
        ProgressBar(desc="epoch", disable=None).attach(trainer)
        workflow.run()
        workflow.finalize()


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
