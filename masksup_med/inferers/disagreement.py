"""How far a network's answers to several views of an image are apart, where, and what they are on average."""

from __future__ import annotations

from collections.abc import Iterable

import torch

__all__ = ["MAPS", "compared"]

#: How many maps :func:`compared` adds to the probabilities.
MAPS = 2


def compared(plain: torch.Tensor, others: Iterable[torch.Tensor], average: bool) -> torch.Tensor:
    """Put the views' disagreement beside the probabilities.

    Args:
        plain: probabilities for the image as it is, shape (classes, W, H).
        others: for each of the other views, of the same shape; at least one, and one at a time in memory.
        average: whether to return the mean of all views' probabilities instead of the plain ones.

    Returns:
        Shape (classes + 2, W, H): the probabilities; how far the other views are from the plain one, 0 to 1: half the
        sum over all classes of the absolute differences, mean over the views; and the foreground's probability,
        mean of the plain view and the others. Blending and resampling keep the meaning of all of them.
    """
    total, distance, count = torch.zeros_like(plain), torch.zeros_like(plain[:1]), 0
    for other in others:
        total += other
        distance += (other - plain).abs().sum(0, keepdim=True)
        count += 1
    foreground = (plain + total / count) / 2
    if len(plain) == 1:
        distance /= count
    else:
        distance, foreground = distance / (2 * count), 1 - foreground[:1]
    return torch.cat([(plain + total) / (count + 1) if average else plain, distance, foreground])
