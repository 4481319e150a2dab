"""Weights and training state on disk: written whole or not at all, read only when they fit."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.engines import Workflow

from masksup_med.errors import CheckpointError
from masksup_med.handlers.noted import check_noted, forget_noted
from masksup_med.networks.weights import check_fits, load_initial_weights, load_weights, read_state
from masksup_med.outputs.atomic import atomic_path, sweep

__all__ = ["BestModelSaver", "InitialWeights", "LearntSaver", "TrainingState", "WeightsLoader"]

logger = logging.getLogger("masksup_med")


class BestModelSaver:
    """Save a network's weights whenever an evaluator's key metric is the best so far.

    MONAI's own saver is not atomic. The file holds the plain ``state_dict``, as MONAI's zoo and MONAI Label want it.
    What the bundle noted of the weights before is taken out of its metadata.

    Args:
        path: file to write, usually ``models/model.pt`` of a bundle.
        network: whose weights to save; the module inside a ``DistributedDataParallel`` is found.
    """

    def __init__(self, path: str | os.PathLike, network: torch.nn.Module) -> None:
        self.path = Path(path)
        self.network = network

    def attach(self, engine: Workflow) -> None:
        """Save on this evaluator's epochs."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Workflow) -> None:
        """Save if this epoch's metric is the best."""
        if engine.state.best_metric_epoch == engine.state.epoch:
            if idist.get_rank() == 0:
                forget_noted(self.path)
            _save(_unwrapped(self.network).state_dict(), self.path)


class TrainingState:
    """Save everything that training needs to go on after an epoch, and take it up again.

    One file is kept, replaced at the end of every epoch; what a killed process left half-written is removed. Random
    numbers need no place in it, because :class:`~masksup_med.handlers.EpochSeed` derives them from the epoch.

    Args:
        path: file to write to and resume from.
        objects: what to save by name, each with ``state_dict`` and ``load_state_dict``; for the evaluator whose best
            metric decides which weights are kept, give the engine itself.
        resume: whether to take up the file's state when training starts. Without a file, training starts afresh.

    Raises:
        CheckpointError: when training starts and the file cannot be read or does not fit.
    """

    def __init__(self, path: str | os.PathLike, objects: Mapping[str, Any], resume: bool = False) -> None:
        self.path = Path(path)
        self.objects = dict(objects)
        self.resume = resume

    def attach(self, engine: Workflow) -> None:
        """Resume when this trainer starts, save after each of its epochs."""
        engine.add_event_handler(Events.STARTED, self.start)

    def start(self, engine: Workflow) -> None:
        """Take up the saved state if asked to, and save from now on, after all other handlers of an epoch's end."""
        sweep(self.path)
        self.load(engine)
        if not engine.has_event_handler(self.save, Events.EPOCH_COMPLETED):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def save(self, engine: Workflow) -> None:
        """Write the state after the epoch that has just ended."""
        content = {name: _state(obj) for name, obj in self._with_scaler(engine).items()}
        _save({"epoch": engine.state.epoch, **content}, self.path)

    def load(self, engine: Workflow) -> None:
        """Take up the saved state, if asked to and if there is one."""
        if not self.resume:
            return
        if not self.path.is_file():
            logger.info("Nothing to resume at %s: training starts at epoch 1.", self.path)
            return
        content, objects = read_state(self.path), self._with_scaler(engine)
        missing = [name for name in ("epoch", *objects) if name not in content]
        if missing:
            raise CheckpointError(f"{self.path} lacks {', '.join(missing)}; resume with the settings it was made with.")
        for name, obj in objects.items():
            _restore(obj, content[name], self.path)
        engine.state.epoch = content["epoch"]
        engine.state.iteration = content["epoch"] * engine.state.epoch_length
        logger.info("Resumed %s after epoch %d.", self.path, content["epoch"])

    def _with_scaler(self, engine: Workflow) -> dict[str, Any]:
        """Return the objects and, in mixed precision, the scaler, which the trainer makes when it starts."""
        return {**self.objects, "scaler": engine.scaler} if engine.scaler else self.objects


class WeightsLoader:
    """Load a network's weights when an engine starts; see :func:`~masksup_med.networks.weights.load_weights`.

    Weights of a bundle that notes another SHA-256 are refused.

    Args:
        path: file that holds the weights.
        network: network to load them into.
    """

    def __init__(self, path: str | os.PathLike, network: torch.nn.Module) -> None:
        self.path = Path(path)
        self.network = network

    def attach(self, engine: Workflow) -> None:
        """Load on this engine's start."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Workflow) -> None:
        """Load the weights."""
        check_noted(self.path)
        load_weights(self.path, _unwrapped(self.network))


class InitialWeights:
    """Load what a network starts from; see :func:`~masksup_med.networks.weights.load_initial_weights`.

    Attach before what resumes a training, whose weights count for more.

    Args:
        path: file that holds the weights; None to start from chance.
        network: network to load them into.
    """

    def __init__(self, path: str | os.PathLike | None, network: torch.nn.Module) -> None:
        self.path = path
        self.network = network

    def attach(self, engine: Workflow) -> None:
        """Load on this trainer's start, if there is anything to load."""
        if self.path is not None:
            engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Workflow) -> None:
        """Load the weights."""
        assert self.path is not None
        load_initial_weights(self.path, _unwrapped(self.network))


class LearntSaver:
    """Save what a masked autoencoder has taught its network, when training is complete.

    Args:
        path: file to write, ``models/pretrained.pt`` of a bundle.
        learnt: returns the weights.
    """

    def __init__(self, path: str | os.PathLike, learnt: Callable[[], Mapping[str, torch.Tensor]]) -> None:
        self.path = Path(path)
        self.learnt = learnt

    def attach(self, engine: Workflow) -> None:
        """Save when this trainer has completed."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Workflow) -> None:
        """Save the weights."""
        _save(self.learnt(), self.path)


def _state(obj: Any) -> Mapping[str, Any]:
    if isinstance(obj, Workflow):
        return {"best_metric": obj.state.best_metric, "best_metric_epoch": obj.state.best_metric_epoch}
    return _unwrapped(obj).state_dict()


def _restore(obj: Any, state: Mapping[str, Any], path: Path) -> None:
    if isinstance(obj, Workflow):
        obj.state.best_metric, obj.state.best_metric_epoch = state["best_metric"], state["best_metric_epoch"]
        return
    obj = _unwrapped(obj)
    if isinstance(obj, torch.nn.Module):
        check_fits(state, obj.state_dict(), path, type(obj).__name__)
    obj.load_state_dict(state)


def _unwrapped(obj: Any) -> Any:
    return obj.module if isinstance(obj, torch.nn.parallel.DistributedDataParallel) else obj


def _save(content: Mapping[str, Any], path: Path) -> None:
    """Write on the first process only, whole or not at all."""
    if idist.get_rank() == 0:
        with atomic_path(path) as temporary:
            torch.save(content, temporary)
