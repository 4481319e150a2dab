"""The network in torch itself, made ready for inference."""

from __future__ import annotations

import copy
import threading
from collections import Counter
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["TorchRuntime", "fold_batch_norms"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_NEAR = 1e-4  # of the largest logit


class TorchRuntime:
    """See :class:`~masksup_med.inferers.runtimes.Runtime`.

    Batch norms are folded into the convolutions before them, unless the first images show that the network then says
    something else. On accelerators images lie channels last; on CPUs that made the shipped networks slower
    (``python -m tests.benchmarks.runtime``).

    Args:
        network: with its weights, in evaluation mode; it is left as it is.
        device: that it is on.
        amp: whether to calculate in mixed precision.
    """

    name = "torch"

    def __init__(self, network: nn.Module, device: torch.device, amp: bool) -> None:
        self.precision = "mixed" if amp else "fp32"
        self._device, self._amp = device, amp
        self._layout = torch.preserve_format if device.type == "cpu" else torch.channels_last
        self._network, self._folded = self._laid_out(network), fold_batch_norms(network)
        self._lock = threading.Lock()

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Turn images (B, C, …) into logits (B, classes, …)."""
        if images.ndim == 4:  # torch knows the layout of pictures
            images = images.to(memory_format=self._layout)
        with self._lock:
            if self._folded is not None:
                self._settle(self._folded, images)
        with torch.autocast(self._device.type, enabled=self._amp):
            return self._network(images).float()

    def _laid_out(self, network: nn.Module) -> nn.Module:
        if self._layout is torch.preserve_format:
            return network
        return network.to(memory_format=self._layout)  # type: ignore[call-overload]

    def _settle(self, folded: nn.Module, images: torch.Tensor) -> None:
        """Take the folded network if it says what the network says, in full precision."""
        with torch.autocast(self._device.type, enabled=False):
            plain = self._network(images)
            if (folded(images) - plain).abs().max() <= _NEAR * plain.abs().max():
                self._network = self._laid_out(folded)
        self._folded = None


def fold_batch_norms(network: nn.Module) -> nn.Module | None:
    """A copy with batch norms folded into the convolutions that they follow in an ``nn.Sequential``; None without any.

    Only sequences that do nothing but run their parts one after the other, and that are used in one place. A sequence
    within one, such as MONAI's of norm, dropout and activation, counts with its first part.
    """
    if not any(isinstance(module, _NORMS) for module in network.modules()):
        return None
    try:
        network = copy.deepcopy(network)
    except RuntimeError:  # as with weights that are computed from others
        return None
    uses = Counter(id(part) for module in network.modules() for part in module._modules.values())
    for sequence in list(network.modules()):
        if type(sequence).forward is nn.Sequential.forward:
            for first, second in pairwise(list(sequence._modules)):
                _fold(sequence, first, second, uses)
    return network


def _fold(sequence: nn.Module, first: str, second: str, uses: Counter[int]) -> None:
    convolution, norm = sequence._modules[first], sequence._modules[second]
    place, name, shared = sequence, second, uses[id(convolution)] > 1 or uses[id(norm)] > 1
    while type(norm).forward is nn.Sequential.forward and len(norm._modules):  # type: ignore[union-attr]
        place, name = norm, next(iter(norm._modules))  # type: ignore[assignment, union-attr]
        norm = place._modules[name]
        shared |= uses[id(norm)] > 1
    if shared or type(convolution) not in _CONVOLUTIONS or type(norm) not in _NORMS:
        return
    if norm.track_running_stats:  # type: ignore[union-attr]
        sequence._modules[first] = fuse_conv_bn_eval(convolution, norm)  # type: ignore[type-var, arg-type]
        place._modules[name] = nn.Identity()
