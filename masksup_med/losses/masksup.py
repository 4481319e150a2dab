"""The loss of masked supervised learning: three terms over two views of an image.

Zunair and Ben Hamza, "Masked Supervised Learning for Semantic Segmentation", BMVC 2022, equation 4:

    L = α1 · seg(M_p, M_gt) + α2 · context(M_pm, M_gt) + α3 · similarity(M_p, M_pm)

M_p is the prediction for the image, M_pm that for the image with parts hidden, M_gt the label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.nn.modules.loss import _Loss

from masksup_med.errors import SettingError

__all__ = ["MaskSupLoss", "MaskSupTerms", "ViewSimilarityLoss"]

Prediction = torch.Tensor | Sequence[torch.Tensor]  # a network with deep supervision returns several


class MaskSupTerms(NamedTuple):
    """The loss and its three terms, each before its weight."""

    total: torch.Tensor
    segmentation: torch.Tensor
    context: torch.Tensor
    similarity: torch.Tensor


class MaskSupLoss(_Loss):
    """MaskSup over any segmentation loss, binary or multi-class.

    The paper's published code compares the arg-max labels of the two views when there are several classes, which
    passes no gradient; here the similarity term compares probabilities.

    Args:
        segmentation_loss: loss of one view, called as ``segmentation_loss(input, target)``; MONAI's and torch's
            segmentation losses fit. Activations and one-hot conversion are its business.
        segmentation_weight: α1, of the loss on the whole image.
        context_weight: α2, of the same loss on the image with parts hidden.
        similarity_weight: α3, of the difference between the two predictions.
        similarity: ``"mse"`` (the paper's), ``"kl"`` or ``"cosine"``; see :class:`ViewSimilarityLoss`.
        activation: ``"sigmoid"`` or ``"softmax"``, what turns the network's output into probabilities for the
            similarity term. By default sigmoid for one channel and softmax for more.
        stop_gradient: whether the similarity term trains the masked view only, the whole view being its teacher.
        ignore_index: label value of pixels that take no part in any term. The loss of each image is then
            taken over its own remaining pixels, laid out in one line, and averaged over the images that have any;
            losses that need neighbouring pixels (Hausdorff, boundary) cannot be used with it.

    Raises:
        SettingError: when a weight is negative, all are zero, or a name is unknown.

    Examples::

        loss = MaskSupLoss(DiceCELoss(sigmoid=True))
        total, segmentation, context, similarity = loss(net(image), label, net(image_masked))
    """

    def __init__(
        self,
        segmentation_loss: Callable[[Any, torch.Tensor], torch.Tensor],
        segmentation_weight: float = 1.0,
        context_weight: float = 1.0,
        similarity_weight: float = 1.0,
        similarity: str = "mse",
        activation: str | None = None,
        stop_gradient: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        weights = (segmentation_weight, context_weight, similarity_weight)
        if min(weights) < 0 or max(weights) == 0:
            raise SettingError(f"Loss weights are {weights}; none may be negative and one at least must be above 0.")
        self.segmentation_loss = segmentation_loss
        self.segmentation_weight = segmentation_weight
        self.context_weight = context_weight
        self.similarity_weight = similarity_weight
        self.similarity_loss = ViewSimilarityLoss(similarity, activation, stop_gradient)
        self.ignore_index = ignore_index

    @property
    def uses_masked_view(self) -> bool:
        """Whether a prediction for the masked view has any effect."""
        return self.context_weight > 0 or self.similarity_weight > 0

    def forward(self, input: Prediction, target: torch.Tensor, input_masked: Prediction | None = None) -> MaskSupTerms:
        """Compute the loss.

        Args:
            input: output of the network for the image, ``(B, C, H, W[, D])``, or a list of such.
            target: label, ``(B, 1, H, W[, D])`` or one-hot ``(B, C, H, W[, D])``, as the segmentation loss takes it.
            input_masked: output of the network for the masked image, like ``input``; may be left out where
                :attr:`uses_masked_view` is false.

        Returns:
            The total and the three unweighted terms; a term of weight 0 is not computed and is 0.

        Raises:
            SettingError: when ``input_masked`` is needed and missing.
        """
        if input_masked is None and self.uses_masked_view:
            raise SettingError("The masked view's prediction is missing; pass input_masked or set its weights to 0.")
        zero = torch.zeros((), device=target.device)
        segmentation = context = similarity = zero
        if self.segmentation_weight:
            segmentation = self._segmentation(input, target)
        if self.context_weight:
            context = self._segmentation(input_masked, target)
        if self.similarity_weight:
            keep = None if self.ignore_index is None else (target != self.ignore_index).all(1, keepdim=True)
            similarity = self.similarity_loss(input, input_masked, keep)
        total = (
            self.segmentation_weight * segmentation
            + self.context_weight * context
            + self.similarity_weight * similarity
        )
        return MaskSupTerms(total, segmentation, context, similarity)

    def _segmentation(self, input: Any, target: torch.Tensor) -> torch.Tensor:
        if self.ignore_index is None:
            return self.segmentation_loss(input, target).mean()
        losses = [
            self.segmentation_loss(_pixels(input, i, keep), _pixels(target, i, keep)).mean()
            for i, keep in enumerate((target != self.ignore_index).all(1))
            if keep.any()
        ]
        return torch.stack(losses).mean() if losses else _first(input).sum() * 0


class ViewSimilarityLoss(_Loss):
    """How far the predictions for two views of the same image lie apart, in probabilities, averaged over pixels.

    Args:
        kind: ``"mse"``, the squared difference, averaged over channels too; ``"kl"``, the Kullback–Leibler divergence
            of the masked view from the whole one; ``"cosine"``, one minus the cosine between the vectors of class
            probabilities. For sigmoid outputs, kl and cosine take every channel as its own pair (p, 1 − p).
        activation: ``"sigmoid"``, ``"softmax"``, or by default the first for one channel, the second for more.
        stop_gradient: whether gradients flow into the masked view only.

    Raises:
        SettingError: when a name is unknown.
    """

    def __init__(self, kind: str = "mse", activation: str | None = None, stop_gradient: bool = False) -> None:
        super().__init__()
        if kind not in _DISTANCES:
            raise SettingError(f"similarity is {kind!r}; choose one of {', '.join(_DISTANCES)}.")
        if activation not in (None, "sigmoid", "softmax"):
            raise SettingError(f"activation is {activation!r}; choose 'sigmoid' or 'softmax'.")
        self.kind = kind
        self.activation = activation
        self.stop_gradient = stop_gradient

    def forward(self, input: Any, input_masked: Any, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Compare two outputs of the network.

        Args:
            input: for the whole image, ``(B, C, H, W[, D])``, or a list of such, whose mean is taken.
            input_masked: for the masked image, like ``input``.
            keep: boolean, ``(B, 1, H, W[, D])``, false where pixels take no part.

        Returns:
            Scalar tensor.
        """
        if not isinstance(input, torch.Tensor):
            pairs = zip(input, input_masked, strict=True)
            return torch.stack([self.forward(a, b, keep) for a, b in pairs]).mean()
        teacher = input.detach() if self.stop_gradient else input
        activation = self.activation or ("sigmoid" if input.shape[1] == 1 else "softmax")
        distance = _DISTANCES[self.kind](
            _log_probabilities(teacher, activation), _log_probabilities(input_masked, activation)
        )
        if keep is None:
            return distance.mean()
        keep = keep.expand_as(distance)
        return torch.where(keep, distance, 0).sum() / keep.sum().clamp(min=1)


def _log_probabilities(logits: torch.Tensor, activation: str) -> torch.Tensor:
    """Return log-probabilities ``(outcomes, B, C or 1, …)``: two outcomes per sigmoid channel, C for softmax."""
    logits = logits.float()
    if activation == "sigmoid":
        return torch.stack([F.logsigmoid(logits), F.logsigmoid(-logits)])
    return F.log_softmax(logits, dim=1).transpose(0, 1).unsqueeze(2)


def _squared_difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    # The two outcomes of a sigmoid differ by the same amount, so that the mean over both is that over p alone.
    return (a.exp() - b.exp()).square().mean(0)


def _divergence(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.exp() * (a - b)).sum(0)


def _angle(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return 1 - F.cosine_similarity(a.exp(), b.exp(), dim=0)


_DISTANCES = {"mse": _squared_difference, "kl": _divergence, "cosine": _angle}


def _first(prediction: Prediction) -> torch.Tensor:
    return prediction if isinstance(prediction, torch.Tensor) else prediction[0]


def _pixels(prediction: Any, index: int, keep: torch.Tensor) -> Any:
    """Return the kept pixels of one image of the batch as ``(1, C, N)``."""
    if not isinstance(prediction, torch.Tensor):
        return [_pixels(p, index, keep) for p in prediction]
    return prediction[index][:, keep][None]
