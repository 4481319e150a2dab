"""Views of an image that should not change what is found in it: flipped and turned, or with parts hidden.

Flips and quarter turns keep everything; hiding is what MaskSup trains a network to bear. Both are undone on what the
network says, so that its answers to all views can be compared pixel by pixel.

    >>> image = torch.arange(6.0).reshape(1, 2, 3)
    >>> view = views("symmetries", 3)[0]
    >>> view.apply(image)
    tensor([[[3., 4., 5.],
             [0., 1., 2.]]])
    >>> torch.equal(view.undo(view.apply(image)), image)
    True
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import torch

from masksup_med.errors import SettingError
from masksup_med.transforms.masks import patch_mask

__all__ = ["DEFAULT", "KINDS", "View", "views"]

#: Kinds of views, and how one is written: ``hidden:0.3`` hides 30 %.
KINDS = ("symmetries", "hidden:RATIO", "symmetries+hidden:RATIO")
DEFAULT = "symmetries"

# Flips come first, since they keep the size of a picture whose sides differ.
_SYMMETRIES = [((1,), False), ((2,), False), ((1, 2), False), ((), True), ((1, 2), True), ((1,), True), ((2,), True)]
_PATCH = 16  # pixels of the network's input, as MaskSup's own default hides
_SEED = 0
_KIND = re.compile(r"(symmetries)?(?:(?:^|(?<=s)\+)hidden:(0?\.\d+))?")


class View(NamedTuple):
    """A way to show a network its input, shape (C, W, H)."""

    flips: tuple[int, ...] = ()  # axes that are reversed
    transposed: bool = False  # whether width and height are swapped, after that
    hidden: float = 0.0  # share of the pixels that become 0, which is mid-grey, before that
    number: int = 0  # of the view; each hides other parts

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """Show an image in this way; the image is left as it is."""
        if self.hidden:
            random_state = np.random.RandomState([_SEED, self.number])
            size = tuple(image.shape[1:])
            image = image.masked_fill(patch_mask(size, self.hidden, min(_PATCH, *size), random_state), 0)
        image = image.flip(self.flips)
        return image.transpose(1, 2) if self.transposed else image

    def undo(self, logits: torch.Tensor) -> torch.Tensor:
        """Bring logits, shape (classes, W, H), back to the image as it is."""
        return (logits.transpose(1, 2) if self.transposed else logits).flip(self.flips)


def views(kind: str, count: int) -> list[View]:
    """The first ``count`` views of a kind; the first ones stay the same when more are asked for.

    Args:
        kind: one of :data:`KINDS`. Of ``symmetries`` there are 7: three flips, then four that swap width and height.
            ``hidden`` hides other patches in each view; with ``symmetries+hidden`` each view is flipped, too.
        count: how many, each a pass through the network.

    Raises:
        SettingError: there is no such kind, or there are not so many.
    """
    match = _KIND.fullmatch(kind)
    if not kind or match is None or (match[2] and float(match[2]) == 0):
        raise SettingError(f"The views {kind!r} are of no known kind; the kinds are {', '.join(KINDS)}.")
    hidden = float(match[2] or 0)
    if count < 1 or (not hidden and count > len(_SYMMETRIES)):
        raise SettingError(f"There are no {count} views of the kind {kind}; choose a number from 1 to 7.")
    symmetries = _SYMMETRIES if match[1] else [((), False)]
    return [View(*symmetries[number % len(symmetries)], hidden, number) for number in range(count)]
