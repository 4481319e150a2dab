"""MONAI's supervised trainer, with a second view of every image."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from ignite.metrics import Average
from monai.engines import PrepareBatchExtraInput, SupervisedTrainer, default_prepare_batch
from monai.inferers import Inferer, SimpleInferer
from monai.utils import convert_to_tensor
from torch.nn.modules.batchnorm import _BatchNorm

from masksup_med.errors import SettingError
from masksup_med.losses import MaskSupLoss

__all__ = ["MaskSupTrainer"]

_TERMS = ("segmentation", "context", "similarity")


class MaskSupTrainer(SupervisedTrainer):
    """Train a network on every image as it is and with part of it hidden.

    Everything else, among it mixed precision (``amp``) and gradient accumulation (``accumulation_steps``), is
    :class:`monai.engines.SupervisedTrainer`'s. Each item of a batch needs ``image``, ``label`` and, unless the loss
    gives the masked view no weight, ``image_masked``, or a ``prepare_batch`` that makes it, such as
    :class:`~masksup_med.engines.PrepareViews`. The output of an iteration has ``loss`` and ``loss_segmentation``,
    ``loss_context`` and ``loss_similarity``; their means over an epoch are the engine's metrics
    ``train_loss``, ``train_loss_segmentation`` and so on, so that any MONAI handler logs them.

    Args:
        loss_function: a :class:`~masksup_med.losses.MaskSupLoss`. When it gives the masked view no weight, the
            network runs once per batch, as in plain supervised training.
        joint_forward: whether the two views go through the network as one batch of twice the size rather than
            one after the other, as in the paper. One pass is faster, and needs the memory of both either way;
            batch norm then computes its statistics over both views together instead of over each by itself, and
            updates its running statistics once instead of twice. Networks without batch norm see no difference.
        whole_statistics: whether batch norm keeps running statistics, which inference uses, of whole images only. The
            views must go through the network one after the other.
        kwargs: as for :class:`monai.engines.SupervisedTrainer`.

    Raises:
        SettingError: ``whole_statistics`` with ``joint_forward``.
    """

    def __init__(
        self,
        device: str | torch.device,
        max_epochs: int,
        train_data_loader: Any,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_function: MaskSupLoss,
        joint_forward: bool = False,
        whole_statistics: bool = False,
        inferer: Inferer | None = None,
        prepare_batch: Callable | None = None,
        train_handlers: Sequence | None = None,
        **kwargs: Any,
    ) -> None:
        if prepare_batch is None:
            two_views = loss_function.uses_masked_view
            prepare_batch = PrepareBatchExtraInput("image_masked") if two_views else default_prepare_batch
        if joint_forward and whole_statistics:
            raise SettingError(
                "whole_statistics needs views that go apart through the network; set joint_forward false."
            )
        self.joint_forward = joint_forward
        self.whole_statistics = whole_statistics
        self._one_view = SimpleInferer() if inferer is None else inferer
        self._terms = loss_function
        # The iteration of SupervisedTrainer calls an inferer, then a loss; both views pass through these two.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Will convert to PyTorch Tensor if using compile")
            super().__init__(
                device=device,
                max_epochs=max_epochs,
                train_data_loader=train_data_loader,
                network=network,
                optimizer=optimizer,
                loss_function=self._loss,
                inferer=self._both_views,  # type: ignore[arg-type]  # only ever called
                prepare_batch=prepare_batch,
                **kwargs,
            )
        for name in ("loss", *(f"loss_{term}" for term in _TERMS)):
            Average(output_transform=_value_of(name)).attach(self, f"train_{name}")
        self._register_handlers(train_handlers or [])  # after the metrics, so that they see those of their epoch

    def _both_views(
        self,
        inputs: torch.Tensor,
        network: torch.nn.Module,
        image_masked: torch.Tensor | None = None,
        *args: Any,
    ) -> Any:
        """Return the prediction for the whole image; leave the other one in the iteration's output."""
        if image_masked is None:
            return self._one_view(inputs, network, *args)
        if self.compile:  # as SupervisedTrainer does for inputs, see pytorch/pytorch#117026
            image_masked = convert_to_tensor(image_masked, track_meta=False)
        if self.joint_forward:
            both = self._one_view(torch.cat([inputs, image_masked]), network, *args)
            pred, pred_masked = _halves(both)
        else:
            pred = self._one_view(inputs, network, *args)
            with _kept_statistics(network) if self.whole_statistics else nullcontext():
                pred_masked = self._one_view(image_masked, network, *args)
        self.state.output["pred_masked"] = pred_masked
        return pred

    def _loss(self, pred: Any, label: torch.Tensor) -> torch.Tensor:
        terms = self._terms(pred, label, self.state.output.get("pred_masked"))
        for name in _TERMS:
            self.state.output[f"loss_{name}"] = getattr(terms, name).detach()
        return terms.total


@contextmanager
def _kept_statistics(network: torch.nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch norms as they are."""
    norms = [each for each in network.modules() if isinstance(each, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _value_of(name: str) -> Callable[[Any], Any]:
    """Return a function that finds a scalar in an iteration's output, decollated (a list of items) or not."""
    return lambda output: (output[0] if isinstance(output, list) else output)[name]


def _halves(both: torch.Tensor | Sequence[torch.Tensor]) -> tuple[Any, Any]:
    if isinstance(both, torch.Tensor):
        first, second = both.chunk(2)
        return first, second
    return tuple(zip(*(_halves(output) for output in both), strict=True))  # type: ignore[return-value]
