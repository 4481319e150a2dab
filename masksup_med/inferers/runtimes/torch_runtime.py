"""The network in torch itself, made ready for inference."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["TorchRuntime", "fold_batch_norms"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class TorchRuntime:
    """See :class:`~masksup_med.inferers.runtimes.Runtime`.

    Batch norms are folded into the convolutions before them. On accelerators images lie channels last; on CPUs that
    made the shipped networks slower (``python -m tests.benchmarks.runtime``).

    Args:
        network: with its weights, in evaluation mode; its batch norms are folded in place.
        device: that it is on.
        amp: whether to calculate in mixed precision.
    """

    name = "torch"

    def __init__(self, network: nn.Module, device: torch.device, amp: bool) -> None:
        self.precision = "mixed" if amp else "fp32"
        self._device, self._amp = device, amp
        fold_batch_norms(network)
        self._layout = torch.preserve_format if device.type == "cpu" else torch.channels_last
        self._network = network if device.type == "cpu" else network.to(memory_format=self._layout)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Turn images (B, C, …) into logits (B, classes, …)."""
        if images.ndim == 4:  # torch knows the layout of pictures
            images = images.to(memory_format=self._layout)
        with torch.autocast(self._device.type, enabled=self._amp):
            return self._network(images).float()


def fold_batch_norms(network: nn.Module) -> None:
    """Fold each batch norm into the convolution that it follows in an ``nn.Sequential``, in place.

    Only where the order of the parts is surely that of the work: in sequences that do nothing but run their parts. A
    sequence within one, such as MONAI's of norm, dropout and activation, counts with its first part.
    """
    for sequence in network.modules():
        if type(sequence).forward is nn.Sequential.forward:
            for first, second in pairwise(list(sequence._modules)):
                _fold(sequence, first, second)


def _fold(sequence: nn.Module, first: str, second: str) -> None:
    convolution, norm = sequence._modules[first], sequence._modules[second]
    place, name = sequence, second
    while type(norm).forward is nn.Sequential.forward and len(norm._modules):  # type: ignore[union-attr]
        place, name = norm, next(iter(norm._modules))  # type: ignore[assignment, union-attr]
        norm = place._modules[name]
    if type(convolution) in _CONVOLUTIONS and type(norm) in _NORMS and norm.track_running_stats:  # type: ignore[union-attr]
        sequence._modules[first] = fuse_conv_bn_eval(convolution, norm)  # type: ignore[type-var, arg-type]
        place._modules[name] = nn.Identity()
